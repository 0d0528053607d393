"""Leaders that are lost: killed, stopped, cut off from Redis, or ended. Nobody hangs, and one of all asks again."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest
import redis.asyncio
from aiohttp import web

from tests.gateway.conftest import StartGateway
from tests.gateway.provider import Provider, completion
from tests.gateway.test_coalescing import GOOD, STREAMED, Gate
from tests.gateway.test_replicas import asked, followed, outcome, replicas, shared, text_of
from tests.redis_server import RedisServer
from tests.socket_proxy import running_proxy


async def test_a_leader_that_is_killed_is_replaced_by_one_follower_whom_the_others_follow(
    tmp_path: Path, provider: Provider, redis_url: str, redis_server: RedisServer
) -> None:
    gate = Gate(provider)
    async with replicas(tmp_path, shared(provider, redis_url), 3) as gateways:
        leader = asyncio.create_task(gateways[0].post(GOOD))
        await asked(provider, 1)
        bodies = [GOOD, STREAMED] * 6
        followers = [asyncio.create_task(gateways[1 + at // 6].post(body)) for at, body in enumerate(bodies)]
        await followed(redis_server)
        await asyncio.sleep(1)
        gateways[0].process.send_signal(signal.SIGKILL)
        await asked(provider, 2)
        gate.opened.set()
        answers = await asyncio.wait_for(asyncio.gather(*followers), 60)
        await asyncio.gather(leader, return_exceptions=True)
    assert len(provider.calls) == 2
    assert {answer.status_code for answer in answers} == {200}
    assert {text_of(answer) for answer, body in zip(answers, bodies, strict=True) if body is GOOD} == {
        "answer 2 to What is a cache?"
    }
    streams = {answer.text for answer, body in zip(answers, bodies, strict=True) if body is STREAMED}
    assert len(streams) == 1
    assert streams.pop().rstrip().endswith("data: [DONE]")


async def test_a_leader_killed_half_way_tears_no_answer(
    tmp_path: Path, provider: Provider, redis_url: str, redis_server: RedisServer
) -> None:
    gate = Gate(provider)
    async with replicas(tmp_path, shared(provider, redis_url), 3) as gateways, AsyncExitStack() as clients:
        streams = []
        for gateway in gateways:
            _, lines = await clients.enter_async_context(gateway.stream())
            assert "assistant" in await anext(lines)
            streams.append(lines)
        wholes = [asyncio.create_task(gateway.post(GOOD)) for gateway in gateways[1:] * 3]
        await asyncio.sleep(1)
        gateways[0].process.send_signal(signal.SIGKILL)
        for streamed in streams[1:]:
            async with asyncio.timeout(30):
                rest = [line async for line in streamed]
            assert "upstream_failed" in rest[-1]
        gate.opened.set()
        answers = await asyncio.wait_for(asyncio.gather(*wholes), 60)
    assert {text_of(answer) for answer in answers} == {"answer 2 to What is a cache?"}
    assert len(provider.calls) == 2


@pytest.mark.parametrize("store", ["redis", "tiered"])
async def test_a_leader_that_was_stopped_and_wakes_up_overwrites_nothing(
    store: str, tmp_path: Path, provider: Provider, redis_url: str, redis_server: RedisServer
) -> None:
    woken = asyncio.Event()
    overtaken = 'llmcache_store_skipped_total{reason="overtaken"}'

    async def slow_at_first(request: web.Request) -> web.StreamResponse:
        number = len(provider.calls)
        if number == 1:
            await woken.wait()
        return web.json_response(completion(number, "gpt-4o", f"answer {number}"))

    provider.behave = slow_at_first
    async with replicas(tmp_path, shared(provider, redis_url, store)) as gateways:
        leader = asyncio.create_task(gateways[0].post(GOOD))
        await asked(provider, 1)
        followers = [asyncio.create_task(gateways[1].post(GOOD)) for _ in range(5)]
        await followed(redis_server)
        gateways[0].process.send_signal(signal.SIGSTOP)
        answers = await asyncio.wait_for(asyncio.gather(*followers), 60)
        assert {text_of(answer) for answer in answers} == {"answer 2"}
        woken.set()
        await asyncio.sleep(1.5)  # the lease of the second call has been given back by now
        gateways[0].process.send_signal(signal.SIGCONT)
        assert text_of(await leader) == "answer 1"
        async with asyncio.timeout(30):
            while not await gateways[0].metric(overtaken):  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.05)
        for gateway in gateways:
            answer = await gateway.post(GOOD)
            assert (outcome(answer), text_of(answer)) == ("HIT", "answer 2")
    assert len(provider.calls) == 2


@pytest.mark.parametrize("fault", ["refuses", "hangs"])
async def test_a_follower_makes_its_own_call_when_redis_goes_away_under_it(
    fault: Any, start_gateway: StartGateway, provider: Provider, redis_url: str, redis_server: RedisServer
) -> None:
    gate = Gate(provider)
    async with running_proxy(redis_server.port) as proxy:
        config = shared(provider, redis_url)
        config["spec"]["cache"]["store"]["timeout"] = "100ms"
        far = {**config, "spec": {**config["spec"], "redis": {"external": {"url": proxy.url}}}}
        async with start_gateway(config) as one, start_gateway(far) as other:
            await asyncio.sleep(0.5)  # connected
            leader = asyncio.create_task(one.post(GOOD))
            await asked(provider, 1)
            follower = asyncio.create_task(other.post(GOOD))
            await followed(redis_server)
            proxy.fault = fault
            await asked(provider, 2)
            gate.opened.set()
            assert [(await task).status_code for task in (leader, follower)] == [200, 200]
            proxy.fault = "none"
    assert len(provider.calls) == 2


async def test_a_leader_that_is_stopped_in_order_lets_a_follower_ask_at_once(
    start_gateway: StartGateway, provider: Provider, redis_url: str, redis_server: RedisServer
) -> None:
    gate = Gate(provider)
    config = shared(provider, redis_url)
    async with start_gateway(config) as other:
        async with start_gateway(config, drain_seconds=0.1) as one:
            leader = asyncio.create_task(one.post(GOOD))
            await asked(provider, 1)
            follower = asyncio.create_task(other.post(GOOD))
            await followed(redis_server)
        assert "lost" in str(await published(redis_url, redis_server))
        await asked(provider, 2)
        gate.opened.set()
        assert text_of(await follower) == "answer 2 to What is a cache?"
        await asyncio.gather(leader, return_exceptions=True)
    assert len(provider.calls) == 2


async def published(redis_url: str, redis_server: RedisServer) -> list[bytes]:
    """Return what is published of the only call that is followed."""
    (wanted,) = redis_server.command("--scan", "--pattern", "*:wanted").splitlines()
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        found: list[bytes] = await cast(Any, client.lrange(wanted.removesuffix(":wanted"), 0, -1))
    return found
