"""The configuration that a gateway runs, and how an LLMCache manifest becomes one.

The operator writes it into a ConfigMap; standalone the gateway derives the very same from the manifest. It
holds what the data path needs and nothing that only an operator can carry out.
"""

import hashlib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import field

from llmcache_gateway.config.cache import Cache
from llmcache_gateway.config.hints import Hints
from llmcache_gateway.config.hooks import Hooks
from llmcache_gateway.config.manifest import Limits, LLMCache, Metadata
from llmcache_gateway.config.model import API_VERSION, Model, described
from llmcache_gateway.config.monitoring import Monitoring
from llmcache_gateway.config.policy import Policy
from llmcache_gateway.config.prices import PriceRow
from llmcache_gateway.config.redis import ExternalRedis
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.s3 import S3
from llmcache_gateway.config.scalars import PrefixPart
from llmcache_gateway.config.semantic import Semantic
from llmcache_gateway.config.tenancy import Tenancy
from llmcache_gateway.config.upstream import Upstream


class NextPrefix(Model, frozen=True, kw_only=True):
    """The version that a rollout leads to. Only an operator sets it, step by step."""

    version: PrefixPart
    percent: Annotated[int, described("Share of the requests that belong to it.", ge=0, le=100)]


class ActivePrefix(Model, frozen=True, kw_only=True):
    """The prefix in use, resolved: both parts are there."""

    RULES = (
        Rule(
            cel="!has(self.next) || self.next.version != self.version",
            holds=lambda p: p.next is None or p.next.version != p.version,
            message="next is the active version already: remove next, or name another version",
            field="next.version",
        ),
    )

    name: PrefixPart
    version: PrefixPart
    next: NextPrefix | None = None


class GatewaySpec(Model, frozen=True, kw_only=True):
    """What one gateway does. Each field is that of the LLMCache, or what the operator made of it."""

    upstreams: Annotated[list[Upstream], described("The provider endpoints, in order.", min_length=1, max_length=32)]
    prefix: ActivePrefix
    cache: Cache = field(default_factory=Cache)
    semantic: Semantic = field(default_factory=Semantic)
    tenancy: Tenancy = field(default_factory=Tenancy)
    limits: Limits = field(default_factory=Limits)
    policies: list[Policy] = field(default_factory=list)
    redis: ExternalRedis | None = None
    s3: S3 | None = None
    hints: Hints | None = None
    hooks: Hooks | None = None
    prices: list[PriceRow] = field(default_factory=list)
    metrics_compat: Literal["litellm"] | None = None


class GatewayConfig(Model, frozen=True, kw_only=True):
    """A gateway's configuration file."""

    metadata: Metadata
    spec: GatewaySpec
    api_version: Literal["llmcache.dev/v1alpha1"] = API_VERSION
    kind: Literal["GatewayConfig"] = "GatewayConfig"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for YAML or JSON: kind and apiVersion, and whatever is not at its default."""
        return {"apiVersion": self.api_version, "kind": self.kind, **_without_defaults(self)}

    @property
    def revision(self) -> str:
        """Twelve hex digits that name this configuration: equal for equal content only."""
        encoded = msgspec.json.encode(self.to_dict(), order="deterministic")
        return hashlib.sha256(encoded).hexdigest()[:12]


def gateway_config(manifest: LLMCache, redis: ExternalRedis | None) -> GatewayConfig:
    """Return the gateway configuration of a manifest.

    `redis` is the Redis that `spec.redis.managed` stands for: the operator's own, or standalone the one given
    on the command line. It is not looked at where the manifest names an external one, or none is needed.
    """
    spec = manifest.spec
    if spec.redis is None:
        redis = None
    elif spec.redis.external is not None:
        redis = spec.redis.external
    return GatewayConfig(
        metadata=Metadata(name=manifest.metadata.name, namespace=manifest.metadata.namespace),
        spec=GatewaySpec(
            upstreams=spec.upstreams,
            prefix=ActivePrefix(name=spec.prefix.name or manifest.metadata.name, version=spec.prefix.version),
            cache=spec.cache,
            semantic=spec.semantic,
            tenancy=spec.tenancy,
            limits=spec.limits,
            policies=spec.policies,
            redis=redis,
            s3=spec.s3,
            hints=spec.hints,
            hooks=spec.hooks,
            prices=spec.prices,
            metrics_compat=spec.monitoring.compat if spec.monitoring is not None else None,
        ),
    )


def parts_for_the_operator(manifest: LLMCache) -> list[str]:
    """Return the paths of a manifest that only an operator carries out, where they are set."""
    parts = []
    if manifest.spec.gateway != type(manifest.spec.gateway)():
        parts.append("spec.gateway")
    if manifest.spec.redis is not None and manifest.spec.redis.managed is not None:
        parts.append("spec.redis.managed")
    if manifest.spec.rollout != type(manifest.spec.rollout)():
        parts.append("spec.rollout")
    watched = manifest.spec.monitoring
    if watched is not None and watched != Monitoring(compat=watched.compat):
        parts.append("spec.monitoring")
    return parts


def _without_defaults(value: Any) -> Any:
    """Return plain data without fields at their default, so that a new field disturbs no older gateway.

    msgspec's own omit_defaults compares by identity: a default that was written out would stay.
    """
    if isinstance(value, list):
        return [_without_defaults(item) for item in value]
    if not isinstance(value, msgspec.Struct):
        return value
    plain = {}
    for known in msgspec.structs.fields(value):
        item = getattr(value, known.name)
        default = known.default if known.default_factory is msgspec.NODEFAULT else known.default_factory()
        if item != default:
            plain[known.encode_name] = _without_defaults(item)
    return plain
