"""Coalescing across replicas: gateways that share a Redis make one call, and each follows it live."""

import asyncio
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from aiohttp import web

from tests.gateway.conftest import ADMIN, StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, completion
from tests.gateway.redis_stores import running
from tests.gateway.test_coalescing import GOOD, STREAMED, TEXT, Gate, idle, stream, waiting
from tests.gateway.test_command_line import address, serving
from tests.redis_server import RedisServer


@dataclass
class Replica:
    """One gateway in a process of its own."""

    process: Process
    url: str
    admin_url: str
    client: httpx.AsyncClient

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        return await self.client.post(f"{self.url}/v1/chat/completions", json=body, headers=headers)

    async def metric(self, name: str) -> float:
        text = (await self.client.get(f"{self.admin_url}/metrics")).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.rsplit(" ", 1)[0] == name)

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[str]]]:
        """Begin a streamed request; yield the response and the lines of its events."""
        async with self.client.stream("POST", f"{self.url}/v1/chat/completions", json=STREAMED) as response:
            yield response, (line async for line in response.aiter_lines() if line.startswith("data:"))


@asynccontextmanager
async def replicas(tmp_path: Path, config: dict[str, Any], number: int = 2) -> AsyncIterator[list[Replica]]:
    file = tmp_path / "llmcache.yaml"
    file.write_text(yaml.safe_dump(config))
    async with AsyncExitStack() as stack:
        limits = httpx.Limits(max_connections=None)
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=60, limits=limits))
        found = []
        for _ in range(number):
            process, lines = await stack.enter_async_context(serving(file, LLMCACHE_TENANT_KEY="key"))
            found.append(Replica(process, address(lines, "gateway"), address(lines, "admin"), client))
        yield found


@pytest.fixture
async def two(start_gateway: StartGateway, provider: Provider, redis_url: str) -> AsyncIterator[list[TestGateway]]:
    """Two gateways in this process that share a Redis."""
    config = shared(provider, redis_url)
    async with start_gateway(config) as one, start_gateway(config) as other:
        yield [one, other]


def shared(provider: Provider, redis_url: str, store: str = "redis", **spec: Any) -> dict[str, Any]:
    spec["cache"] = spec.get("cache", {}) | {"store": {"type": store, "timeout": "2s"}}
    return manifest(provider.base_url, redis={"external": {"url": redis_url}}, **{"timeout": "60s"} | spec)


async def looked_up(gateway: TestGateway) -> None:
    """Wait until all that this gateway has been asked so far is looked up: a later lookup ends no earlier."""
    never_asked = {**GOOD, "messages": [{"role": "user", "content": "something that nobody asked"}]}
    assert (await gateway.post(never_asked, headers={"Cache-Control": "only-if-cached"})).status_code == 504


def text_of(response: httpx.Response) -> str:
    return str(response.json()["choices"][0]["message"]["content"])


def outcome(response: httpx.Response) -> str:
    return str(response.headers["X-LLMCache"])


async def asked(provider: Provider, number: int) -> None:
    """Wait until the provider has been asked so often."""
    async with asyncio.timeout(30):
        while len(provider.calls) < number:  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.01)


async def followed(redis_server: RedisServer, number: int = 1) -> None:
    """Wait until so many calls are followed by another gateway."""
    async with asyncio.timeout(30):
        while len(redis_server.command("--scan", "--pattern", "*:wanted").splitlines()) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("store", ["redis", "tiered"])
