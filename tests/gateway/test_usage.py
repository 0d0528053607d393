"""Tokens of every provider's answers, by its own arithmetic, and how they are counted."""

import asyncio
import json
from typing import Any

import httpx
import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.translate import answer as translation
from llmcache_gateway.usage import Usage, read_usage
from tests.gateway.anthropic_provider import AnthropicProvider, running_anthropic
from tests.gateway.conftest import StartGateway, manifest
from tests.gateway.provider import Provider, chunks_of, completion, send_events
from tests.gateway.test_stats import stats_of

CLAUDE = {
    "input_tokens": 21,
    "cache_creation_input_tokens": 188,
    "cache_read_input_tokens": 1800,
    "cache_creation": {"ephemeral_5m_input_tokens": 88, "ephemeral_1h_input_tokens": 100},
    "output_tokens": 3,
}


def translated(usage: dict[str, Any]) -> dict[str, Any]:
    return {"object": "chat.completion", "usage": translation.usage(usage)}


ANSWERS: dict[str, tuple[dict[str, Any], Usage]] = {
    "anthropic": ({"type": "message", "usage": CLAUDE}, Usage(1800, 188, 100, 21, 3)),
    "anthropic, merged from a stream without the split": (
        {"type": "message", "usage": {**CLAUDE, "cache_creation": None}},
        Usage(1800, 188, 0, 21, 3),
    ),
    "anthropic, the split alone": (
        {"type": "message", "usage": {"input_tokens": 1, "cache_creation": {"ephemeral_5m_input_tokens": 5}}},
        Usage(0, 5, 0, 1, 0),
    ),
    "anthropic, old": ({"type": "message", "usage": {"input_tokens": 7, "output_tokens": 2}}, Usage(0, 0, 0, 7, 2)),
    "anthropic, nulls": (
        {"type": "message", "usage": {"input_tokens": 7, "cache_read_input_tokens": None, "output_tokens": 2}},
        Usage(0, 0, 0, 7, 2),
    ),
    "anthropic, compaction is not in the totals": (
        {
            "type": "message",
            "usage": {
                "input_tokens": 7,
                "output_tokens": 2,
                "iterations": [
                    {"type": "compaction", "input_tokens": 100, "output_tokens": 10},
                    {"type": "message", "input_tokens": 7, "output_tokens": 2},
                ],
            },
        },
        Usage(0, 0, 0, 107, 12),
    ),
    "converse": (
        {
            "usage": {
                "inputTokens": 21,
                "outputTokens": 3,
                "totalTokens": 2012,
                "cacheReadInputTokens": 1800,
                "cacheWriteInputTokens": 188,
                "cacheDetails": [{"ttl": "5m", "inputTokens": 88}, {"ttl": "1h", "inputTokens": 100}],
            }
        },
        Usage(1800, 188, 100, 21, 3),
    ),
    "nova, invoked": (
        {"usage": {"inputTokens": 5, "outputTokens": 2, "cacheReadInputTokenCount": 4, "cacheWriteInputTokenCount": 1}},
        Usage(4, 1, 0, 5, 2),
    ),
    "openai chat": (
        {
            "object": "chat.completion",
            "usage": {
                "prompt_tokens": 2009,
                "completion_tokens": 3,
                "total_tokens": 2012,
                "prompt_tokens_details": {"cached_tokens": 1800, "cache_write_tokens": 188},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        },
        Usage(1800, 188, 0, 21, 3),
    ),
    "openai chat, translated from anthropic's": (translated(CLAUDE), Usage(1800, 188, 100, 21, 3)),
    "openai chat, old": ({"usage": {"prompt_tokens": 9, "completion_tokens": 4}}, Usage(0, 0, 0, 9, 4)),
    "openai embeddings": ({"object": "list", "usage": {"prompt_tokens": 8, "total_tokens": 8}}, Usage(0, 0, 0, 8, 0)),
    "openai responses": (
        {
            "object": "response",
            "usage": {
                "input_tokens": 2009,
                "input_tokens_details": {
                    "cached_tokens": 1800,
                    "cache_write_tokens": 188,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 88, "ttl_12h_tokens": 100},
                },
                "output_tokens": 3,
                "total_tokens": 2012,
            },
        },
        Usage(1800, 188, 100, 21, 3),
    ),
    "responses without details": (
        {"object": "response", "usage": {"input_tokens": 9, "output_tokens": 3}},
        Usage(0, 0, 0, 9, 3),
    ),
    "deepseek": (
        {
            "usage": {
                "prompt_tokens": 100,
                "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36,
                "completion_tokens": 5,
                "total_tokens": 105,
                "prompt_tokens_details": {"cached_tokens": 64},
            }
        },
        Usage(64, 0, 0, 36, 5),
    ),
    "openrouter": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
                "cost": 0.01,
            }
        },
        Usage(60, 30, 0, 10, 5),
    ),
    "mistral": (
        {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}}},
        Usage(6, 0, 0, 4, 5),
    ),
    "xai counts reasoning beside the output": (
        {
            "usage": {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "prompt_tokens_details": {"text_tokens": 32, "cached_tokens": 8},
                "completion_tokens_details": {"reasoning_tokens": 94},
            }
        },
        Usage(8, 0, 0, 24, 103),
    ),
    "groq's older form": ({"x_groq": {"usage": {"prompt_tokens": 4, "completion_tokens": 2}}}, Usage(0, 0, 0, 4, 2)),
    "gemini": (
        {
            "usageMetadata": {
                "promptTokenCount": 2009,
                "cachedContentTokenCount": 1800,
                "candidatesTokenCount": 3,
                "thoughtsTokenCount": 7,
                "toolUsePromptTokenCount": 11,
                "totalTokenCount": 2030,
            }
        },
        Usage(1800, 0, 0, 220, 10),
    ),
    "more cached than there was": (
        {"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9, "cache_write_tokens": 9}}},
        Usage(5, 0, 0, 0, 0),
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_each_provider_is_read_by_its_own_arithmetic(name: str) -> None:
    answer, usage = ANSWERS[name]
    assert read_usage(answer) == usage


def test_headers_say_it_where_the_answer_does_not() -> None:
    bedrock = {
        "X-Amzn-Bedrock-Input-Token-Count": "21",
        "X-Amzn-Bedrock-Output-Token-Count": "3",
        "X-Amzn-Bedrock-Cache-Read-Input-Token-Count": "1800",
        "X-Amzn-Bedrock-Cache-Write-Input-Token-Count": "188",
    }
    assert read_usage({"generation": "hi"}, bedrock) == Usage(1800, 188, 0, 21, 3)
    fireworks = {"fireworks-prompt-tokens": "10", "fireworks-cached-prompt-tokens": "6"}
    assert read_usage({}, fireworks) == Usage(6, 0, 0, 4, 0)
    assert read_usage({"usage": {"prompt_tokens": 1}}, bedrock) == Usage(0, 0, 0, 1, 0)
    assert read_usage({}, {"fireworks-prompt-tokens": "-1", "X-Amzn-Bedrock-Input-Token-Count": "٣"}) is None


@pytest.mark.parametrize(
    "answer",
    [None, [], "x", {}, {"usage": None}, {"usage": []}, {"usage": {"tokens_of_tomorrow": 3}}, {"usageMetadata": {}}],
)
def test_what_says_nothing_is_nothing(answer: Any) -> None:
    assert read_usage(answer) is None


NAMES = st.sampled_from(
    sorted({name for answer, _ in ANSWERS.values() for name in json.dumps(answer).split('"')[1::2]})
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=30,
)


@given(JSON)
def test_no_answer_breaks_the_reading_nor_the_entry_it_is_kept_with(answer: Any) -> None:
    usage = read_usage(answer)
    if usage is not None:
        assert min(msgspec.structs.astuple(usage)) >= 0
        assert usage.written_long <= usage.written
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(usage), type=Usage) == usage


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


async def test_tokens_are_counted_where_they_are_paid_and_where_they_are_spared(
    start_gateway: StartGateway, provider: Provider
) -> None:
    usage = ANSWERS["openai chat"][0]["usage"]

    async def behave(request: web.Request) -> web.StreamResponse:
        body = provider.calls[-1]["body"]
        if body["messages"][-1]["content"] == "refused":
            return web.json_response({"error": {"message": "no"}, "usage": usage}, status=400)
        answer = completion(1, "m", "hello") | {"usage": usage}
        if not body.get("stream"):
            return web.json_response(answer)
        return await send_events(request, chunks_of(answer, True))

    provider.behave = behave
    async with start_gateway(manifest(provider.base_url)) as gateway:
        await gateway.post(asked("refused"))
        await gateway.post(asked("streamed", stream=True))
        await gateway.post(asked("whole"))
        await gateway.post(asked("kept nowhere"), headers={"Cache-Control": "no-store"})
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            for text in ("streamed", "streamed", "whole", "whole"):  # the last of them on the express lane
                assert (await client.post("/v1/chat/completions", json=asked(text))).headers["X-LLMCache"] == "HIT"
        assert await gateway.metric("llmcache_express_total") > 0
        paid = {
            kind: await gateway.metric(f'llmcache_provider_tokens_total{{kind="{kind}",provider="openai"}}')
            for kind in ("cached", "written", "uncached", "output")
        }
        spared = {
            kind: await gateway.metric(f'llmcache_saved_tokens_total{{kind="{kind}"}}') for kind in ("input", "output")
        }
        shown = await stats_of(gateway)
    assert paid == {"cached": 3 * 1800, "written": 3 * 188, "uncached": 3 * 21, "output": 3 * 3}
    assert spared == {"input": 4 * 2009, "output": 4 * 3}
    assert shown["versions"]["v1"]["savedTokens"] == spared | {"unpriced": 4 * 2012}
    assert shown["policies"]["default"]["savedTokens"] == spared | {"unpriced": 4 * 2012}
    assert shown["policies"]["default"]["providerTokens"] == paid


async def test_who_is_given_the_answer_to_anothers_call_is_spared_one(
    start_gateway: StartGateway, provider: Provider
) -> None:
    arrived = asyncio.Event()

    async def behave(_: web.Request) -> web.StreamResponse:
        await arrived.wait()
        return web.json_response(completion(1, "m", "hello"))

    provider.behave = behave
    async with start_gateway(manifest(provider.base_url, timeout="60s")) as gateway:
        both = [asyncio.create_task(gateway.post(asked("x"))) for _ in range(2)]
        async with asyncio.timeout(20):
            while (await gateway.status())["inFlight"] < 3:  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.02)
        arrived.set()
        outcomes = sorted(answer.headers["X-LLMCache"] for answer in await asyncio.gather(*both))
        assert outcomes == ["COALESCED", "MISS"]
        assert await gateway.metric('llmcache_saved_tokens_total{kind="input"}') == 9
        assert await gateway.metric('llmcache_provider_tokens_total{kind="uncached",provider="openai"}') == 9


