"""Where the vectors of questions are kept: beside the entries, so that both live and die together."""

import logging
import math
import re
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from llmcache_gateway.errors import BadEntryError
from llmcache_gateway.stores.news import NEWS, TELL

log = logging.getLogger(__name__)

MAX_NEWS: Final = 10_000
"""About how many changes other replicas can be behind; who missed some finds them when it looks through all again."""

SCAN_BATCH: Final = 200
"""Vectors that are read at once, when all are looked through."""

# As a script, whose result comes as it is.
_NEWEST: Final = "return redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)"

_CHECKSUM: Final = struct.Struct(">I")


class VectorRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A question, its vector, and the key of the entry that answers it."""

    key: str
    scope: str
    """Digest of all that must be equal in questions which may mean the same."""

    model: str
    """Identity of what made the vector."""

    text: str
    vector: bytes
    """16-bit floats, little-endian."""

    until: float
    """When its entry is over, in seconds since the epoch."""


class VectorKeeper(Protocol):
    """Keeps the vectors of all replicas. Every method may raise StoreError."""

    shared: bool
    """Whether others may add vectors, so that `news` has to be read again and again."""

    async def put(self, record: VectorRecord) -> None:
        """Keep a vector until it is over, in place of one with the same key."""

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove the vectors of these keys."""

    def load(self) -> AsyncIterator[list[VectorRecord]]:
        """Yield all that is kept, in batches; `news` goes on from where this began."""

    async def news(self) -> list[VectorRecord | str]:
        """Return what has changed since the last call: vectors put, and keys of those removed."""


class LocalVectors:
    """Of entries that end with this process: the index itself holds all there is to keep."""

    shared = False

    async def put(self, record: VectorRecord) -> None:
        return

    async def remove(self, keys: Sequence[str]) -> None:
        return

    async def load(self) -> AsyncIterator[list[VectorRecord]]:
        none: list[list[VectorRecord]] = []
        for batch in none:
            yield batch

    async def news(self) -> list[VectorRecord | str]:
        return []


class RedisVectors:
    """Vectors in the Redis that holds the entries, each under a name of its own, so that Redis ends it in time.

    A stream tells of changes. `call` runs a command on the server that has a name, `evaluate` a script, `scan` yields
    names that match a pattern; all raise StoreError.
    """

    shared = True

    def __init__(
        self,
        call: Callable[..., Any],
        evaluate: Callable[..., Any],
        scan: Callable[[str, int], AsyncIterator[bytes]],
        namespace: str,
        clock: Callable[[], float],
    ) -> None:
        self._call = call
        self._evaluate = evaluate
        self._scan = scan
        self._names = f"{namespace}@vector:"
        self._news = f"{namespace}@vectors"
        self._clock = clock
        self._read_to = b"0-0"

    async def put(self, record: VectorRecord) -> None:
        milliseconds = math.floor((record.until - self._clock()) * 1000)
        if milliseconds <= 0:
            return
        name = self._names + record.key
        await self._call(name, "SET", name, to_bytes(record), "PX", milliseconds)
        await self._tell("put", record.key)

    async def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            name = self._names + key
            if await self._call(name, "UNLINK", name):
                await self._tell("removed", key)

    async def load(self) -> AsyncIterator[list[VectorRecord]]:
        newest = await self._evaluate(_NEWEST, 1, self._news)
        self._read_to = newest[0][0] if newest else b"0-0"
        batch: list[VectorRecord] = []
        async for name in self._scan(re.sub(r"([\\*?\[\]])", r"\\\1", self._names) + "*", SCAN_BATCH):
            record = await self._get(name.decode("utf-8", "replace").removeprefix(self._names))
            if record is not None:
                batch.append(record)
            if len(batch) >= SCAN_BATCH:
                yield batch
                batch = []
        yield batch

    async def news(self) -> list[VectorRecord | str]:
        told = await self._evaluate(NEWS, 1, self._news, b"(" + self._read_to, SCAN_BATCH)
        changes: dict[str, VectorRecord | str] = {}
        for _, fields in told:
            what, key = fields[0], fields[1].decode("utf-8", "replace")
            found = await self._get(key) if what == b"put" else None
            changes[key] = found or key
        if told:
            self._read_to = told[-1][0]
        return list(changes.values())

    async def _get(self, key: str) -> VectorRecord | None:
        name = self._names + key
        value = await self._call(name, "GET", name)
        if value is None:
            return None
        try:
            return from_bytes(key, value)
        except BadEntryError as error:
            log.warning("a vector was of no use and is removed: %s", error)
            await self._call(name, "UNLINK", name)
            return None

    async def _tell(self, what: str, key: str) -> None:
        await self._evaluate(TELL, 1, self._news, MAX_NEWS, what, key)


def to_bytes(record: VectorRecord) -> bytes:
    """Return a record as it is kept outside this process."""
    packed = msgspec.msgpack.encode(record)
    return _CHECKSUM.pack(zlib.crc32(packed)) + packed


def from_bytes(key: str, value: object) -> VectorRecord:
    """Return the record that is kept under a key; BadEntryError, and no other, when it is none."""
    if not isinstance(value, bytes) or len(value) < _CHECKSUM.size:
        raise BadEntryError("the kept value is no vector")
    packed = memoryview(value)[_CHECKSUM.size :]
    if _CHECKSUM.unpack_from(value)[0] != zlib.crc32(packed):
        raise BadEntryError("the kept vector is damaged")
    try:
        record = msgspec.msgpack.decode(packed, type=VectorRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadEntryError(f"the kept vector can't be read: {error}") from None
    if record.key != key or not math.isfinite(record.until) or len(record.vector) % 2:
        raise BadEntryError("the kept vector is another key's, or no vector")
    return record
