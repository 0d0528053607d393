"""Upstreams: the provider endpoints of a manifest."""

import re
from typing import Annotated, Final, Literal

from msgspec import Meta, field

from llmcache_gateway.config.model import Model, SecretFile, SecretRef, described
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import Duration, Name, seconds

_REGION: Final = re.compile(r"//[^/]*bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")
"""Where an address of Amazon Bedrock names its region."""


class Credential(Model, frozen=True, kw_only=True):
    """Where the upstream's API key comes from: exactly one of the six."""

    RULES = (
        Rule(
            cel="[has(self.secretRef), has(self.env), has(self.file), self.passthrough, "
            "has(self.googleServiceAccount), self.googleWorkloadIdentity].exists_one(c, c)",
            holds=lambda c: (
                [
                    c.secret_ref is not None,
                    c.env is not None,
                    c.file is not None,
                    c.passthrough,
                    c.google_service_account is not None,
                    c.google_workload_identity,
                ].count(True)
                == 1
            ),
            message="set exactly one of secretRef, env, file, googleServiceAccount, googleWorkloadIdentity: true or "
            "passthrough: true",
        ),
    )

    secret_ref: Annotated[
        SecretRef | None,
        described("A key of a Secret. Standalone it is read from the folder given by --secrets."),
    ] = None
    env: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)] | None,
        described("An environment variable of the gateway process. For a gateway outside Kubernetes."),
    ] = None
    file: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1024)] | None,
        described("A file that holds the key and nothing else. For a gateway outside Kubernetes."),
    ] = None
    google_service_account: Annotated[
        SecretFile | None,
        described(
            "The JSON key of a Google service account, or a file of workload identity federation. The gateway makes "
            "Google's tokens of it, and renews them before they end. For provider vertex."
        ),
    ] = None
    google_workload_identity: Annotated[
        bool,
        described(
            "Take Google's tokens for what the pod, or the machine, is to Google: its Kubernetes service account on "
            "GKE. For provider vertex."
        ),
    ] = False
    passthrough: Annotated[
        bool,
        described("Send the client's own credential on. The gateway then holds no key of its own."),
    ] = False

    @property
    def makes_google_tokens(self) -> bool:
        """Whether what is sent is made by the gateway, of a key of Google's or of what its pod is."""
        return self.google_service_account is not None or self.google_workload_identity


class Echo(Model, frozen=True, kw_only=True):
    """How the built-in echo upstream behaves."""

    delay: Annotated[Duration, described("Time before the first byte of an answer.")] = "0s"
    chunk_delay: Annotated[Duration, described("Time between two chunks of a streamed answer.")] = "0s"


class Translation(Model, frozen=True, kw_only=True):
    """How chat completions are asked of a provider that speaks Anthropic's messages."""

    max_tokens: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)],
        described("Longest answer, in tokens, where a request says no `max_tokens`: Anthropic's API wants one."),
    ] = 4096


ADDRESSES: Final = {
    "openai": "https://api.openai.com/v1",
    "deepseek": "https://api.deepseek.com",
    "openrouter": "https://openrouter.ai/api/v1",
    "mistral": "https://api.mistral.ai/v1",
    "xai": "https://api.x.ai/v1",
    "groq": "https://api.groq.com/openai/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
}
"""Where the providers that speak OpenAI's API have it. At their own host no other path is one of it."""


def _own_address(provider: str, address: str) -> Rule:
    """Return the rule that an upstream at the provider's own host has its whole address."""
    host, _, path = address.removeprefix("https://").partition("/")
    own = f"^https?://{host.replace('.', '[.]')}(/|$)"
    right = f"^https?://{host.replace('.', '[.]')}{'/' + path if path else ''}/*$"

    def holds(upstream: "Upstream") -> bool:
        base = upstream.base_url or ""
        return upstream.provider != provider or not re.search(own, base) or bool(re.search(right, base))

    return Rule(
        cel=f"self.provider != '{provider}' || !has(self.baseURL) || !self.baseURL.matches('{own}') || "
        f"self.baseURL.matches('{right}')",
        holds=holds,
        message=f"this is not where {host} has its API for OpenAI's clients: write {address}",
        field="baseURL",
    )


