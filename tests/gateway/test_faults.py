"""Each fault of a store under live traffic: every client of the official SDK gets the right answer all the same."""

import asyncio
import logging
import random
import re
import resource
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import redis.asyncio
import yaml

from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.redis_stores import entries
from tests.gateway.test_command_line import address, serving
from tests.gateway.traffic import Traffic, ask, live_traffic
from tests.redis_server import RedisServer, free_port, running_redis
from tests.socket_proxy import Fault, Proxy, running_proxy

SOME = 40
"""Answers after which a fault has been met by every client, streamed and not, by questions known and new."""


@dataclass
class Shared:
    """A Redis that a test may spoil, behind a proxy that it may spoil, too."""

    redis: RedisServer
    proxy: Proxy


@pytest.fixture
async def shared() -> AsyncIterator[Shared]:
    with running_redis() as server:
        async with running_proxy(server.port) as proxy:
            yield Shared(server, proxy)
        server.process.send_signal(signal.SIGCONT)


Spoiled = Callable[[Shared], AbstractAsyncContextManager[None]]


def socket_fault(fault: Fault) -> Spoiled:
    @asynccontextmanager
    async def spoiled(shared: Shared) -> AsyncIterator[None]:
        shared.proxy.fault, shared.proxy.slow_seconds = fault, 2.0
        yield
        shared.proxy.fault = "none"

    return spoiled


def commands(spoil: tuple[str, ...], mend: tuple[str, ...]) -> Spoiled:
    @asynccontextmanager
    async def spoiled(shared: Shared) -> AsyncIterator[None]:
        shared.redis.command(*spoil)
        yield
        shared.redis.command(*mend)

    return spoiled


@asynccontextmanager
async def stopped(shared: Shared) -> AsyncIterator[None]:
    shared.redis.process.send_signal(signal.SIGSTOP)
    yield
    shared.redis.process.send_signal(signal.SIGCONT)


GONE = ("get", "put")
FAULTS: dict[str, tuple[Spoiled, tuple[str, ...]]] = {
    "refuses": (socket_fault("refuses"), GONE),
    "hangs": (socket_fault("hangs"), GONE),
    "slow": (socket_fault("slow"), GONE),
    "cuts its replies": (socket_fault("cuts"), GONE),
    "drops connections within a request": (socket_fault("drops"), GONE),
    "is stopped": (stopped, GONE),
    "is out of memory": (commands(("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")), ("put",)),
    "is a read-only replica": (
        commands(("REPLICAOF", "127.0.0.1", str(free_port())), ("REPLICAOF", "NO", "ONE")),
        ("put",),
    ),
    "takes no password any more": (
        commands(
            ("ACL", "SETUSER", "default", "-@all", "+auth", "+acl", "+hello", "+client"),
            ("ACL", "SETUSER", "default", "+@all"),
        ),
        GONE,
    ),
}


def config(provider: Provider, url: str, **store: Any) -> dict[str, Any]:
    store = {"type": "redis", "timeout": "500ms", **store}
    return manifest(provider.base_url, cache={"store": store}, redis={"external": {"url": url}})


async def circuits(gateway: TestGateway) -> dict[str, str]:
    found: dict[str, str] = (await gateway.status())["store"]["circuits"]
    return found


async def readiness(gateway: TestGateway) -> tuple[int, str]:
    async with httpx.AsyncClient() as client:
        response = await client.get(f"{gateway.admin_url}/readyz")
    return response.status_code, response.text


async def serves_hits(traffic: Traffic) -> None:
    """Wait until the cache answers again most of what it should."""

    async def mostly() -> bool:
        return (await traffic.more(SOME))["HIT"] > SOME // 3

    await traffic.until(mostly)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.timeout(240)
