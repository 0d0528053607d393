"""The LLMCache resource, as it is applied to a cluster or given to a gateway.

Its parts stand in the modules beside this one. Descriptions are the CRD's and the reference page's text. What
is accepted here is in force: a field enters together with the code that obeys it.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

from llmcache_gateway.config.cache import Cache
from llmcache_gateway.config.deployment import Gateway
from llmcache_gateway.config.hints import Hints
from llmcache_gateway.config.hooks import Hooks
from llmcache_gateway.config.model import Model, described
from llmcache_gateway.config.monitoring import Monitoring
from llmcache_gateway.config.policy import Policy, semantic_on
from llmcache_gateway.config.prices import PriceRow
from llmcache_gateway.config.redis import Redis
from llmcache_gateway.config.rollout import Rollout
from llmcache_gateway.config.rules import Rule, at_defaults
from llmcache_gateway.config.s3 import S3
from llmcache_gateway.config.scalars import Bytes, Name, PrefixPart
from llmcache_gateway.config.semantic import JUDGES, MAKERS, Semantic
from llmcache_gateway.config.tenancy import Tenancy
from llmcache_gateway.config.upstream import Upstream


class Prefix(Model, frozen=True, kw_only=True):
    """Which generation of entries is in use."""

    version: Annotated[
        PrefixPart,
        described("Generation of the entries. A new value takes over as `spec.rollout` says, without a restart."),
    ]
    name: Annotated[
        PrefixPart | None,
        described("First part of every stored key. Without it, the resource's own name."),
    ] = None


class Limits(Model, frozen=True, kw_only=True):
    """Bounds on single messages."""

    RULES = (
        Rule(
            cel="!self.requestBytes.matches('^0')",
            holds=lambda limits: not limits.request_bytes.startswith("0"),
            message="requestBytes must be at least one byte, written without a leading zero, such as 32Mi",
            field="requestBytes",
        ),
        Rule(
            cel="!self.entryBytes.matches('^0')",
            holds=lambda limits: not limits.entry_bytes.startswith("0"),
            message="entryBytes must be at least one byte, written without a leading zero, such as 8Mi",
            field="entryBytes",
        ),
    )

    request_bytes: Annotated[Bytes, described("Largest request body; a larger one is answered with 413.")] = "32Mi"
    entry_bytes: Annotated[Bytes, described("Largest answer that is stored; a larger one passes unstored.")] = "8Mi"


_WITHOUT_REDIS = (
    "self.cache.store.type in ['memory', 'disk', 's3'] || "
    "(has(self.cache.store.l2) && self.cache.store.l2.type != 'redis')"
)
_WITH_S3 = "self.cache.store.type == 's3' || (has(self.cache.store.l2) && self.cache.store.l2.type == 's3')"

_ENABLED = "(has(self.semantic.enabled) && self.semantic.enabled)"
_SEMANTIC_ON = (
    f"({_ENABLED} || self.policies.exists(p, has(p.semantic) && has(p.semantic.enabled) && p.semantic.enabled))"
)


_NOT_ALIKE = f"!has(p.semantic) || !(has(p.semantic.enabled) ? p.semantic.enabled : {_ENABLED})"
"""In CEL, the opposite of `_is_alike` for a policy `p`."""


def _is_alike(spec: Any, policy: Policy) -> bool:
    """Return whether a policy has settings of semantic for requests that may share an answer."""
    if policy.semantic is None:
        return False
    own = policy.semantic.enabled
    return bool(spec.semantic.enabled if own is None else own)


def _has_builder(spec: Any, policy: Policy) -> bool:
    """Return whether a function makes the keys of a policy's requests."""
    own = policy.cache.key if policy.cache is not None else None
    return (own or spec.cache.key).builder is not None


def _own(name: str, providers: Sequence[str]) -> str:
    """Return in CEL whether a name is that of an upstream, of one of these providers, that the gateway can ask."""
    return (
        f"self.upstreams.exists(u, u.name == {name} && u.provider in {list(providers)} && "
        "!(has(u.credential) && u.credential.passthrough))"
    )


