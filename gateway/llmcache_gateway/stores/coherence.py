"""Coherence: a gateway serves nothing unless it has read the marks within the time that their keeper says (Pace).

The marks are read again while there is traffic, by one task at a time. There is no subscription that could be lost
unnoticed: a gateway that can't read the marks, was stopped for a while, or is cut off, trusts no entry of its own
until it has read them.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from llmcache_gateway.entry import Entry
from llmcache_gateway.marks import Marks
from llmcache_gateway.stores.marks import MarksKeeper

log = logging.getLogger(__name__)


class Coherence:
    """The marks as this gateway knows them, and whether it knows enough."""

    def __init__(self, keeper: MarksKeeper) -> None:
        self._keeper = keeper
        self._pace = keeper.pace
        self._marks = Marks()
        self._read_at = float("-inf")
        self._retry_at = float("-inf")
        self._reading: asyncio.Task[bool] | None = None

    @property
    def epoch(self) -> int:
        """The epoch that an answer has if it is asked for now."""
        return self._marks.newest

    def current(self) -> bool:
        """Say whether the marks are known well enough to serve by; has them read again in the background in time."""
        age = time.monotonic() - self._read_at
        if age < self._pace.refresh_seconds or (not self._keeper.shared and age < float("inf")):
            return True
        if age < self._pace.trust_seconds:
            self._begin()
            return True
        return False

    async def catch_up(self) -> bool:
        """Read the marks unless they are known; say whether they are."""
        if self.current():
            return True
        reading = self._begin()
        return False if reading is None else await asyncio.shield(reading)

    def admits(self, key: str, entry: Entry) -> bool:
        """Say whether an entry was not invalidated."""
        return self._marks.admits(key, entry)

    async def invalidate(self, scopes: Sequence[str]) -> int:
        """Mark scopes, and return their epoch; StoreError when that can't be kept."""
        epoch = await self._keeper.add(scopes, self._marks.newest)
        floor, newer = await self._keeper.read(self._marks.newest)
        self._marks.learn(floor, newer)
        return epoch

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _begin(self) -> "asyncio.Task[bool] | None":
        if self._reading is None and time.monotonic() >= self._retry_at:
            self._reading = asyncio.create_task(self._read())
        return self._reading

    async def _read(self) -> bool:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._pace.read_seconds):
                floor, newer = await self._keeper.read(self._marks.newest)
            self._marks.learn(floor, newer)
        except Exception as error:
            if self._retry_at == float("-inf"):
                log.warning(
                    "invalidations can't be read: %s; nothing is served from the cache until they can",
                    str(error) or "no answer in time",
                )
            self._retry_at = time.monotonic() + self._pace.refresh_seconds
            return False
        else:
            self._read_at, self._retry_at = began, float("-inf")
            return True
        finally:
            self._reading = None
