"""What tokens cost, and what of that is said to be saved."""

from typing import Any

import pytest
from aiohttp import web

from llmcache_gateway.config import PriceRow
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.hints.capabilities import Capabilities, shipped_rows
from llmcache_gateway.prices import Prices, Rate, shipped_prices
from llmcache_gateway.tables import first_match, plain
from llmcache_gateway.usage import Usage
from tests.gateway.conftest import StartGateway, manifest
from tests.gateway.provider import Provider, completion
from tests.gateway.test_stats import stats_of
from tests.gateway.test_usage import asked


def prices(*own: PriceRow) -> Prices:
    return Prices([*own, *shipped_prices()], Capabilities(shipped_rows()))


@pytest.mark.parametrize(
    ("provider", "model", "per_million"),
    [
        ("openai", "gpt-4o", (2.5, 10)),
        ("openai", "gpt-4o-2024-11-20", (2.5, 10)),
        ("openai", "gpt-4o-mini", (0.15, 0.6)),
        ("openai", "gpt-5-mini", (0.25, 2)),
        ("openai", "gpt-6.1-sol-2026-10-01", (2, 10)),
        ("anthropic", "claude-sonnet-4-5-20250929", (3, 15)),
        ("anthropic", "claude-sonnet-5-5", (2, 10)),
        ("bedrock", "global.anthropic.claude-opus-4-6-v1:0", (5, 25)),
        ("vertex", "claude-opus-4-1@20250805", (15, 75)),
        ("bedrock", "us.amazon.nova-lite-v1:0", (0.06, 0.24)),
        ("gemini", "gemini-2.5-pro", (1.25, 10)),
        ("gemini", "gemini-2.5-flash-lite", (0.1, 0.4)),
        ("xai", "grok-4", (3, 15)),
        ("xai", "grok-4.20", (1.25, 2.5)),
        ("echo", "anything", (0, 0)),
    ],
)
def test_known_models_have_their_list_price(provider: str, model: str, per_million: tuple[float, float]) -> None:
    rate = prices().of(provider, model)
    assert rate is not None
    assert (rate.input * 1e6, rate.output * 1e6) == pytest.approx(per_million)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-9"),
        ("openai", "gpt-4o-audio-preview"),
        ("openai", "claude-sonnet-5"),
        ("azure", "team-a"),
        ("", ""),
    ],
)
def test_for_a_model_that_is_not_known_no_money_is_claimed(provider: str, model: str) -> None:
    assert prices().of(provider, model) is None


def test_every_row_of_the_table_is_reached() -> None:
    rows = shipped_prices()
    for row in rows:
        for provider in row.providers:
            for pattern in row.models:
                assert first_match(rows, provider, plain(pattern.replace("*", ""))) is row, (provider, pattern)


def test_a_manifests_rows_stand_before_the_table() -> None:
    own = PriceRow(models=["gpt-4o", "team-*"], input="1.50")
    assert prices(own).of("azure", "team-a") == Rate(1.5e-6, 0.0, None)
    assert prices(own).of("openai", "gpt-4o") == Rate(1.5e-6, 0.0, 0.5)


def test_no_more_is_claimed_than_is_known() -> None:
    used = Usage(cached=100, written=50, written_long=20, uncached=10, output=7)
    assert Rate(2.0, 3.0, 0.1).again(used) == pytest.approx((10 + 15) * 2 + 21)
    assert Rate(2.0, 3.0, None).again(used) == pytest.approx(10 * 2 + 21)


async def test_money_is_counted_by_version_and_policy_and_what_has_no_price_is_said(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async def behave(_: web.Request) -> web.StreamResponse:
        usage = {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 800}}
        return web.json_response(completion(1, "m", "hello") | {"usage": usage})

    provider.behave = behave
    policy = {"name": "mine", "match": {"models": ["own-*"]}, "cache": {"ttl": "1h"}}
    rows = [{"models": ["own-*"], "input": "10", "output": "0"}]
    async with start_gateway(manifest(provider.base_url, policies=[policy], prices=rows)) as gateway:
        for model in ("gpt-4o", "own-1", "nameless"):
            for expected in ("MISS", "HIT", "HIT"):
                response = await gateway.post(asked("x", model=model))
                assert response.headers["X-LLMCache"] == expected
        total = await gateway.metric("llmcache_saved_usd_total")
        ratio = await gateway.metric("llmcache_hit_ratio")
        shown = await stats_of(gateway)
    listed = (200 + 800 * 0.5) * 2.5e-6 + 100 * 10e-6
    own = 200 * 10e-6  # what cached input costs there nobody knows
    saved: dict[str, Any] = {name: counts["savedUSD"] for name, counts in shown["policies"].items()}
    assert saved == {"default": pytest.approx(2 * listed), "mine": pytest.approx(2 * own)}
    assert shown["versions"]["v1"]["savedUSD"] == shown["all"]["savedUSD"] == pytest.approx(total)
    assert total == pytest.approx(2 * listed + 2 * own)
    assert ratio == shown["all"]["hitRatio"] == pytest.approx(6 / 9)
    assert shown["all"]["savedTokens"] == {"input": 6000, "output": 600, "unpriced": 2200}
    assert shown["unpricedModels"] == ["nameless"]


async def test_a_price_that_is_none_is_refused(start_gateway: StartGateway) -> None:
    with pytest.raises(ConfigError, match="amount of USD"):
        async with start_gateway(manifest(None, prices=[{"models": ["m"], "input": "-1"}])):
            pass
