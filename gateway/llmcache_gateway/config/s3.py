"""The bucket of the S3 store."""

from typing import Annotated

from msgspec import Meta

from llmcache_gateway.config.model import Model, SecretRef, described
from llmcache_gateway.config.redis import PEM
from llmcache_gateway.config.rules import Rule


class S3Login(Model, frozen=True, kw_only=True):
    """The two halves of an access key."""

    access_key_id: Annotated[SecretRef, described("Where the access key's ID is.")]
    secret_access_key: Annotated[SecretRef, described("Where its secret is.")]


class S3(Model, frozen=True, kw_only=True):
    """A bucket of Amazon S3, or of a server that speaks its API and heeds `If-Match` and `If-None-Match` on writes."""

    RULES = (
        Rule(
            cel="!has(self.ca) || (has(self.endpoint) && self.endpoint.startsWith('https://'))",
            holds=lambda s: s.ca is None or (s.endpoint or "").startswith("https://"),
            message="ca is for an endpoint that begins with https://: remove it, or set that endpoint",
            field="ca",
        ),
    )

    bucket: Annotated[
        str,
        Meta(
            title="the name of a bucket",
            description="Name of the bucket. It has to be there.",
            pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
            max_length=63,
            examples=["my-llmcache"],
        ),
    ]
    region: Annotated[
        Annotated[
            str, Meta(title="a region", pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64, examples=["eu-central-1"])
        ]
        | None,
        described("Region of the bucket. Without it, the environment's `AWS_REGION`, else `us-east-1`."),
    ] = None
    endpoint: Annotated[
        Annotated[
            str,
            Meta(
                title="an address without a path",
                pattern=r"^https?://[^\s?#@/]+$",
                max_length=512,
                examples=["https://minio.example:9000"],
            ),
        ]
        | None,
        described("Address of a server that is not Amazon's, without bucket or path."),
    ] = None
    ca: Annotated[
        PEM | None, described("Certificates of authorities to trust beside the system's, for a server of your own.")
    ] = None
    path_style: Annotated[
        bool,
        described("`true`: the bucket is the first part of an object's path; `false`: of the server's name."),
    ] = True
    prefix: Annotated[
        str,
        Meta(
            title="a path of letters, digits, '.', '_' and '-'",
            description="What the names of all objects begin with. LLMCaches of one bucket never meet, whatever it is.",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$",
            max_length=256,
            examples=["llmcache", "team-a/cache"],
        ),
    ] = "llmcache"
    credential: Annotated[
        S3Login | None,
        described(
            "An access key. Without it, that of the gateway's surroundings: environment, web identity (IRSA), "
            "container (EKS Pod Identity, ECS) or instance."
        ),
    ] = None
