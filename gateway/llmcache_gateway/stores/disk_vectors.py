"""Vectors in the file of the disk store."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from llmcache_gateway.errors import BadEntryError
from llmcache_gateway.stores.vectors import SCAN_BATCH, VectorRecord, from_bytes, to_bytes

log = logging.getLogger(__name__)

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS vectors (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE NOT NULL,
                                    value BLOB NOT NULL, until REAL NOT NULL);
"""


class DiskVectors:
    """Each vector has a number, and a newer one a higher one. Other processes may add to them.

    `run` does some work with the file in one transaction, and raises StoreError.
    """

    shared = True

    def __init__(
        self, run: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]], clock: Callable[[], float]
    ) -> None:
        self._run = run
        self._clock = clock
        self._read_to = 0

    async def put(self, record: VectorRecord) -> None:
        await self._run(lambda db: self._put(db, record))

    async def remove(self, keys: Sequence[str]) -> None:
        await self._run(lambda db: db.executemany("DELETE FROM vectors WHERE key = ?", [(key,) for key in keys]))

    async def load(self) -> AsyncIterator[list[VectorRecord]]:
        self._read_to = 0
        while True:
            after = self._read_to
            yield await self._batch(after)
            if self._read_to == after:
                return

    async def news(self) -> list[VectorRecord | str]:
        return [*await self._batch(self._read_to)]

    async def _batch(self, after: int) -> list[VectorRecord]:
        wanted = "SELECT number, key, value FROM vectors WHERE number > ? AND until > ? ORDER BY number LIMIT ?"
        found = await self._run(lambda db: db.execute(wanted, (after, self._clock(), SCAN_BATCH)).fetchall())
        records = []
        for number, key, value in found:
            self._read_to = number
            try:
                records.append(from_bytes(key, value))
            except BadEntryError as error:
                log.warning("a vector was of no use: %s", error)
        return records

    def _put(self, db: sqlite3.Connection, record: VectorRecord) -> None:
        db.execute("DELETE FROM vectors WHERE key = ? OR until <= ?", (record.key, self._clock()))
        with suppress(UnicodeEncodeError):  # half of an emoji can't be written
            added = (record.key, to_bytes(record), record.until)
            db.execute("INSERT INTO vectors (key, value, until) VALUES (?, ?, ?)", added)
