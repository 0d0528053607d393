"""The official anthropic SDK, pointed at the gateway, in front of a provider that speaks Anthropic's wire format."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from aiohttp import web
from anthropic.types import Message

from tests.gateway.anthropic_provider import (
    AnthropicProvider,
    error,
    event_bytes,
    events_of,
    message,
    running_anthropic,
)
from tests.gateway.conftest import StartGateway, TestGateway, manifest

QUESTION: list[Any] = [{"role": "user", "content": "What is a cache?"}]
ASK: dict[str, Any] = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": QUESTION}
ANSWER = {"type": "text", "text": "answer 1 to What is a cache?"}

CITATION = {
    "type": "char_location",
    "cited_text": "A cache keeps.",
    "document_index": 0,
    "document_title": "On caches",
    "start_char_index": 0,
    "end_char_index": 14,
    "file_id": None,
}
THOUGHT = {"type": "thinking", "thinking": "What would a reader ask next?", "signature": "EqQBCgIYAhIM8sZg=="}
TOOL_USE = {
    "type": "tool_use",
    "id": "toolu_01",
    "name": "search",
    "input": {"query": "cache ☃", "limits": [1, 2.5, None], "deep": {"x": {}}},
    "caller": {"type": "direct"},
}
CONTENTS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "text": ("end_turn", [ANSWER]),
    "a stop sequence": ("stop_sequence", [ANSWER]),
    "citations": ("end_turn", [{**ANSWER, "citations": [CITATION, CITATION]}, ANSWER]),
    "thinking": ("end_turn", [THOUGHT, {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3p"}, ANSWER]),
    "tools": ("tool_use", [THOUGHT, ANSWER, TOOL_USE, {**TOOL_USE, "id": "toolu_02", "input": {}}]),
}


@pytest.fixture
async def provider() -> AsyncIterator[AnthropicProvider]:
    async with running_anthropic() as provider:
        yield provider


@pytest.fixture
async def gateway(start_gateway: StartGateway, provider: AnthropicProvider) -> AsyncIterator[TestGateway]:
    async with start_gateway(of_anthropic(provider)) as gateway:
        yield gateway


@pytest.fixture(params=CONTENTS)
def answered(request: pytest.FixtureRequest, provider: AnthropicProvider) -> AnthropicProvider:
    """The provider, giving answers of every kind."""
    provider.stop_reason, provider.content = CONTENTS[request.param]
    return provider


def of_anthropic(provider: AnthropicProvider, **upstream: Any) -> dict[str, Any]:
    config = manifest(provider.base_url)
    config["spec"]["upstreams"][0] |= {"provider": "anthropic", **upstream}
    return config


def sdk(gateway: TestGateway, **options: Any) -> anthropic.AsyncAnthropic:
    defaults: dict[str, Any] = {"base_url": gateway.url, "api_key": "sk-ant", "max_retries": 0}
    return anthropic.AsyncAnthropic(**defaults | options)


async def ask(client: anthropic.AsyncAnthropic, **more: Any) -> tuple[str, dict[str, Any]]:
    """Return what the cache did, and the whole answer."""
    response = await client.messages.with_raw_response.create(**ASK | more)
    return response.headers["X-LLMCache"], (await response.parse()).to_dict()


async def ask_streamed(client: anthropic.AsyncAnthropic, **more: Any) -> tuple[str, list[dict[str, Any]]]:
    """Return what the cache did, and every event."""
    response = await client.messages.with_raw_response.create(stream=True, **ASK | more)
    return response.headers["X-LLMCache"], [event.to_dict() async for event in await response.parse()]


async def finally_said(client: anthropic.AsyncAnthropic) -> dict[str, Any]:
    """Return the message that the SDK's stream helper puts together."""
    async with client.messages.stream(**ASK) as stream:
        async for _event in stream:
            pass
        return (await stream.get_final_message()).to_dict()


async def test_unstreamed_miss_then_hit_is_the_same_answer(gateway: TestGateway, answered: AnthropicProvider) -> None:
    async with sdk(gateway) as client:
        first = await ask(client)
        assert first == ("MISS", answered.answer(1, ASK))
        assert await ask(client) == ("HIT", first[1])
    assert len(answered.calls) == 1


