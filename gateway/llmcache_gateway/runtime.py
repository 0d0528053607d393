"""One configuration, provisioned: everything a request needs, made once and then only read."""

import asyncio
import dataclasses
import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from llmcache_gateway.config import Cache, GatewayConfig, Problem, Semantic, Tenancy, Translation, byte_count, seconds
from llmcache_gateway.config import DiskStore as DiskBounds
from llmcache_gateway.config import MemoryStore as MemoryBounds
from llmcache_gateway.config import Upstream as UpstreamConfig
from llmcache_gateway.config.addresses import check_addresses
from llmcache_gateway.config.gateway import ActivePrefix, GatewaySpec
from llmcache_gateway.config.hints import CapabilityRow
from llmcache_gateway.config.policy import semantic_on
from llmcache_gateway.config.prices import PriceRow
from llmcache_gateway.contents.keeper import Charge, ContentKeeper, open_contents
from llmcache_gateway.dialects import Dialect
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.hints.capabilities import Capabilities
from llmcache_gateway.hints.hinter import Hinter, Observed
from llmcache_gateway.hook_runner import HookLoader, Hooks
from llmcache_gateway.hot import HotRequests
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.policy import OFF, Policies, Settings, default_settings, overridden
from llmcache_gateway.prefix import Prefix
from llmcache_gateway.prices import Prices
from llmcache_gateway.secrets import Secrets
from llmcache_gateway.semantic.indexes.qdrant_access import QdrantAccess, read_qdrant_access
from llmcache_gateway.stores import (
    DiskStore,
    MemoryStore,
    RedisAccess,
    RedisStore,
    S3Access,
    Store,
    TieredStore,
    connect,
    open_s3,
    read_access,
    read_s3_access,
)
from llmcache_gateway.stores.guarded import BACKGROUND_SECONDS, GuardedStore
from llmcache_gateway.tenant import Front, TenantResolver, client_keys
from llmcache_gateway.translate.ways import WAYS
from llmcache_gateway.upstreams import choice
from llmcache_gateway.upstreams.base import Upstream
from llmcache_gateway.upstreams.minted import Minted
from llmcache_gateway.upstreams.opening import open_upstream
from llmcache_gateway.upstreams.translated import TranslatedUpstream
from llmcache_gateway.values import COMPRESS_ABOVE, ValueFormat

if TYPE_CHECKING:
    from llmcache_gateway.semantic.cache import SemanticCache

MAX_MODELS: Final = 500
"""Most models whose upstream is remembered: clients choose their names."""

REDIS_TIMEOUT_SECONDS: Final = 1.0
"""Longest silence of Redis, to connect too. Lookups end sooner, by `cache.store.timeout`."""

S3_BACKGROUND_SECONDS: Final = 10.0
"""Longest that a write to S3 may take: a large answer takes longer than elsewhere, and nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What outlives a configuration: made once per process."""

    session: aiohttp.ClientSession
    metrics: Metrics
    tenant_key: bytes
    secrets_folder: Path | None
    environment: Mapping[str, str]
    clock: Callable[[], float]
    hook_loader: HookLoader
    hooks_folder: Path | None
    minted: Minted
    capabilities: Sequence[CapabilityRow]
    prices: Sequence[PriceRow]
    """The tables that come with the gateway. To read one takes as long as dozens of requests, which would wait."""

    charge: Callable[[Charge], None]
    """Takes what cached contents cost."""

    data_folder: Path | None = None
    """Where a disk store keeps its file."""


@dataclass(slots=True, eq=False)
class Runtime:
    """A provisioned configuration, and the number of requests that still use it."""

    config: GatewayConfig
    upstreams: tuple[Upstream, ...]
    tenants: TenantResolver
    store: GuardedStore
    store_identity: tuple[Any, ...]
    """Equal for two configurations that can use the same store object, so that a reload keeps what it holds."""

    credentials: tuple[Any, ...]
    """Every secret value in use, to notice when one changes."""

    policies: Policies
    hinter: Hinter
    """Adds hints for providers' own prompt caches; what it has observed is kept through reloads."""

    prices: Prices
    hot: HotRequests
    """The requests asked most: counted on through reloads, as they are through versions."""

    isolation: str
    own_headers: tuple[str, ...]
    """Headers between a front and the gateway, which go no further."""

    revision: str
    prefix: Prefix
    request_bytes: int
    entry_bytes: int
    hooks: Hooks | None = None
    semantic: "SemanticCache | None" = None
    """None where no policy has it on."""

    semantic_identity: tuple[Any, ...] = ()
    """Equal for two configurations that can use the same one."""

    contents: ContentKeeper | None = None
    """None where the configuration wants no cached contents."""

    in_flight: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    _upstream_for: dict[tuple[str, str], Upstream] = field(default_factory=dict)

    def upstream_for(self, dialect: Dialect, model: str) -> Upstream:
        """Return the upstream that serves a dialect's model, looked for once; RequestError(404) when none does."""
        wanted = (dialect.path, model)  # a path may be that of one provider, though others have the same dialect
        found = self._upstream_for.get(wanted)
        if found is None:
            found = choice.for_model(self.upstreams, dialect, model)
            if len(self._upstream_for) < MAX_MODELS:
                self._upstream_for[wanted] = found
        return found

    def enter(self) -> None:
        """Note one more request that uses it."""
        self.in_flight += 1
        self.idle.clear()

    def leave(self) -> None:
        """Note that a request is done with it."""
        self.in_flight -= 1
        if not self.in_flight:
            self.idle.set()

    async def drained(self) -> None:
        """Wait until no request uses it any more."""
        while self.in_flight:  # what enters before this is woken makes it wait again
            await self.idle.wait()


