"""The memory store: entries of this process, bounded by number and by bytes.

What leaves when it is full follows S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP
2023): a new entry has to be asked for in a small queue before it may take room in the main one, so a scan of requests
that are asked once drives nothing out that is asked again and again. And a hit moves nothing, it only counts.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Final

from llmcache_gateway.entry import Entry
from llmcache_gateway.stores.base import Found
from llmcache_gateway.stores.labels import LabelKeeper
from llmcache_gateway.stores.leases import Lease
from llmcache_gateway.stores.marks import LocalMarks, MarksKeeper
from llmcache_gateway.stores.vectors import LocalVectors, VectorKeeper

OVERHEAD_BYTES = 800
"""What one entry costs beside its key and its answer: the objects that hold them and the trace of one that left
(CPython 3.11, measured)."""

SCAN_BATCH: Final = 500
"""Keys of one batch of a scan."""

SMALL_SHARE: Final = 10
"""The small queue's room is one part in this many (the paper's tenth)."""

MOST_USES: Final = 3
"""Uses are counted up to here, so that an entry that nobody asks for any more leaves soon."""

USES_TO_STAY: Final = 2
"""Uses in the small queue that bring an entry into the main one."""


class _Held:
    """An entry and how often it was used since it came into its queue."""

    __slots__ = ("entry", "uses")

    def __init__(self, entry: Entry, uses: int) -> None:
        self.entry = entry
        self.uses = uses


class MemoryStore:
    """Keeps the entries that are asked for again. `clock` returns seconds since the epoch.

    Neither bound is ever passed, not even while an entry is put. `evicted` is called for every entry that leaves for
    want of room.
    """

    name = "memory"

    def __init__(
        self,
        *,
        max_entries: int,
        max_bytes: int,
        clock: Callable[[], float],
        evicted: Callable[[], None] = lambda: None,
    ) -> None:
        self._small: OrderedDict[str, _Held] = OrderedDict()
        self._main: OrderedDict[str, _Held] = OrderedDict()
        # Hashes of keys that left the small queue of late. Two keys with one hash do no harm.
        self._ghosts: OrderedDict[int, None] = OrderedDict()
        self._small_bytes = 0
        self._bytes = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._evicted = evicted
        self._marks = LocalMarks(clock)

    async def get(self, key: str) -> Found | None:
        return self.get_now(key)

    def ask(self, key: str) -> None:
        return None

    def get_now(self, key: str) -> Found | None:
        held = self._main.get(key) or self._small.get(key)
        if held is None:
            return None
        if not held.entry.is_kept(self._clock()):
            self._remove(key)
            return None
        if held.uses < MOST_USES:
            held.uses += 1
        return Found(held.entry, self.name)

    async def put(self, key: str, entry: Entry, lease: Lease | None = None) -> None:
        self.put_now(key, entry)

    def put_now(self, key: str, entry: Entry) -> None:
        """Keep an entry, as `put` does."""
        uses = self._remove(key)
        if not self.fits(key, entry) or not entry.is_kept(self._clock()):
            return
        while self.entries >= self._max_entries or self._bytes + _cost(key, entry) > self._max_bytes:
            self._evict()
        if uses is None and hash(key) in self._ghosts:
            del self._ghosts[hash(key)]
            uses = USES_TO_STAY  # it left too soon
        self._insert(key, _Held(entry, uses or 0), main=(uses or 0) >= USES_TO_STAY)

    def fits(self, key: str, entry: Entry) -> bool:
        return _cost(key, entry) <= self._max_bytes

    async def delete(self, key: str) -> bool:
        return self._remove(key) is not None

    def forget(self, key: str) -> bool:
        return self._remove(key) is not None

    async def scan(self) -> AsyncIterator[list[str]]:
        keys = [*self._small, *self._main]
        for at in range(0, len(keys), SCAN_BATCH):
            yield keys[at : at + SCAN_BATCH]

    def marks(self) -> MarksKeeper:
        return self._marks

    def leases(self) -> None:
        return None

    def contents(self) -> None:
        return None

    def vectors(self) -> VectorKeeper:
        return LocalVectors()

    def labels(self) -> LabelKeeper | None:
        return None

    async def ping(self) -> None:
        return

    async def close(self) -> None:
        for queue in (self._small, self._main, self._ghosts):
            queue.clear()
        self._small_bytes = self._bytes = 0

    @property
    def entries(self) -> int:
        """Number of entries held, expired ones not yet noticed included."""
        return len(self._small) + len(self._main)

    @property
    def bytes(self) -> int:
        """Bytes held, as counted against the bound."""
        return self._bytes

    def _evict(self) -> None:
        """Make one step towards room: let the head of a queue leave, or live on in the main queue."""
        if self._main and not self._small_is_full():
            key, held = next(iter(self._main.items()))
            if held.uses and held.entry.is_kept(self._clock()):
                held.uses -= 1
                self._main.move_to_end(key)
                return
            self._remove(key)
        else:
            key, held = next(iter(self._small.items()))
            self._remove(key)
            if held.entry.is_kept(self._clock()):
                if held.uses >= USES_TO_STAY:
                    self._insert(key, _Held(held.entry, 0), main=True)
                    return
                self._remember(key)
        self._evicted()

    def _small_is_full(self) -> bool:
        return len(self._small) * SMALL_SHARE >= self._max_entries or self._small_bytes * SMALL_SHARE >= self._max_bytes

    def _remember(self, key: str) -> None:
        self._ghosts[hash(key)] = None
        while len(self._ghosts) > self.entries:
            self._ghosts.popitem(last=False)

    def _insert(self, key: str, held: _Held, *, main: bool) -> None:
        cost = _cost(key, held.entry)
        self._bytes += cost
        if main:
            self._main[key] = held
        else:
            self._small[key] = held
            self._small_bytes += cost

    def _remove(self, key: str) -> int | None:
        """Remove an entry; return its uses, None when there was none. An entry of the main queue has earned them."""
        held = self._main.pop(key, None)
        if held is not None:
            self._bytes -= _cost(key, held.entry)
            return MOST_USES
        held = self._small.pop(key, None)
        if held is None:
            return None
        cost = _cost(key, held.entry)
        self._bytes -= cost
        self._small_bytes -= cost
        return held.uses


def _cost(key: str, entry: Entry) -> int:
    return len(key) + entry.size + OVERHEAD_BYTES