async def test_streamed_miss_then_hit_is_the_same_stream(gateway: TestGateway, answered: AnthropicProvider) -> None:
    async with sdk(gateway) as client:
        first = await ask_streamed(client)
        sent = [event for event in events_of(answered.answer(1, ASK)) if event["type"] != "ping"]
        assert first == ("MISS", sent)
        assert await ask_streamed(client) == ("HIT", first[1])
    assert len(answered.calls) == 1


async def test_streamed_entry_serves_an_unstreamed_client_with_every_field(
    gateway: TestGateway, answered: AnthropicProvider
) -> None:
    async with sdk(gateway) as client:
        await ask_streamed(client)
        assert await ask(client) == ("HIT", answered.answer(1, ASK))
    assert len(answered.calls) == 1


async def test_unstreamed_entry_serves_a_streamed_client_with_every_field(
    gateway: TestGateway, answered: AnthropicProvider
) -> None:
    async with sdk(gateway) as client:
        await ask(client)
        outcome, events = await ask_streamed(client)
        assert outcome == "HIT"
        assert await finally_said(client) == answered.answer(1, ASK)
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
    assert len(answered.calls) == 1


async def test_stream_helper_of_the_sdk_says_the_same_on_miss_and_hit(
    gateway: TestGateway, answered: AnthropicProvider
) -> None:
    async with sdk(gateway) as client:
        assert await finally_said(client) == await finally_said(client) == answered.answer(1, ASK)
    assert len(answered.calls) == 1


async def test_text_stream_of_the_helper_runs_over_a_hit_of_an_unstreamed_entry(gateway: TestGateway) -> None:
    async with sdk(gateway) as client:
        await ask(client)
        async with client.messages.stream(**ASK) as stream:
            assert "".join([text async for text in stream.text_stream]) == ANSWER["text"]


async def test_helper_fires_its_own_events_on_a_hit(gateway: TestGateway, provider: AnthropicProvider) -> None:
    provider.stop_reason, provider.content = "tool_use", [THOUGHT, {**ANSWER, "citations": [CITATION]}, TOOL_USE]
    async with sdk(gateway) as client:
        await ask(client)
        async with client.messages.stream(**ASK) as stream:
            seen = {event.type: event async for event in stream}
    assert {"thinking", "signature", "text", "citation", "input_json"} <= seen.keys()
    assert seen["input_json"].snapshot == TOOL_USE["input"]  # type: ignore[union-attr]


async def test_beta_client_gets_hits_too(gateway: TestGateway, provider: AnthropicProvider) -> None:
    provider.stop_reason, provider.content = CONTENTS["tools"]
    async with sdk(gateway) as client:
        for flags in (["flag-b", "flag-a"], ["flag-a", "flag-b"]):
            answer = await client.beta.messages.create(betas=flags, **ASK)
            assert answer.to_dict() == provider.answer(1, ASK)
        async with client.beta.messages.stream(betas=["flag-b", "flag-a"], **ASK) as stream:
            async for _event in stream:
                pass
            assert (await stream.get_final_message()).to_dict() == provider.answer(1, ASK)
    assert len(provider.calls) == 1
    assert provider.calls[0]["headers"]["anthropic-beta"] == "flag-b,flag-a"


async def test_older_beta_clients_ask_with_a_query_which_is_sent_on_and_counts(
    gateway: TestGateway, provider: AnthropicProvider
) -> None:
    headers = {"x-api-key": "sk-old", "anthropic-version": "2023-06-01"}
    for path in ("/v1/messages?beta=true", "/v1/messages"):
        answers = [await gateway.post(ASK, path, headers=headers) for _ in range(2)]
        assert [answer.headers["X-LLMCache"] for answer in answers] == ["MISS", "HIT"]
    assert [call["path"] for call in provider.calls] == ["/v1/messages?beta=true", "/v1/messages"]


