"""Labels of hits by meaning: whether one was right is found out in the background, counted, learned by the budget."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from llmcache_gateway.background import Background
from llmcache_gateway.budgets import Budgets
from llmcache_gateway.errors import StoreError
from llmcache_gateway.exchange import Question
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.semantic.judge import Verdict

log = logging.getLogger(__name__)

MAX_AT_ONCE: Final = 4
"""Most hits under way. Beyond it one is left out: nobody's requests wait behind a sample."""

FIND_SECONDS: Final = 600.0
"""Longest that one may take."""

CALLED: Final[dict[Verdict, str]] = {"same": "right", "different": "wrong", "unknown": "unknown"}
"""What a hit was, by whether its answer and a fresh one say the same."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A hit by meaning, served or withheld: the request's own key, and that of the entry.

    `alias` says whether a judge had found the two questions to be one.
    """

    runtime: Runtime
    question: Question
    key: str
    stored: str
    similarity: float
    alias: bool

    @property
    def policy(self) -> str:
        return self.question.settings.policy


class Labelling:
    """Finds out of a few hits at once whether they were right; counts that, and has the error budget learn it."""

    def __init__(self, metrics: Metrics, budgets: Budgets) -> None:
        self._metrics = metrics
        self.budgets = budgets
        self._background = Background()

    def begin(self, hit: Hit, find: Callable[[], Awaitable[Verdict]]) -> None:
        """Begin to find out what a hit was, with `find`: whether its answer says the same as a fresh one."""
        if hit.stored == hit.key:
            return  # its own entry, which the store did not give in time: two answers to one question tell nothing
        if len(self._background) >= MAX_AT_ONCE:
            self.leave_out(hit.policy, "busy")
            return
        hit.runtime.enter()  # its store must not be closed under it, nor before it has begun
        task = self._background.begin(self._label(hit, find))
        task.add_done_callback(lambda _: hit.runtime.leave())

    def leave_out(self, policy: str, reason: str) -> None:
        """Count a hit of which nothing is found out although it could be."""
        self._metrics.false_hits_skipped.labels(policy, reason).inc()

    async def close(self) -> None:
        """Stop what is under way: nobody waits for it."""
        await self._background.close()

    async def _label(self, hit: Hit, find: Callable[[], Awaitable[Verdict]]) -> None:
        verdict = await _in_time(find)
        called = CALLED[verdict]
        self._metrics.false_hits_sampled.labels(hit.policy, called).inc()
        log.info("COMPARED", extra={"fields": {"verdict": called, "key": hit.key, "stored": hit.stored}})
        if verdict == "different" and hit.alias:
            await _take_back(hit)
        if verdict != "unknown":
            # What a judge has found is served whatever the threshold is: for the budget, as similar as can be.
            similarity = 1.0 if hit.alias else hit.similarity
            await self.budgets.learn(hit.runtime, hit.question, similarity, wrong=verdict == "different")


async def _in_time(find: Callable[[], Awaitable[Verdict]]) -> Verdict:
    try:
        async with asyncio.timeout(FIND_SECONDS):
            return await find()
    except Exception:
        # Nobody waits for it: whatever went wrong, the question was answered, and nothing is known of the hit.
        log.exception("it could not be found out whether a hit was right")
        return "unknown"


async def _take_back(hit: Hit) -> None:
    """Remove what a judge has found of a question, which a fresh answer has shown to be wrong."""
    if hit.runtime.semantic is not None and hit.question.asked is not None:
        try:
            await hit.runtime.semantic.aliases.forget(hit.question.asked, hit.key)
        except StoreError as error:
            log.warning("an alias that was wrong can't be removed: %s", error)
