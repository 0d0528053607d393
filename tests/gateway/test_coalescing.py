"""Coalescing: equal requests at the same time make one call, and each client sees its own answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiohttp import web

from llmcache_gateway.errors import UpstreamError
from llmcache_gateway.flights import MIN_SLACK, Flight, Flights
from llmcache_gateway.freshness import Controls
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, chunks_of, completion
from tests.gateway.test_sdk import ask, ask_streamed, sdk, text_of

GOOD: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "What is a cache?"}]}
STREAMED: dict[str, Any] = {**GOOD, "stream": True}
TEXT = "answer 1 to What is a cache?"


class Gate:
    """A provider's behaviour that waits in the middle of its answer until it is opened."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.opened = asyncio.Event()
        self.broken_off = asyncio.Event()
        self.cut = False
        self.status = 200
        self.headers: dict[str, str] = {}
        provider.behave = self

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = self._provider.calls[-1]["body"]
        number = len(self._provider.calls)
        answer = completion(number, body["model"], f"answer {number} to {body['messages'][-1]['content']}")
        if not body.get("stream") or self.status != 200:
            await self.opened.wait()
            if self.cut:
                assert request.transport is not None
                request.transport.abort()
            return web.json_response(answer if self.status == 200 else {"error": {"n": number}}, status=self.status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **self.headers})
        await response.prepare(request)
        data = chunks_of(answer, bool(body.get("stream_options")))
        try:
            for at, one in enumerate(data):
                if at == 3:
                    await self._opened_or_gone(request, response)
                    if self.cut:
                        assert request.transport is not None
                        request.transport.abort()
                        return response
                await response.write(f"data: {one}\n\n".encode())
        except ConnectionResetError:
            self.broken_off.set()
        return response

    async def _opened_or_gone(self, request: web.Request, response: web.StreamResponse) -> None:
        while not self.opened.is_set():
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError
            await response.write(b": keep-alive\n\n")  # what makes a gateway notice that its client is gone
            await asyncio.sleep(0.01)


async def waiting(gateway: TestGateway, number: int) -> None:
    """Wait until so many requests are being answered."""
    async with asyncio.timeout(10):
        while gateway.running.reloader.current.in_flight < number:  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.01)


async def idle(gateway: TestGateway) -> None:
    async with asyncio.timeout(10):
        await gateway.running.reloader.current.drained()


@asynccontextmanager
async def stream(gateway: TestGateway, body: dict[str, Any] = STREAMED, **headers: str) -> AsyncIterator[Any]:
    """Begin a streamed request; yield the response and the lines of its events."""
    async with (
        httpx.AsyncClient(timeout=20) as client,
        client.stream("POST", f"{gateway.url}/v1/chat/completions", json=body, headers=headers) as response,
    ):
        yield response, (line async for line in response.aiter_lines() if line.startswith("data:"))


async def test_200_equal_requests_half_of_them_streamed_make_one_call(gateway: TestGateway, provider: Provider) -> None:
    gate = Gate(provider)
    async with sdk(gateway) as client:

        async def outcome_and_text(streamed: bool) -> tuple[str, str]:
            if streamed:
                outcome, chunks = await ask_streamed(client)
                return outcome, text_of(chunks)
            outcome, answer = await ask(client)
            return outcome, answer["choices"][0]["message"]["content"]

        asked = [asyncio.create_task(outcome_and_text(at % 2 == 0)) for at in range(200)]
        await waiting(gateway, 201)
        gate.opened.set()
        answers = await asyncio.gather(*asked)
        last = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=GOOD["messages"])
        assert last.headers["Cache-Status"].startswith("llmcache; hit")
    assert len(provider.calls) == 1
    assert sorted(answers) == [("COALESCED", TEXT)] * 199 + [("MISS", TEXT)]
    assert await gateway.metric('llmcache_coalesced_total{where="local"}') == 199


