"""The error budget at work: a sample of hits by meaning is asked again, and what differs makes the policy stricter."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from llmcache_gateway.budgets import Budgets
from llmcache_gateway.config import share
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import StoreError
from llmcache_gateway.exchange import Question
from llmcache_gateway.forward import Forwarder
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.semantic.answers import ANSWERS_ALIKE, say_the_same, text_of
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
    """Samples hits. `draw` returns a number from 0 to 1."""

    def __init__(self, forwarder: Forwarder, metrics: Metrics, budgets: Budgets, draw: Callable[[], float]) -> None:
        self._forwarder = forwarder
        self._metrics = metrics
        self.budgets = budgets
        self._draw = draw
        self._tasks: set[asyncio.Task[None]] = set()

    def sample_soon(self, runtime: Runtime, question: Question, key: str, match: "Match") -> None:
        """Ask a hit's question again in the background, if it is drawn; `key` is the request's own."""
        semantic = question.settings.semantic
        if semantic is None or semantic.max_false_hit_rate is None or match.found is None:
            return
        if len(self._tasks) >= MAX_AT_ONCE:
            return
        if self._draw() >= (DEFAULT_SAMPLE if semantic.sample is None else share(semantic.sample)):
            return
        task = asyncio.create_task(self._sample(runtime, question, key, match, match.found.entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop what is under way: nobody waits for it."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _sample(self, runtime: Runtime, question: Question, key: str, match: "Match", given: Entry) -> None:
        runtime.enter()  # its store must not be closed under it
        try:
            verdict = await self._verdict_in_time(runtime, question, key, given)
            self._metrics.false_hits_sampled.labels(question.settings.policy, verdict).inc()
            if verdict == "wrong" and match.why == ALIAS:
                await _take_back(runtime, question, key)
            if verdict != "unknown":
                # What a judge has found is served whatever the threshold is: for the budget, as similar as can be.
                similarity = 1.0 if match.why == ALIAS else match.similarity
                await self.budgets.learn(runtime, question, similarity, wrong=verdict == "wrong")
        finally:
            runtime.leave()

    async def _verdict_in_time(self, runtime: Runtime, question: Question, key: str, given: Entry) -> str:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._verdict(runtime, question, key, given)
        except Exception:
            # Nobody waits for it: whatever went wrong, the hit was given, and is only not judged.
            log.exception("a hit could not be asked again")
            return "unknown"

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
        try:
            await runtime.semantic.aliases.forget(question.asked, key)
        except StoreError as error:
            log.warning("an alias that was wrong can't be removed: %s", error)