async def test_a_stale_answer_spares_nothing_since_upstream_is_asked_all_the_same(
    start_gateway: StartGateway, provider: Provider
) -> None:
    now = [1_795_000_000.0]
    cache = {"ttl": "1m", "staleIfError": "1h"}
    async with start_gateway(manifest(provider.base_url, cache=cache), clock=lambda: now[0]) as gateway:
        await gateway.post(asked("x"))
        now[0] += 90

        async def fails(_: web.Request) -> web.StreamResponse:
            return web.json_response({"error": {"message": "no"}}, status=503)

        provider.behave = fails
        assert (await gateway.post(asked("x"))).headers["X-LLMCache"] == "STALE"
        assert await gateway.metric('llmcache_saved_tokens_total{kind="input"}') == 0


async def test_a_list_of_inputs_counts_those_it_was_spared(start_gateway: StartGateway, provider: Provider) -> None:
    async def behave(_: web.Request) -> web.StreamResponse:
        inputs = provider.calls[-1]["body"]["input"]
        data = [{"object": "embedding", "index": at, "embedding": [0.5]} for at in range(len(inputs))]
        tokens = 10 * len(inputs)
        answer = {
            "object": "list",
            "data": data,
            "model": "e",
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        return web.json_response(answer)

    provider.behave = behave
    async with start_gateway(manifest(provider.base_url)) as gateway:
        for inputs in (["a1", "b1"], ["b1", "c1"], ["a1", "b1", "c1", "c1"]):
            response = await gateway.post({"model": "e", "input": inputs}, path="/v1/embeddings")
            assert response.status_code == 200
        assert await gateway.metric('llmcache_provider_tokens_total{kind="uncached",provider="openai"}') == 30
        assert await gateway.metric('llmcache_saved_tokens_total{kind="input"}') == 10 + 40


async def test_anthropic_streams_are_counted_from_their_merged_totals(start_gateway: StartGateway) -> None:
    anthropic: AnthropicProvider
    async with running_anthropic() as anthropic:
        upstream = {"name": "main", "provider": "anthropic", "baseURL": anthropic.base_url}
        config = manifest(None)
        config["spec"]["upstreams"] = [upstream | {"credential": {"passthrough": True}}]
        headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
        body = {"model": "claude", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        async with start_gateway(config) as gateway:
            for expected in ("MISS", "HIT"):
                response = await gateway.post(body, path="/v1/messages", headers=headers)
                assert response.headers["X-LLMCache"] == expected
            shown = (await stats_of(gateway))["policies"]["default"]
    used = anthropic.answer(1, body)["usage"]
    assert shown["providerTokens"]["output"] == used["output_tokens"] == shown["savedTokens"]["output"]
    assert shown["providerTokens"]["uncached"] == used["input_tokens"]