@pytest.mark.parametrize("first", [GOOD, STREAMED])
@pytest.mark.parametrize("second", [GOOD, STREAMED])
async def test_each_form_follows_each(gateway: TestGateway, provider: Provider, first: Any, second: Any) -> None:
    gate = Gate(provider)
    gate.headers["Set-Cookie"] = "session=1"
    leader = asyncio.create_task(gateway.post(first))
    await waiting(gateway, 2)
    follower = asyncio.create_task(gateway.post(second))
    await waiting(gateway, 3)
    gate.opened.set()
    one, other = await leader, await follower
    assert len(provider.calls) == 1
    assert other.headers["Cache-Status"].startswith("llmcache; fwd=miss; ")
    assert "; collapsed; key=" in other.headers["Cache-Status"]
    if first is GOOD or second is GOOD:  # then it is whole, and stored, before its head is written
        assert "; stored; collapsed; key=" in other.headers["Cache-Status"]
    assert "; collapsed" not in one.headers["Cache-Status"]
    assert "Set-Cookie" not in other.headers  # it is the first client's connection that it is for
    if first is second:
        assert other.content == one.content
    assert other.headers["Content-Type"].startswith("text/event-stream" if second is STREAMED else "application/json")


async def test_followers_see_the_stream_live_and_from_its_beginning(gateway: TestGateway, provider: Provider) -> None:
    gate = Gate(provider)
    async with stream(gateway) as (_, first):
        seen = [await anext(first) for _ in range(3)]
        async with stream(gateway) as (response, second):
            # The provider has not finished, and will not before it is told to.
            assert [await anext(second) for _ in range(3)] == seen
            assert response.headers["X-LLMCache"] == "COALESCED"
            gate.opened.set()
            assert [line async for line in second] == [line async for line in first]
    assert len(provider.calls) == 1


async def test_usage_is_shown_to_those_who_asked_for_it_only(gateway: TestGateway, provider: Provider) -> None:
    gate = Gate(provider)
    with_usage = {**STREAMED, "stream_options": {"include_usage": True}}
    async with stream(gateway) as (_, without), stream(gateway, with_usage) as (response, told):
        gate.opened.set()
        assert not any("prompt_tokens" in line for line in [line async for line in without])
        assert any("prompt_tokens" in line for line in [line async for line in told])
        assert response.headers["X-LLMCache"] == "COALESCED"


async def test_the_first_client_hanging_up_harms_no_follower(gateway: TestGateway, provider: Provider) -> None:
    gate = Gate(provider)
    async with stream(gateway) as (_, first):
        await anext(first)
        follower = asyncio.create_task(gateway.post(GOOD))
        await waiting(gateway, 3)
    gate.opened.set()
    response = await follower
    assert response.json()["choices"][0]["message"]["content"] == TEXT
    assert len(provider.calls) == 1


async def test_a_call_that_nobody_waits_for_is_broken_off(gateway: TestGateway, provider: Provider) -> None:
    gate = Gate(provider)
    async with stream(gateway) as (_, first), stream(gateway) as (_, second):
        await anext(first)
        await anext(second)
    async with asyncio.timeout(5):
        await gate.broken_off.wait()
    await idle(gateway)
    provider.behave = None
    assert (await gateway.post(GOOD)).headers["X-LLMCache"] == "MISS"


async def test_a_stream_cut_half_way_ends_with_an_error_for_all_and_is_not_remembered(
    gateway: TestGateway, provider: Provider
) -> None:
    gate = Gate(provider)
    async with stream(gateway) as (_, first), stream(gateway) as (_, second):
        await anext(first)
        await anext(second)
        unstreamed = asyncio.create_task(gateway.post(GOOD))
        await waiting(gateway, 4)
        gate.cut = True
        gate.opened.set()
        for lines in (first, second):
            whole = [line async for line in lines]
            assert "upstream_failed" in whole[-1]
            assert "[DONE]" not in "".join(whole)
        assert (await unstreamed).status_code == 502
    assert len(provider.calls) == 1
    provider.behave = None
    assert (await gateway.post(GOOD)).headers["X-LLMCache"] == "MISS"


