"""Refreshing stale entries in the background."""

import asyncio
import logging
from typing import Final

from llmcache_gateway.exchange import Question
from llmcache_gateway.forward import Forwarder
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.runtime import Runtime

log = logging.getLogger(__name__)


REFRESH_SECONDS: Final = 600.0
"""Longest that a refresh may take: an upstream that only keeps the connection alive must not hold it for ever."""


class Refresher:
    """Asks upstream for entries that were served stale: each once at a time, in a task of its own."""

    def __init__(self, forwarder: Forwarder, metrics: Metrics) -> None:
        self._forwarder = forwarder
        self._metrics = metrics
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def refresh_soon(self, runtime: Runtime, question: Question, key: str) -> None:
        """Begin to refresh an entry, unless that is under way already."""
        if key not in self._tasks:
            task = asyncio.create_task(self._refresh(runtime, question, key))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def close(self) -> None:
        """Stop what is under way: nobody waits for it."""
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _refresh(self, runtime: Runtime, question: Question, key: str) -> None:
        # It keeps its runtime alive, as a request does: its store must not be closed under it.
        runtime.enter()
        try:
            async with asyncio.timeout(REFRESH_SECONDS):
                result = await self._forwarder.refresh(runtime, question, key)
        except Exception:
            # Nobody waits for it: the stale answer was given, and the next request asks again.
            log.exception("a stale entry could not be refreshed")
            result = "failed"
        finally:
            runtime.leave()
        self._metrics.refreshes.labels(result).inc()
