"""The express lane in front of a store that has to be waited for: what comes meanwhile, and who goes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis.asyncio

from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.test_express import Client, body_of, chunked, connected, express, odd_requests, request, without_time
from tests.gateway.test_fail_open import until
from tests.redis_server import RedisServer
from tests.socket_proxy import Proxy, running_proxy

LOOKUP = b"GET\r\n"
"""How the command of a lookup ends in Redis' protocol: readings of marks, which may take no longer than 0.25 s, have
none."""

LONG_SECONDS = 20.0

ERRORS = 'llmcache_store_errors_total{op="get",store="redis"}'


@pytest.fixture
async def proxy(redis_url: str, redis_server: RedisServer) -> AsyncIterator[Proxy]:
    """A proxy that, as long as it hangs, holds back the replies to lookups, and no others."""
    async with running_proxy(redis_server.port) as proxy:
        proxy.only = LOOKUP
        yield proxy


def config(proxy: Proxy, store: str = "redis") -> dict[str, Any]:
    # A lookup ends when the test lets it, not by its time.
    return manifest(None, cache={"store": {"type": store, "timeout": "10s"}}, redis={"external": {"url": proxy.url}})


@pytest.fixture
async def gateway(start_gateway: StartGateway, proxy: Proxy) -> AsyncIterator[TestGateway]:
    async with start_gateway(config(proxy)) as gateway:
        yield gateway


async def until_hit(gateway: TestGateway, client: Client, text: str) -> None:
    """Ask until there is a hit: on a busy machine a store may take longer at first than it may."""

    async def is_hit() -> bool:
        answer = await client.ask(request(body_of(text)))
        await gateway.running.reloader.current.store.flush()
        return answer.headers["X-LLMCache"] == "HIT"

    await until(is_hit, LONG_SECONDS)


async def learn(gateway: TestGateway, *texts: str) -> None:
    """Have answers stored, and their requests' head known."""
    async with connected(gateway) as client:
        for text in texts:
            await until_hit(gateway, client, text)


@pytest.mark.parametrize("more", [{}, {"stream": True}], ids=["unstreamed", "streamed"])
async def test_the_lane_answers_as_the_request_path_does(gateway: TestGateway, more: dict[str, Any]) -> None:
    await learn(gateway, "one two three")
    asked = body_of("one two three", **more)
    async with connected(gateway) as client:
        usual = await client.ask(request(asked, "User-Agent: another head"))
        assert await express(gateway) == 0
        answers = [await client.ask(request(asked)) for _ in range(3)]
    assert await express(gateway) == 3
    assert all(without_time(answer) == without_time(usual) for answer in answers)
    assert (usual.headers["X-LLMCache"], 'detail="redis"' in answers[0].headers["Cache-Status"]) == ("HIT", True)
    assert await gateway.metric('llmcache_hits_total{tier="redis"}') == 5


async def test_what_another_replica_stored_is_a_hit_of_the_lane_and_then_one_in_memory(
    start_gateway: StartGateway, proxy: Proxy
) -> None:
    async with start_gateway(config(proxy)) as other, start_gateway(config(proxy, "tiered")) as gateway:
        await learn(gateway, "known")
        await learn(other, "theirs")
        tiers = []
        async with connected(gateway) as client:
            for _ in range(2):
                tiers.append((await client.ask(request(body_of("theirs")))).headers["Cache-Status"].rpartition("=")[2])
        assert tiers == ['"redis"', '"memory"']
        assert await express(gateway) == 2


async def test_a_miss_asks_the_store_once(gateway: TestGateway) -> None:
    """A store that answers late must not be waited for twice."""
    await learn(gateway, "known")
    before = await gateway.metric("llmcache_lookup_seconds_count")
    async with connected(gateway) as client:
        for number in range(5):
            answer = await client.ask(request(body_of(f"new {number}")))
            assert (answer.said, answer.headers["X-LLMCache"]) == (f"echo: new {number}", "MISS")
    assert await gateway.metric("llmcache_lookup_seconds_count") == before + 5