def _may_be_asked(spec: Any, name: str | None, providers: Sequence[str]) -> bool:
    """Say the same in Python; also where nothing is named."""
    return name is None or any(
        u.name == name and u.provider in providers and not (u.credential and u.credential.passthrough)
        for u in spec.upstreams
    )


_EMBEDDING = "self.semantic.embedding"

WITHOUT_TURNS = ["openai-completions", "openai-embeddings", "gemini-embeddings", "vertex-embeddings"]
"""Dialects in which nothing is asked that could be said in other words."""


def _hints_of(spec: Any, policy: Policy, name: str, default: Any) -> Any:
    """Return what holds for a policy's requests of a field of hints."""
    own = getattr(policy.hints, name, None)
    return getattr(spec.hints, name, default) if own is None else own


def _modes(spec: Any) -> list[str]:
    """Return every mode that hints may have for some request."""
    experiment = spec.hints.experiment
    changes = [experiment.alternative if experiment is not None else None, *(p.hints for p in spec.policies)]
    return [spec.hints.mode, *(one.mode for one in changes if one is not None and one.mode is not None)]


class LLMCacheSpec(Model, frozen=True, kw_only=True):
    """A cache in front of one or more LLM providers."""

    RULES = (
        Rule(
            cel="self.upstreams.all(u, self.upstreams.exists_one(v, v.name == u.name))",
            holds=lambda s: len({u.name for u in s.upstreams}) == len(s.upstreams),
            message="every upstream needs a name of its own",
            field="upstreams",
        ),
        Rule(
            cel=f"{_WITHOUT_REDIS} || has(self.redis)",
            holds=lambda s: not s.cache.store.uses_redis or s.redis is not None,
            message="this store type needs a Redis: set spec.redis, such as redis: {managed: {}}",
            field="redis",
        ),
        Rule(
            cel=f"!({_WITHOUT_REDIS}) || !has(self.redis) || self.semantic.index.type == 'redisSearch'",
            holds=lambda s: s.cache.store.uses_redis or s.redis is None or s.semantic.index.type == "redisSearch",
            message="this store does not use Redis: remove spec.redis, or set cache.store: {type: tiered}",
            field="redis",
        ),
        Rule(
            cel="self.semantic.index.type != 'redisSearch' || (has(self.redis) && "
            "!(has(self.redis.external) && has(self.redis.external.cluster)))",
            holds=lambda s: (
                s.semantic.index.type != "redisSearch"
                or (s.redis is not None and not (s.redis.external and s.redis.external.cluster))
            ),
            message="index type redisSearch needs spec.redis, one server or Sentinels, with its search module",
            field="semantic",
        ),
        Rule(
            cel=f"!{_SEMANTIC_ON} || self.semantic.index.type != 'inProcess' || !({_WITH_S3})",
            holds=lambda s: (
                not semantic_on(s.semantic, s.policies)
                or s.semantic.index.type != "inProcess"
                or not s.cache.store.uses_s3
            ),
            message="replicas can't learn of each other's vectors in S3: set semantic.index to redisSearch or qdrant",
            field="semantic",
        ),
        Rule(
            cel=f"!has({_EMBEDDING}.upstream) || {_own(f'{_EMBEDDING}.upstream', MAKERS)}",
            holds=lambda s: _may_be_asked(s, s.semantic.embedding.upstream, MAKERS),
            message="must name an upstream that passes no client's credential on, whose provider makes vectors: "
            f"{', '.join(MAKERS)}",
            field="semantic.embedding.upstream",
        ),
        Rule(
            cel=f"!has({_EMBEDDING}.upstream) || has({_EMBEDDING}.model) || "
            f"!self.upstreams.exists(u, u.name == {_EMBEDDING}.upstream && u.provider in {list(MAKERS[1:])})",
            holds=lambda s: (
                s.semantic.embedding.model is not None
                or not any(u.name == s.semantic.embedding.upstream and u.provider in MAKERS[1:] for u in s.upstreams)
            ),
            message="must be set: only OpenAI's is known by itself",
            field="semantic.embedding.model",
        ),
        Rule(
            cel="!has(self.semantic.judge) || !has(self.semantic.judge.upstream) || "
            f"{_own('self.semantic.judge.upstream', JUDGES)}",
            holds=lambda s: s.semantic.judge is None or _may_be_asked(s, s.semantic.judge.upstream, JUDGES),
            message="must name an upstream that passes no client's credential on, of one of these providers: "
            f"{', '.join(JUDGES)}",
            field="semantic.judge.upstream",
        ),
        Rule(
            cel=f"!{_ENABLED} || !has(self.cache.key.builder)",
            holds=lambda s: not s.semantic.enabled or s.cache.key.builder is None,
            message="a key builder says which requests are equal, so none can be alike: remove it, or semantic.enabled",
            field="semantic",
        ),
        Rule(
            cel=f"self.policies.all(p, {_NOT_ALIKE} || "
            "!(has(p.cache) && has(p.cache.key) ? has(p.cache.key.builder) : has(self.cache.key.builder)))",
            holds=lambda s: not any(_is_alike(s, p) and _has_builder(s, p) for p in s.policies),
            message="a key builder says which requests are equal, so none can be alike: remove the policy's semantic, "
            "or set its cache.key without a builder",
            field="policies",
        ),
        Rule(
            cel=f"!{_ENABLED} || self.cache.mode != 'Disabled' || "
            "self.policies.exists(p, has(p.cache) && has(p.cache.mode) && p.cache.mode != 'Disabled')",
            holds=lambda s: (
                not s.semantic.enabled
                or s.cache.mode != "Disabled"
                or any(p.cache and p.cache.mode not in (None, "Disabled") for p in s.policies)
            ),
            message="nothing is stored, so nothing can be alike: set cache.mode, or remove semantic.enabled",
            field="semantic",
        ),
        Rule(
            cel=f"self.policies.all(p, {_NOT_ALIKE} || "
            "(has(p.cache) && has(p.cache.mode) ? p.cache.mode : self.cache.mode) != 'Disabled')",
            holds=lambda s: (
                not any(
                    _is_alike(s, p) and ((p.cache and p.cache.mode) or s.cache.mode) == "Disabled" for p in s.policies
                )
            ),
            message="of a policy's requests nothing is stored, so nothing can be alike: set the policy's cache.mode, "
            "or remove its semantic",
            field="policies",
        ),
        Rule(
            cel=f"self.policies.all(p, {_NOT_ALIKE} || "
            f"size(p.match.dialects) == 0 || !p.match.dialects.all(d, d in {WITHOUT_TURNS}))",
            holds=lambda s: (
                not any(
                    _is_alike(s, p) and p.match.dialects and {*p.match.dialects} <= {*WITHOUT_TURNS} for p in s.policies
                )
            ),
            message="a policy of dialects without turns has no use for semantic: name one with turns, or remove it",
            field="policies",
        ),
        Rule(
            cel=f"has(self.semantic.enabled) || {_SEMANTIC_ON} || {at_defaults(Semantic, 'self.semantic')}",
            holds=lambda s: (
                s.semantic.enabled is not None or semantic_on(s.semantic, s.policies) or s.semantic == Semantic()
            ),
            message="settings of semantic have no effect while nothing has it on: set semantic.enabled, or a policy's; "
            "to keep them for later set it to false",
            field="semantic",
        ),
        Rule(
            cel="has(self.semantic.enabled) || self.policies.all(p, !has(p.semantic) || has(p.semantic.enabled))",
            holds=lambda s: (
                s.semantic.enabled is not None
                or all(p.semantic is None or p.semantic.enabled is not None for p in s.policies)
            ),
            message="a policy's semantic settings have no effect while it is off: set its enabled, or semantic.enabled",
            field="policies",
        ),
        Rule(
            cel=f"!({_WITH_S3}) || has(self.s3)",
            holds=lambda s: not s.cache.store.uses_s3 or s.s3 is not None,
            message="this store type needs a bucket: set spec.s3, such as s3: {bucket: my-llmcache}",
            field="s3",
        ),
        Rule(
            cel=f"{_WITH_S3} || !has(self.s3)",
            holds=lambda s: s.cache.store.uses_s3 or s.s3 is None,
            message="this store does not use S3: remove spec.s3, or set cache.store: {type: s3, timeout: 500ms}",
            field="s3",
        ),
        Rule(
            cel="self.policies.all(p, self.policies.exists_one(q, q.name == p.name))",
            holds=lambda s: len({p.name for p in s.policies}) == len(s.policies),
            message="every policy needs a name of its own",
            field="policies",
        ),
        Rule(
            cel="!has(self.tenancy.keys) || !self.upstreams.exists(u, has(u.credential) && u.credential.passthrough)",
            holds=lambda s: (
                s.tenancy.keys is None or not any(u.credential and u.credential.passthrough for u in s.upstreams)
            ),
            message="clients that send a gateway key have none of the provider's to pass on: no passthrough with keys",
            field="tenancy",
        ),
        Rule(
            cel=(
                "!has(self.rollout.warm) || !has(self.rollout.warm.topRequests) || "
                "self.rollout.warm.topRequests <= self.cache.hot.requests"
            ),
            holds=lambda s: s.rollout.warm is None or (s.rollout.warm.top_requests or 0) <= s.cache.hot.requests,
            message="topRequests is more than the gateways keep: raise cache.hot.requests, or ask for fewer",
            field="rollout",
        ),
        Rule(
            cel=(
                "!has(self.rollout.warm) || self.upstreams.exists(u, !has(u.credential) || !u.credential.passthrough)"
            ),
            holds=lambda s: (
                s.rollout.warm is None or any(not (u.credential and u.credential.passthrough) for u in s.upstreams)
            ),
            message="no upstream has a credential of its own, so nothing could be warmed: remove warm, or set one",
            field="rollout",
        ),
        Rule(
            cel="!has(self.hints) || self.hints.capabilities.all(c, c.providers.all(p, "
            "self.upstreams.exists(u, u.provider == p)))",
            holds=lambda s: (
                s.hints is None
                or {p for row in s.hints.capabilities for p in row.providers} <= {u.provider for u in s.upstreams}
            ),
            message="a row of capabilities names a provider that no upstream has, so it has no effect: remove it",
            field="hints",
        ),
        Rule(
            cel="!has(self.hints) || !has(self.hints.cachedContents) || "
            "self.upstreams.exists(u, u.provider in ['gemini', 'vertex'])",
            holds=lambda s: (
                s.hints is None
                or s.hints.cached_contents is None
                or any(u.provider in ("gemini", "vertex") for u in s.upstreams)
            ),
            message="cachedContents are for upstreams of provider gemini or vertex, and there is none: remove them",
            field="hints",
        ),
        Rule(
            cel="!has(self.hints) || !has(self.hints.cachedContents) || self.hints.mode != 'off' || "
            "(has(self.hints.experiment) && has(self.hints.experiment.alternative.mode) && "
            "self.hints.experiment.alternative.mode != 'off') || "
            "self.policies.exists(p, has(p.hints) && has(p.hints.mode) && p.hints.mode != 'off')",
            holds=lambda s: (
                s.hints is None or s.hints.cached_contents is None or any(mode != "off" for mode in _modes(s))
            ),
            message="cachedContents have no effect while the mode is off: set hints.mode, or that of a policy",
            field="hints",
        ),
        Rule(
            cel="self.prices.all(r, r.providers.all(p, self.upstreams.exists(u, u.provider == p)))",
            holds=lambda s: {p for row in s.prices for p in row.providers} <= {u.provider for u in s.upstreams},
            message="a row of prices names a provider that no upstream has, so it has no effect: remove it",
            field="prices",
        ),
        Rule(
            cel="self.policies.all(p, !has(p.hints) || has(p.hints.mode) || "
            "(has(self.hints) && self.hints.mode != 'off'))",
            holds=lambda s: all(
                p.hints is None or p.hints.mode is not None or (s.hints is not None and s.hints.mode != "off")
                for p in s.policies
            ),
            message="a policy's hints have no effect while the mode is off: set its mode, or that of spec.hints",
            field="policies",
        ),
        Rule(
            cel="self.policies.all(p, !has(p.hints) || "
            "(has(p.hints.mode) ? p.hints.mode : has(self.hints) ? self.hints.mode : 'off') != 'always' || "
            "(has(p.hints.points) ? size(p.hints.points) : has(self.hints) ? size(self.hints.points) : 0) > 0)",
            holds=lambda s: all(
                _hints_of(s, p, "mode", "off") != "always" or _hints_of(s, p, "points", []) for p in s.policies
            ),
            message="mode always needs to know the places: set the policy's points, or those of spec.hints",
            field="policies",
        ),
    )

    upstreams: Annotated[
        list[Upstream],
        described(
            "The provider endpoints, in order: the first that serves the model is used.", min_length=1, max_length=32
        ),
    ]
    prefix: Annotated[Prefix, described("Which generation of entries is in use.")]
    cache: Annotated[Cache, described("What is cached, and for how long.")] = field(default_factory=Cache)
    semantic: Annotated[Semantic, described("Which questions count as one although they are worded differently.")] = (
        field(default_factory=Semantic)
    )
    tenancy: Annotated[Tenancy, described("Who shares entries with whom.")] = field(default_factory=Tenancy)
    limits: Annotated[Limits, described("Bounds on single messages.")] = field(default_factory=Limits)
    policies: Annotated[
        list[Policy],
        described("Settings of their own for some requests; the first that matches is in force.", max_length=32),
    ] = field(default_factory=list)
    redis: Annotated[Redis | None, described("The Redis of store types redis and tiered.")] = None
    s3: Annotated[S3 | None, described("The bucket of store type s3, and of a tiered one with `l2: {type: s3}`.")] = (
        None
    )
    hints: Annotated[
        Hints | None,
        described("What is added to requests, so that the provider keeps their beginnings. Without it, nothing."),
    ] = None
    hooks: Annotated[Hooks | None, described("Functions of your own on the request path.")] = None
    prices: Annotated[
        list[PriceRow],
        described(
            "What tokens cost, to say in money what is saved. The first row that matches holds, then the table that "
            "comes with the gateway; for a model in neither no money is claimed.",
            max_length=64,
        ),
    ] = field(default_factory=list)
    rollout: Annotated[Rollout, described("How a new prefix version takes over.")] = field(default_factory=Rollout)
    gateway: Annotated[Gateway, described("The gateway's Deployment.")] = field(default_factory=Gateway)
    monitoring: Annotated[Monitoring | None, described("What watches the gateways.")] = None


class Metadata(Struct, frozen=True, kw_only=True):
    """The two fields of a resource's metadata that a gateway uses; the rest is Kubernetes' own."""

    name: Name
    namespace: Name = "default"


class LLMCache(Model, frozen=True, kw_only=True):
    """An LLMCache manifest, as it is applied to a cluster or given to a gateway."""

    RULES = (
        Rule(
            cel="self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')",
            holds=lambda m: re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", m.metadata.name) is not None,
            message=(
                "the name must begin with a letter and hold only lower-case letters, digits and '-': Services are "
                "named after it"
            ),
            field="metadata.name",
        ),
        Rule(
            # A StatefulSet writes NAME-redis-HASH into a label of its pods, which may have 63 characters.
            cel="self.metadata.name.size() <= 46",
            holds=lambda m: len(m.metadata.name) <= 46,
            message="the name may have 46 characters at most: the names of its parts are longer and have to fit",
            field="metadata.name",
        ),
    )

    api_version: Literal["llmcache.dev/v1alpha1"]
    kind: Literal["LLMCache"]
    metadata: Metadata
    spec: LLMCacheSpec
    status: Any | UnsetType = UNSET
