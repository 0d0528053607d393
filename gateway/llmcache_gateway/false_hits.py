"""The error budget at work: a sample of hits by meaning is asked again, and what differs makes the policy stricter."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from llmcache_gateway.config import share
from llmcache_gateway.entry import Entry
from llmcache_gateway.exchange import Question
from llmcache_gateway.forward import Forwarder
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.semantic.answers import ANSWERS_ALIKE, say_the_same, text_of
from llmcache_gateway.semantic.budget import NOTHING, Budget
from llmcache_gateway.semantic.judge import ALIAS

if TYPE_CHECKING:
    from llmcache_gateway.semantic.cache import Match

log = logging.getLogger(__name__)

DEFAULT_SAMPLE: Final = 0.05
"""Share of the hits that are asked again, where none is set."""

MAX_AT_ONCE: Final = 4
"""Most hits asked again at once. Beyond it a hit is not sampled: nobody's requests wait behind a sample."""

ASK_SECONDS: Final = 600.0
"""Longest that one may take."""


class FalseHits:
    """Samples hits, and knows what threshold each policy's samples allow.

    `clock` returns seconds since the epoch, `draw` a number from 0 to 1. What is learned ends with the process.
    """

    def __init__(
        self, forwarder: Forwarder, metrics: Metrics, clock: Callable[[], float], draw: Callable[[], float]
    ) -> None:
        self._forwarder = forwarder
        self._metrics = metrics
        self._clock = clock
        self._draw = draw
        self._budgets: dict[tuple[str, float], Budget] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def threshold(self, question: Question) -> float:
        """Return the least similarity that the error budget allows: 0 where there is none, or nothing against any."""
        budget = self._budget(question)
        return 0.0 if budget is None else budget.threshold(0.0)

    def sample_soon(self, runtime: Runtime, question: Question, key: str, match: "Match") -> None:
        """Ask a hit's question again in the background, if it is drawn; `key` is the request's own."""
        semantic, budget = question.settings.semantic, self._budget(question)
        if semantic is None or budget is None or match.found is None or len(self._tasks) >= MAX_AT_ONCE:
            return
        if self._draw() >= (DEFAULT_SAMPLE if semantic.sample is None else share(semantic.sample)):
            return
        task = asyncio.create_task(self._sample(runtime, question, key, match, match.found.entry, budget))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop what is under way: nobody waits for it."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _budget(self, question: Question) -> Budget | None:
        semantic = question.settings.semantic
        if semantic is None or semantic.max_false_hit_rate is None:
            return None
        name = (question.settings.policy, share(semantic.max_false_hit_rate))
        if name not in self._budgets:
            self._budgets[name] = Budget(name[1], self._clock)
        return self._budgets[name]

    async def _sample(
        self, runtime: Runtime, question: Question, key: str, match: "Match", given: Entry, budget: Budget
    ) -> None:
        runtime.enter()
        try:
            async with asyncio.timeout(ASK_SECONDS):
                verdict = await self._verdict(runtime, question, key, given)
                if verdict == "wrong" and match.why == ALIAS:
                    await _take_back(runtime, question, key)
        except Exception:
            # Nobody waits for it: whatever went wrong, the hit was given, and is only not judged.
            log.exception("a hit could not be asked again")
            verdict = "unknown"
        finally:
            runtime.leave()
        policy = question.settings.policy
        self._metrics.false_hits_sampled.labels(policy, verdict).inc()
        if verdict == "unknown":
            return
        before = budget.threshold(0.0)
        # What a judge has found is served whatever the threshold is: for the budget, it is as similar as can be.
        budget.add(1.0 if match.why == ALIAS else match.similarity, wrong=verdict == "wrong")
        found, after = budget.estimate(), budget.threshold(0.0)
        for bound, value in (("low", found.low), ("estimate", found.share), ("high", found.high)):
            self._metrics.false_hit_rate.labels(policy, bound).set(value)
        self._metrics.semantic_threshold.labels(policy).set(2.0 if after == NOTHING else after)
        if after != before:
            log.warning(
                "policy %s: of %d sampled hits %d were wrong; questions are served %s",
                policy,
                found.sampled,
                found.wrong,
                "when they are equal only" if after == NOTHING else f"from a similarity of {after:.4f} on",
            )

    async def _verdict(self, runtime: Runtime, question: Question, key: str, given: Entry) -> str:
        """Ask upstream, and say whether the answer is what was given: right, wrong, or unknown."""
        if await self._forwarder.refresh(runtime, question, key) != "stored" or runtime.semantic is None:
            return "unknown"
        await runtime.store.flush()
        fresh = await runtime.store.get(key)
        texts = [text_of(question.dialect, entry) for entry in (given, fresh.entry if fresh is not None else None)]
        one, other = texts
        if one is None or other is None:
            return "unknown"
        if say_the_same(one, other):
            return "right"
        alike = await runtime.semantic.similarity(one, other)
        return "unknown" if alike is None else "right" if alike >= ANSWERS_ALIKE else "wrong"


async def _take_back(runtime: Runtime, question: Question, key: str) -> None:
    """Remove what a judge has found of a question, which a sample has shown to be wrong."""
    if runtime.semantic is not None and question.asked is not None:
        await runtime.semantic.aliases.forget(question.asked, key)
