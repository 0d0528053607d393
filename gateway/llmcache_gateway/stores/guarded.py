"""The store as the request path sees it: it never fails, and never makes a request wait for a write."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from llmcache_gateway.background import Background
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import BadEntryError, OvertakenError, StoreError, StorePartError
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.stores.base import Found, Store
from llmcache_gateway.stores.breaker import State
from llmcache_gateway.stores.circuit import Circuit, Op
from llmcache_gateway.stores.coherence import Coherence
from llmcache_gateway.stores.contents import ContentLedger
from llmcache_gateway.stores.deadlines import Deadlines
from llmcache_gateway.stores.guarded_leases import GuardedLeases
from llmcache_gateway.stores.labels import LabelKeeper
from llmcache_gateway.stores.leases import Lease
from llmcache_gateway.stores.memory import MemoryStore
from llmcache_gateway.stores.tiered import TieredStore
from llmcache_gateway.stores.vectors import VectorKeeper

log = logging.getLogger(__name__)

MAX_PENDING_WRITES: Final = 1000
"""Most writes waiting at once. Beyond it an answer is not stored: a slow store must not fill the memory."""

MAX_PENDING_BYTES: Final = 64 * 2**20
"""Most bytes of answers waiting to be written at once, for the same reason."""

BACKGROUND_SECONDS: Final = 1.0
"""Longest that a write or a probe may take, where a store asks for no more: nobody waits for either, and connecting
takes longer than a lookup."""

MAX_AHEAD_SECONDS: Final = 10.0
"""How far in the future an entry may have been stored: by a replica whose clock is ahead, or before ours was put back.
Nobody can say for how long one from further ahead is fresh."""


class GuardedStore:
    """Turns every failure of a store into a counted miss (fail open).

    `timeout_seconds` bounds a lookup, `background_seconds` what nobody waits for: writes, for which `flush` waits, and
    probes. Lookups and writes have a circuit each: a Redis that is full or read-only still answers. `near` is the store
    in front of a tiered one, which is written to while the other is away. `clock` returns seconds since the epoch.
    `leases` is None where no other gateway shares the store.
    """

    def __init__(
        self,
        store: Store,
        *,
        timeout_seconds: float,
        metrics: Metrics,
        clock: Callable[[], float],
        near: Store | None = None,
        background_seconds: float = BACKGROUND_SECONDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._told_of_clocks = False
        self._near = near
        self._timeout = timeout_seconds
        self._deadlines = Deadlines(timeout_seconds)
        self._background = max(background_seconds, timeout_seconds)
        self._metrics = metrics
        self._writes = Background()
        self._pending_bytes = 0
        self._probes = Background()
        self._lookups = Circuit(store.name, "get", metrics)
        self._writing = Circuit(store.name, "put", metrics)
        self._circuits: dict[Op, Circuit] = {"get": self._lookups, "put": self._writing}
        self.leases: GuardedLeases | None = None
        keeper = store.leases()
        if keeper is not None:
            circuit = self._circuits["lease"] = Circuit(store.name, "lease", metrics)
            self.leases = GuardedLeases(keeper, timeout_seconds=timeout_seconds, circuit=circuit, lookups=self._lookups)
        self._coherence = Coherence(store.marks())
        # Whoever looks through all entries must not push out those that requests need.
        self._local = store if isinstance(store, MemoryStore) else None
        self._lasting = store.below if isinstance(store, TieredStore) else store

    @property
    def epoch(self) -> int:
        """The invalidation epoch that an answer has if it is asked for now."""
        return self._coherence.epoch

    def admits(self, key: str, entry: Entry) -> bool:
        """Say whether an entry was not invalidated, as far as is known here."""
        return self._coherence.admits(key, entry)

    async def still_admits(self, key: str, entry: Entry) -> bool:
        """Say whether an entry that was found some time ago may still be served; no where the marks can't be read."""
        return await self._coherence.catch_up() and self._coherence.admits(key, entry)

    async def invalidate(self, scopes: Sequence[str]) -> int:
        """Mark scopes from now on, and return the epoch; StoreError when that can't be kept."""
        return await self._coherence.invalidate(scopes)

    def scan(self) -> AsyncIterator[list[str]]:
        """Yield all keys in bounded batches; StoreError when the store can't."""
        return self._lasting.scan()

    def contents(self) -> ContentLedger | None:
        """Return where cached contents are noted for all gateways that share the store; None where none do."""
        return self._store.contents()

    def vectors(self) -> VectorKeeper:
        """Return where vectors are kept beside the entries."""
        return self._store.vectors()

    def labels(self) -> LabelKeeper | None:
        """Return where what sampled hits have told is kept; None where that ends with the process."""
        return self._store.labels()

    async def peek(self, key: str) -> Entry | None:
        """Return what is stored, invalidated or not, as `admits` can say then; StoreError when the store can't tell."""
        if not await self._coherence.catch_up():
            raise StoreError("its invalidations can't be read")
        try:
            found = await self._lasting.get(key)
        except BadEntryError as error:
            self._unreadable(error)
            return None
        return found.entry if found is not None else None

    async def delete(self, key: str) -> bool:
        """Remove an entry; say whether there was one. StoreError when the store can't."""
        return await self._store.delete(key)

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def circuits(self) -> dict[Op, State]:
        """The state of each circuit."""
        return {op: circuit.state for op, circuit in self._circuits.items()}

    @property
    def held(self) -> dict[str, tuple[int, int]]:
        """Entries and their bytes by tier, of those that count them: memory does."""
        memory = self._store if self._near is None else self._near
        return {memory.name: (memory.entries, memory.bytes)} if isinstance(memory, MemoryStore) else {}

    @property
    def pending(self) -> tuple[int, int]:
        """Writes under way, and their bytes."""
        return len(self._writes), self._pending_bytes

    @property
    def waits(self) -> bool:
        """Whether there may be an entry that `get_now` does not know of."""
        return self._local is None and self._lookups.closed

    def get_now(self, key: str) -> Found | None:
        """Return an entry that is at hand without waiting; None when that can't be said."""
        found = self._store.get_now(key)
        if found is None or not self._coherence.current() or not self._coherence.admits(key, found.entry):
            return None
        return found if self._is_of_our_time(found.entry) else None

    async def get(self, key: str) -> Found | None:
        """Return an entry; None when there is none, or the store can't tell in time."""
        at_hand = self.get_now(key)
        if at_hand is not None:
            return at_hand  # without the clock and the timer, which cost more than the lookup
        if self._local is not None and self._coherence.current():
            held = self._local.get_now(key)
            if held is not None:  # it is invalidated, or not of our time
                self._local.forget(key)
                self._is_used(held.entry)
            return None
        if not self._lookups.closed:
            if self._lookups.wants_probe():
                self._probes.begin(self._look_up(key, self._background))
            return None
        return await self._look_up(key, self._timeout)

    def ask(self, key: str) -> asyncio.Future[Found | None]:
        """Begin to do as `get` does, for a caller without a task; it costs none where the store needs none.

        Cancelled, it takes nothing from the store's other callers.
        """
        asked = self._store.ask(key) if self._lookups.closed and self._coherence.current() else None
        if asked is None:
            return asyncio.ensure_future(self.get(key))
        self._deadlines.bound(asked)
        outcome: asyncio.Future[Found | None] = asyncio.get_running_loop().create_future()
        asked.add_done_callback(partial(self._answered, key, time.perf_counter(), outcome))
        return outcome

    def put_soon(self, key: str, entry: Entry, lease: Lease | None = None, *, answer: bool = True) -> bool:
        """Begin to store an entry in the background; say whether it was taken on.

        Where its answer was asked for under a lease, it is stored only while that is held. What is no `answer` does not
        count as one.
        """
        if not self._store.fits(key, entry):
            self._metrics.store_skipped.labels("no-room").inc()
            return False
        if len(self._writes) >= MAX_PENDING_WRITES or self._pending_bytes + entry.size > MAX_PENDING_BYTES:
            self._metrics.store_skipped.labels("too-many-writes").inc()
            return False
        if self._local is not None:
            self._local.put_now(key, entry)
            self._metrics.stored.add(by=answer)
            return True
        if not self._writing.closed and not self._writing.wants_probe():
            self._metrics.store_skipped.labels("store-away").inc()
            if self._near is not None:
                self._writes.begin(self._near.put(key, entry))
            return False
        self._pending_bytes += entry.size
        task = self._writes.begin(self._put(key, entry, lease, answer))
        task.add_done_callback(lambda _: self._written(entry.size))
        # Tried all the same after a failure; but nobody is told then that the answer is stored.
        return not self._writing.failing and not self._lookups.failing

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
        await self._writes.drained()

    async def close(self) -> None:
        await self.flush()
        await self._probes.close()
        if self.leases is not None:
            await self.leases.close()
        await self._coherence.close()
        await self._store.close()
        self._deadlines.close()

    async def _look_up(self, key: str, timeout_seconds: float) -> Found | None:
        found = None
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_seconds):
                found = await self._get(key)
        except asyncio.CancelledError:
            self._lookups.given_up()
            raise
        except Exception as error:
            self._failed(error)
        else:
            self._lookups.worked()
        self._metrics.lookup_seconds.add(time.perf_counter() - started)
        return found

    def _failed(self, error: Exception) -> None:
        """Note, and count, a lookup that failed."""
        if isinstance(error, BadEntryError):
            # The store is well, only what it held is not.
            self._unreadable(error)
            self._lookups.worked()
        elif isinstance(error, StorePartError):
            self._lookups.partly_failed()
        else:  # a server that is no Redis makes errors that no list foresees
            self._lookups.failed(error)

    def _answered(
        self, key: str, started: float, outcome: asyncio.Future[Found | None], asked: asyncio.Future[Found | None]
    ) -> None:
        """Give what the store was asked for to who waits for it: what `_look_up` does, for `ask`."""
        found = None
        try:
            found = asked.result()
        except asyncio.CancelledError:
            self._lookups.given_up()  # the store is being closed
        except Exception as error:
            self._failed(error)
            if isinstance(error, BadEntryError):
                self._probes.begin(self._remove(key))
        else:
            self._lookups.worked()
            if found is not None and not (self._coherence.admits(key, found.entry) and self._is_used(found.entry)):
                found = None
        self._metrics.lookup_seconds.add(time.perf_counter() - started)
        if not outcome.done():
            outcome.set_result(found)

    async def _remove(self, key: str) -> None:
        """Remove an entry that is of no use, if that can be done: it would only fail again."""
        with suppress(Exception):
            async with asyncio.timeout(self._background):
                await self._store.delete(key)

    async def _get(self, key: str) -> Found | None:
        if not await self._coherence.catch_up():
            raise StoreError("its invalidations can't be read")
        found = await self._store.get(key)
        if found is not None and not self._coherence.admits(key, found.entry) and self._store.forget(key):
            # What was held here is invalidated; what others share may be newer.
            found = await self._store.get(key)
        if found is None or not self._coherence.admits(key, found.entry):
            return None
        return found if self._is_used(found.entry) else None

    def _unreadable(self, error: BadEntryError) -> None:
        self._metrics.store_errors.labels(self.name, "read").inc()
        log.warning("store %s: an entry was of no use and is removed: %s", self.name, error)

    def _is_of_our_time(self, entry: Entry) -> bool:
        return entry.stored_at <= self._clock() + MAX_AHEAD_SECONDS

    def _is_used(self, entry: Entry) -> bool:
        """Say whether an entry is of our time, and say so to the operator where it is not."""
        if self._is_of_our_time(entry):
            return True
        self._metrics.store_errors.labels(self.name, "clock").inc()
        if not self._told_of_clocks:
            self._told_of_clocks = True  # once, not per request
            ahead = entry.stored_at - self._clock()
            log.warning(
                "store %s: an entry from %.0f s in the future is not used: the clocks of the replicas disagree",
                self.name,
                ahead,
            )
        return False

    async def _put(self, key: str, entry: Entry, lease: Lease | None, answer: bool) -> None:
        try:
            async with asyncio.timeout(self._background):
                await self._store.put(key, entry, lease)
        except OvertakenError:
            self._metrics.store_skipped.labels("overtaken").inc()
            self._writing.worked()
        except asyncio.CancelledError:
            self._writing.given_up()
            raise
        except StorePartError:
            self._writing.partly_failed()
        except Exception as error:
            self._writing.failed(error)
        else:
            self._metrics.stored.add(by=answer)
            self._writing.worked()

    def _written(self, size: int) -> None:
        self._pending_bytes -= size
