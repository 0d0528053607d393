"""The official openai SDK's responses, pointed at the gateway, in front of a provider that speaks their wire format."""

import asyncio
import json
from typing import Any

import openai
import pytest
from aiohttp import web
from pydantic import BaseModel

from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.providers.responses import OUTPUTS, answering, block, blocks_of, message, response, text

ASK: dict[str, Any] = {"model": "gpt-6", "input": "What is a cache?", "store": False}


def sdk(gateway: TestGateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-test", max_retries=0)


async def ask(client: openai.AsyncOpenAI, **more: Any) -> tuple[str, dict[str, Any]]:
    """Return what the cache did, and the whole answer."""
    raw = await client.responses.with_raw_response.create(**ASK | more)
    return raw.headers["X-LLMCache"], raw.parse().to_dict(mode="json", warnings=False)


async def ask_streamed(client: openai.AsyncOpenAI, **more: Any) -> tuple[str, list[dict[str, Any]]]:
    """Return what the cache did, and the events."""
    raw = await client.responses.with_raw_response.create(**ASK | more, stream=True)
    return raw.headers["X-LLMCache"], [event.to_dict(mode="json", warnings=False) async for event in raw.parse()]


async def ask_helper(client: openai.AsyncOpenAI, **more: Any) -> tuple[list[str], dict[str, Any]]:
    """Return the types of the SDK's events and the response that its helper ends with."""
    async with client.responses.stream(**ASK | more) as stream:
        types: list[str] = [event.type async for event in stream]
        return types, (await stream.get_final_response()).to_dict(mode="json", warnings=False)


@pytest.fixture(params=OUTPUTS)
def output(request: pytest.FixtureRequest, provider: Provider) -> list[dict[str, Any]]:
    """An output of each kind, which the provider answers with."""
    output = OUTPUTS[request.param]
    provider.behave = answering(provider, output)
    return output


async def test_miss_then_hit_is_the_same_answer(
    gateway: TestGateway, provider: Provider, output: list[dict[str, Any]]
) -> None:
    async with sdk(gateway) as client:
        outcome, first = await ask(client)
        assert (outcome, first) == ("MISS", response(1, ASK, output))
        assert await ask(client) == ("HIT", first)
    assert len(provider.calls) == 1


async def test_streamed_miss_then_hit_is_the_same_stream(
    gateway: TestGateway, provider: Provider, output: list[dict[str, Any]]
) -> None:
    async with sdk(gateway) as client:
        outcome, first = await ask_streamed(client)
        assert outcome == "MISS"
        assert first[-1]["response"] == response(1, ASK, output)
        assert await ask_streamed(client) == ("HIT", first)
    assert len(provider.calls) == 1


async def test_streamed_entry_serves_an_unstreamed_client_with_every_field(
    gateway: TestGateway, provider: Provider, output: list[dict[str, Any]]
) -> None:
    async with sdk(gateway) as client:
        await ask_streamed(client)
        assert await ask(client) == ("HIT", response(1, ASK, output))


async def test_unstreamed_entry_serves_a_streamed_client_with_every_field(
    gateway: TestGateway, provider: Provider, output: list[dict[str, Any]]
) -> None:
    async with sdk(gateway) as client:
        _, answer = await ask(client)
        outcome, events = await ask_streamed(client)
    assert outcome == "HIT"
    assert events[-1]["response"] == answer
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == output
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed entry", "unstreamed entry"])
@pytest.mark.parametrize(
    "case", sorted(OUTPUTS.keys() - {"unknown items and parts"})
)  # at which the helper itself warns
async def test_stream_helper_of_the_sdk_works_on_a_hit(
    gateway: TestGateway, provider: Provider, case: str, streamed: bool
) -> None:
    provider.behave = answering(provider, OUTPUTS[case])
    async with sdk(gateway) as client:
        _, first = await ask_helper(client) if streamed else await ask(client)
        types, final = await ask_helper(client)
    assert len(provider.calls) == 1
    assert types[0] == "response.created"
    assert types[-1] == "response.completed"
    assert _without_parsed(final) == _without_parsed(first) == response(1, ASK, OUTPUTS[case])


def _without_parsed(value: Any) -> Any:
    """Leave out what the helper adds to a response: the answer's text as the caller's own type."""
    if isinstance(value, list):
        return [_without_parsed(item) for item in value]
    if isinstance(value, dict):
        own = ("parsed", "parsed_arguments")
        return {name: _without_parsed(item) for name, item in value.items() if name not in own}
    return value


class City(BaseModel):
    name: str
    people: int


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed entry", "unstreamed entry"])
async def test_structured_answers_are_parsed_by_the_stream_helper_on_a_hit(
    gateway: TestGateway, provider: Provider, streamed: bool
) -> None:
    provider.behave = answering(provider, [message(text('{"name": "Graz", "people": 305314}'))])
    async with sdk(gateway) as client:
        cities = []
        if not streamed:
            cities.append((await client.responses.parse(**ASK, text_format=City)).output_parsed)
        for _ in range(2):
            async with client.responses.stream(**ASK, text_format=City) as stream:
                snapshots = [event.snapshot async for event in stream if event.type == "response.output_text.delta"]
                cities.append((await stream.get_final_response()).output_parsed)
            assert snapshots[-1] == '{"name": "Graz", "people": 305314}'
    assert cities == [City(name="Graz", people=305314)] * len(cities)
    assert len(provider.calls) == 1


async def test_function_call_is_drawn_piece_by_piece_by_the_stream_helper_on_a_hit(
    gateway: TestGateway, provider: Provider
) -> None:
    provider.behave = answering(provider, OUTPUTS["tool calls"])
    async with sdk(gateway) as client:
        await ask(client)
        async with client.responses.stream(**ASK) as stream:
            snapshots = [e.snapshot async for e in stream if e.type == "response.function_call_arguments.delta"]
    assert snapshots == ['{"city":"Graz"}', "{}"]


@pytest.mark.parametrize("first_streamed", [True, False])
@pytest.mark.parametrize("second_streamed", [True, False])
async def test_what_a_hit_repeats_of_the_request_is_the_askers(
    gateway: TestGateway, provider: Provider, first_streamed: bool, second_streamed: bool
) -> None:
    provider.behave = answering(provider)
    first: dict[str, Any] = {"metadata": {"of": "first"}, "user": "first", "prompt_cache_key": "first"}
    second: dict[str, Any] = {"metadata": {"of": "second"}, "safety_identifier": "second"}
    async with sdk(gateway) as client:
        await (ask_streamed if first_streamed else ask)(client, **first)
        for asked in (second, {}, first):
            if second_streamed:
                outcome, events = await ask_streamed(client, **asked)
                held = [event["response"] for event in events if "response" in event]
                assert len(held) == 3
            else:
                outcome, answer = await ask(client, **asked)
                held = [answer]
            assert outcome == "HIT"
            expected = response(1, ASK | asked)
            for name in ("metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_options", "store"):
                assert [one[name] for one in held] == [expected[name]] * len(held)
            assert ("first" in json.dumps(held)) == (asked is first)


async def test_sync_sdk_gets_miss_then_hit_streamed_and_not(gateway: TestGateway, provider: Provider) -> None:
    provider.behave = answering(provider)

    def both() -> list[Any]:
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="sk-test", max_retries=0) as client:
            raw = [client.responses.with_raw_response.create(**ASK) for _ in range(2)]
            streams = [client.responses.create(**ASK, stream=True) for _ in range(2)]
            texts = ["".join(e.delta for e in s if e.type == "response.output_text.delta") for s in streams]
            with client.responses.stream(**ASK) as stream:
                final = stream.get_final_response()
            return [*(one.headers["X-LLMCache"] for one in raw), *texts, final.output_text]

    assert await asyncio.to_thread(both) == ["MISS", "HIT", "answer 1", "answer 1", "answer 1"]
    assert len(provider.calls) == 1


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "truncated"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "filtered"),
        ({"status": "failed", "error": {"code": "server_error", "message": "boom"}}, "error"),
        ({"output": [message({"type": "refusal", "refusal": "no"})]}, "refused"),
    ],
)
async def test_what_is_no_complete_answer_is_given_but_not_kept(
    gateway: TestGateway, provider: Provider, streamed: bool, more: dict[str, Any], reason: str
) -> None:
    provider.behave = answering(provider, **more)
    async with sdk(gateway) as client:
        for _ in range(2):
            if streamed:
                outcome, events = await ask_streamed(client)
                answer = events[-1]["response"]
            else:
                outcome, answer = await ask(client)
            assert outcome == "MISS"
            assert answer == response(len(provider.calls), ASK) | more
    assert len(provider.calls) == 2
    assert await gateway.metric(f'llmcache_store_skipped_total{{reason="{reason}"}}') == 2