@pytest.mark.parametrize("cut", [True, False])
async def test_an_error_is_shared_with_those_who_wait_and_not_remembered(
    gateway: TestGateway, provider: Provider, cut: bool
) -> None:
    gate = Gate(provider)
    gate.status, gate.cut = 500, cut
    asked = [asyncio.create_task(gateway.post(STREAMED if at % 2 else GOOD)) for at in range(10)]
    await waiting(gateway, 11)
    gate.opened.set()
    answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {502 if cut else 500}
    if not cut:
        assert all(answer.json() == {"error": {"n": 1}} for answer in answers)
    assert len(provider.calls) == 1
    provider.behave = None
    assert (await gateway.post(GOOD)).headers["X-LLMCache"] == "MISS"


async def test_each_followers_own_stale_entry_stands_in_for_a_shared_error(
    start_gateway: StartGateway, provider: Provider
) -> None:
    now = 1_800_000_000.0
    cache = {"ttl": "10s", "staleIfError": "1h"}
    async with start_gateway(manifest(provider.base_url, cache=cache), clock=lambda: now) as gateway:
        await gateway.post(GOOD)
        now += 20
        gate = Gate(provider)
        gate.status = 500
        fresh_only = {"Cache-Control": "stale-if-error=0"}
        asked = [asyncio.create_task(gateway.post(GOOD, headers=more)) for more in ({}, fresh_only, {})]
        await waiting(gateway, 4)
        gate.opened.set()
        answers = await asyncio.gather(*asked)
    assert [(one.status_code, one.headers["X-LLMCache"] == "STALE") for one in answers] == [
        (200, True),
        (500, False),
        (200, True),
    ]
    assert len(provider.calls) == 2


@pytest.mark.parametrize("control", ["no-cache", "max-age=0"])
async def test_a_client_that_wants_a_new_answer_is_given_none_begun_before_it_came(
    gateway: TestGateway, provider: Provider, control: str
) -> None:
    gate = Gate(provider)
    first = asyncio.create_task(gateway.post(GOOD))
    await waiting(gateway, 2)
    second = asyncio.create_task(gateway.post(GOOD, headers={"Cache-Control": control}))
    await waiting(gateway, 4)
    third = asyncio.create_task(gateway.post(GOOD))
    await waiting(gateway, 5)
    gate.opened.set()
    assert [(await one).headers["X-LLMCache"] for one in (first, second, third)] == ["MISS", "MISS", "COALESCED"]
    assert len(provider.calls) == 2
    assert (await third).json() == (await second).json()


async def test_the_shortest_ttl_of_all_who_shared_an_answer_holds(
    start_gateway: StartGateway, provider: Provider
) -> None:
    now = 1_800_000_000.0
    async with start_gateway(manifest(provider.base_url), clock=lambda: now) as gateway:
        gate = Gate(provider)
        asked = [asyncio.create_task(gateway.post(GOOD, headers={"X-LLMCache-TTL": ttl})) for ttl in ("1h", "10")]
        await waiting(gateway, 3)
        gate.opened.set()
        await asyncio.gather(*asked)
        now += 11
        assert (await gateway.post(GOOD)).headers["X-LLMCache"] == "MISS"


async def test_tenants_and_different_requests_never_share(gateway: TestGateway, provider: Provider) -> None:
    gate = Gate(provider)
    asked = [
        asyncio.create_task(gateway.post(body, headers={"Authorization": f"Bearer {key}"}))
        for key in ("one", "two")
        for body in (GOOD, {**GOOD, "seed": 1})
    ]
    await waiting(gateway, 8)
    gate.opened.set()
    answers = await asyncio.gather(*asked)
    assert {answer.headers["X-LLMCache"] for answer in answers} == {"MISS"}
    assert len(provider.calls) == 4


