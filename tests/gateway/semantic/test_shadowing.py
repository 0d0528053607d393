"""Shadow mode end to end: what would have been served is compared with the answer that came instead, and counted."""

import asyncio
import logging
import time
from typing import cast

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from llmcache_gateway.budgets import Budgets
from llmcache_gateway.exchange import Question
from llmcache_gateway.labelling import Hit, Labelling
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.semantic.judge import Verdict
from tests.gateway.conftest import StartGateway, TestGateway
from tests.gateway.provider import Provider, completion
from tests.gateway.redis_stores import running
from tests.gateway.semantic.questions import (
    BANANAS,
    DEBUG,
    RESET,
    SAME,
    SETTINGS,
    answering,
    chat,
    pairs,
    semantic,
    until,
)
from tests.gateway.semantic.shadows import compared, rate, sampled, shadowed, until_sampled, would_serve
from tests.gateway.semantic.unsure import ENVIRONMENT, STORED, ask_until_judged, judged, spaced, unsure_of


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
        assert answer.headers["X-LLMCache-Semantic"] == "budget"


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


async def test_what_one_tenant_asks_is_compared_with_nothing_of_anothers(
    start_gateway: StartGateway, provider: Provider
) -> None:
    red, blue = {"Authorization": "Bearer red"}, {"Authorization": "Bearer blue"}
    answering(provider, SETTINGS, BANANAS, SETTINGS)
    async with start_gateway(shadowed(provider)) as gateway:
        await gateway.post(chat(RESET), headers=red)
        await would_serve(gateway, headers=red)
        answer = await gateway.post(chat(SAME), headers=blue | DEBUG)
        assert answer.headers["X-LLMCache-Semantic"] == "none"
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
    answering(provider, SETTINGS)
    config = judged(provider, semantic={"mode": "shadow"})
    async with start_gateway(config, environment=ENVIRONMENT) as gateway:
        await gateway.post(chat(STORED))
        await ask_until_judged(gateway, unsure, "same", by="answers")
        answering(provider, BANANAS)
        answer = await gateway.post(chat(spaced(unsure)), headers=DEBUG)
        assert answer.headers["X-LLMCache"] == "MISS"
        assert answer.headers["X-LLMCache-Semantic"].startswith("alias;")
        await until_sampled(gateway, "wrong")
        answer = await gateway.post(chat(spaced(unsure) + " "), headers=DEBUG)
        assert not answer.headers["X-LLMCache-Semantic"].startswith("alias")