def test_sync_sdk_gets_the_same_on_miss_and_hit(start_gateway: StartGateway) -> None:
    def all_of(gateway: TestGateway) -> list[Any]:
        with anthropic.Anthropic(base_url=gateway.url, api_key="sk-ant", max_retries=0) as client:
            said: list[Any] = []
            for _ in range(2):
                raw = client.messages.with_raw_response.create(**ASK)
                said += [raw.headers["X-LLMCache"], raw.parse().to_dict()]
            with client.messages.stream(**ASK) as stream:
                said.append("".join(stream.text_stream))
                said.append(stream.get_final_message().to_dict())
            said.append(len(list(client.messages.create(stream=True, **ASK))))
            return said

    async def run() -> list[Any]:
        async with running_anthropic() as provider, start_gateway(of_anthropic(provider)) as gateway:
            return await asyncio.to_thread(all_of, gateway)

    whole = message(1, ASK["model"], [ANSWER])
    assert asyncio.run(run()) == ["MISS", whole, "HIT", whole, ANSWER["text"], whole, 6]


async def test_images_documents_and_tool_results_are_sent_on_and_count(
    gateway: TestGateway, provider: AnthropicProvider
) -> None:
    def asked(data: str) -> list[Any]:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
        document = {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "A cache keeps."},
            "citations": {"enabled": True},
            "cache_control": {"type": "ephemeral"},
        }
        return [
            {"role": "user", "content": [image, document, {"type": "text", "text": "And?"}]},
            {"role": "assistant", "content": [TOOL_USE]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_01", "content": [image]}]},
        ]

    async with sdk(gateway) as client:
        outcomes = [(await ask(client, messages=asked(data)))[0] for data in ("aGk=", "aGk=", "aG8=")]
    assert outcomes == ["MISS", "HIT", "MISS"]
    assert provider.calls[0]["body"]["messages"] == asked("aGk=")


@pytest.mark.parametrize(
    "change",
    [
        {"system": "Be brief."},
        {"max_tokens": 101},
        {"thinking": {"type": "adaptive"}},
        {"tools": [{"name": "f", "input_schema": {"type": "object"}}]},
        {"extra_headers": {"anthropic-version": "2023-06-01"}},
        {"extra_headers": {"anthropic-beta": "flag-a"}},
        {"workspace_id": "wrkspc_1"},
        {"user_profile_id": "up_1"},
    ],
)
async def test_whatever_can_change_the_answer_makes_another_entry(
    gateway: TestGateway, provider: AnthropicProvider, change: dict[str, Any]
) -> None:
    async with sdk(gateway) as client:
        outcomes = [(await ask(client, **more))[0] for more in ({}, change, {}, change)]
    assert outcomes == ["MISS", "MISS", "HIT", "HIT"]
    assert len(provider.calls) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"user_id": "u"}},
        {"service_tier": "standard_only"},
        {"cache_control": {"type": "ephemeral"}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is a cache?"}]}]},
        {"extra_headers": {"x-stainless-retry-count": "1"}},
    ],
)
async def test_what_cannot_change_the_answer_shares_the_entry(gateway: TestGateway, change: dict[str, Any]) -> None:
    async with sdk(gateway) as client:
        assert [(await ask(client, **more))[0] for more in ({}, change)] == ["MISS", "HIT"]


async def test_calls_that_a_hit_could_not_serve_always_go_upstream(
    gateway: TestGateway, provider: AnthropicProvider
) -> None:
    async with sdk(gateway) as client:
        for _ in range(2):
            response = await client.messages.with_raw_response.create(
                **ASK, tools=[{"type": "web_search_20260318", "name": "web_search"}]
            )
            assert response.headers["Cache-Status"] == 'llmcache; fwd=bypass; detail="hosted-tools"'
    assert len(provider.calls) == 2


