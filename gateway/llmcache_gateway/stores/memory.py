"""The memory store: entries of this process, bounded by number and by bytes."""

from collections import OrderedDict
from collections.abc import Callable

from llmcache_gateway.entry import Entry
from llmcache_gateway.stores.base import Found

OVERHEAD_BYTES = 600
"""What one entry costs beside its key and its answer: the objects that hold them (CPython 3.11, measured)."""


class MemoryStore:
    """Keeps the most recently used entries. `clock` returns seconds since the epoch."""

    name = "memory"

    def __init__(self, *, max_entries: int, max_bytes: int, clock: Callable[[], float]) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._bytes = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock

    async def get(self, key: str) -> Found | None:
        return self.get_now(key)

    def get_now(self, key: str) -> Found | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if not entry.is_kept(self._clock()):
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return Found(entry, self.name)

    async def put(self, key: str, entry: Entry) -> None:
        self._remove(key)
        if _cost(key, entry) > self._max_bytes or not entry.is_kept(self._clock()):
            return
        self._entries[key] = entry
        self._bytes += _cost(key, entry)
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))

    def fits(self, key: str, entry: Entry) -> bool:
        return _cost(key, entry) <= self._max_bytes

    async def delete(self, key: str) -> bool:
        return self._remove(key)

    async def ping(self) -> None:
        return

    async def close(self) -> None:
        self._entries.clear()
        self._bytes = 0

    @property
    def entries(self) -> int:
        """Number of entries held, expired ones not yet noticed included."""
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """Bytes held, as counted against the bound."""
        return self._bytes

    def _remove(self, key: str) -> bool:
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._bytes -= _cost(key, entry)
        return True


def _cost(key: str, entry: Entry) -> int:
    return len(key) + entry.size + OVERHEAD_BYTES