async def test_what_a_provider_says_to_anothers_credential_is_not_said_to_me(
    start_gateway: StartGateway, provider: Provider
) -> None:
    asked, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def check(request: web.Request) -> web.StreamResponse:
        asked.release()
        await go_on.wait()
        if request.headers["Authorization"] != "Bearer sk-good":
            return web.json_response({"error": {"message": "who?"}}, status=401)
        return web.json_response(completion(1, "gpt-4o", TEXT))

    provider.behave = check
    async with start_gateway(manifest(provider.base_url, tenancy={"isolation": "Shared"})) as gateway:
        tasks = []
        for key in ("sk-bad", "sk-good"):
            tasks.append(asyncio.create_task(gateway.post(GOOD, headers={"Authorization": f"Bearer {key}"})))
            await asked.acquire()
        go_on.set()
        assert [one.status_code for one in await asyncio.gather(*tasks)] == [401, 200]


async def test_coalescing_is_off_where_a_policy_says_so(start_gateway: StartGateway, provider: Provider) -> None:
    policies = [{"name": "each", "match": {"models": ["each-*"]}, "cache": {"coalesce": "Disabled"}}]
    async with start_gateway(manifest(provider.base_url, policies=policies)) as gateway:
        gate = Gate(provider)
        bodies = [{**GOOD, "model": model} for model in ("each-1", "each-1", "gpt-4o", "gpt-4o")]
        asked = [asyncio.create_task(gateway.post(body)) for body in bodies]
        await waiting(gateway, 7)
        gate.opened.set()
        outcomes = [(await one).headers["X-LLMCache"] for one in asked]
    assert outcomes[:2] == ["MISS", "MISS"]
    assert sorted(outcomes[2:]) == ["COALESCED", "MISS"]
    assert [call["body"]["model"] for call in provider.calls].count("each-1") == 2


async def test_an_answer_too_large_to_hold_reaches_those_who_follow_and_is_asked_once_more_for_the_other_form(
    start_gateway: StartGateway, provider: Provider
) -> None:
    text = "word " * 4000
    opened = asyncio.Event()

    async def large(request: web.Request) -> web.StreamResponse:
        streamed = provider.calls[-1]["body"].get("stream")
        await opened.wait()
        if not streamed:
            return web.json_response(completion(1, "gpt-4o", text))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for one in chunks_of(completion(1, "gpt-4o", text), True):
            await response.write(f"data: {one}\n\n".encode())
        return response

    provider.behave = large
    async with start_gateway(manifest(provider.base_url, limits={"entryBytes": "10k"})) as gateway:
        streamed = [asyncio.create_task(gateway.post(STREAMED)) for _ in range(5)]
        await waiting(gateway, 6)
        whole = [asyncio.create_task(gateway.post(GOOD)) for _ in range(5)]
        await waiting(gateway, 11)
        opened.set()
        answers = await asyncio.gather(*streamed, *whole)
        assert all(answer.status_code == 200 and answer.text.count("word") == 4000 for answer in answers)
        assert len(provider.calls) == 2