class Upstream(Model, frozen=True, kw_only=True):
    """One provider endpoint."""

    RULES = (
        Rule(
            cel="self.provider == 'echo' || has(self.baseURL)",
            holds=lambda u: u.provider == "echo" or u.base_url is not None,
            message="baseURL is required for this provider, such as https://api.openai.com/v1, "
            "https://api.anthropic.com, https://generativelanguage.googleapis.com or "
            "https://bedrock-runtime.eu-central-1.amazonaws.com",
            field="baseURL",
        ),
        *(_own_address(provider, address) for provider, address in ADDRESSES.items()),
        Rule(
            cel="self.provider != 'azure' || !has(self.baseURL) || !self.baseURL.matches('/openai(/.*)?$')",
            holds=lambda u: u.provider != "azure" or re.search(r"/openai(/.*)?\Z", u.base_url or "") is None,
            message="Azure's own paths begin with /openai: remove it, such as https://NAME.openai.azure.com",
            field="baseURL",
        ),
        Rule(
            cel="self.provider != 'anthropic' || !has(self.baseURL) || !self.baseURL.matches('/v1/*$')",
            holds=lambda u: u.provider != "anthropic" or re.search(r"/v1/*\Z", u.base_url or "") is None,
            message="Anthropic's own paths begin with /v1: remove it, such as https://api.anthropic.com",
            field="baseURL",
        ),
        Rule(
            cel="!(self.provider in ['gemini', 'vertex']) || !has(self.baseURL) || "
            "!self.baseURL.matches('/v1[a-z0-9]*/*$')",
            holds=lambda u: (
                u.provider not in ("gemini", "vertex") or re.search(r"/v1[a-z0-9]*/*\Z", u.base_url or "") is None
            ),
            message="Google's own paths begin with their version: remove it, such as "
            "https://generativelanguage.googleapis.com or https://aiplatform.googleapis.com",
            field="baseURL",
        ),
        Rule(
            cel="!has(self.region) || (self.provider == 'bedrock' && !has(self.credential))",
            holds=lambda u: u.region is None or (u.provider == "bedrock" and u.credential is None),
            message="region is what requests to Bedrock are signed for, where there is no credential: remove it",
            field="region",
        ),
        Rule(
            cel="self.provider != 'bedrock' || has(self.credential) || has(self.region) || !has(self.baseURL) || "
            "self.baseURL.matches('//[^/]*bedrock-runtime(-fips)?[.][a-z0-9-]+[.]')",
            holds=lambda u: (
                u.provider != "bedrock"
                or u.credential is not None
                or u.base_url is None
                or u.signing_region is not None
            ),
            message="baseURL names no AWS region, which requests are signed for: set it, such as eu-central-1",
            field="region",
        ),
        Rule(
            cel="self.provider == 'vertex' || !has(self.credential) || "
            "!(has(self.credential.googleServiceAccount) || self.credential.googleWorkloadIdentity)",
            holds=lambda u: u.provider == "vertex" or u.credential is None or not u.credential.makes_google_tokens,
            message="Google's tokens are for provider vertex: give this one a key by secretRef, env or file",
            field="credential",
        ),
        Rule(
            cel="self.provider != 'echo' || !(has(self.baseURL) || has(self.credential))",
            holds=lambda u: u.provider != "echo" or (u.base_url is None and u.credential is None),
            message="the echo provider is built in: remove baseURL and credential",
        ),
        Rule(
            cel="self.provider == 'echo' || !has(self.echo)",
            holds=lambda u: u.provider == "echo" or u.echo is None,
            message="echo settings have an effect with provider: echo only: remove them",
            field="echo",
        ),
        Rule(
            cel="self.provider in ['anthropic', 'bedrock'] || !has(self.translation)",
            holds=lambda u: u.provider in ("anthropic", "bedrock") or u.translation is None,
            message="translation has an effect with provider: anthropic or bedrock only: remove it",
            field="translation",
        ),
        Rule(
            cel="self.timeout.matches('[1-9]')",
            holds=lambda u: seconds(u.timeout) > 0,
            message="timeout must be longer than zero, such as 60s",
            field="timeout",
        ),
    )

    name: Annotated[Name, described("Name of the upstream, unique in the manifest; part of every key.")]
    provider: Annotated[
        Literal[
            "openai",
            "deepseek",
            "openrouter",
            "mistral",
            "xai",
            "groq",
            "fireworks",
            "azure",
            "anthropic",
            "gemini",
            "vertex",
            "bedrock",
            "echo",
        ],
        described(
            "Which wire API the endpoint speaks: `openai` for OpenAI and everything shaped like it that has no kind of "
            "its own here (`deepseek`, `openrouter`, `mistral`, `xai`, `groq` and `fireworks` have), `azure` for Azure "
            "OpenAI, `anthropic` for Anthropic's messages, `gemini` for Google's Gemini API, `vertex` for models on "
            "Vertex AI, `bedrock` for Amazon Bedrock, `echo` for the built-in stand-in that answers with the question."
        ),
    ]
    base_url: Annotated[
        Annotated[
            str,
            Meta(
                pattern=r"^https?://[^\s?#@/]+(/[^\s?#@]*)?$", max_length=1024, examples=["https://api.openai.com/v1"]
            ),
        ]
        | None,
        described(
            "Address of the endpoint, ending where the provider's SDK ends its own: with /v1 for OpenAI and those like "
            "it (https://api.groq.com/openai/v1; DeepSeek is https://api.deepseek.com), without it "
            "for Anthropic (https://api.anthropic.com), Azure (https://NAME.openai.azure.com), Gemini "
            "(https://generativelanguage.googleapis.com) and Vertex "
            "(https://aiplatform.googleapis.com, or that of a region); Bedrock's has its region "
            "(https://bedrock-runtime.eu-central-1.amazonaws.com)."
        ),
    ] = field(default=None, name="baseURL")
    region: Annotated[
        Annotated[
            str, Meta(title="a region", pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64, examples=["eu-central-1"])
        ]
        | None,
        described("AWS region that requests to Bedrock are signed for. Without it, the one that baseURL names."),
    ] = None
    models: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=128)]],
        described(
            "Patterns of the model names it serves (`*` stands for anything). The first upstream that matches "
            "gets the request.",
            min_length=1,
            max_length=64,
        ),
    ] = field(default_factory=lambda: ["*"])
    credential: Annotated[
        Credential | None,
        described(
            "The API key sent upstream. Without it requests go out with no credential; to Bedrock, signed with what "
            "AWS's programs find in the gateway's surroundings: environment, web identity (IRSA), container (EKS Pod "
            "Identity, ECS) or instance."
        ),
    ] = None
    timeout: Annotated[
        Duration,
        described("Longest silence of the upstream: to connect, to begin an answer, between two chunks of it."),
    ] = "60s"
    translation: Annotated[
        Translation | None,
        described("How chat completions for models named `anthropic/…`, or `bedrock/…` on Bedrock, are asked of it."),
    ] = None
    echo: Annotated[Echo | None, described("Settings of provider echo.")] = None

    @property
    def signing_region(self) -> str | None:
        """The AWS region that requests are signed for; None where nothing names one."""
        named = _REGION.search(self.base_url or "")
        return self.region or (named[1] if named is not None else None)