async def test_a_stream_that_breaks_off_or_fails_half_way_is_not_kept(gateway: TestGateway, provider: Provider) -> None:
    broken = [b"".join(one + b"\n\n" for one in blocks_of(response(1, ASK))[:-1])]
    broken.append(broken[0] + block("error", {"sequence_number": 9, "code": "x", "message": "boom"}) + b"\n\n")

    async def behave(request: web.Request) -> web.StreamResponse:
        return web.Response(body=broken[len(provider.calls) % 2], content_type="text/event-stream")

    provider.behave = behave
    async with sdk(gateway) as client:
        outcomes = [(await ask_streamed(client))[0] for _ in range(4)]
    assert outcomes == ["MISS"] * 4


async def test_an_upstream_that_falls_silent_half_way_is_an_exception_of_the_sdk(
    gateway: TestGateway, provider: Provider
) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(blocks_of(response(1, ASK))[0] + b"\n\n")
        assert request.transport is not None
        request.transport.abort()
        return stream

    provider.behave = behave
    async with sdk(gateway) as client:
        with pytest.raises(openai.APIError, match="broke off"):
            await ask_streamed(client)


async def test_a_response_that_the_provider_keeps_is_asked_for_anew_each_time(
    gateway: TestGateway, provider: Provider
) -> None:
    provider.behave = answering(provider)
    async with sdk(gateway) as client:
        outcomes = [await ask(client, store=store) for store in (True, True, None)]
        outcomes.append(await ask(client, previous_response_id="resp_1"))
    assert [outcome for outcome, _ in outcomes] == ["BYPASS"] * 4
    assert [answer["id"] for _, answer in outcomes] == ["resp_1", "resp_2", "resp_3", "resp_4"]