def provision(config: GatewayConfig, resources: Resources, previous: Runtime | None) -> Runtime:
    """Make everything that a configuration names; ConfigError with every problem when something is missing.

    Nothing is connected here: a Redis that is away makes misses, not a configuration that can't be used. The
    store of `previous` is taken over when this configuration means the same one.
    """
    secrets = Secrets(resources.secrets_folder, resources.environment)
    spec = config.spec
    keys = tuple(
        secrets.credential(upstream.credential, f"spec.upstreams[{at}].credential")
        for at, upstream in enumerate(spec.upstreams)
    )
    redis = read_access(spec.redis, secrets) if spec.redis is not None else None
    s3 = read_s3_access(spec.s3, secrets) if spec.s3 is not None else None
    qdrant = read_qdrant_access(spec.semantic.index, secrets)
    tenancy = _tenancy(spec.tenancy, secrets)
    own_headers = (tenancy.front.name, tenancy.front.proof) if tenancy.front else ()
    policies = _policies(spec, own_headers, secrets.problems)
    if secrets.problems:
        raise ConfigError(secrets.problems)
    check_addresses(spec)
    hooks = _hooks(spec, resources)
    # What is read from outside is bounded by the size of an entry; a memory store is emptied by no new bound.
    entry_bytes = byte_count(spec.limits.entry_bytes)
    readable = entry_bytes if spec.cache.store.type != "memory" else None
    identity = (spec.cache.store, redis, s3, config.metadata, readable)
    if previous is not None and previous.store_identity == identity:
        store = previous.store
    else:
        inner = _store(config, redis, s3, resources)
        near = inner.l1 if isinstance(inner, TieredStore) else None
        timeout = seconds(spec.cache.store.timeout)
        store = GuardedStore(
            inner,
            timeout_seconds=timeout,
            metrics=resources.metrics,
            clock=resources.clock,
            near=near,
            background_seconds=S3_BACKGROUND_SECONDS if spec.cache.store.uses_s3 else BACKGROUND_SECONDS,
        )
    upstreams = tuple(
        one
        for at, (upstream, key) in enumerate(zip(spec.upstreams, keys, strict=True))
        for one in _spoken_to(upstream, key, f"spec.upstreams[{at}]", resources)
    )
    semantic, semantic_identity = _semantic(
        config, upstreams, keys, store, identity, redis, qdrant, resources, previous
    )
    hinter = _hinter(spec, resources, previous)
    return Runtime(
        config=config,
        upstreams=upstreams,
        tenants=TenantResolver(
            spec.tenancy.isolation, resources.tenant_key, tenancy.front, _listed(tenancy.client_keys)
        ),
        store=store,
        store_identity=identity,
        credentials=(*keys, redis, s3, qdrant, tenancy),
        policies=policies,
        hinter=hinter,
        prices=Prices([*spec.prices, *resources.prices], hinter.capabilities),
        hot=previous.hot
        if previous is not None and previous.hot.requests == spec.cache.hot.requests
        else HotRequests(spec.cache.hot.requests),
        isolation=spec.tenancy.isolation,
        own_headers=own_headers,
        revision=config.revision,
        prefix=_prefix(spec.prefix),
        request_bytes=byte_count(spec.limits.request_bytes),
        entry_bytes=entry_bytes,
        hooks=hooks,
        semantic=semantic,
        semantic_identity=semantic_identity,
        contents=open_contents(
            spec.hints.cached_contents if spec.hints is not None else None,
            store,
            metrics=resources.metrics,
            charge=resources.charge,
            clock=resources.clock,
            previous=previous.contents if previous is not None and previous.store is store else None,
        ),
    )


