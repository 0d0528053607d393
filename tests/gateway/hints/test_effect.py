"""What hints bring: reckoned in tokens and money, by policy and side of an experiment, and shown over real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web

from llmcache_gateway.config import HintExperiment, HintsOverride
from llmcache_gateway.hint_stats import SideCounts
from llmcache_gateway.hints.capabilities import Prices
from llmcache_gateway.hints.effect import equivalents
from llmcache_gateway.hints.experiment import is_alternative
from llmcache_gateway.usage import Usage
from tests.gateway.anthropic_provider import AnthropicProvider, running_anthropic
from tests.gateway.conftest import ADMIN, StartGateway, TestGateway
from tests.gateway.hints.test_gateway import CLAUDE, LONG, ask, asked, in_front_of, text
from tests.gateway.test_stats import stats_of

PRICES = Prices(read=0.05, write={"5m": 1.25, "1h": 2.0})
LIST_PRICE = 2e-6
"""Of an input token of CLAUDE, in USD."""


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(uncached=100, output=9), 100),
        (Usage(cached=1000, uncached=100), 150),
        (Usage(written=1000, uncached=100), 1350),
        (Usage(written=1000, written_long=1000, uncached=100), 2100),
        (Usage(cached=1000, written=100, written_long=40), 50 + 60 * 1.25 + 80),
    ],
)
def test_an_input_costs_what_was_read_written_and_neither(usage: Usage, cost: float) -> None:
    assert equivalents(usage, PRICES) == pytest.approx(cost)


def test_what_is_written_costs_no_more_where_no_price_says_so() -> None:
    assert equivalents(Usage(cached=100, written=10), Prices(0.5, {})) == 60


def test_writing_what_is_never_read_counts_against_the_hints() -> None:
    side, written = SideCounts(), Usage(written=1000, uncached=10)
    assert side.count(written, hinted=True, equivalents=1260, usd_per_token=1e-6) == -250
    read = Usage(cached=1000, uncached=10)
    side.count(read, hinted=True, equivalents=60, usd_per_token=None)
    side.count(Usage(uncached=10), hinted=False, equivalents=10, usd_per_token=1e-6)
    side.count(Usage(uncached=10), hinted=True, equivalents=None, usd_per_token=1e-6)
    shown = side.shown()
    assert (shown["netTokens"], shown["netUSD"]) == (700, -250e-6)
    assert (shown["calls"], shown["hinted"], shown["unpricedCalls"]) == (4, 3, 1)
    assert (shown["inputTokens"], shown["inputEquivalents"], shown["costRatio"]) == (2030, 1330, 0.6552)


def test_an_experiment_takes_its_share_of_the_prompts_and_keeps_them() -> None:
    def share(percent: int) -> set[int]:
        experiment = HintExperiment(percent=percent, alternative=HintsOverride(ttl="1h"))
        return {number for number in range(1000) if is_alternative(experiment, number.to_bytes(8, "big") * 2)}

    assert len(share(20)) == 200
    assert share(20) < share(21)


class Caching(AnthropicProvider):
    """Keeps what is marked, by its text, and says so in its usage as Anthropic does."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: set[str] = set()

    def answer(self, number: int, body: dict[str, Any]) -> dict[str, Any]:
        answer = super().answer(number, body)
        system = body.get("system")
        usage: dict[str, Any] = {"input_tokens": 1010, "output_tokens": 5}
        if isinstance(system, list) and "cache_control" in system[-1]:
            long = system[-1]["cache_control"].get("ttl") == "1h"
            usage = {"input_tokens": 10, "output_tokens": 5}
            if (known := system[-1]["text"]) in self.kept:
                usage |= {"cache_read_input_tokens": 1000}
            else:
                self.kept.add(known)
                split = {"ephemeral_5m_input_tokens": 0 if long else 1000, "ephemeral_1h_input_tokens": 1000 * long}
                usage |= {"cache_creation_input_tokens": 1000, "cache_creation": split}
        return answer | {"usage": usage}


@pytest.fixture
async def claude() -> AsyncIterator[Caching]:
    async with running_anthropic(Caching()) as provider:
        assert isinstance(provider, Caching)
        yield provider


