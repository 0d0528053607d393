"""Shadow mode end to end: what can not be compared, or is not to be, says nothing, and holds nobody up."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from safetensors.numpy import load_file, save_file

from llmcache_gateway.entry import Entry
from llmcache_gateway.exchange import Withheld
from llmcache_gateway.labelling import MAX_AT_ONCE
from llmcache_gateway.semantic.embedders import BUILT_IN, load_tokenizer
from llmcache_gateway.shadowing import is_still
from tests.gateway.conftest import ADMIN, StartGateway
from tests.gateway.provider import Provider, chunks_of, completion, send_events
from tests.gateway.semantic.questions import BANANAS, DEBUG, RESET, SAME, SETTINGS, answering, chat
from tests.gateway.semantic.shadows import compared, sampled, shadowed, until_sampled, would_serve


async def cut_off(request: web.Request) -> web.StreamResponse:
    return web.json_response(completion(1, "gpt-4o", SETTINGS, finish_reason="length"))


async def fails(request: web.Request) -> web.StreamResponse:
    return web.json_response({"error": {"message": "overloaded"}}, status=503)


async def is_torn(request: web.Request) -> web.StreamResponse:
    return await send_events(request, chunks_of(completion(1, "gpt-4o", SETTINGS), usage=True)[:3])


async def calls_a_tool(request: web.Request) -> web.StreamResponse:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return web.json_response(completion(1, "gpt-4o", "", message=message, finish_reason="tool_calls"))


@pytest.mark.parametrize("store_also", [[], ["truncated"]])
@pytest.mark.parametrize("behave", [cut_off, fails, is_torn, calls_a_tool])
async def test_an_answer_that_can_not_be_compared_says_nothing(
    start_gateway: StartGateway, provider: Provider, behave: Any, store_also: list[str]
) -> None:
    answering(provider, SETTINGS)
    async with start_gateway(shadowed(provider, cache={"storeAlso": store_also})) as gateway:
        await gateway.post(chat(RESET))
        await would_serve(gateway)
        provider.behave = behave
        await gateway.post(chat(SAME, stream=behave is is_torn))
        await until_sampled(gateway, "unknown")
        told = await compared(gateway)
        assert (told["default"]["compared"], told["default"]["wrong"]) == (0, 0)
        assert await sampled(gateway, "right") == await sampled(gateway, "wrong") == 0


@pytest.mark.parametrize(
    ("stored", "fresh", "verdict"),
    [
        # The model that comes with the gateway knows none of these signs: what is not one is alike to it, too.
        ("您可以在设置中重置密码。", "香蕉富含钾并生长在热带地区。", "unknown"),
        ("您可以在设置中重置密码。", "您可以在设置中重置密码", "right"),
        ("👍", "👎", "unknown"),
        ("👍", "👍!", "right"),
        (SETTINGS * 2000, SETTINGS * 2001, "unknown"),
    ],
)
async def test_answers_that_nobody_can_read_say_nothing_unless_they_are_equal(
    start_gateway: StartGateway, provider: Provider, stored: str, fresh: str, verdict: str
) -> None:
    answering(provider, stored, fresh)
    async with start_gateway(shadowed(provider)) as gateway:
        await gateway.post(chat(RESET))
        await would_serve(gateway)
        await gateway.post(chat(SAME))
        await until_sampled(gateway, verdict)


async def test_an_answer_in_which_the_model_sees_nothing_says_nothing(
    start_gateway: StartGateway, provider: Provider, tmp_path: Path
) -> None:
    model = load_file(next(BUILT_IN.glob("*.safetensors")))
    model["vectors"][load_tokenizer(BUILT_IN).encode(BANANAS, add_special_tokens=False).ids] = 0
    save_file(model, tmp_path / "vectors.safetensors")
    shutil.copy(BUILT_IN / "tokenizer.json", tmp_path)
    answering(provider, SETTINGS, BANANAS)
    async with start_gateway(shadowed(provider, {"embedding": {"local": {"path": str(tmp_path)}}})) as gateway:
        await gateway.post(chat(RESET))
        await would_serve(gateway)
        await gateway.post(chat(SAME))
        await until_sampled(gateway, "unknown")


@pytest.mark.parametrize("directive", ["no-store", "no-cache"])
async def test_a_client_that_wants_no_part_in_it_has_none(
    start_gateway: StartGateway, provider: Provider, directive: str
) -> None:
    answering(provider, SETTINGS)
    async with start_gateway(shadowed(provider)) as gateway:
        await gateway.post(chat(RESET))
        await would_serve(gateway)
        await gateway.post(chat(SAME), headers={"Cache-Control": directive})
        # One that is compared, so that the other would have been by now.
        await gateway.post(chat("How could I reset my password?"))
        await until_sampled(gateway, "right")
        assert (await compared(gateway))["default"]["compared"] == 1
        assert await sampled(gateway, "unknown") == 0


@pytest.mark.parametrize("by", ["invalidated", "expired", "replaced"])
async def test_an_entry_that_is_gone_when_the_answer_comes_is_not_compared(
    start_gateway: StartGateway, provider: Provider, by: str
) -> None:
    now = [1_800_000_000.0]
    answering(provider, SETTINGS)
    config = shadowed(provider, cache={"ttl": "100s", "staleWhileRevalidate": "1000s"})
    async with start_gateway(config, clock=lambda: now[0]) as gateway:
        first = await gateway.post(chat(RESET))
        await would_serve(gateway)

        async def behave(request: web.Request) -> web.StreamResponse:
            if by == "expired":
                now[0] += 200
            elif by == "invalidated":
                async with httpx.AsyncClient() as client:
                    wanted = {"keys": [first.headers["X-LLMCache-Key"]]}
                    await client.post(f"{gateway.admin_url}/admin/v1/invalidate", json=wanted, headers=ADMIN)
            elif provider.calls[-1]["body"] == chat(SAME):
                now[0] += 1
                await gateway.post(chat(RESET), headers={"Cache-Control": "no-cache"})
            return web.json_response(completion(len(provider.calls), "gpt-4o", SETTINGS))

        provider.behave = behave
        await gateway.post(chat(SAME))
        await until_sampled(gateway, "unknown")
        assert (await compared(gateway))["default"]["compared"] == 0


class Vectors:
    """Makes the provider one of vectors as well: all alike, and those of later answers not before it is let go."""

    def __init__(self, provider: Provider) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self.go.set()
        self._provider = provider

    async def behave(self, request: web.Request) -> web.StreamResponse:
        call = self._provider.calls[-1]["body"]
        if request.path != "/v1/embeddings":
            text = f"answer {len(self._provider.calls)} to {call['messages'][-1]['content']}"
            return web.json_response(completion(1, "gpt-4o", text))
        self.asked += call["input"]
        if any(text.startswith("answer") and not text.endswith(RESET) for text in call["input"]):
            await self.go.wait()
        data = [{"index": at, "embedding": [1.0] + [0.0] * 7} for at, _ in enumerate(call["input"])]
        return web.json_response({"object": "list", "data": data, "model": "m", "usage": {}})


def by_upstream(provider: Provider, vectors: Vectors, **more: Any) -> dict[str, Any]:
    provider.behave = vectors.behave
    own = {"embedding": {"upstream": "vectors", "model": "text-embedding-3-small"}} | more
    config = shadowed(provider, own)
    config["spec"]["upstreams"][0]["models"] = ["gpt-*"]
    more_of_it = {"name": "vectors", "provider": "openai", "baseURL": provider.base_url, "credential": {"env": "KEY"}}
    config["spec"]["upstreams"].append(more_of_it)
    return config


async def test_where_an_upstream_makes_vectors_nothing_is_compared_without_a_bound(
    start_gateway: StartGateway, provider: Provider
) -> None:
    vectors = Vectors(provider)
    async with start_gateway(by_upstream(provider, vectors), environment={"KEY": "k"}) as gateway:
        await gateway.post(chat(RESET))
        await would_serve(gateway)
        await gateway.post(chat(SAME))
        assert await gateway.metric('llmcache_false_hits_skipped_total{policy="default",reason="embedding"}') == 1
        assert await compared(gateway) == {}  # a share of those alone whose answers are equal would say nothing
    assert not any(text.startswith("answer") for text in vectors.asked)


async def test_no_more_is_compared_at_once_than_is_allowed_and_no_answer_waits_for_it(
    start_gateway: StartGateway, provider: Provider
) -> None:
    vectors = Vectors(provider)
    config = by_upstream(provider, vectors, maxFalseHitRate="20%", sample="100%", deadline="5s", guards=False)
    async with start_gateway(config, environment={"KEY": "k"}) as gateway:
        await gateway.post(chat(RESET))
        await would_serve(gateway)
        vectors.go.clear()
        try:
            verbs = ("change", "renew", "replace", "restore", "recover")[: MAX_AT_ONCE + 1]
            for verb in verbs:  # the vectors of all that is asked are alike
                answer = await gateway.post(chat(f"How can I {verb} my password?"), headers=DEBUG)
                assert answer.status_code == 200
                assert answer.headers["X-LLMCache-Semantic"].startswith("served;")
            assert await gateway.metric('llmcache_false_hits_skipped_total{policy="default",reason="busy"}') == 1
        finally:
            vectors.go.set()
        await until_sampled(gateway, "right", MAX_AT_ONCE)
    assert sum(text.startswith("answer") for text in vectors.asked) == 2 * MAX_AT_ONCE


async def test_answers_that_a_model_makes_no_vectors_of_keep_no_question_from_it(
    start_gateway: StartGateway, provider: Provider
) -> None:
    """They are too long for it, say; after so many failures nobody would be asked for a while."""
    vectors = Vectors(provider)
    config = by_upstream(provider, vectors, maxFalseHitRate="20%", sample="100%", deadline="5s", guards=False)

    async def behave(request: web.Request) -> web.StreamResponse:
        if any(text.startswith("answer") for text in provider.calls[-1]["body"].get("input", ())):
            await vectors.go.wait()
            return web.json_response({"error": {"message": "maximum context length exceeded"}}, status=400)
        return await vectors.behave(request)

    async with start_gateway(config, environment={"KEY": "k"}) as gateway:
        provider.behave = behave
        await gateway.post(chat(RESET))
        await would_serve(gateway)
        vectors.go.clear()
        for number in range(MAX_AT_ONCE):
            await gateway.post(chat(f"How can I reset password {number}?"))
        vectors.go.set()  # all fail, and no question meanwhile
        await until_sampled(gateway, "unknown", MAX_AT_ONCE)
        answer = await gateway.post(chat("How can I reset the password?"), headers=DEBUG)
        assert answer.headers["X-LLMCache-Semantic"].startswith("served;")
        assert await gateway.metric('llmcache_store_circuit_open{op="embed",store="embedding"}') == 0


def entry(stored_at: float, fresh_until: float) -> Entry:
    return Entry("json", "application/json", [b"{}"], "m", stored_at, fresh_until, fresh_until + 100)


@pytest.mark.parametrize(
    ("found", "now", "ttl", "is_it"),
    [
        (entry(10, 100), 50, 1000, True),
        (entry(11, 100), 50, 1000, False),  # another one
        (entry(10, 100), 100, 1000, False),
        (entry(10, 100), 50, 30, False),  # the policy allows less now
    ],
)
def test_only_what_was_withheld_and_is_fresh_is_compared(found: Entry, now: float, ttl: float, is_it: bool) -> None:
    assert is_still(found, Withheld("k", 10, 0.9, alias=False), now, ttl) is is_it