async def test_200_equal_requests_half_of_them_streamed_over_two_gateways_make_one_call(
    store: str, tmp_path: Path, provider: Provider, redis_url: str
) -> None:
    gate = Gate(provider)
    seen = asyncio.Semaphore(0)

    async def streamed(gateway: Replica) -> tuple[str, str]:
        async with gateway.stream() as (response, lines):
            first = await anext(lines)
            seen.release()
            return str(response.headers["X-LLMCache"]), "".join([first, *[line async for line in lines]])

    async with replicas(tmp_path, shared(provider, redis_url, store)) as gateways:
        streams = [asyncio.create_task(streamed(gateways[0]))]
        await seen.acquire()
        streams += [asyncio.create_task(streamed(gateways[at % 2])) for at in range(99)]
        wholes = [asyncio.create_task(gateways[at % 2].post(GOOD)) for at in range(100)]
        async with asyncio.timeout(60):
            for _ in range(99):
                await seen.acquire()  # live: the provider holds the rest back until all have begun
        await asyncio.sleep(1)
        gate.opened.set()
        of_streams = await asyncio.gather(*streams)
        of_wholes = await asyncio.gather(*wholes)
        assert len(provider.calls) == 1
        assert {text_of(response) for response in of_wholes} == {TEXT}
        assert len({lines for _, lines in of_streams}) == 1
        assert sorted(outcome for outcome, _ in of_streams) == ["COALESCED"] * 99 + ["MISS"]
        # One that came late found the entry.
        assert {response.headers["X-LLMCache"] for response in of_wholes} <= {"COALESCED", "HIT"}
        assert await gateways[1].metric('llmcache_coalesced_total{where="replica"}') >= 50
        assert (await gateways[1].post(GOOD)).headers["X-LLMCache"] == "HIT"
    assert len(provider.calls) == 1


@pytest.mark.parametrize("first", [GOOD, STREAMED])
@pytest.mark.parametrize("second", [GOOD, STREAMED])
async def test_each_form_follows_each(
    two: list[TestGateway], provider: Provider, redis_server: RedisServer, first: Any, second: Any
) -> None:
    gate = Gate(provider)
    gate.headers["Set-Cookie"] = "session=1"
    leader = asyncio.create_task(two[0].post(first))
    await asked(provider, 1)
    follower = asyncio.create_task(two[1].post(second))
    await followed(redis_server)
    gate.opened.set()
    one, other = await leader, await follower
    assert len(provider.calls) == 1
    assert [outcome(one), outcome(other)] == ["MISS", "COALESCED"]
    assert "; collapsed; key=" in other.headers["Cache-Status"]
    assert other.headers["Content-Type"].startswith("text/event-stream" if second is STREAMED else "application/json")
    assert "Set-Cookie" not in other.headers
    if first is second:
        assert other.content == one.content
    assert await two[1].metric('llmcache_coalesced_total{where="replica"}') == 1


@pytest.mark.parametrize("kind", ["valkey", "redis behind sentinels", "redis cluster"])
async def test_gateways_follow_each_other_through_every_kind_of_redis(
    kind: str, start_gateway: StartGateway, provider: Provider, request: pytest.FixtureRequest
) -> None:
    servers = running(kind, request)
    config = shared(provider, "")
    config["spec"]["redis"]["external"] = servers.external
    gate = Gate(provider)
    async with (
        start_gateway(config, secrets=servers.secrets) as one,
        start_gateway(config, secrets=servers.secrets) as other,
        stream(one) as (_, first),
    ):
        await anext(first)
        async with stream(other) as (response, second):
            await anext(second)
            assert outcome(response) == "COALESCED"
            gate.opened.set()
            assert [line async for line in second] == [line async for line in first]
    assert len(provider.calls) == 1


async def test_the_leaders_client_hanging_up_harms_no_follower_elsewhere(
    two: list[TestGateway], provider: Provider
) -> None:
    gate = Gate(provider)
    async with AsyncExitStack() as follower:
        async with stream(two[0]) as (_, first):
            await anext(first)
            _, lines = await follower.enter_async_context(stream(two[1]))
            seen = [await anext(lines)]
        await asyncio.sleep(0.5)  # time for a call that nobody waits for to be broken off
        gate.opened.set()
        seen += [line async for line in lines]
    assert seen[-1] == "data: [DONE]"
    assert len(provider.calls) == 1
    assert not gate.broken_off.is_set()


async def test_a_call_that_nobody_waits_for_on_any_gateway_is_broken_off(
    two: list[TestGateway], provider: Provider
) -> None:
    gate = Gate(provider)
    async with stream(two[0]) as (_, first), stream(two[1]) as (_, second):
        await anext(first)
        await anext(second)
    async with asyncio.timeout(10):
        await gate.broken_off.wait()
    for gateway in two:
        await idle(gateway)
    provider.behave = None
    assert outcome(await two[1].post(GOOD)) == "MISS"