async def test_a_reader_that_falls_behind_is_cut_off_and_holds_nobody_up() -> None:
    flight = Flight(stream=True, started=0.0, epoch=0, limit=1000, abandoned=lambda: None)
    fast, slow = flight.join(1.0), flight.join(1.0)
    piece = b"x" * 100_000
    read = 0
    flight.begin(200, {}, events=True)
    slowly = slow.pieces()
    flight.add([piece])
    assert await anext(slowly) == [piece]
    quickly = fast.pieces()
    for _ in range(MIN_SLACK // len(piece) + 3):
        flight.add([piece])
        async with asyncio.timeout(5):
            read += len(await anext(quickly))
            await flight.room()
    flight.finish(None)
    assert read == MIN_SLACK // len(piece) + 4
    with pytest.raises(UpstreamError, match="so slowly"):
        await anext(slowly)


async def test_a_flight_waits_for_its_only_reader_once_it_holds_too_much() -> None:
    flight = Flight(stream=True, started=0.0, epoch=0, limit=1000, abandoned=lambda: None)
    with flight.join(1.0) as reader:
        flight.begin(200, {}, events=True)
        flight.add([b"x" * 100_000])
        room = asyncio.create_task(flight.room())
        await asyncio.sleep(0)
        assert not room.done()
        assert len(await anext(reader.pieces())) == 1
        await asyncio.wait_for(room, 5)


async def test_a_request_after_an_invalidation_joins_no_flight_begun_before_it() -> None:
    flights = Flights()
    flight = Flight(stream=True, started=0.0, epoch=3, limit=1000, abandoned=lambda: None)
    flights.add("k", flight)
    found = [flights.joinable("k", arrived=0.0, now=1.0, epoch=epoch, controls=Controls()) for epoch in (3, 4)]
    assert found == [flight, None]


async def test_a_stored_flight_answers_those_who_missed_its_entry_while_it_was_under_way_and_nobody_later() -> None:
    flights = Flights()
    stored, failed = (Flight(stream=True, started=0.0, epoch=0, limit=1000, abandoned=lambda: None) for _ in range(2))
    flights.add("stored", stored)
    flights.add("failed", failed)
    stored.ended = 5.0
    stored.finish(None)
    failed.fail(UpstreamError("gone"))

    def joined(name: str, arrived: float) -> Flight | None:
        return flights.joinable(name, arrived=arrived, now=6.0, epoch=0, controls=Controls())

    assert [joined("stored", 4.0), joined("stored", 5.5), joined("failed", 4.0)] == [stored, None, None]


@pytest.mark.parametrize("end", [[], ['{"error":{"message":"overloaded"}}', "[DONE]"]], ids=["nothing", "an error"])
async def test_a_stream_that_ends_early_without_a_fault_is_no_whole_answer_for_an_unstreamed_follower(
    gateway: TestGateway, provider: Provider, end: list[str]
) -> None:
    opened = asyncio.Event()

    async def short(request: web.Request) -> web.StreamResponse:
        if not provider.calls[-1]["body"].get("stream"):
            return web.json_response(completion(2, "gpt-4o", "the whole answer"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        data = chunks_of(completion(1, "gpt-4o", TEXT), True)
        for one in data[:3]:
            await response.write(f"data: {one}\n\n".encode())
        await opened.wait()
        for one in end:
            await response.write(f"data: {one}\n\n".encode())
        return response

    provider.behave = short
    leader = asyncio.create_task(gateway.post(STREAMED))
    await waiting(gateway, 2)
    follower = asyncio.create_task(gateway.post(GOOD))
    await waiting(gateway, 3)
    opened.set()
    assert (await leader).text.count("data: ") == 3 + len(end)
    response = await follower
    assert response.json()["choices"][0]["message"]["content"] == "the whole answer"
    assert response.headers["X-LLMCache"] == "MISS"
    assert len(provider.calls) == 2


@pytest.mark.parametrize("hanging_up", [[STREAMED], [STREAMED, GOOD]], ids=["streamed", "and an unstreamed follower"])
async def test_a_silent_call_that_nobody_waits_for_is_broken_off_too(
    gateway: TestGateway, provider: Provider, hanging_up: list[dict[str, Any]]
) -> None:
    gone = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.01)
        gone.set()
        return web.Response()

    provider.behave = silent
    clients = []
    for at, body in enumerate(hanging_up):
        clients.append(asyncio.create_task(gateway.post(body)))
        await waiting(gateway, 2 + at)
    for client in clients:
        client.cancel()
    async with asyncio.timeout(3):  # the upstream's own timeout is 5 s
        await gone.wait()
    await idle(gateway)