@pytest.mark.parametrize("first", ["known", "new"])
async def test_what_comes_during_a_lookup_is_answered_after_it_in_order(
    gateway: TestGateway, proxy: Proxy, first: str
) -> None:
    await learn(gateway, "known", "second")
    proxy.fault = "hangs"
    async with connected(gateway) as client:
        await client.send(request(body_of(first)))
        await proxy.holds(1)
        await client.send(request(body_of("second")) + chunked(body_of("third")), piece=50)
        proxy.fault = "none"
        assert [(await client.answer()).said for _ in range(3)] == [f"echo: {first}", "echo: second", "echo: third"]
        assert (await client.ask(request(body_of("known")))).said == "echo: known"


@pytest.mark.parametrize("text", ["known", "new"])
async def test_a_gateway_that_stops_answers_what_it_is_looking_up(
    start_gateway: StartGateway, proxy: Proxy, text: str
) -> None:
    async with AsyncExitStack() as stack:
        async with start_gateway(config(proxy), drain_seconds=60.0) as gateway:
            await learn(gateway, "known")
            client = await stack.enter_async_context(connected(gateway))
            await client.ask(request(body_of("known")))
            proxy.fault = "hangs"
            await client.send(request(body_of(text)))
            await proxy.holds(1)

            async def is_stopping() -> bool:
                try:
                    async with connected(gateway):
                        return False
                except OSError:
                    return True

            async def let_it_end() -> None:
                await until(is_stopping, LONG_SECONDS)
                proxy.fault = "none"

            ending = asyncio.create_task(let_it_end())
        await ending
        assert (await client.answer()).said == f"echo: {text}"


async def test_a_client_that_goes_during_a_lookup_leaves_nothing_behind(gateway: TestGateway, proxy: Proxy) -> None:
    await learn(gateway, "known")
    runtime = gateway.running.reloader.current
    async with asyncio.timeout(LONG_SECONDS):
        await runtime.drained()  # its call is kept at hand for a second
    proxy.fault = "hangs"
    async with connected(gateway) as client:
        await client.send(request(body_of("known")))
        await proxy.holds(1)
        assert runtime.in_flight == 1
    async with asyncio.timeout(LONG_SECONDS):
        await runtime.drained()
    assert proxy.held == 1
    proxy.fault = "none"
    async with connected(gateway) as client:
        assert (await client.ask(request(body_of("known")))).said == "echo: known"


async def test_a_lookup_that_hangs_is_a_miss_when_its_time_is_over_and_counted_once(
    start_gateway: StartGateway, proxy: Proxy
) -> None:
    hasty = config(proxy)
    hasty["spec"]["cache"]["store"]["timeout"] = "150ms"
    async with start_gateway(hasty) as gateway, connected(gateway) as client:
        await learn(gateway, "known")
        await until_hit(gateway, client, "known")
        lookups = await gateway.metric("llmcache_lookup_seconds_count")
        errors = await gateway.metric(ERRORS)
        proxy.fault = "hangs"
        began = time.perf_counter()
        answer = await client.ask(request(body_of("known")))
        assert (answer.said, answer.headers["X-LLMCache"]) == ("echo: known", "MISS")
        assert 0.15 <= time.perf_counter() - began < LONG_SECONDS
        assert await gateway.metric("llmcache_lookup_seconds_count") == lookups + 1
        assert await gateway.metric(ERRORS) == errors + 1
        proxy.fault = "none"


async def test_a_value_that_is_no_entry_is_a_miss_of_the_lane_counted_and_removed(
    gateway: TestGateway, redis_url: str
) -> None:
    await learn(gateway, "known", "damaged")
    await gateway.running.reloader.current.drained()
    client_of_redis: Any = redis.asyncio.Redis.from_url(redis_url)
    async with connected(gateway) as client:
        key = (await client.ask(request(body_of("damaged")))).headers["X-LLMCache-Key"]
        (name,) = [one async for one in client_of_redis.scan_iter(f"*{key}")]
        value = await client_of_redis.get(name)
        await client_of_redis.set(name, value[:-1] + b"?")
        before = await express(gateway)
        answer = await client.ask(request(body_of("damaged")))
        assert (answer.said, answer.headers["X-LLMCache"]) == ("echo: damaged", "MISS")
        assert await express(gateway) == before
    assert await gateway.metric('llmcache_store_errors_total{op="read",store="redis"}') == 1
    await gateway.running.reloader.current.store.flush()
    assert await client_of_redis.get(name) != value[:-1] + b"?"
    await client_of_redis.aclose()


