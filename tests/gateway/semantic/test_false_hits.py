"""The error budget end to end: a sample of hits is asked again, and what differs makes the cache stricter."""

from typing import Any

import pytest
from aiohttp import web

from tests.gateway.conftest import StartGateway
from tests.gateway.provider import Provider, completion
from tests.gateway.semantic.questions import DEBUG, ask_until_hit, chat, pairs, semantic, until


def answering(provider: Provider, text: str | None) -> None:
    """Have the provider say the same to every question, or what is different each time."""
    others = (
        "Open the settings and click the button at the top.",
        "Bananas are rich in potassium and grow in the tropics.",
        "The orchestra played a symphony to a full house.",
        "Granite forms when magma cools slowly below the ground.",
    )

    async def behave(request: web.Request) -> web.Response:
        number = len(provider.calls)
        return web.json_response(completion(number, "gpt-4o", text or others[number % len(others)]))

    provider.behave = behave


def bounded(provider: Provider, **more: Any) -> dict[str, Any]:
    return semantic(provider, semantic={"maxFalseHitRate": "20%", "sample": "100%"} | more)


async def test_hits_whose_answer_is_confirmed_are_served_on(start_gateway: StartGateway, provider: Provider) -> None:
    answering(provider, "Open the settings, and click the button.")
    async with start_gateway(bounded(provider)) as gateway:
        for number, (question, other) in enumerate(pairs(), 1):
            await gateway.post(chat(question))
            await ask_until_hit(gateway, chat(other))

            async def is_sampled(wanted: int = number) -> bool:
                name = 'llmcache_false_hits_sampled_total{policy="default",verdict="right"}'
                return await gateway.metric(name) == wanted

            await until(is_sampled)
        assert await gateway.metric('llmcache_false_hit_rate{bound="estimate",policy="default"}') == 0
        assert 0 < await gateway.metric('llmcache_false_hit_rate{bound="high",policy="default"}') < 0.5
        assert await gateway.metric('llmcache_semantic_threshold{policy="default"}') == 0
        # What was asked again has an entry of its own now.
        assert 'detail="memory"' in (await gateway.post(chat(pairs()[0][1]))).headers["Cache-Status"]


async def test_where_hits_were_wrong_equal_requests_only_are_served_until_another_decides(
    start_gateway: StartGateway, provider: Provider
) -> None:
    answering(provider, None)
    async with start_gateway(bounded(provider)) as gateway:

        async def is_strict() -> bool:
            return await gateway.metric('llmcache_semantic_threshold{policy="default"}') > 0

        for number, (question, other) in enumerate(pairs(), 1):
            await gateway.post(chat(question))
            if await is_strict():
                break
            await ask_until_hit(gateway, chat(other))

            async def is_sampled(wanted: int = number) -> bool:
                name = 'llmcache_false_hits_sampled_total{policy="default",verdict="wrong"}'
                return await gateway.metric(name) == wanted

            await until(is_sampled)
        assert await is_strict()
        # None was right, so nothing speaks for serving any.
        sampled = await gateway.metric('llmcache_false_hits_sampled_total{policy="default",verdict="wrong"}')
        told = {"policy": "default", "sampled": sampled, "wrong": sampled}
        assert (await gateway.status())["semantic"] == {"exactOnly": [told]}
        assert await gateway.metric('llmcache_false_hit_rate{bound="estimate",policy="default"}') == 1
        answer = await gateway.post(chat("How could I change my password?"), headers=DEBUG)
        assert answer.headers["X-LLMCache"] == "MISS"
        assert answer.headers["X-LLMCache-Semantic"] == "budget"
        gateway.rewrite(bounded(provider, guards=False))  # what decides is another now: its hits are not known yet

        async def is_over() -> bool:
            return bool((await gateway.status())["semantic"] == {"exactOnly": []})

        await until(is_over)


@pytest.mark.parametrize("bound", [False, True])
async def test_nothing_is_asked_again_without_a_bound_or_that_is_not_drawn(
    start_gateway: StartGateway, provider: Provider, bound: bool
) -> None:
    answering(provider, "So.")
    config = bounded(provider, sample="0.0000001%") if bound else semantic(provider)
    async with start_gateway(config) as gateway:
        (question, other), *_ = pairs()
        await gateway.post(chat(question))
        await ask_until_hit(gateway, chat(other))
        assert len(provider.calls) == 1


async def fails(request: web.Request) -> web.Response:
    return web.json_response({"error": {"message": "overloaded"}}, status=503)


async def is_cut_off(request: web.Request) -> web.Response:
    return web.json_response(completion(1, "gpt-4o", "Bananas", finish_reason="length"))


@pytest.mark.parametrize("behave", [fails, is_cut_off])
async def test_a_hit_that_can_not_be_asked_again_says_nothing(
    start_gateway: StartGateway, provider: Provider, behave: Any
) -> None:
    answering(provider, "So.")
    config = bounded(provider)
    config["spec"]["cache"] = {"storeAlso": ["truncated"]}  # for who asks the very same
    async with start_gateway(config) as gateway:
        (question, other), *_ = pairs()
        await gateway.post(chat(question))
        provider.behave = behave
        await ask_until_hit(gateway, chat(other))

        async def is_unknown() -> bool:
            return await gateway.metric('llmcache_false_hits_sampled_total{policy="default",verdict="unknown"}') >= 1

        await until(is_unknown)
        assert await gateway.metric('llmcache_semantic_threshold{policy="default"}') == 0
