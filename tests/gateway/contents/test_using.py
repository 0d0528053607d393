"""A content that is there: what clients notice of it (nothing), what is counted, and what is shown to who asks."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.conftest import StartGateway
from tests.gateway.contents.clients import CLIENT, EVENTS, GEMINI, LONG, MODEL, asked, config, make_one, until
from tests.gateway.corpus import asking
from tests.gateway.providers.google import GoogleProvider


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
@pytest.mark.parametrize("client", [asking.gemini, asking.vertex])
async def test_googles_own_sdk_is_answered_with_a_cached_content_and_notices_nothing(
    start_gateway: StartGateway, google: GoogleProvider, client: Callable[[str], Any]
) -> None:
    provider = "vertex" if client is asking.vertex else "gemini"
    options = {"system_instruction": LONG, "temperature": 0.5}
    async with start_gateway(config(google, provider=provider)) as gateway:
        through, straight = client(gateway.url).aio.models, client(google.url).aio.models

        async def whole(models: Any, words: str) -> Any:
            return await models.generate_content(model=MODEL, contents=words, config=options)

        for number in range(3):
            given = await whole(through, f"number {number}")
            assert given.usage_metadata.cached_content_token_count is None
        await until(lambda: google.made)
        numbers = iter(range(3, 1000))
        async with asyncio.timeout(30):
            while not (await whole(through, f"number {next(numbers)}")).usage_metadata.cached_content_token_count:
                pass
        used = google.using()[-1]
        given, expected = await whole(through, "and now"), await whole(straight, "and now")
        assert (given.text, given.usage_metadata.prompt_token_count) == (
            expected.text,
            expected.usage_metadata.prompt_token_count,
        )
        pieces = await through.generate_content_stream(model=MODEL, contents="in pieces", config=options)
        said = [piece async for piece in pieces]
        assert "".join(piece.text for piece in said) == (await whole(straight, "in pieces")).text
        assert said[-1].usage_metadata.cached_content_token_count > 1000
    assert google.using().count(used) >= 3
    assert used == google.made[0]


async def test_entries_and_hits_know_nothing_of_cached_contents(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    async with start_gateway(config(google)) as gateway:
        await make_one(gateway, google)
        first = await gateway.post(asked("once"), f"{GEMINI}:generateContent", headers=CLIENT)
        again = await gateway.post(asked("once"), f"{GEMINI}:generateContent", headers=CLIENT)
    assert [one.headers["X-LLMCache"] for one in (first, again)] == ["MISS", "HIT"]
    assert first.json() == again.json()


@pytest.mark.parametrize(
    "more",
    [
        {"cachedContent": "cachedContents/mine"},
        {"cached_content": "cachedContents/mine"},
        {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}},
        {"system_instruction": {"parts": [{"text": LONG}]}},
    ],
)
async def test_a_request_of_which_nothing_is_certain_goes_upstream_as_it_came(
    start_gateway: StartGateway, google: GoogleProvider, more: dict[str, Any]
) -> None:
    async with start_gateway(config(google)) as gateway:
        await make_one(gateway, google)
        body = asked("odd", **more)
        for _ in range(5):
            await gateway.post(body, f"{GEMINI}:generateContent", headers=CLIENT | {"Cache-Control": "no-cache"})
            assert google.calls[-1]["body"] == body
    assert len(google.made) == 1


async def test_what_it_does_is_shown_in_metrics_status_log_and_to_a_client_that_asks(
    start_gateway: StartGateway, google: GoogleProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "llmcache_gateway.requests")
    async with start_gateway(config(google)) as gateway:
        name = await make_one(gateway, google)
        given = await gateway.post(
            asked("shown"), f"{GEMINI}:generateContent", headers=CLIENT | {"X-LLMCache-Debug": "1"}
        )
        plain = await gateway.post(asked("plain"), f"{GEMINI}:generateContent", headers=CLIENT)
        assert given.headers["X-LLMCache-Hint"] == f'cachedContent; name="{name}"'
        assert "X-LLMCache-Hint" not in plain.headers
        tokens = google.contents[name].tokens
        (shown,) = (await gateway.status())["hints"]["cachedContents"]
        assert 500 < shown.pop("seconds") <= 600
        assert shown.pop("idleSeconds") <= 30
        assert shown == {"upstream": "main", "model": MODEL, "name": name, "tokens": tokens}
        assert await gateway.metric(f'{EVENTS}{{event="made",upstream="main"}}') == 1
        assert await gateway.metric("llmcache_cached_contents") == 1
        assert await gateway.metric("llmcache_cached_content_tokens") == tokens
        assert await gateway.metric('llmcache_hints_total{hint="cachedContent",upstream="main"}') >= 3
    hints = [record.__dict__["fields"]["hint"] for record in caplog.records if "CACHE MISS" in record.getMessage()]
    assert hints[:3] == [None] * 3
    assert hints[-1] == "cachedContent"
    assert LONG not in "".join(str(record.__dict__) for record in caplog.records)


async def test_what_it_costs_and_brings_is_counted_creation_and_storage_included(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    prices = {"models": [MODEL], "prices": {"read": "0.1", "storage": "6"}}
    async with start_gateway(config(google, hints={"capabilities": [prices]})) as gateway:
        name = await make_one(gateway, google)
        tokens, used = google.contents[name].tokens, google.using().count(name)
        net = await gateway.metric('llmcache_hint_net_savings_tokens{policy="default",side="main"}')
    # Each use saves nine tenths; making it costs its tokens once, keeping it for ten minutes as much again.
    assert net == pytest.approx(used * tokens * 0.9 - tokens * (1 + 6 * 600 / 3600))
