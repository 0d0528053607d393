"""What /metrics shows of an error budget is what holds now: none outlasts its policy's settings, or its samples."""

from tests.gateway.conftest import StartGateway
from tests.gateway.provider import Provider
from tests.gateway.semantic.questions import BANANAS, RESET, SAME, SETTINGS, answering, chat, until
from tests.gateway.semantic.shadows import shadowed, would_serve

WEEK = 7 * 86400.0
RATE = "llmcache_false_hit_rate"
THRESHOLD = "llmcache_semantic_threshold"


async def test_rate_and_threshold_are_shown_for_as_long_as_they_hold(
    start_gateway: StartGateway, provider: Provider
) -> None:
    now = [1_800_000_000.0]
    answering(provider, SETTINGS, BANANAS)
    bounded = {"maxFalseHitRate": "20%", "sample": "100%"}
    async with start_gateway(shadowed(provider, bounded), clock=lambda: now[0]) as gateway:
        assert await gateway.samples(RATE) == {}  # of nothing, no share was wrong
        assert await gateway.samples(THRESHOLD) == {'llmcache_semantic_threshold{policy="default"}': 0}
        await gateway.post(chat(RESET))
        await would_serve(gateway)
        await gateway.post(chat(SAME))

        async def is_rated() -> bool:
            rates = await gateway.samples(RATE)
            return len(rates) == 3 and rates['llmcache_false_hit_rate{bound="estimate",policy="default"}'] == 1

        await until(is_rated)
        # What is not looked into any more says nothing.
        gateway.rewrite(shadowed(provider, {"enabled": False}))

        async def is_gone() -> bool:
            return await gateway.samples(RATE) == await gateway.samples(THRESHOLD) == {}

        await until(is_gone)
        # Looked into again, what was found out counts still; without a bound no threshold follows from it.
        gateway.rewrite(shadowed(provider))
        await until(is_rated)
        assert await gateway.samples(THRESHOLD) == {}
        now[0] += WEEK + 1
        assert await gateway.samples(RATE) == {}
