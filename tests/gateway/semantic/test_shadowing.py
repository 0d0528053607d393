"""Shadow mode end to end: what would have been served is compared with the answer that came instead."""

import asyncio
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from safetensors.numpy import load_file, save_file

from llmcache_gateway.budgets import Budgets
from llmcache_gateway.entry import Entry
from llmcache_gateway.exchange import Question, Withheld
from llmcache_gateway.labelling import MAX_AT_ONCE, Hit, Labelling
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.semantic.embedders import BUILT_IN, load_tokenizer
from llmcache_gateway.semantic.judge import Verdict
from llmcache_gateway.shadowing import is_still
from tests.gateway.conftest import ADMIN, StartGateway, TestGateway
from tests.gateway.provider import Provider, chunks_of, completion, send_events
from tests.gateway.redis_stores import running
from tests.gateway.semantic.test_false_hits import pairs
from tests.gateway.semantic.test_judging import ENVIRONMENT, ask_until_judged, judged, spaced
from tests.gateway.semantic.test_judging import answering as judged_by_answers
from tests.gateway.semantic.test_semantic_gateway import DEBUG, RESET, SAME, chat, semantic, until
from tests.gateway.semantic.unsure import STORED, unsure_of

SETTINGS = "Open the settings, and click the button."
BANANAS = "Bananas are rich in potassium and grow in the tropics."
ONLY_CACHED = {"Cache-Control": "only-if-cached"}