async def test_a_follower_that_runs_out_of_time_takes_nothing_from_the_others(
    two: list[TestGateway], provider: Provider
) -> None:
    gate = Gate(provider)
    leader = asyncio.create_task(two[0].post(GOOD))
    await asked(provider, 1)
    patient = asyncio.create_task(two[1].post(GOOD))
    async with httpx.AsyncClient(timeout=1) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(f"{two[1].url}/v1/chat/completions", json=GOOD)
    gate.opened.set()
    assert {text_of(await one) for one in (leader, patient)} == {TEXT}
    assert len(provider.calls) == 1


async def test_a_stream_cut_half_way_ends_with_an_error_on_every_gateway_and_is_not_remembered(
    two: list[TestGateway], provider: Provider, redis_server: RedisServer
) -> None:
    gate = Gate(provider)
    async with stream(two[0]) as (_, first), stream(two[1]) as (_, second):
        await anext(first)
        await anext(second)
        unstreamed = asyncio.create_task(two[1].post(GOOD))
        await waiting(two[1], 3)
        await looked_up(two[1])
        gate.cut = True
        gate.opened.set()
        for lines in (first, second):
            whole = [line async for line in lines]
            assert "upstream_failed" in whole[-1]
            assert "[DONE]" not in "".join(whole)
        assert (await unstreamed).status_code == 502
    assert len(provider.calls) == 1
    provider.behave = None
    assert outcome(await two[1].post(GOOD)) == "MISS"


@pytest.mark.parametrize("cut", [True, False])
async def test_an_error_is_shared_with_those_who_wait_elsewhere_and_not_remembered(
    two: list[TestGateway], provider: Provider, redis_server: RedisServer, cut: bool
) -> None:
    gate = Gate(provider)
    gate.status, gate.cut = 500, cut
    leader = asyncio.create_task(two[0].post(GOOD))
    await asked(provider, 1)
    followers = [asyncio.create_task(two[1].post(STREAMED if at % 2 else GOOD)) for at in range(4)]
    await followed(redis_server)
    await waiting(two[1], 5)
    await looked_up(two[1])
    gate.opened.set()
    answers = await asyncio.gather(leader, *followers)
    assert {answer.status_code for answer in answers} == {502 if cut else 500}
    if not cut:
        assert all(answer.json() == {"error": {"n": 1}} for answer in answers)
    assert len(provider.calls) == 1
    provider.behave = None
    assert outcome(await two[1].post(GOOD)) == "MISS"


@pytest.mark.parametrize("control", ["no-cache", "max-age=0"])
async def test_a_client_that_wants_a_new_answer_gets_one_which_later_ones_follow_and_the_older_does_not_replace(
    two: list[TestGateway], provider: Provider, redis_server: RedisServer, control: str
) -> None:
    first_may_end, second_may_end = asyncio.Event(), asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        number = len(provider.calls)
        await (first_may_end if number == 1 else second_may_end).wait()
        return web.json_response(completion(number, "gpt-4o", f"answer {number}"))

    provider.behave = held
    first = asyncio.create_task(two[0].post(GOOD))
    await asked(provider, 1)
    before = asyncio.create_task(two[1].post(GOOD))
    await followed(redis_server)
    second = asyncio.create_task(two[1].post(GOOD, headers={"Cache-Control": control}))
    await asked(provider, 2)
    # The first gateway has a call of its own under way; the lease is that of the newer one.
    third = asyncio.create_task(two[0].post(GOOD, headers={"Cache-Control": "max-age=3600"}))
    await waiting(two[0], 3)
    second_may_end.set()
    assert text_of(await second) == "answer 2"
    first_may_end.set()
    assert [text_of(await one) for one in (first, before)] == ["answer 1", "answer 1"]
    assert text_of(await third) in ("answer 1", "answer 2")
    for gateway in two:
        await gateway.running.reloader.current.store.flush()
    assert text_of(await two[0].post(GOOD)) == "answer 2"
    assert len(provider.calls) == 2


async def test_a_request_after_an_invalidation_follows_no_call_begun_before_it(
    two: list[TestGateway], provider: Provider
) -> None:
    gate = Gate(provider)
    first = asyncio.create_task(two[0].post(GOOD))
    await asked(provider, 1)
    async with httpx.AsyncClient() as client:
        done = await client.post(f"{two[1].admin_url}/admin/v1/invalidate", json={"all": True}, headers=ADMIN)
        assert done.status_code in (200, 202)
    second = asyncio.create_task(two[1].post(GOOD))
    await asked(provider, 2)
    gate.opened.set()
    assert [outcome(await one) for one in (first, second)] == ["MISS", "MISS"]


