"""What /metrics shows of an error budget is what holds now: none outlasts its policy's settings, or its samples."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.conftest import StartGateway, TestGateway
from tests.gateway.provider import Provider
from tests.gateway.semantic.test_semantic_gateway import RESET, SAME, chat, until
from tests.gateway.semantic.test_shadowing import BANANAS, SETTINGS, answering, shadowed, would_serve

WEEK = 7 * 86400.0


async def shown(gateway: TestGateway, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by their labels, in the order of these' names."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{gateway.admin_url}/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return {tuple(value for _, value in sorted(one.labels.items())): one.value for one in families[name].samples}


async def test_rate_and_threshold_are_shown_for_as_long_as_they_hold(
    start_gateway: StartGateway, provider: Provider
) -> None:
    now = [1_800_000_000.0]
    answering(provider, SETTINGS, BANANAS)
    bounded = {"maxFalseHitRate": "20%", "sample": "100%"}
    async with start_gateway(shadowed(provider, bounded), clock=lambda: now[0]) as gateway:
        assert await shown(gateway, "llmcache_false_hit_rate") == {}  # of nothing, no share was wrong
        assert await shown(gateway, "llmcache_semantic_threshold") == {("default",): 0}
        await gateway.post(chat(RESET))
        await would_serve(gateway)
        await gateway.post(chat(SAME))

        async def is_rated() -> bool:
            rates = await shown(gateway, "llmcache_false_hit_rate")
            return rates.get(("estimate", "default")) == 1 and rates.keys() == {
                (bound, "default") for bound in ("low", "estimate", "high")
            }

        await until(is_rated)
        # What is not looked into any more says nothing.
        gateway.rewrite(shadowed(provider, {"enabled": False}))

        async def is_gone() -> bool:
            names = ("llmcache_false_hit_rate", "llmcache_semantic_threshold")
            return [await shown(gateway, name) for name in names] == [{}, {}]

        await until(is_gone)
        # Looked into again, what was found out counts still; without a bound no threshold follows from it.
        gateway.rewrite(shadowed(provider))
        await until(is_rated)
        assert await shown(gateway, "llmcache_semantic_threshold") == {}
        now[0] += WEEK + 1
        assert await shown(gateway, "llmcache_false_hit_rate") == {}
