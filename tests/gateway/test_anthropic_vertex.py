"""Claude on Vertex AI: Anthropic's messages at Google's paths, with Google's tokens.

The corpus asks it all that it asks Anthropic.
"""

from typing import Any

import anthropic
import pytest
from aiohttp import web

from llmcache_gateway.dialects import dialect_of
from tests.gateway.anthropic_provider import events_of, message, send_events
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.corpus.asking import anthropic_vertex
from tests.gateway.provider import Provider

IN = "/v1/projects/p/locations/europe-west4/publishers/anthropic/models"
ASK: dict[str, Any] = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9}
ASK["messages"] = [{"role": "user", "content": "Hi"}]


def config(provider: Provider) -> dict[str, Any]:
    async def behave(request: web.Request) -> web.StreamResponse:
        if "count-tokens" in request.path:
            return web.json_response({"input_tokens": 7})
        answer = message(len(provider.calls), "claude-x", [{"type": "text", "text": "yes"}])
        if request.path.endswith(":streamRawPredict"):
            return await send_events(request, events_of(answer))
        return web.json_response(answer)

    provider.behave = behave
    config = manifest(provider.base_url.removesuffix("/v1"))
    config["spec"]["upstreams"][0] |= {"provider": "vertex", "credential": {"env": "TOKEN"}}
    return config


async def outcome(gateway: TestGateway, model: str, body: dict[str, Any]) -> str:
    return (await gateway.post(body, f"{IN}/{model}")).headers["X-LLMCache"]


async def test_an_unstreamed_answer_serves_a_stream_and_the_token_is_the_upstreams(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(config(provider), environment={"TOKEN": "ya29.own"}) as gateway:
        assert await outcome(gateway, "claude-x:rawPredict", ASK) == "MISS"
        streamed = await gateway.post({**ASK, "stream": True}, f"{IN}/claude-x:streamRawPredict")
        assert streamed.headers["X-LLMCache"] == "HIT"
        assert streamed.text.rstrip().endswith('data: {"type":"message_stop"}')
    (call,) = provider.calls
    assert (call["path"], call["body"]) == (f"{IN}/claude-x:rawPredict", ASK)
    assert call["headers"]["Authorization"] == "Bearer ya29.own"


async def test_model_location_version_and_messages_count_but_no_hint(
    start_gateway: StartGateway, provider: Provider
) -> None:
    hinted = [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]
    async with start_gateway(config(provider), environment={"TOKEN": "t"}) as gateway:
        for body in (ASK, {**ASK, "anthropic_version": "2026-10-21"}, {**ASK, "max_tokens": 8}):
            assert await outcome(gateway, "claude-x:rawPredict", body) == "MISS"
        assert await outcome(gateway, "claude-x@20260101:rawPredict", ASK) == "MISS"
        elsewhere = f"{IN.replace('europe-west4', 'global')}/claude-x:rawPredict"
        assert (await gateway.post(ASK, elsewhere)).headers["X-LLMCache"] == "MISS"
        marked = {**ASK, "messages": [{"role": "user", "content": hinted}]}
        assert await outcome(gateway, "claude-x:rawPredict", marked) == "HIT"


async def test_counting_tokens_passes_through(start_gateway: StartGateway, provider: Provider) -> None:
    async with (
        start_gateway(config(provider), environment={"TOKEN": "t"}) as gateway,
        anthropic.AsyncAnthropicVertex(**anthropic_vertex(gateway.url)) as client,
    ):
        messages: Any = ASK["messages"]
        for _ in range(2):
            counted = await client.messages.count_tokens(model="claude-x", messages=messages)
            assert counted.input_tokens == 7
    assert [call["path"] for call in provider.calls] == [f"{IN}/count-tokens:rawPredict"] * 2


async def test_a_body_that_is_no_request_is_refused_in_anthropics_shape(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(config(provider), environment={"TOKEN": "t"}) as gateway:
        refused = await gateway.post([], f"{IN}/claude-x:rawPredict")
    assert (refused.status_code, refused.json()["type"]) == (400, "error")
    assert refused.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "known"),
    [
        (f"{IN}/claude-x:rawPredict", True),
        (f"{IN}/claude-x:streamRawPredict", True),
        (f"{IN.replace('/v1/', '/v1beta1/')}/claude-x@1:rawPredict", True),
        (f"{IN}/count-tokens:rawPredict", False),
        (f"{IN}/claude-x:predict", False),
        (f"{IN.replace('anthropic', 'mistralai')}/mistral:rawPredict", False),
    ],
)
def test_which_paths_are_messages(path: str, known: bool) -> None:
    assert (dialect_of("POST", path) is not None) is known
