"""One configuration, provisioned: everything a request needs, made once and then only read."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from llmcache_gateway.config import GatewayConfig, byte_count, seconds
from llmcache_gateway.config.manifest import MemoryStore as MemoryBounds
from llmcache_gateway.config.manifest import Upstream as UpstreamConfig
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.secrets import Secrets
from llmcache_gateway.stores import MemoryStore, RedisStore, Store, TieredStore
from llmcache_gateway.stores.guarded import GuardedStore
from llmcache_gateway.tenant import TenantResolver
from llmcache_gateway.upstreams.base import Upstream
from llmcache_gateway.upstreams.echo import EchoUpstream
from llmcache_gateway.upstreams.http import HTTPUpstream

STORE_TIMEOUT_SECONDS: Final = 0.25
"""Longest that a lookup may hold a request up."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What outlives a configuration: made once per process."""

    session: aiohttp.ClientSession
    metrics: Metrics
    tenant_key: bytes
    secrets_folder: Path | None
    environment: Mapping[str, str]


@dataclass(slots=True, eq=False)
class Runtime:
    """A provisioned configuration, and the number of requests that still use it."""

    config: GatewayConfig
    upstreams: tuple[Upstream, ...]
    tenants: TenantResolver
    store: GuardedStore
    store_identity: tuple[Any, ...]
    """Equal for two configurations that can use the same store object, so that a reload keeps what it holds."""

    credentials: tuple[str | None, ...]
    """Every secret value in use, to notice when one changes."""

    revision: str
    prefix_name: str
    prefix_version: str
    enabled: bool
    ttl_seconds: float
    request_bytes: int
    entry_bytes: int
    in_flight: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

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
        if self.in_flight:
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
    password = None
    if spec.redis is not None and spec.redis.credential is not None:
        password = secrets.secret(spec.redis.credential.secret_ref, "spec.redis.credential.secretRef")
    if secrets.problems:
        raise ConfigError(secrets.problems)
    identity = (spec.cache.store, spec.redis, password, config.metadata)
    if previous is not None and previous.store_identity == identity:
        store = previous.store
    else:
        inner = _store(config, password)
        store = GuardedStore(inner, timeout_seconds=STORE_TIMEOUT_SECONDS, metrics=resources.metrics)
    return Runtime(
        config=config,
        upstreams=tuple(
            _upstream(upstream, key, resources) for upstream, key in zip(spec.upstreams, keys, strict=True)
        ),
        tenants=TenantResolver(spec.tenancy.isolation, resources.tenant_key),
        store=store,
        store_identity=identity,
        credentials=(*keys, password),
        revision=config.revision,
        prefix_name=spec.prefix.name,
        prefix_version=spec.prefix.version,
        enabled=spec.cache.mode == "Enabled",
        ttl_seconds=seconds(spec.cache.ttl),
        request_bytes=byte_count(spec.limits.request_bytes),
        entry_bytes=byte_count(spec.limits.entry_bytes),
    )


def _store(config: GatewayConfig, password: str | None) -> Store:
    wanted = config.spec.cache.store
    if wanted.type == "memory":
        return _memory(wanted.l1 or MemoryBounds())
    if config.spec.redis is None:  # the manifest's rules refuse this; a hand-written GatewayConfig may still say so
        raise ConfigError(["spec.redis: this store type needs a Redis: set spec.redis, or give --redis-url"])
    login = config.spec.redis.credential
    shared = RedisStore(
        url=config.spec.redis.url,
        username=login.username if login is not None else None,
        password=password,
        namespace=f"llmcache:{config.metadata.namespace}/{config.metadata.name}:",
        timeout_seconds=STORE_TIMEOUT_SECONDS,
        clock=time.time,
    )
    if wanted.type == "redis":
        return shared
    return TieredStore(_memory(wanted.l1 or MemoryBounds()), shared)


def _memory(bounds: MemoryBounds) -> MemoryStore:
    return MemoryStore(max_entries=bounds.entries, max_bytes=byte_count(bounds.bytes), clock=time.time)


def _upstream(config: UpstreamConfig, key: str | None, resources: Resources) -> Upstream:
    if config.provider == "echo":
        echo = config.echo
        return EchoUpstream(
            name=config.name,
            models=config.models,
            delay_seconds=seconds(echo.delay) if echo else 0.0,
            chunk_delay_seconds=seconds(echo.chunk_delay) if echo else 0.0,
            timeout_seconds=seconds(config.timeout),
            clock=time.time,
        )
    return HTTPUpstream(
        name=config.name,
        provider=config.provider,
        base_url=config.base_url or "",
        models=config.models,
        credential=key,
        passthrough=config.credential is not None and config.credential.passthrough,
        timeout_seconds=seconds(config.timeout),
        session=resources.session,
    )