async def test_what_hints_bring_is_shown_in_tokens_and_money(start_gateway: StartGateway, claude: Caching) -> None:
    async with start_gateway(in_front_of(claude)) as gateway:
        for question in ("one", "two", "three", "four"):  # not marked, written, read, read
            await ask(gateway, asked(question))
        shown = (await stats_of(gateway))["policies"]["default"]["hints"]
        tokens = await gateway.metric('llmcache_hint_net_savings_tokens{policy="default",side="main"}')
        usd = await gateway.metric('llmcache_hint_net_savings_usd{policy="default",side="main"}')
    net = -250 + 2 * 950
    assert set(shown) == {"main"}
    assert shown["main"] == {
        "calls": 4,
        "hinted": 3,
        "unpricedCalls": 0,
        "inputTokens": 4040,
        "inputEquivalents": pytest.approx(4040 - net),
        "costRatio": pytest.approx((4040 - net) / 4040, abs=1e-4),
        "netTokens": pytest.approx(net),
        "netUSD": pytest.approx(net * LIST_PRICE),
    }
    assert tokens == pytest.approx(net)
    assert usd == pytest.approx(net * LIST_PRICE)


async def test_hints_that_only_cost_are_shown_below_zero(start_gateway: StartGateway, claude: Caching) -> None:
    hints = {"mode": "always", "points": [{"location": "system"}], "ttl": "1h"}
    async with start_gateway(in_front_of(claude, **hints)) as gateway:
        for number in range(3):
            await ask(gateway, asked("x", system=f"It is {number} o'clock. {LONG}"))
        assert await gateway.metric('llmcache_hint_net_savings_tokens{policy="default",side="main"}') == -3000


async def test_both_sides_of_an_experiment_are_shown_and_a_prompt_is_on_one_of_them(
    start_gateway: StartGateway, claude: Caching
) -> None:
    hints = {"experiment": {"percent": 50, "alternative": {"mode": "always", "points": [{"location": "system"}]}}}
    prompts = [f"{number} {LONG}" for number in range(20)]
    async with start_gateway(in_front_of(claude, **hints)) as gateway:
        for question in ("one", "two", "three"):
            for system in prompts:
                await ask(gateway, asked(question, system=system))
        own = [text("mine", cache_control={"type": "ephemeral"})]
        await ask(gateway, asked("a client's own mark is on neither side", system=own))
        shown = (await stats_of(gateway))["policies"]["default"]["hints"]
    marked = [isinstance(call["body"]["system"], list) for call in claude.calls[:-1]]
    rounds = [marked[at : at + len(prompts)] for at in range(0, len(marked), len(prompts))]
    alternative = sum(rounds[0])  # marked the first time: only `always` does that
    assert 0 < alternative < len(prompts)
    assert rounds[1:] == [[True] * len(prompts)] * 2
    assert (shown["alternative"]["calls"], shown["alternative"]["hinted"]) == (3 * alternative, 3 * alternative)
    rest = len(prompts) - alternative
    assert (shown["main"]["calls"], shown["main"]["hinted"]) == (3 * rest, 2 * rest)
    assert shown["alternative"]["costRatio"] < shown["main"]["costRatio"]


async def ineffective(gateway: TestGateway) -> list[dict[str, str]]:
    async with httpx.AsyncClient() as client:
        told = (await client.get(f"{gateway.admin_url}/admin/v1/status", headers=ADMIN)).json()
    found: list[dict[str, str]] = told["hints"]["ineffective"]
    return found


async def test_hints_that_never_lead_to_a_hit_are_named_until_one_does(
    start_gateway: StartGateway, claude: Caching
) -> None:
    now = [1_795_000_000.0]
    hints = {"mode": "always", "points": [{"location": "system"}]}
    async with start_gateway(in_front_of(claude, **hints), clock=lambda: now[0]) as gateway:
        for number in range(25):
            await ask(gateway, asked("x", system=f"It is {number} o'clock. {LONG}"))
            now[0] += 30
        (told,) = await ineffective(gateway)
        assert (told["upstream"], told["model"], told["reason"]) == ("main", CLAUDE, "PrefixVolatile")
        await ask(gateway, asked("y", system=f"It is 1 o'clock. {LONG}"))
        assert await ineffective(gateway) == []


async def test_a_provider_that_says_nothing_of_its_cache_breaks_nothing(
    start_gateway: StartGateway, claude: Caching
) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        answer = AnthropicProvider.answer(claude, len(claude.calls), claude.calls[-1]["body"])
        renamed = {"tokens_in": 3, "cache_reads": {"tokens": "many"}, "cache_creation": [], "input_tokens": None}
        return web.json_response(answer | {"usage": renamed})

    claude.behave = behave
    async with start_gateway(in_front_of(claude)) as gateway:
        for question in ("one", "two", "two"):
            await ask(gateway, asked(question))
        shown = (await stats_of(gateway))["policies"]["default"]
    assert set(shown["providerTokens"].values()) == {0}
    assert "hints" not in shown