@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "pause_turn"])
@pytest.mark.parametrize("stream", [False, True])
async def test_answers_that_are_cut_or_refused_are_not_stored(
    gateway: TestGateway, provider: AnthropicProvider, reason: str, stream: bool
) -> None:
    provider.stop_reason = reason
    async with sdk(gateway) as client:
        asking = ask_streamed if stream else ask
        assert [(await asking(client))[0] for _ in range(2)] == ["MISS", "MISS"]


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (403, "permission_error", anthropic.PermissionDeniedError),
        (413, "request_too_large", anthropic.APIStatusError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
        (529, "overloaded_error", anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_of_the_provider_pass_unchanged_and_unstored(
    gateway: TestGateway,
    provider: AnthropicProvider,
    status: int,
    kind: str,
    raised: type[anthropic.APIStatusError],
    stream: bool,
) -> None:
    async def fail(_request: web.Request) -> web.StreamResponse:
        return error(status, kind, "no, not now", **{"retry-after": "7"})

    async with sdk(gateway) as client:
        provider.behave = fail
        with pytest.raises(raised) as caught:
            await (ask_streamed if stream else ask)(client)
        assert caught.value.status_code == status
        assert caught.value.body == {
            "type": "error",
            "error": {"type": kind, "message": "no, not now"},
            "request_id": "req_9",
        }
        assert caught.value.request_id == "req_9"
        assert caught.value.response.headers["retry-after"] == "7"
        provider.behave = None
        assert (await ask(client))[0] == "MISS"


async def test_a_stream_with_an_error_in_the_middle_raises_and_is_not_stored(
    gateway: TestGateway, provider: AnthropicProvider
) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in list(events_of(message(1, "m", [ANSWER])))[:4]:
            await response.write(event_bytes(event))
        overloaded = {"type": "overloaded_error", "message": "Overloaded"}
        await response.write(event_bytes({"type": "error", "error": overloaded}))
        await response.write_eof()
        return response

    async with sdk(gateway) as client:
        provider.behave = break_off
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            await ask_streamed(client)
        provider.behave = None
        assert (await ask_streamed(client))[0] == "MISS"


async def test_a_stream_that_the_provider_breaks_off_ends_with_an_error_event(
    gateway: TestGateway, provider: AnthropicProvider
) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in list(events_of(message(1, "m", [ANSWER])))[:4]:
            await response.write(event_bytes(event))
        assert request.transport is not None
        request.transport.abort()
        return response

    async with sdk(gateway) as client:
        provider.behave = break_off
        with pytest.raises(anthropic.APIStatusError, match="broke off") as caught:
            await ask_streamed(client)
        assert caught.value.body["error"]["type"] == "api_error"  # type: ignore[index]
        provider.behave = None
        assert (await ask(client))[0] == "MISS"


async def test_other_paths_pass_through(gateway: TestGateway, provider: AnthropicProvider) -> None:
    async with sdk(gateway) as client:
        counts = [await client.messages.count_tokens(model="m", messages=QUESTION) for _ in range(2)]
        assert [count.input_tokens for count in counts] == [1, 2]
        with pytest.raises(anthropic.NotFoundError, match="no /v1/models"):
            await client.models.list()
    assert [call["path"] for call in provider.calls] == ["/v1/messages/count_tokens"] * 2 + ["/v1/models"]


async def test_errors_of_the_gateway_have_anthropic_s_shape(start_gateway: StartGateway) -> None:
    config = manifest("http://127.0.0.1:1")
    config["spec"]["upstreams"][0] |= {"provider": "anthropic", "models": ["claude-*"]}
    async with start_gateway(config) as gateway, sdk(gateway) as client:
        with pytest.raises(anthropic.APIStatusError, match="could not be reached") as unreachable:
            await ask(client)
        with pytest.raises(anthropic.NotFoundError, match="No upstream serves the model 'gpt-4o' at /v1/messages"):
            await ask(client, model="gpt-4o")
        with pytest.raises(anthropic.BadRequestError, match="model") as bad:
            await ask(client, model="")
        with pytest.raises(anthropic.APIStatusError, match="could not be reached") as elsewhere:
            await client.models.list()
    shapes = [error.value.body for error in (unreachable, bad, elsewhere)]
    assert [set(body) for body in shapes] == [{"type", "error"}] * 3  # type: ignore[call-overload]
    assert [body["error"]["type"] for body in shapes] == [  # type: ignore[index]
        "api_error",
        "invalid_request_error",
        "api_error",
    ]


async def test_passthrough_sends_the_client_s_own_credential(gateway: TestGateway, provider: AnthropicProvider) -> None:
    async with sdk(gateway) as client:
        await ask(client)
    await gateway.post(ASK, "/v1/messages", headers={"x-api-key": "sk-old", "anthropic-version": "2023-06-01"})
    new, old = (call["headers"] for call in provider.calls)
    assert (new["Authorization"], "x-api-key" in new) == ("Bearer sk-ant", False)
    assert (old["x-api-key"], old["anthropic-version"]) == ("sk-old", "2023-06-01")
    assert "Authorization" not in old


async def test_the_gateway_s_own_credential_replaces_any_of_the_client(
    start_gateway: StartGateway, provider: AnthropicProvider
) -> None:
    config = of_anthropic(provider, credential={"env": "KEY"})
    async with start_gateway(config, environment={"KEY": "sk-own"}) as gateway, sdk(gateway) as client:
        await ask(client, extra_headers={"x-api-key": "sk-client", "api-key": "sk-other"})
        await client.messages.count_tokens(model="m", messages=QUESTION)
    for call in provider.calls:
        sent = {name.lower(): value for name, value in call["headers"].items()}
        assert sent["x-api-key"] == "sk-own"
        assert not {"authorization", "api-key"} & sent.keys()
        assert sent["anthropic-version"] == client.default_headers["anthropic-version"]


async def test_two_credentials_never_share_an_entry(gateway: TestGateway) -> None:
    async with sdk(gateway, api_key="sk-1") as one, sdk(gateway, api_key="sk-2") as two:
        assert [(await ask(client))[0] for client in (one, two, one, two)] == ["MISS", "MISS", "HIT", "HIT"]


async def test_both_apis_live_behind_one_gateway(start_gateway: StartGateway, provider: AnthropicProvider) -> None:
    config = of_anthropic(provider)
    config["spec"]["upstreams"].insert(0, {"name": "echo", "provider": "echo", "models": ["echo-*"]})
    async with start_gateway(config) as gateway, sdk(gateway) as client:
        assert (await ask(client))[1] == provider.answer(1, ASK)
        chat = {"model": "echo-1", "messages": QUESTION}
        assert "echo: What is a cache?" in (await gateway.post(chat)).text
        assert (await gateway.post({**chat, "model": "claude-1"})).status_code == 404
    assert len(provider.calls) == 1


@pytest.mark.parametrize("system", [{}, {"system": "Be brief."}])
async def test_the_built_in_echo_speaks_messages_too(start_gateway: StartGateway, system: dict[str, Any]) -> None:
    async with start_gateway(manifest(None)) as gateway, sdk(gateway) as client:
        outcome, answer = await ask(client, **system)
        assert (outcome, answer["content"]) == ("MISS", [{"type": "text", "text": "echo: What is a cache?"}])
        assert answer["usage"] == {"input_tokens": 6 if system else 4, "output_tokens": 5}
        outcome, events = await ask_streamed(client, **system, max_tokens=101)
        assert (outcome, len(events)) == ("MISS", 10)
        assert await ask(client, **system, max_tokens=101) == ("HIT", answer)
        without_text: list[Any] = [[], ["content"], [5, *QUESTION], [{"role": "user"}], {}]
        for messages in without_text:
            with pytest.raises(anthropic.BadRequestError, match="must end with a message"):
                await ask(client, messages=messages)
        with pytest.raises(anthropic.NotFoundError, match="echo knows no POST"):
            await client.messages.count_tokens(model="m", messages=QUESTION)


async def test_an_answer_is_still_whole_for_the_sdk_s_strictest_reading(gateway: TestGateway) -> None:
    async with sdk(gateway, _strict_response_validation=True) as client:
        assert [Message.model_validate((await ask(client))[1]).content[0].type for _ in range(2)] == ["text", "text"]
        assert len((await ask_streamed(client))[1]) == 6
