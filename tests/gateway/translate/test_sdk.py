"""The official openai SDK asks for Claude: chat completions here, messages on the other side of the gateway."""

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from aiohttp import web
from openai.types.chat import ChatCompletion

from tests.gateway.anthropic_provider import (
    AnthropicProvider,
    error,
    event_bytes,
    events_of,
    message,
    running_anthropic,
    send_events,
)
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.providers.bedrock import BEARER, BedrockProvider, frame, running_bedrock
from tests.gateway.test_anthropic_sdk import of_anthropic

MODEL = "anthropic/claude-sonnet-5-5"
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "What is a cache?"}]}
TOOLS = [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]
THOUGHT = {"type": "thinking", "thinking": "What would a reader ask?", "signature": "EqQB"}
TEXT = {"type": "text", "text": "A cache keeps answers."}
USE = {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"query": "cache ☃", "deep": {"x": []}}}
CONTENTS: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    "text": ("end_turn", [TEXT, TEXT], "stop"),
    "a stop sequence": ("stop_sequence", [TEXT], "stop"),
    "thinking": ("end_turn", [THOUGHT, TEXT], "stop"),
    "tools": ("tool_use", [THOUGHT, TEXT, USE, {**USE, "id": "toolu_2", "input": {}}], "tool_calls"),
}
CUT_SHORT = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "refusal": "content_filter",
    "of_tomorrow": "length",
}


@pytest.fixture
async def provider() -> AsyncIterator[AnthropicProvider]:
    async with running_anthropic() as provider:
        yield provider


@pytest.fixture
async def gateway(start_gateway: StartGateway, provider: AnthropicProvider) -> AsyncIterator[TestGateway]:
    async with start_gateway(of_anthropic(provider, models=["claude-*"])) as gateway:
        yield gateway