async def test_a_store_that(
    name: str, start_gateway: StartGateway, provider: Provider, shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "llmcache_gateway.stores")
    spoiled, affected = FAULTS[name]
    async with (
        start_gateway(config(provider, shared.proxy.url)) as gateway,
        live_traffic([gateway.url]) as traffic,
    ):
        await serves_hits(traffic)
        async with spoiled(shared):

            async def opened() -> bool:
                states = await circuits(gateway)
                return all(states[op] != "closed" for op in affected)

            await traffic.until(opened)
            assert (await traffic.more(SOME))["MISS"] > 0
            for op in affected:
                assert await gateway.metric(f'llmcache_store_circuit_open{{op="{op}",store="redis"}}') == 1
                assert await gateway.metric(f'llmcache_store_errors_total{{op="{op}",store="redis"}}') > 0
                assert len([line for line in caplog.messages if f"failed ({op})" in line]) == 1
            status, text = await readiness(gateway)
            assert status == 200
            assert re.fullmatch(r"ok, without store redis: .*\n", text)
            assert all(re.search(f"{op} (half-)?open", text) for op in affected)

        async def closed() -> bool:
            return set((await circuits(gateway)).values()) == {"closed"}

        await traffic.until(closed)
        await serves_hits(traffic)
        assert await readiness(gateway) == (200, "ok\n")
        for op in affected:
            assert len([line for line in caplog.messages if f"works again ({op})" in line]) == 1


async def test_a_store_that_fails_over_to_its_replica_goes_on_with_what_that_has(
    start_gateway: StartGateway, provider: Provider, shared: Shared
) -> None:
    with running_redis() as replica:
        replica.command("REPLICAOF", "127.0.0.1", str(shared.redis.port))
        async with (
            start_gateway(config(provider, shared.proxy.url)) as gateway,
            live_traffic([gateway.url]) as traffic,
        ):
            await serves_hits(traffic)

            async def replicated() -> bool:
                return replica.command("DBSIZE") != "0"

            await traffic.until(replicated)
            shared.redis.process.kill()
            await traffic.more(SOME)
            shared.proxy.target = replica.port  # the address now leads to a replica that is none yet
            await traffic.more(SOME)
            replica.command("REPLICAOF", "NO", "ONE")

            async def closed() -> bool:
                return set((await circuits(gateway)).values()) == {"closed"}

            await traffic.until(closed)
            await serves_hits(traffic)


async def test_values_that_are_spoiled_while_they_are_read_are_misses_and_no_more(
    start_gateway: StartGateway, provider: Provider, shared: Shared
) -> None:
    chance = random.Random(5)

    def spoil(value: bytes) -> bytes:
        at = chance.randrange(len(value))
        return chance.choice(
            [value[:at], value[:at] + bytes([value[at] ^ 1 << chance.randrange(8)]) + value[at + 1 :], b"poison"]
        )

    mended = asyncio.Event()

    async def spoil_on(client: Any) -> None:
        while not mended.is_set():
            names = entries(await client.keys("*:v1:*"))
            values = {name: await client.get(name) for name in names}
            for name, value in values.items():
                if value:
                    await client.set(name, spoil(value), ex=60, xx=True)
            if len(values) > 1:  # and one answer under the key of another
                one, other = chance.sample(sorted(values), 2)
                await client.set(one, values[other] or b"", ex=60)
            await asyncio.sleep(0.02)

    async with (
        redis.asyncio.Redis.from_url(shared.redis.url) as client,
        start_gateway(config(provider, shared.redis.url)) as gateway,
        live_traffic([gateway.url]) as traffic,
    ):
        await traffic.more(SOME)
        spoiler = asyncio.create_task(spoil_on(client))

        async def counted() -> bool:
            await traffic.more(SOME)
            return await gateway.metric('llmcache_store_errors_total{op="read",store="redis"}') > SOME // 2

        await traffic.until(counted)
        assert set((await circuits(gateway)).values()) == {"closed"}
        mended.set()  # not cancelled: the client may lose a cancellation that comes together with an answer
        await spoiler
        await serves_hits(traffic)


