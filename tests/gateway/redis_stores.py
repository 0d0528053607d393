"""Redis stores for tests, made as the gateway makes them."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmcache_gateway.config import ExternalRedis
from llmcache_gateway.secrets import Secrets
from llmcache_gateway.stores import RedisStore, connect, read_access
from tests.gateway.conftest import VALUES
from tests.redis_topologies import Redis

NAMESPACE = "llmcache:tests/one:"

KINDS = {
    "redis": "redis_server",
    "redis 6": "redis_6",
    "valkey": "valkey",
    "redis with TLS and a user": "guarded_redis",
    "redis behind sentinels": "sentinels",
    "redis cluster": "cluster",
}
"""Every kind of Redis, with the fixture that runs it."""


def shared(
    redis: str | dict[str, Any],
    namespace: str = NAMESPACE,
    *,
    secrets: Path | None = None,
) -> RedisStore:
    """Return the store in a Redis, given as its address or as `redis.external`."""
    config = msgspec.convert({"url": redis} if isinstance(redis, str) else redis, ExternalRedis)
    reader = Secrets(secrets, {})
    access = read_access(config, reader)
    assert reader.problems == []
    link = connect(access, timeout_seconds=5.0)  # a busy machine has stalls of a second
    return RedisStore(link, namespace=namespace, clock=time.time, values=VALUES)


def entries(names: Iterable[bytes]) -> list[bytes]:
    """Return the names of entries among those that one gateway keeps in a Redis."""
    return [name for name in names if not any(part in name for part in (b"@flight", b"@labels", b"@marks", b"@vector"))]


def running(kind: str, request: pytest.FixtureRequest) -> Redis:
    """Return a running Redis of a kind, emptied."""
    redis: Redis = request.getfixturevalue(KINDS[kind])
    for server in redis.primaries:
        server.command("FLUSHALL")
    return redis