def _semantic(
    config: GatewayConfig,
    upstreams: tuple[Upstream, ...],
    keys: tuple[str | None, ...],
    store: GuardedStore,
    store_identity: tuple[Any, ...],
    redis: RedisAccess | None,
    qdrant: QdrantAccess | None,
    resources: Resources,
    previous: Runtime | None,
) -> "tuple[SemanticCache | None, tuple[Any, ...]]":
    """Return the semantic cache, that of `previous` where it may be, and what tells it from others."""
    spec, wanted = config.spec, config.spec.semantic
    if not semantic_on(wanted, spec.policies):
        return None, ()
    named = [
        (one.base_url, key)
        for one, key in zip(spec.upstreams, keys, strict=True)
        if one.name == wanted.embedding.upstream
    ]
    identity = (wanted.embedding, wanted.index, qdrant, store_identity, named)
    try:
        from llmcache_gateway.semantic.provision import check_judge, load_verifiers, open_semantic
    except ImportError as error:
        message = f"{error.name} is not there: install llmcache-operator with the extra `semantic`"
        raise ConfigError([Problem("spec.semantic", message)]) from None
    cache = previous.semantic if previous is not None and previous.semantic_identity == identity else None
    if cache is None:
        cache = open_semantic(
            wanted.embedding,
            wanted.index,
            upstreams=upstreams,
            store=store,
            redis=redis,
            qdrant=qdrant,
            namespace=_namespace(config),
            metrics=resources.metrics,
            clock=resources.clock,
        )
    of_policies = {one.semantic.verifier for one in spec.policies if one.semantic is not None}
    sizes = {wanted.verifier, *(size for size in of_policies if size is not None)}
    load_verifiers(cache, sizes)
    if wanted.judge is not None:
        check_judge(wanted.judge, upstreams)
    return cache, identity


def _prefix(prefix: ActivePrefix) -> Prefix:
    if prefix.next is None:
        return Prefix(prefix.name, prefix.version)
    return Prefix(prefix.name, prefix.version, prefix.next.version, prefix.next.percent)


def _hinter(spec: GatewaySpec, resources: Resources, previous: Runtime | None) -> Hinter:
    own = spec.hints.capabilities if spec.hints is not None else []
    observed = previous.hinter.observed if previous is not None else Observed.nothing()
    return Hinter(Capabilities([*own, *resources.capabilities]), observed, time.monotonic)


def _hooks(spec: GatewaySpec, resources: Resources) -> Hooks | None:
    if spec.hooks is None:
        return None
    if resources.hooks_folder is None:
        message = "the gateway was given no folder with hooks: give --hooks DIR, or remove spec.hooks"
        raise ConfigError([Problem("spec.hooks", message)])
    hooks = resources.hook_loader.hooks(resources.hooks_folder, seconds(spec.hooks.deadline))
    if "build_key" in hooks.names and semantic_on(spec.semantic, spec.policies):
        message = (
            "the hook build_key says which requests are equal, so none can be alike: remove it, or switch this off"
        )
        raise ConfigError([Problem("spec.semantic", message)])
    return hooks


@dataclass(frozen=True, slots=True)
class _TenancySecrets:
    """The secret parts of a tenancy, comparable, so that a change of them is noticed."""

    front: Front | None = None
    client_keys: tuple[tuple[str, tuple[str, ...]], ...] | None = None


def _tenancy(tenancy: Tenancy, secrets: Secrets) -> _TenancySecrets:
    front = None
    if tenancy.header is not None:
        secret = secrets.secret(tenancy.header.secret_ref, "spec.tenancy.header.secretRef")
        front = Front(tenancy.header.name, tenancy.header.proof, secret or "")
    if tenancy.keys is None:
        return _TenancySecrets(front)
    path = "spec.tenancy.keys.secretRef"
    text = secrets.text(tenancy.keys.secret_ref, path)
    keys, problems = client_keys(text) if text is not None else ({}, [])
    secrets.problems.extend(Problem(path, problem) for problem in problems)
    return _TenancySecrets(front, tuple(keys.items()))


def _listed(keys: tuple[tuple[str, tuple[str, ...]], ...] | None) -> dict[str, tuple[str, ...]] | None:
    return None if keys is None else dict(keys)


