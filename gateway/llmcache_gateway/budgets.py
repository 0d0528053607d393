"""The error budgets of all policies: what samples have told, here and at gateways that share a Redis."""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from llmcache_gateway.config import share
from llmcache_gateway.exchange import Question
from llmcache_gateway.labels import Drift, Label, Told
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.policy import Settings
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.semantic.budget import NOTHING, Budget

if TYPE_CHECKING:
    from llmcache_gateway.stores.labels import LabelKeeper

log = logging.getLogger(__name__)

NEWS_SECONDS: Final = 0.5
"""How often it is read what other gateways have found out."""

MAX_SECONDS: Final = 5.0
"""Longest that reading, or telling, may take."""

MAX_BUDGETS: Final = 100
"""Most budgets: one for each policy, and for each model and verifier it has had. The oldest leave."""

MAX_UNTOLD: Final = 1000
"""Most that waits for a Redis that is away."""

LEARNED_AT_ONCE: Final = 100
"""Most that is taken in before others have their turn."""


class ExactOnly(NamedTuple):
    """A policy whose hits were wrong too often at any similarity: it serves equal requests only."""

    policy: str
    sampled: int
    wrong: int


class _Bounded(NamedTuple):
    """A budget, the bound that it is to keep to, and whose hits it is about."""

    budget: Budget
    bound: float
    judged_by: str


class Budgets:
    """Knows what threshold the samples of each policy allow. `clock` returns seconds since the epoch.

    Where a Redis is shared, it is told what was found out here, and asked for what others have found out; while it is
    away, what is known holds.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock
        self._budgets: dict[tuple[str, str], Budget] = {}
        self._untold: deque[Told] = deque(maxlen=MAX_UNTOLD)

    def threshold(self, runtime: Runtime, question: Question) -> float:
        """Return the least similarity that the error budget allows: 0 where there is none, or nothing against any."""
        found = self._of(runtime, question.settings)
        return 0.0 if found is None else found.budget.threshold(0.0, found.bound)

    async def learn(self, runtime: Runtime, question: Question, similarity: float, *, wrong: bool) -> None:
        """Take in what came of a sampled hit, and tell others."""
        policy, bounded = question.settings.policy, self._of(runtime, question.settings)
        if bounded is None:
            return
        budget, bound, judged_by = bounded
        before = budget.threshold(0.0, bound)
        found: list[Label | Drift] = [Label(similarity, wrong, self._clock(), secrets.token_hex(8))]
        budget.learn(found[0])
        drift = budget.drift(bound)
        if drift is not None:
            found.append(drift)
            self._let_go(policy, budget, drift)
        self._show(policy, budget, bound, before)
        keeper = runtime.semantic.labels if runtime.semantic is not None else None
        if keeper is not None:
            self._untold.extend(Told(policy, judged_by, what) for what in found)
            await self._tell(keeper)

    async def follow(self, current: Callable[[], Runtime]) -> None:
        """Learn what other gateways find out, until cancelled; `current` returns the configuration in force."""
        away = False
        while True:
            runtime = current()
            keeper = runtime.semantic.labels if runtime.semantic is not None else None
            if keeper is not None and runtime.config.spec.semantic.max_false_hit_rate is not None:
                runtime.enter()  # its store must not be closed under it
                try:
                    await self._catch_up(runtime, keeper)
                    away = False
                except Exception as error:  # a server's client makes errors that no list foresees
                    if not away:
                        log.warning(
                            "what other gateways' samples told can't be read: %s; going on with what is known",
                            str(error) or type(error).__name__,
                        )
                    away = True
                finally:
                    runtime.leave()
            await asyncio.sleep(NEWS_SECONDS)

    def exact_only(self, runtime: Runtime) -> Iterator[ExactOnly]:
        """Yield the policies that serve equal requests only."""
        for policy, budget, bound in self._in_force(runtime):
            if budget.threshold(0.0, bound) == NOTHING:
                found = budget.estimate()
                yield ExactOnly(policy, found.sampled, found.wrong)

    async def _catch_up(self, runtime: Runtime, keeper: "LabelKeeper") -> None:
        await self._tell(keeper)
        async with asyncio.timeout(MAX_SECONDS):
            news = await keeper.news()
        if not news:
            return
        before = {policy: budget.threshold(0.0, bound) for policy, budget, bound in self._in_force(runtime)}
        for number, one in enumerate(news, 1):
            self._budget(one.policy, one.judged_by).learn(one.what)
            if number % LEARNED_AT_ONCE == 0:
                await asyncio.sleep(0)
        for policy, budget, bound in self._in_force(runtime):
            self._show(policy, budget, bound, before[policy])

    async def _tell(self, keeper: "LabelKeeper") -> None:
        """Tell others what they have not been told; what can't be told now is told later."""
        while self._untold:
            told = self._untold.popleft()
            try:
                async with asyncio.timeout(MAX_SECONDS):
                    await keeper.add(told)
            except asyncio.CancelledError:
                self._untold.appendleft(told)
                raise
            except Exception as error:
                log.info("what a sample told is kept for later: %s", str(error) or type(error).__name__)
                self._untold.appendleft(told)
                return

    def _in_force(self, runtime: Runtime) -> Iterator[tuple[str, Budget, float]]:
        """Yield the policies that have a budget, with it and its bound."""
        for settings in runtime.policies.all:
            found = self._of(runtime, settings)
            if found is not None:
                yield settings.policy, found.budget, found.bound

    def _of(self, runtime: Runtime, settings: Settings) -> _Bounded | None:
        """Return the budget of a policy; None where it has none."""
        semantic = settings.semantic
        if runtime.semantic is None or semantic is None or semantic.max_false_hit_rate is None:
            return None
        judged_by = runtime.semantic.judged_by(semantic)
        return _Bounded(self._budget(settings.policy, judged_by), share(semantic.max_false_hit_rate), judged_by)

    def _budget(self, policy: str, judged_by: str) -> Budget:
        name = (policy, judged_by)
        if name not in self._budgets:
            if len(self._budgets) >= MAX_BUDGETS:
                del self._budgets[next(iter(self._budgets))]
            self._budgets[name] = Budget(self._clock)
        return self._budgets[name]

    def _let_go(self, policy: str, budget: Budget, drift: Drift) -> None:
        before = budget.estimate().sampled
        budget.learn(drift)
        self._metrics.semantic_drifts.labels(policy).inc()
        log.warning(
            "policy %s: hits are wrong more often than they were; of %d samples the older %d are let go",
            policy,
            before,
            before - budget.estimate().sampled,
        )

    def _show(self, policy: str, budget: Budget, bound: float, before: float) -> None:
        """Show where a policy stands, and say so where its threshold is another than before."""
        found, after = budget.estimate(), budget.threshold(0.0, bound)
        for name, value in (("low", found.low), ("estimate", found.share), ("high", found.high)):
            self._metrics.false_hit_rate.labels(policy, name).set(value)
        self._metrics.semantic_threshold.labels(policy).set(2.0 if after == NOTHING else after)
        if after != before:
            log.warning(
                "policy %s: of %d sampled hits %d were wrong; questions are served %s",
                policy,
                found.sampled,
                found.wrong,
                "when they are equal only" if after == NOTHING else f"from a similarity of {after:.4f} on",
            )
