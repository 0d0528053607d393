"""The store as the request path sees it: it never fails, and never makes a request wait for a write."""

import asyncio
import logging
import time

from llmcache_gateway.entry import Entry
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.stores.base import Found, Store

log = logging.getLogger(__name__)

MAX_PENDING_WRITES = 1000
"""Most writes waiting at once. Beyond it an answer is not stored: a slow store must not fill the memory."""


class GuardedStore:
    """Turns every failure of a store into a counted miss (fail open).

    `timeout_seconds` bounds a lookup. Writes run in the background; `flush` waits for them.
    """

    def __init__(self, store: Store, *, timeout_seconds: float, metrics: Metrics) -> None:
        self._store = store
        self._timeout = timeout_seconds
        self._metrics = metrics
        self._writes: set[asyncio.Task[None]] = set()
        self._failing = False

    @property
    def name(self) -> str:
        return self._store.name

    def get_now(self, key: str) -> Found | None:
        """Return an entry that is at hand without waiting; None when that can't be said."""
        return self._store.get_now(key)

    async def get(self, key: str) -> Found | None:
        """Return an entry; None when there is none, or the store can't tell in time."""
        at_hand = self.get_now(key)
        if at_hand is not None:
            return at_hand  # without the clock and the timer, which cost more than the lookup
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._store.get(key)
        except Exception as error:  # a server that is no Redis makes errors that no list foresees
            self._failed("get", error)
            found = None
        else:
            self._worked()
        self._metrics.lookup_seconds.observe(time.perf_counter() - started)
        return found

    def put_soon(self, key: str, entry: Entry) -> bool:
        """Begin to store an entry in the background; say whether it was taken on."""
        if not self._store.fits(key, entry):
            self._metrics.store_skipped.labels("no-room").inc()
            return False
        if len(self._writes) >= MAX_PENDING_WRITES:
            self._metrics.store_skipped.labels("too-many-writes").inc()
            return False
        task = asyncio.create_task(self._put(key, entry))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        # Tried all the same while the store fails; but nobody is told then that the answer is stored.
        return not self._failing

    async def ping(self) -> str | None:
        """Return why the store can't be used; None when it can."""
        try:
            async with asyncio.timeout(1.0):
                await self._store.ping()
        except TimeoutError:
            return "no answer within 1 s"
        except Exception as error:
            return str(error) or type(error).__name__
        return None

    async def flush(self) -> None:
        """Wait until everything taken on has been written, or has failed."""
        while self._writes:
            await asyncio.wait(self._writes)

    async def close(self) -> None:
        await self.flush()
        await self._store.close()

    async def _put(self, key: str, entry: Entry) -> None:
        try:
            async with asyncio.timeout(max(1.0, self._timeout)):
                await self._store.put(key, entry)
        except Exception as error:
            self._failed("put", error)
        else:
            self._metrics.stored.inc()

    def _failed(self, op: str, error: Exception) -> None:
        self._metrics.store_errors.labels(self._store.name, op).inc()
        if not self._failing:
            # Once, not per request: a store that is away for an hour must not fill the log.
            log.warning(
                "store %s failed (%s): %s; going on without it", self._store.name, op, str(error) or "no answer in time"
            )
            self._failing = True

    def _worked(self) -> None:
        if self._failing:
            log.info("store %s works again", self._store.name)
            self._failing = False
