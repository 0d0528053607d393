"""The error budgets of all policies: what hits have told, here and at gateways that share a Redis."""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from llmcache_gateway.config import share
from llmcache_gateway.config.semantic import SemanticMode
from llmcache_gateway.exchange import Question
from llmcache_gateway.labels import Drift, Label, Told
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.policy import Settings
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.semantic.budget import NOTHING, Budget, Estimate, is_looked_into

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


class Measured(NamedTuple):
    """How often a policy's hits were wrong, of those that count still; in mode `shadow` they were not served."""

    policy: str
    mode: SemanticMode
    estimate: Estimate


class _Kept(NamedTuple):
    """What is known of a policy's hits, the bound that it is to keep to, and by what they were decided.

    Without a bound it is only measured: nothing follows from it.
    """

    policy: str
    mode: SemanticMode
    budget: Budget
    bound: float | None
    judged_by: str

    @property
    def threshold(self) -> float:
        """The least similarity that the bound allows."""
        return 0.0 if self.bound is None else self.budget.threshold(0.0, self.bound)


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
        return 0.0 if found is None else found.threshold

    async def learn(self, runtime: Runtime, question: Question, similarity: float, *, wrong: bool) -> None:
        """Take in what came of a hit, and tell others."""
        kept = self._of(runtime, question.settings)
        if kept is None:
            return
        before = kept.threshold
        found: list[Label | Drift] = [Label(similarity, wrong, self._clock(), secrets.token_hex(8))]
        kept.budget.learn(found[0])
        drift = kept.budget.drift(kept.bound) if kept.bound is not None else None
        if drift is not None:
            found.append(drift)
            self._let_go(kept.policy, kept.budget, drift)
        _tell_change(kept, before)
        keeper = runtime.semantic.labels if runtime.semantic is not None else None
        if keeper is not None:
            self._untold.extend(Told(kept.policy, kept.judged_by, what) for what in found)
            await self._tell(keeper)

    async def follow(self, current: Callable[[], Runtime]) -> None:
        """Learn what other gateways find out, until cancelled; `current` returns the configuration in force."""
        away = False
        while True:
            runtime = current()
            keeper = runtime.semantic.labels if runtime.semantic is not None else None
            if keeper is not None and any(self._in_force(runtime)):
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
        for kept in self._in_force(runtime):
            if kept.threshold == NOTHING:
                found = kept.budget.estimate()
                yield ExactOnly(kept.policy, found.sampled, found.wrong)

    def measured(self, runtime: Runtime) -> Iterator[Measured]:
        """Yield what is known of each policy's hits, of those whose hits are looked into."""
        for kept in self._in_force(runtime):
            yield Measured(kept.policy, kept.mode, kept.budget.estimate())

    def rates(self, runtime: Runtime) -> dict[tuple[str, ...], float]:
        """Return the share of wrong hits by policy and bound, of those policies of whose hits something is known."""
        return {
            (one.policy, bound): value
            for one in self.measured(runtime)
            if one.estimate.sampled
            for bound, value in one.estimate.bounds.items()
        }

    def thresholds(self, runtime: Runtime) -> dict[tuple[str, ...], float]:
        """Return the least similarity by policy, of those with an error budget; 2 where nothing is similar enough."""
        return {
            (kept.policy,): 2.0 if kept.threshold == NOTHING else kept.threshold
            for kept in self._in_force(runtime)
            if kept.bound is not None
        }

    async def _catch_up(self, runtime: Runtime, keeper: "LabelKeeper") -> None:
        await self._tell(keeper)
        async with asyncio.timeout(MAX_SECONDS):
            news = await keeper.news()
        if not news:
            return
        before = {kept.policy: kept.threshold for kept in self._in_force(runtime)}
        for number, one in enumerate(news, 1):
            self._budget(one.policy, one.judged_by).learn(one.what)
            if number % LEARNED_AT_ONCE == 0:
                await asyncio.sleep(0)
        for kept in self._in_force(runtime):
            _tell_change(kept, before[kept.policy])

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

    def _in_force(self, runtime: Runtime) -> Iterator[_Kept]:
        """Yield what is known of each policy's hits, of those whose hits are looked into."""
        for settings in runtime.policies.all:
            found = self._of(runtime, settings)
            if found is not None:
                yield found

    def _of(self, runtime: Runtime, settings: Settings) -> _Kept | None:
        """Return what is known of a policy's hits; None where nobody looks into them."""
        semantic = settings.semantic
        if runtime.semantic is None or semantic is None or not is_looked_into(semantic):
            return None
        judged_by = runtime.semantic.judged_by(semantic)
        bound = None if semantic.max_false_hit_rate is None else share(semantic.max_false_hit_rate)
        budget = self._budget(settings.policy, judged_by)
        return _Kept(settings.policy, semantic.mode, budget, bound, judged_by)

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


def _tell_change(kept: _Kept, before: float) -> None:
    """Say where a policy stands now, if its threshold is another than before."""
    after = kept.threshold
    if after != before:
        found = kept.budget.estimate()
        log.warning(
            "policy %s: of %d sampled hits %d were wrong; questions %s %s",
            kept.policy,
            found.sampled,
            found.wrong,
            "would be served" if kept.mode == "shadow" else "are served",
            "when they are equal only" if after == NOTHING else f"from a similarity of {after:.4f} on",
        )