async def test_replicas_whose_clocks_disagree_serve_nothing_from_the_future(
    start_gateway: StartGateway, provider: Provider, shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    spec = config(provider, shared.redis.url)
    async with (
        start_gateway(spec, clock=lambda: time.time() - 7200) as slow,
        start_gateway(spec, clock=time.time) as right,
        start_gateway(spec, clock=lambda: time.time() + 7200) as fast,
        live_traffic([slow.url, right.url, fast.url, right.url]) as traffic,
    ):

        async def counted() -> bool:
            name = 'llmcache_store_errors_total{op="clock",store="redis"}'
            return min(await slow.metric(name), await right.metric(name)) > 2

        await traffic.until(counted)
        await traffic.more(SOME)
        for gateway in (slow, right, fast):
            assert set((await circuits(gateway)).values()) == {"closed"}
            assert (await readiness(gateway)) == (200, "ok\n")
    # Each of the two that saw the future said so, once.
    assert len([line for line in caplog.messages if "in the future" in line]) == 2


async def test_a_clock_that_was_put_back_makes_misses_of_what_memory_holds(
    start_gateway: StartGateway, provider: Provider
) -> None:
    now = [1_800_000_000.0]
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    async with start_gateway(manifest(provider.base_url), clock=lambda: now[0]) as gateway:

        async def outcome() -> str:
            outcome = (await gateway.post(body)).headers["X-LLMCache"]
            await gateway.running.reloader.current.store.flush()
            return outcome

        assert [await outcome(), await outcome()] == ["MISS", "HIT"]
        now[0] -= 9
        assert await outcome() == "HIT"
        now[0] -= 3600
        assert [await outcome(), await outcome()] == ["MISS", "HIT"]
        assert await gateway.metric('llmcache_store_errors_total{op="clock",store="memory"}') == 1


async def test_a_disk_that_is_full_for_a_while(provider: Provider, tmp_path: Path) -> None:
    """The kernel lets the process write no file beyond a size, and then lets it again."""
    file = tmp_path / "llmcache.yaml"
    store = {"type": "disk", "disk": {"bytes": "64Mi"}, "compressAbove": "Off"}
    file.write_text(yaml.safe_dump(manifest(provider.base_url, cache={"store": store})))
    async with (
        serving(file, "--data", str(tmp_path / "data")) as (process, lines),
        httpx.AsyncClient(base_url=address(lines, "admin"), timeout=20) as admin,
        live_traffic([address(lines, "gateway")]) as traffic,
    ):

        async def samples(pattern: str) -> float:
            text = (await admin.get("/metrics")).text
            return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(pattern, line))

        async def full() -> bool:
            return await samples(r'llmcache_store_circuit_open\{op="put",store="disk"\}') == 1

        async def mended() -> bool:
            return not await full()

        await serves_hits(traffic)
        unlimited = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1024, unlimited[1]))
        await traffic.until(full)
        outcomes = await traffic.more(SOME)
        assert outcomes["MISS"] > 0
        assert await samples(r'llmcache_store_errors_total\{op="put",store="disk"\}') > 0
        assert (await admin.get("/readyz")).status_code == 200
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, unlimited)
        await traffic.until(mended)
        await serves_hits(traffic)


async def test_on_sigterm_requests_in_flight_finish_and_what_was_answered_is_written(
    provider: Provider, shared: Shared, tmp_path: Path
) -> None:
    file = tmp_path / "llmcache.yaml"
    file.write_text(yaml.safe_dump(config(provider, shared.proxy.url, timeout="10s")))
    async with (
        serving(file) as (process, lines),
        openai.AsyncOpenAI(base_url=address(lines, "gateway") + "/v1", api_key="sk-test", max_retries=0) as client,
    ):
        await ask(client, "first", stream=False)
        provider.chunk_seconds = 0.1
        shared.proxy.fault, shared.proxy.slow_seconds = "slow", 0.3
        under_way = [asyncio.create_task(ask(client, f"new {at}", stream=bool(at % 2))) for at in range(1, 20)]
        async with asyncio.timeout(20):
            while len(provider.calls) < 20:  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.gather(*under_way) == ["MISS"] * 19
        assert await asyncio.wait_for(process.wait(), 30) == 0
    shared.proxy.fault = "none"
    assert len(shared.redis.command("--scan", "--pattern", "llmcache:tests/test:test:v1:*").splitlines()) == 20


async def test_on_sigterm_a_store_that_hangs_holds_the_end_up_no_longer_than_a_write_may_take(
    provider: Provider, shared: Shared, tmp_path: Path
) -> None:
    file = tmp_path / "llmcache.yaml"
    file.write_text(yaml.safe_dump(config(provider, shared.proxy.url, timeout="50ms")))
    async with (
        serving(file) as (process, lines),
        live_traffic([address(lines, "gateway")]) as traffic,
    ):
        await traffic.more(SOME)
        shared.proxy.fault = "hangs"
        await traffic.more(SOME)
        await traffic.end()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0