async def test_a_lookup_ends_under_the_configuration_that_it_began_with(
    start_gateway: StartGateway, proxy: Proxy
) -> None:
    changed = config(proxy)
    async with start_gateway(changed) as gateway, connected(gateway) as client:
        await learn(gateway, "known")
        proxy.fault = "hangs"
        await client.send(request(body_of("known")))
        await proxy.holds(1)
        changed["spec"]["prefix"]["version"] = "v2"
        gateway.rewrite(changed)
        assert gateway.running.reloader.check()
        proxy.fault = "none"
        first = await client.answer()
        assert (first.headers["X-LLMCache"], first.headers["X-LLMCache-Prefix"]) == ("HIT", "test:v1")
        second = await client.ask(request(body_of("known")))
        assert (second.headers["X-LLMCache"], second.headers["X-LLMCache-Prefix"]) == ("MISS", "test:v2")


@pytest.mark.parametrize("odd", [bytes_ for _, bytes_ in odd_requests()], ids=[name for name, _ in odd_requests()])
@pytest.mark.parametrize("piece", [61, 1 << 20])
async def test_whatever_is_odd_is_answered_as_on_a_connection_of_its_own(
    gateway: TestGateway, odd: bytes, piece: int
) -> None:
    await learn(gateway, "hello", "second")
    count = 2 if odd.count(b"POST /v1") == 2 and b"second" in odd else 1
    async with connected(gateway) as fresh:
        await fresh.send(odd)
        expected = [await fresh.answer() for _ in range(count)]
    async with connected(gateway) as client:
        await client.ask(request(body_of("hello")))
        await client.send(request(body_of("hello")) + odd, piece)
        assert (await client.answer()).said == "echo: hello"
        for one in expected:
            answer = await client.answer()
            assert (answer.status, answer.body) == (one.status, one.body)


async def test_a_lookup_that_outlives_its_configuration_is_not_remembered_for_the_next(
    start_gateway: StartGateway, provider: Provider, proxy: Proxy, redis_url: str
) -> None:
    """On the way back to a version whose entries are in memory, the other version's answers were remembered as its."""

    def of_version(version: str, address: str) -> dict[str, Any]:
        redis, store = {"external": {"url": address}}, {"store": {"type": "tiered", "timeout": "10s"}}
        return manifest(provider.base_url, prefix={"version": version}, cache=store, redis=redis)

    async with start_gateway(of_version("v2", redis_url)) as other:
        await learn(other, "asked", "known")
    async with start_gateway(of_version("v1", proxy.url)) as gateway:
        await learn(gateway, "asked")
        gateway.rewrite(of_version("v2", proxy.url))
        assert gateway.running.reloader.check()
        asked = request(body_of("asked"))
        async with connected(gateway) as one, connected(gateway) as two, connected(gateway) as three:
            await one.ask(request(body_of("known")))
            proxy.fault = "hangs"
            for number, client in enumerate((one, two), 1):
                await client.send(asked)
                await proxy.holds(number)
            gateway.rewrite(of_version("v1", proxy.url))
            assert gateway.running.reloader.check()
            before = await three.ask(asked)
            proxy.fault = "none"
            assert [(await client.answer()).headers["X-LLMCache-Prefix"] for client in (one, two)] == ["test:v2"] * 2
            answer = await three.ask(asked)
    assert answer.headers["X-LLMCache-Prefix"] == before.headers["X-LLMCache-Prefix"] == "test:v1"
    assert answer.said == before.said