def shadowed(provider: Provider, more: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return semantic(provider, semantic={"mode": "shadow"} | dict(more or {}), **spec)


def answering(provider: Provider, *texts: str, **choice: Any) -> None:
    """Have the provider say one after the other, and the last for ever."""
    left = list(texts)

    async def behave(request: web.Request) -> web.StreamResponse:
        call = provider.calls[-1]["body"]
        answer = completion(len(provider.calls), "gpt-4o", left.pop(0) if len(left) > 1 else left[0], **choice)
        if call.get("stream"):
            return await send_events(request, chunks_of(answer, usage=True))
        return web.json_response(answer)

    provider.behave = behave


async def would_serve(gateway: TestGateway, text: str = SAME, headers: dict[str, str] | None = None) -> None:
    """Wait until the stored question is found by one that means the same, which is not asked upstream for it."""
    name = 'llmcache_semantic_lookups_total{mode="shadow",outcome="served"}'
    before = await gateway.metric(name)

    async def is_found() -> bool:
        answer = await gateway.post(chat(text), headers=(headers or {}) | ONLY_CACHED)
        assert answer.status_code == 504
        return await gateway.metric(name) > before

    await until(is_found)


async def sampled(gateway: TestGateway, verdict: str) -> float:
    return await gateway.metric(f'llmcache_false_hits_sampled_total{{policy="default",verdict="{verdict}"}}')


async def until_sampled(gateway: TestGateway, verdict: str, times: int = 1) -> None:
    async def is_sampled() -> bool:
        return await sampled(gateway, verdict) == times

    await until(is_sampled)


async def compared(gateway: TestGateway) -> Any:
    async with httpx.AsyncClient() as client:
        told = (await client.get(f"{gateway.admin_url}/admin/v1/stats", headers=ADMIN)).json()
    return told["falseHits"]


async def rate(gateway: TestGateway, bound: str) -> float:
    return await gateway.metric(f'llmcache_false_hit_rate{{bound="{bound}",policy="default"}}')


@pytest.mark.parametrize("stored_as_stream", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_hit_that_would_have_been_right_is_counted_as_such(
    start_gateway: StartGateway, provider: Provider, stream: bool, stored_as_stream: bool
) -> None:
    answering(provider, SETTINGS, "open the settings and click the button")
    async with start_gateway(shadowed(provider)) as gateway:
        assert await compared(gateway) == {
            "default": {
                "mode": "shadow",
                "compared": 0,
                "wrong": 0,
                "rate": {"low": 0.0, "estimate": 0.0, "high": 1.0},
            }
        }
        await gateway.post(chat(RESET, stream=stored_as_stream))
        await would_serve(gateway)
        answer = await gateway.post(chat(SAME, stream=stream), headers=DEBUG)
        assert answer.headers["X-LLMCache"] == "MISS"
        assert answer.headers["X-LLMCache-Semantic"].startswith("served; similarity=0.")
        await until_sampled(gateway, "right")
        assert await rate(gateway, "estimate") == 0
        assert 0 < await rate(gateway, "high") < 1
        told = await compared(gateway)
        assert (told["default"]["compared"], told["default"]["wrong"]) == (1, 0)
        # It has an entry of its own now.
        assert (await gateway.post(chat(SAME, stream=stream))).headers["X-LLMCache"] == "HIT"
        assert await sampled(gateway, "right") == 1
    assert len(provider.calls) == 2  # nobody was asked again


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hit_that_would_have_been_wrong_is_counted_as_such(
    start_gateway: StartGateway, provider: Provider, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    answering(provider, SETTINGS, BANANAS)
    caplog.set_level(logging.INFO)
    async with start_gateway(shadowed(provider)) as gateway:
        first = await gateway.post(chat(RESET))
        await would_serve(gateway)
        answer = await gateway.post(chat(SAME, stream=stream))
        await until_sampled(gateway, "wrong")
        (line,) = (record for record in caplog.records if record.message == "COMPARED")
        keys = [one.headers["X-LLMCache-Key"] for one in (answer, first)]
        told_apart = dict(zip(("key", "stored"), keys, strict=True))
        assert line.fields == {"verdict": "wrong"} | told_apart  # type: ignore[attr-defined]
        assert await rate(gateway, "estimate") == 1
        assert 0 < await rate(gateway, "low") < 1
        told = await compared(gateway)
        assert (told["default"]["compared"], told["default"]["wrong"]) == (1, 1)
        # Without a bound nothing follows from it.
        assert (await gateway.status())["semantic"] == {"exactOnly": []}
        await would_serve(gateway, "How could I reset my password?")
    assert len(provider.calls) == 2


async def test_what_shadow_has_found_out_holds_once_hits_are_served(
    start_gateway: StartGateway, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    bound = {"maxFalseHitRate": "20%"}
    async with start_gateway(shadowed(provider, bound)) as gateway:

        async def is_strict() -> bool:
            return await gateway.metric('llmcache_semantic_threshold{policy="default"}') > 0

        for number, (question, other) in enumerate(pairs(), 1):
            answering(provider, SETTINGS, BANANAS)
            await gateway.post(chat(question))
            if await is_strict():
                break
            await would_serve(gateway, other)
            await gateway.post(chat(other))
            await until_sampled(gateway, "wrong", number)
        assert await is_strict()
        wrong = await sampled(gateway, "wrong")
        assert any(said.endswith("questions would be served when they are equal only") for said in caplog.messages)
        exact_only = {"exactOnly": [{"policy": "default", "sampled": wrong, "wrong": wrong}]}
        assert (await gateway.status())["semantic"] == exact_only
        before = (await gateway.status())["revision"]
        gateway.rewrite(semantic(provider, semantic=bound))

        async def is_reloaded() -> bool:
            return bool((await gateway.status())["revision"] != before)

        await until(is_reloaded)
        assert (await gateway.status())["semantic"] == exact_only
        answer = await gateway.post(chat("How could I change my password?"), headers=DEBUG)
        assert answer.headers["X-LLMCache"] == "MISS"
        assert answer.headers["X-LLMCache-Semantic"].startswith("budget;")


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


@pytest.mark.parametrize(
    ("stored", "begun"),
    [
        ("other", 1),
        ("own", 0),  # no hit by meaning: its own entry, which was not there in time
    ],
)
async def test_what_is_begun_keeps_its_configuration_in_use_from_then_on(
    gateway: TestGateway, stored: str, begun: int
) -> None:
    runtime, metrics = gateway.running.reloader.current, Metrics(CollectorRegistry())
    labelling = Labelling(metrics, Budgets(metrics, time.time))

    async def find() -> Verdict:
        return "unknown"

    before = runtime.in_flight
    labelling.begin(Hit(runtime, cast("Question", None), "own", stored, 0.9, alias=False), find)
    assert runtime.in_flight == before + begun
    await labelling.close()
    assert runtime.in_flight == before


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


async def test_what_one_tenant_asks_is_compared_with_nothing_of_anothers(
    start_gateway: StartGateway, provider: Provider
) -> None:
    red, blue = {"Authorization": "Bearer red"}, {"Authorization": "Bearer blue"}
    answering(provider, SETTINGS, BANANAS, SETTINGS)
    async with start_gateway(shadowed(provider)) as gateway:
        await gateway.post(chat(RESET), headers=red)
        await would_serve(gateway, headers=red)
        answer = await gateway.post(chat(SAME), headers=blue | DEBUG)
        assert answer.headers["X-LLMCache-Semantic"].startswith("none;")
        await gateway.post(chat(SAME), headers=red)
        await until_sampled(gateway, "right")
        assert (await compared(gateway))["default"]["compared"] == 1


async def test_an_answer_that_many_wait_for_is_compared_once(start_gateway: StartGateway, provider: Provider) -> None:
    answering(provider, SETTINGS)
    async with start_gateway(shadowed(provider)) as gateway:
        await gateway.post(chat(RESET))
        await would_serve(gateway)
        name = 'llmcache_semantic_lookups_total{mode="shadow",outcome="served"}'
        before = await gateway.metric(name)

        async def behave(request: web.Request) -> web.StreamResponse:
            async def all_wait() -> bool:
                return await gateway.metric(name) == before + 3

            await until(all_wait)
            return web.json_response(completion(2, "gpt-4o", SETTINGS))

        provider.behave = behave
        answers = await asyncio.gather(*(gateway.post(chat(SAME)) for _ in range(3)))
        assert sorted(answer.headers["X-LLMCache"] for answer in answers) == ["COALESCED", "COALESCED", "MISS"]
        await until_sampled(gateway, "right")
        assert (await compared(gateway))["default"]["compared"] == 1


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


async def test_gateways_that_share_a_redis_count_together(
    start_gateway: StartGateway, provider: Provider, request: pytest.FixtureRequest
) -> None:
    answering(provider, SETTINGS, BANANAS)
    config = shadowed(
        provider,
        cache={"store": {"type": "redis"}},
        redis={"external": running("redis", request).external},
        tenancy={"isolation": "Shared"},
    )
    async with start_gateway(config) as one, start_gateway(config) as other:
        await one.post(chat(RESET))
        await would_serve(other)
        await other.post(chat(SAME))
        await until_sampled(other, "wrong")

        async def is_told() -> bool:
            return bool((await compared(one))["default"]["wrong"] == 1)

        await until(is_told)
        assert await compared(one) == await compared(other)
        assert await rate(one, "estimate") == 1
        assert await sampled(one, "wrong") == 0


async def test_an_alias_that_would_have_been_wrong_is_taken_back(
    start_gateway: StartGateway, provider: Provider
) -> None:
    unsure = unsure_of()
    judged_by_answers(provider, SETTINGS)
    config = judged(provider, semantic={"mode": "shadow"})
    async with start_gateway(config, environment=ENVIRONMENT) as gateway:
        await gateway.post(chat(STORED))
        await ask_until_judged(gateway, unsure, "same", by="answers")
        judged_by_answers(provider, BANANAS)
        answer = await gateway.post(chat(spaced(unsure)), headers=DEBUG)
        assert answer.headers["X-LLMCache"] == "MISS"
        assert answer.headers["X-LLMCache-Semantic"].startswith("alias;")
        await until_sampled(gateway, "wrong")
        answer = await gateway.post(chat(spaced(unsure) + " "), headers=DEBUG)
        assert not answer.headers["X-LLMCache-Semantic"].startswith("alias")


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