@pytest.fixture
async def client(gateway: TestGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-test", max_retries=0, timeout=20) as client:
        yield client


async def unstreamed(client: openai.AsyncOpenAI, **more: Any) -> tuple[str, ChatCompletion]:
    answer = await client.chat.completions.with_raw_response.create(**(ASK | more))
    return answer.headers["X-LLMCache"], answer.parse()


async def streamed(client: openai.AsyncOpenAI, **more: Any) -> ChatCompletion:
    async with client.chat.completions.stream(**(ASK | more), stream_options={"include_usage": True}) as stream:
        async for _ in stream:
            pass
        return await stream.get_final_completion()


def said(answer: ChatCompletion) -> dict[str, Any]:
    """Return what an answer says, without what the SDK's helper for streams adds."""
    choice = answer.choices[0]
    found = choice.message.model_dump(exclude_none=True) | {"finish_reason": choice.finish_reason}
    found.pop("parsed", None)
    for call in found.get("tool_calls", ()):
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    return found


@pytest.mark.parametrize("first_streamed", [False, True])
@pytest.mark.parametrize("kind", CONTENTS)
async def test_an_answer_is_the_same_streamed_and_not_asked_and_kept(
    kind: str, first_streamed: bool, client: openai.AsyncOpenAI, provider: AnthropicProvider
) -> None:
    provider.stop_reason, provider.content, finish = CONTENTS[kind]
    more = {"tools": TOOLS} if kind == "tools" else {}
    first = await (streamed(client, **more) if first_streamed else _answer(client, **more))
    outcome, second = await unstreamed(client, **more)
    third = await streamed(client, **more)
    assert (outcome, len(provider.calls)) == ("HIT", 1)
    assert said(first) == said(second) == said(third)
    found = said(second)
    texts = "".join(block["text"] for block in provider.content if block["type"] == "text")
    assert (found["content"], found["finish_reason"], second.model) == (texts, finish, MODEL)
    if kind != "text" and THOUGHT in provider.content:
        assert (found["reasoning_content"], found["thinking_blocks"]) == (THOUGHT["thinking"], [THOUGHT])
    if kind == "tools":
        assert [call["function"]["name"] for call in found["tool_calls"]] == ["search", "search"]
        assert [call["id"] for call in found["tool_calls"]] == ["toolu_1", "toolu_2"]
        assert [json.loads(call["function"]["arguments"]) for call in found["tool_calls"]] == [USE["input"], {}]
    for answer in (first, second, third):
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == 21 + 188 + 1800
        assert answer.usage.completion_tokens == 31
        details = answer.usage.prompt_tokens_details
        assert details is not None
        assert details.cached_tokens == 1800


async def test_what_goes_out_is_a_request_for_a_message(
    client: openai.AsyncOpenAI, provider: AnthropicProvider
) -> None:
    await unstreamed(
        client,
        extra_body={
            "messages": [
                {"role": "system", "content": "be brief", "cache_control": {"type": "ephemeral"}},
                *ASK["messages"],
            ]
        },
    )
    (call,) = provider.calls
    assert call["path"] == "/v1/messages"
    assert call["headers"]["anthropic-version"] == "2026-10-21"
    assert call["body"] == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 4096,
        "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        "messages": ASK["messages"],
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stop_reason", CUT_SHORT)
async def test_an_answer_that_is_not_whole_says_so_and_is_not_kept(
    stop_reason: str, stream: bool, client: openai.AsyncOpenAI, provider: AnthropicProvider
) -> None:
    provider.stop_reason = stop_reason
    for number in (1, 2):
        if stream:
            chunks = [chunk async for chunk in await client.chat.completions.create(**ASK, stream=True)]
            assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == CUT_SHORT[stop_reason]
        else:
            outcome, answer = await unstreamed(client)
            assert (outcome, answer.choices[0].finish_reason) == ("MISS", CUT_SHORT[stop_reason])
            assert (answer.choices[0].message.refusal is not None) == (stop_reason == "refusal")
        assert len(provider.calls) == number


async def test_errors_are_openais_with_anthropics_words(
    client: openai.AsyncOpenAI, provider: AnthropicProvider
) -> None:
    async def limited(_: web.Request) -> web.Response:
        return error(429, "rate_limit_error", "slow down", **{"retry-after": "7"})

    async def overloaded(_: web.Request) -> web.Response:
        return error(529, "overloaded_error", "too much")

    provider.behave = limited
    with pytest.raises(openai.RateLimitError, match="slow down") as caught:
        await client.chat.completions.create(**ASK)
    assert caught.value.body == {
        "message": "slow down",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_error",
    }
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.request_id == "req_9"
    provider.behave = overloaded
    with pytest.raises(openai.InternalServerError) as busy:
        await client.chat.completions.create(**ASK, stream=True)
    assert busy.value.status_code == 503


async def test_a_stream_that_breaks_off_ends_with_an_error_and_is_not_kept(
    client: openai.AsyncOpenAI, provider: AnthropicProvider
) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in list(events_of(message(1, "m", [TEXT])))[:4]:
            await response.write(event_bytes(event))
        told = {"type": "error", "error": {"type": "overloaded_error", "message": "too much"}}
        await response.write(event_bytes(told))
        return response

    provider.behave = broken
    for number in (1, 2):
        with pytest.raises(openai.APIError, match="too much"):
            async for _ in await client.chat.completions.create(**ASK, stream=True):
                pass
        assert len(provider.calls) == number


async def test_a_stream_that_told_of_an_error_has_no_end(
    client: openai.AsyncOpenAI, provider: AnthropicProvider
) -> None:
    told = {"type": "error", "error": {"type": "overloaded_error", "message": "too much"}}

    async def failing(request: web.Request) -> web.StreamResponse:
        *before, last = events_of(message(1, "m", [TEXT]))
        return await send_events(request, iter([*before, told, last]))

    provider.behave = failing
    for number in (1, 2):
        asked = client.chat.completions.with_streaming_response.create(**ASK, stream=True)
        async with asked as answer:
            lines = [line async for line in answer.iter_lines()]
        assert any("too much" in line for line in lines)
        assert "data: [DONE]" not in lines
        assert len(provider.calls) == number


async def test_what_the_providers_own_tools_are_given_is_no_argument_of_a_call(
    client: openai.AsyncOpenAI, provider: AnthropicProvider
) -> None:
    own = {"type": "mcp_tool_use", "id": "mcp_1", "name": "look", "server_name": "s", "input": {"q": 1}}
    provider.stop_reason, provider.content = "tool_use", [own, USE, {**own, "id": "mcp_2"}]
    found = said(await streamed(client, tools=TOOLS))
    (call,) = found["tool_calls"]
    assert (call["id"], json.loads(call["function"]["arguments"])) == ("toolu_1", USE["input"])


async def test_an_answer_that_is_no_message_is_the_upstreams_failure(
    client: openai.AsyncOpenAI, provider: AnthropicProvider
) -> None:
    async def nonsense(_: web.Request) -> web.Response:
        return web.json_response([1])

    provider.behave = nonsense
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(**ASK)
    assert caught.value.status_code == 502


async def test_what_can_t_be_said_is_refused_and_what_is_left_out_is_named(
    client: openai.AsyncOpenAI, provider: AnthropicProvider
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(**ASK, n=2)
    assert caught.value.param == "n"
    assert not provider.calls
    answer = await client.chat.completions.with_raw_response.create(**ASK, seed=7)
    assert answer.headers["LLMCache-Dropped"] == "seed"


@pytest.mark.parametrize("name", ["mcp_servers", "container", "context_management", "fallbacks"])
async def test_what_anthropic_answers_from_more_than_the_request_is_not_kept(
    name: str, client: openai.AsyncOpenAI, provider: AnthropicProvider
) -> None:
    for number in (1, 2):
        outcome, _ = await unstreamed(client, extra_body={name: [{"type": "url", "url": "https://x.example"}]})
        assert (outcome, len(provider.calls)) == ("BYPASS", number)
        assert name in provider.calls[-1]["body"]


async def test_a_model_that_no_upstream_lists_is_not_found(client: openai.AsyncOpenAI) -> None:
    for model in ("anthropic/gpt-4o", "claude-sonnet-5-5"):
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(**{**ASK, "model": model})


async def _answer(client: openai.AsyncOpenAI, **more: Any) -> ChatCompletion:
    return (await unstreamed(client, **more))[1]


async def test_a_hint_of_the_gateways_reaches_the_block_and_one_that_is_refused_is_left_out(
    start_gateway: StartGateway, provider: AnthropicProvider
) -> None:
    async def refusing(request: web.Request) -> web.StreamResponse:
        if b"cache_control" in await request.read():
            return error(400, "invalid_request_error", "system.0.cache_control: Extra inputs are not permitted")
        return web.json_response(message(1, "m", [TEXT]))

    config = manifest(provider.base_url, hints={"mode": "always", "points": [{"location": "system"}]})
    config["spec"]["upstreams"][0] |= {"provider": "anthropic"}
    asked = {"messages": [{"role": "system", "content": "be brief"}, *ASK["messages"]]}
    async with (
        start_gateway(config) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-test", max_retries=0, timeout=20) as client,
    ):
        await _answer(client, **asked)
        (call,) = provider.calls
        assert call["body"]["system"] == [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
        tokens = {"cached": 1800, "written": 188, "uncached": 21, "output": 31}
        for kind, count in tokens.items():
            named = f'llmcache_provider_tokens_total{{kind="{kind}",provider="anthropic"}}'
            assert await gateway.metric(named) == count
        provider.behave = refusing
        answer = await _answer(client, **asked, max_tokens=9)
        assert answer.choices[0].message.content == TEXT["text"]


# --- On Bedrock


CLAUDE = "bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture
async def bedrock() -> AsyncIterator[BedrockProvider]:
    async with running_bedrock() as provider:
        yield provider


@pytest.fixture
async def for_bedrock(start_gateway: StartGateway, bedrock: BedrockProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    config = manifest(bedrock.url)
    config["spec"]["upstreams"][0] |= {"provider": "bedrock"}
    async with (
        start_gateway(config) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=BEARER, max_retries=0, timeout=20) as client,
    ):
        yield client


@pytest.mark.parametrize("first_streamed", [False, True])
async def test_on_bedrock_it_is_the_same(
    first_streamed: bool, for_bedrock: openai.AsyncOpenAI, bedrock: BedrockProvider
) -> None:
    answers = []
    for at in range(3):
        if first_streamed == (at % 2 == 0):
            answers.append(await streamed(for_bedrock, model=CLAUDE, tools=TOOLS))
        else:
            answers.append(await _answer(for_bedrock, model=CLAUDE, tools=TOOLS))
    assert said(answers[0]) == said(answers[1]) == said(answers[2])
    assert {answer.model for answer in answers} == {CLAUDE}
    assert answers[0].usage == answers[1].usage
    (call,) = bedrock.calls
    verb = "invoke-with-response-stream" if first_streamed else "invoke"
    assert call["path"] == f"/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/{verb}"
    body = json.loads(call["raw"])
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    assert body.keys() == {"anthropic_version", "max_tokens", "messages", "tools"}


async def test_bedrocks_errors_are_openais_with_bedrocks_words(
    for_bedrock: openai.AsyncOpenAI, bedrock: BedrockProvider
) -> None:
    async def limited(_: web.Request) -> web.Response:
        headers = {"x-amzn-errortype": "ThrottlingException:http://x", "x-amzn-RequestId": "r1"}
        return web.json_response({"message": "slow down"}, status=429, headers=headers)

    bedrock.behave = limited
    with pytest.raises(openai.RateLimitError, match="slow down") as caught:
        await _answer(for_bedrock, model=CLAUDE)
    assert (caught.value.code, caught.value.request_id) == ("ThrottlingException", "r1")


async def test_a_stream_of_bedrocks_that_breaks_off_ends_with_its_error(
    for_bedrock: openai.AsyncOpenAI, bedrock: BedrockProvider
) -> None:
    bedrock.cut, bedrock.failure = 3, frame("throttlingException", {"message": "too much"}, "exception")
    for number in (1, 2):
        with pytest.raises(openai.APIError, match="too much"):
            async for _ in await for_bedrock.chat.completions.create(**{**ASK, "model": CLAUDE}, stream=True):
                pass
        assert len(bedrock.calls) == number


async def test_other_models_of_bedrock_speak_no_messages(for_bedrock: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await _answer(for_bedrock, model="bedrock/amazon.nova-pro-v1:0")
