"""Measures what providers were paid in tokens, and what the cache spared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from llmcache_gateway.contents.keeper import Charge
from llmcache_gateway.exchange import Exchange, Question
from llmcache_gateway.hint_stats import Side
from llmcache_gateway.hints.droughts import Call, Droughts, Ineffective
from llmcache_gateway.hints.effect import equivalents
from llmcache_gateway.hints.hinter import Hinted, route
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.prices import Prices
from llmcache_gateway.record import Recording
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.stats import Saving, Stats
from llmcache_gateway.usage import Usage

MAX_UNSETTLED: Final = 1000
"""Most sums that are kept apart before they are reckoned: clients choose the models' names."""


@dataclass(slots=True)
class _Spared:
    kept: int = 0
    uncached: int = 0
    output: int = 0


class Meter:
    """Counts tokens where they are spent and where they are spared. `clock` returns seconds.

    What hits spare is only added up as they come: reckoning it would take a tenth of the time of one.
    """

    def __init__(self, metrics: Metrics, stats: Stats, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._droughts = Droughts()
        self._metrics = metrics
        self._spared: dict[tuple[str, str, str, str], _Spared] = {}
        self._prices: Prices | None = None
        """By which what is noted is to be reckoned."""

        self._stats = stats

    def answered(self, runtime: Runtime, question: Question, recording: Recording, headers: Mapping[str, str]) -> None:
        """Count what an upstream's good answer, whole now, took, and what its hint brought; `headers` are its own."""
        usage = recording.usage(headers)
        if usage is None:
            return
        provider = question.upstream.provider
        for kind in ("cached", "written", "uncached", "output"):
            if count := getattr(usage, kind):
                self._metrics.provider_tokens.add(provider, kind, by=count)
        self._stats.count_provider(usage, policy=question.settings.policy)
        if question.side is not None:
            self._weigh_hint(runtime, question, question.side, usage)

    def _weigh_hint(self, runtime: Runtime, question: Question, side: Side, usage: Usage) -> None:
        policy, provider, model = question.settings.policy, question.upstream.provider, question.request.model
        prices, rate = runtime.hinter.capabilities.of(provider, model).prices, runtime.prices.of(provider, model)
        net = self._stats.side(policy, side).count(
            usage,
            hinted=question.hinted is not None,
            equivalents=equivalents(usage, prices) if prices is not None else None,
            usd_per_token=rate.input if rate is not None else None,
        )
        if question.hinted is not None:
            self._note_hint(runtime, question, question.hinted, side, usage)
        if question.hinted is not None and prices is not None:
            self._metrics.hint_net_tokens.add(policy, side, by=net)
            self._metrics.hint_net_usd.add(policy, side, by=net * (rate.input if rate is not None else 0.0))

    def _note_hint(self, runtime: Runtime, question: Question, hinted: Hinted, side: Side, usage: Usage) -> None:
        model = question.request.model
        capability = runtime.hinter.capabilities.of(question.upstream.provider, model)
        call = Call(
            usage=usage,
            prefix=min(hinted.places, key=lambda place: place.size).prefix,  # what most requests have in common
            minimum_tokens=capability.minimum_tokens,
            kept_seconds=hinted.kept_seconds,
        )
        self._droughts.note(route(question.upstream.name, model, side), call, self._clock())

    def paid(self, charge: Charge) -> None:
        """Count what a cached content costs beside the calls that use it."""
        self._stats.side(charge.policy, charge.side).pay(charge.tokens, charge.usd)
        self._metrics.hint_net_tokens.add(charge.policy, charge.side, by=-charge.tokens)
        self._metrics.hint_net_usd.add(charge.policy, charge.side, by=-charge.usd)

    def ineffective(self) -> list[Ineffective]:
        """Return the routes whose hints bring nothing."""
        return list(self._droughts.current(self._clock()))

    def spared(self, exchange: Exchange) -> None:
        """Note what a client was given without asking upstream for it; it is reckoned when somebody wants to know."""
        usage, question, prices = exchange.spared, exchange.question, exchange.runtime.prices
        if usage is None or question is None:
            return
        if prices is not self._prices:
            self.settle()
            self._prices = prices
        key = (exchange.version, question.settings.policy, question.upstream.provider, question.request.model)
        found = self._spared.get(key)
        if found is None:
            if len(self._spared) >= MAX_UNSETTLED:
                self.settle()
            found = self._spared[key] = _Spared()
        found.kept += usage.cached + usage.written
        found.uncached += usage.uncached
        found.output += usage.output

    def settle(self) -> None:
        """Reckon what was noted, so that metrics and stats show it."""
        noted, self._spared = self._spared, {}
        for (version, policy, provider, model), one in noted.items():
            usage = Usage(cached=one.kept, uncached=one.uncached, output=one.output)
            rate = self._prices.of(provider, model) if self._prices is not None else None
            usd = rate.again(usage) if rate is not None else None
            self._stats.save(Saving(usage, usd, model), version=version, policy=policy)
            self._metrics.saved_tokens.add("input", by=usage.input)
            self._metrics.saved_tokens.add("output", by=usage.output)
            self._metrics.saved_usd.add(by=usd or 0.0)