def _policies(spec: GatewaySpec, own_headers: Sequence[str], problems: list[Problem]) -> Policies:
    def settings(cache: Cache, semantic: Semantic, isolation: str, path: str) -> Settings:
        builder = None
        if cache.key.builder is not None:
            try:
                builder = _load_function(cache.key.builder)
            except ConfigError as error:
                problems.append(Problem(f"{path}.key.builder", str(error)))
        return default_settings(cache, isolation, builder, own_headers, semantic)

    isolation = spec.tenancy.isolation
    matched = []
    for at, policy in enumerate(spec.policies):
        of_policy = policy.tenancy.isolation if policy.tenancy is not None else isolation
        cache, semantic = overridden(spec.cache, policy.cache), overridden(spec.semantic, policy.semantic)
        merged = settings(cache, semantic, of_policy, f"spec.policies[{at}].cache")
        hints = overridden(spec.hints or OFF, policy.hints)
        matched.append((policy.match, dataclasses.replace(merged, policy=policy.name, hints=hints)))
    default = settings(spec.cache, spec.semantic, isolation, "spec.cache")
    return Policies(dataclasses.replace(default, hints=spec.hints or OFF), matched)


def _load_function(name: str) -> Any:
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:
        # Whatever a user's module does when it is imported, it is a configuration that can't be used.
        raise ConfigError([f"{name} can't be loaded: {error}"]) from None
    if not callable(found):
        raise ConfigError([f"{name} is not a function"])
    return found


def _store(config: GatewayConfig, redis: RedisAccess | None, s3: S3Access | None, resources: Resources) -> Store:
    wanted = config.spec.cache.store
    if wanted.keeper == "memory":
        return _memory(wanted.l1 or MemoryBounds(), resources)
    kept: Store
    if wanted.keeper == "disk":
        kept = _disk(config, resources)
    elif wanted.keeper == "s3":
        kept = _s3(config, s3, resources)
    else:
        kept = _redis(config, redis, resources)
    return kept if wanted.type != "tiered" else TieredStore(_memory(wanted.l1 or MemoryBounds(), resources), kept)


def _redis(config: GatewayConfig, redis: RedisAccess | None, resources: Resources) -> RedisStore:
    if redis is None:  # the manifest's rules refuse this; a hand-written GatewayConfig may still say so
        raise ConfigError(["spec.redis: this store type needs a Redis: set spec.redis, or give --redis-url"])
    timeout = max(REDIS_TIMEOUT_SECONDS, seconds(config.spec.cache.store.timeout))
    return RedisStore(
        connect(redis, timeout_seconds=timeout),
        namespace=_namespace(config),
        clock=resources.clock,
        values=_values(config),
    )


def _namespace(config: GatewayConfig) -> str:
    return f"llmcache:{config.metadata.namespace}/{config.metadata.name}:"


def _s3(config: GatewayConfig, access: S3Access | None, resources: Resources) -> Store:
    if access is None:  # as above
        raise ConfigError(["spec.s3: this store type needs a bucket: set spec.s3"])
    owner = f"{config.metadata.namespace}/{config.metadata.name}"
    return open_s3(access, owner=owner, clock=resources.clock, values=_values(config))


def _disk(config: GatewayConfig, resources: Resources) -> DiskStore:
    if resources.data_folder is None:
        raise ConfigError(["spec.cache.store: a disk store needs a folder: start the gateway with --data DIR"])
    bounds = config.spec.cache.store.disk or DiskBounds()
    # Neither name can have an underscore, so that no two LLMCaches share a file.
    file = resources.data_folder / f"{config.metadata.namespace}_{config.metadata.name}.sqlite"
    return DiskStore(
        file=file,
        max_bytes=byte_count(bounds.bytes),
        clock=resources.clock,
        evicted=resources.metrics.evictions.labels("disk").inc,
        values=_values(config),
    )


def _values(config: GatewayConfig) -> ValueFormat:
    above = config.spec.cache.store.compress_above
    return ValueFormat(
        compress_above=COMPRESS_ABOVE if above is None else None if above == "Off" else byte_count(above),
        max_bytes=byte_count(config.spec.limits.entry_bytes),
    )


def _memory(bounds: MemoryBounds, resources: Resources) -> MemoryStore:
    return MemoryStore(
        max_entries=bounds.entries,
        max_bytes=byte_count(bounds.bytes),
        clock=resources.clock,
        evicted=resources.metrics.evictions.labels("memory").inc,
    )


def _spoken_to(config: UpstreamConfig, key: str | None, path: str, resources: Resources) -> Iterator[Upstream]:
    """Yield an upstream, and behind it the same as one that is asked in another API than its own."""
    upstream = open_upstream(
        config, key, path=path, session=resources.session, minted=resources.minted, clock=resources.clock
    )
    yield upstream
    if config.provider in WAYS:
        yield TranslatedUpstream(
            upstream, max_tokens=(config.translation or Translation()).max_tokens, clock=resources.clock
        )