async def test_what_a_provider_says_to_anothers_credential_is_not_said_to_me_and_no_credential_is_in_redis(
    start_gateway: StartGateway, provider: Provider, redis_url: str, redis_server: RedisServer
) -> None:
    gate = Gate(provider)
    config = shared(provider, redis_url, tenancy={"isolation": "Shared"})
    async with start_gateway(config) as one, start_gateway(config) as other:
        tasks = []
        for at, gateway in enumerate((one, other)):
            headers = {"Authorization": f"Bearer sk-secret-{at}"}
            tasks.append(asyncio.create_task(gateway.post(GOOD, headers=headers)))
            await asked(provider, 1 + at)
        tasks.append(asyncio.create_task(one.post(GOOD, headers={"Authorization": "Bearer sk-secret-1"})))
        await followed(redis_server)
        names = redis_server.command("--scan").splitlines()
        assert sum("@flight" in name for name in names) >= 4
        assert "secret" not in "".join(names)
        gate.opened.set()
        outcomes = [outcome(await task) for task in tasks]
    assert outcomes == ["MISS", "MISS", "COALESCED"]
    assert len(provider.calls) == 2


async def test_coalescing_among_replicas_is_off_where_a_policy_says_so(
    start_gateway: StartGateway, provider: Provider, redis_url: str, redis_server: RedisServer
) -> None:
    policies = [{"name": "each", "match": {"models": ["gpt-*"]}, "cache": {"coalesce": "Disabled"}}]
    gate = Gate(provider)
    config = shared(provider, redis_url, policies=policies)
    async with start_gateway(config) as one, start_gateway(config) as other:
        tasks = [asyncio.create_task(gateway.post(GOOD)) for gateway in (one, other)]
        await asked(provider, 2)
        assert "@flight" not in redis_server.command("--scan")
        gate.opened.set()
        assert [outcome(await task) for task in tasks] == ["MISS", "MISS"]


async def test_an_answer_too_large_to_publish_is_asked_for_once_more_on_the_other_gateway(
    start_gateway: StartGateway, provider: Provider, redis_url: str, redis_server: RedisServer
) -> None:
    opened = asyncio.Event()

    async def large(request: web.Request) -> web.StreamResponse:
        await opened.wait()
        return web.json_response(completion(1, "gpt-4o", "word " * 4000))

    provider.behave = large
    config = shared(provider, redis_url, limits={"entryBytes": "10k"})
    async with start_gateway(config) as one, start_gateway(config) as other:
        tasks = [asyncio.create_task(one.post(GOOD))]
        await asked(provider, 1)
        tasks += [asyncio.create_task(other.post(GOOD)) for _ in range(3)]
        await followed(redis_server)
        await waiting(other, 4)
        await looked_up(other)
        opened.set()
        answers = await asyncio.wait_for(asyncio.gather(*tasks), 30)
        assert all(answer.status_code == 200 and answer.text.count("word") == 4000 for answer in answers)
        published = redis_server.command("--scan", "--pattern", "*@flight*").splitlines()
        assert all(int(redis_server.command("MEMORY", "USAGE", name) or 0) < 5000 for name in published)
    assert len(provider.calls) == 2


async def test_an_entry_lives_no_longer_than_a_follower_elsewhere_allows(
    two: list[TestGateway], provider: Provider, redis_server: RedisServer
) -> None:
    gate = Gate(provider)
    leader = asyncio.create_task(two[0].post(GOOD))
    await asked(provider, 1)
    follower = asyncio.create_task(two[1].post(GOOD, headers={"X-LLMCache-TTL": "10"}))
    await followed(redis_server)
    await asyncio.sleep(1)
    gate.opened.set()
    await asyncio.gather(leader, follower)
    await two[0].running.reloader.current.store.flush()
    (name,) = redis_server.command("--scan", "--pattern", "llmcache:tests/test:test:v1:*").splitlines()
    assert 0 < int(redis_server.command("PTTL", name)) <= 10_000
