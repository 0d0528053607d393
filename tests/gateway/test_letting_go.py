"""What a configuration held is let go of: when another takes its place, when it is refused, and at the end."""

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import StartGateway, TestGateway, by_hand, manifest
from tests.gateway.provider import Provider
from tests.gateway.test_fail_open import until
from tests.gateway.test_reload import outcome
from tests.redis_server import RedisServer
from tests.redis_topologies import Guarded, running_guarded

LONG_SECONDS = 60.0


def connections(server: RedisServer) -> int:
    """Return how many sockets of this process are connected to a server."""
    own = set()
    for file in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the folder itself
            own.add(str(file.readlink()))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{server.port:04X}") and f"socket:[{row[9]}]" in own for row in rows)


async def until_unconnected(server: RedisServer) -> None:
    async def is_unconnected() -> bool:
        return connections(server) == 0

    await until(is_unconnected, LONG_SECONDS)


async def until_hit(gateway: TestGateway) -> None:
    """Ask until the store is connected and has an answer."""

    async def is_hit() -> bool:
        return (await outcome(gateway))[0] == "HIT"

    await until(is_hit, LONG_SECONDS)


@contextmanager
def stopped(server: RedisServer) -> Iterator[None]:
    """Have a server answer nothing, not even that an encrypted connection is over, for the length of the block."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    with running_guarded(tmp_path) as guarded:
        yield guarded


def encrypted(guarded: Guarded, **more: Any) -> dict[str, Any]:
    return manifest(None, cache={"store": {"type": "redis"}}, redis={"external": guarded.external}, **more)


async def test_a_configuration_that_is_refused_after_its_store_was_made_has_connected_to_nothing(
    start_gateway: StartGateway, provider: Provider, redis_url: str, redis_server: RedisServer
) -> None:
    """A judge who is not there is told last, of a GatewayConfig that no rule has looked at."""
    judge = {"upstream": "nobody", "model": "m"}
    store, address = {"cache": {"store": {"type": "redis"}}}, {"url": redis_url}
    semantic = {"enabled": True, "index": {"type": "redisSearch"}}
    refused = by_hand(manifest(provider.base_url, semantic=semantic | {"judge": judge}, redis=address, **store))
    async with start_gateway(manifest(provider.base_url)) as gateway:
        gateway.rewrite(refused)
        assert gateway.running.reloader.check() is False
        assert "semantic.judge.upstream" in (await gateway.status())["configError"]
        assert (await outcome(gateway))[0] == "MISS"
        assert connections(redis_server) == 0
        gateway.rewrite(manifest(provider.base_url, semantic=semantic, redis={"external": address}, **store))
        assert gateway.running.reloader.check() is True
        await until_hit(gateway)
        assert connections(redis_server) > 0
    await until_unconnected(redis_server)


async def test_a_gateway_that_can_not_listen_leaves_nothing_that_asks_its_store(start_gateway: StartGateway) -> None:
    """It waited for a store that was closed by then, which connected again."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as taken:
        redis = {"external": {"url": f"redis://127.0.0.1:{silent.getsockname()[1]}/0"}}
        config = manifest(None, cache={"store": {"type": "redis"}}, redis=redis)
        before = asyncio.all_tasks()
        with pytest.raises(OSError, match="in use"):
            async with start_gateway(config, admin_port=taken.getsockname()[1]):
                pass
        assert asyncio.all_tasks() == before


async def test_what_hangs_when_it_is_closed_keeps_nothing_else_open(
    start_gateway: StartGateway, guarded: Guarded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The threads of hooks stayed for ever, where a Redis said nothing to the end of its connections."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "mine.py").write_text("async def post_response(response): pass")
    config = encrypted(guarded, hooks={"configMapRef": {"name": "mine"}})

    async def is_over() -> bool:
        return not [thread for thread in threading.enumerate() if thread.name == "hook-post_response"]

    async with start_gateway(config, secrets=guarded.secrets, hooks=hooks) as gateway:
        await until_hit(gateway)
        assert not await is_over()
        with stopped(guarded.server):
            gateway.rewrite(manifest(None))
            assert gateway.running.reloader.check() is True
            await until(is_over, LONG_SECONDS)
        assert "what a configuration held can't be closed in order (GuardedStore)" in caplog.text
        await until_unconnected(guarded.server)


async def test_a_gateway_whose_redis_hangs_ends_as_it_is_told_to(start_gateway: StartGateway, guarded: Guarded) -> None:
    """It ended with a traceback and the status 1."""
    async with AsyncExitStack() as stack:
        async with start_gateway(encrypted(guarded), secrets=guarded.secrets) as gateway:
            await until_hit(gateway)
            stack.enter_context(stopped(guarded.server))
        with pytest.raises(httpx.ConnectError):
            await gateway.status()  # what comes after the store has ended, too
    await until_unconnected(guarded.server)