async def test_an_answer_of_tools_that_the_provider_runs_is_stored_where_such_requests_are_admitted(
    start_gateway: StartGateway, provider: Provider
) -> None:
    searched = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    provider.behave = answering(provider, [searched, message(text("It rains."))])
    for admit, outcomes in (([], ["BYPASS", "BYPASS"]), (["hosted-tools"], ["MISS", "HIT"])):
        async with (
            start_gateway(manifest(provider.base_url, cache={"admit": admit})) as gateway,
            sdk(gateway) as client,
        ):
            assert [(await ask(client, tools=[{"type": "web_search"}]))[0] for _ in range(2)] == outcomes


async def test_images_and_files_in_the_request_are_cached_and_those_elsewhere_are_not(
    gateway: TestGateway, provider: Provider
) -> None:
    provider.behave = answering(provider)
    inside = [
        {"type": "input_image", "detail": "low", "image_url": "data:image/png;base64,iVBORw0KGgo="},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
    ]
    outside = {"type": "input_image", "detail": "low", "image_url": "https://example.org/a.png"}
    async with sdk(gateway) as client:
        here = [await ask(client, input=[{"role": "user", "content": inside}]) for _ in range(2)]
        there = [await ask(client, input=[{"role": "user", "content": [*inside, outside]}]) for _ in range(2)]
    assert [outcome for outcome, _ in here + there] == ["MISS", "HIT", "BYPASS", "BYPASS"]


@pytest.mark.parametrize("streamed", [True, False])
async def test_who_shares_a_call_is_told_of_its_own_request_and_not_of_the_first_ones(
    gateway: TestGateway, provider: Provider, streamed: bool
) -> None:
    opened = asyncio.Event()
    answer = answering(provider, [message(text("A store."))])

    async def behave(request: web.Request) -> web.StreamResponse:
        await opened.wait()
        return await answer(request)

    provider.behave = behave
    async with sdk(gateway) as client:

        async def told(name: str) -> tuple[str, Any]:
            if not streamed:
                outcome, whole = await ask(client, metadata={"of": name})
                return outcome, whole["metadata"]
            outcome, events = await ask_streamed(client, metadata={"of": name})
            whole_ones = [event["response"]["metadata"] for event in events if "response" in event]
            assert all(one == whole_ones[-1] for one in whole_ones)
            return outcome, whole_ones[-1]

        first = asyncio.create_task(told("first"))
        async with asyncio.timeout(5):
            while not provider.calls:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.01)
        second = asyncio.create_task(told("second"))
        async with asyncio.timeout(5):
            while gateway.running.reloader.current.in_flight < 3:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.01)
        opened.set()
        assert await first == ("MISS", {"of": "first"})
        assert await second == ("COALESCED", {"of": "second"})
    assert len(provider.calls) == 1
