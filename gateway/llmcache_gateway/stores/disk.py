"""The disk store: entries in one SQLite file, which outlive the process."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import StoreError
from llmcache_gateway.marks import ALL
from llmcache_gateway.stores import disk_vectors
from llmcache_gateway.stores.base import Found
from llmcache_gateway.stores.labels import LabelKeeper
from llmcache_gateway.stores.leases import Lease
from llmcache_gateway.stores.marks import MAX_MARKS, PACE, MarksKeeper
from llmcache_gateway.stores.vectors import VectorKeeper
from llmcache_gateway.values import ValueFormat

log = logging.getLogger(__name__)

_T = TypeVar("_T")

PAGE_BYTES: Final = 4096

SCAN_BATCH: Final = 500
"""Keys of one batch of a scan."""

OVERHEAD_PAGES: Final = 8
"""Pages that one entry can cost beside its value: its key, pages of indexes that split, a last page half full."""

SPARE_PART: Final = 20
"""One part in this many of the file stays free, for pages that the indexes need."""

EXPIRED_AT_ONCE: Final = 100
"""Most expired entries that one write clears away, so that none is slow."""

USE_SECONDS: Final = 60
"""How old the note of an entry's last use may be: a write per lookup would be dear."""

BUSY_SECONDS: Final = 0.2
"""Longest wait for another process, or an older configuration, that writes to the same file."""

UNREADABLE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL, kept_until REAL NOT NULL,
                                    used_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS marks (scope TEXT PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS by_end ON entries (kept_until);
CREATE INDEX IF NOT EXISTS by_use ON entries (used_at);
"""


class DiskStore:
    """Keeps entries in `file`, which never grows beyond `max_bytes`; the least recently used leaves first.

    A write is a transaction in write-ahead mode, so that a process that is killed leaves whole entries behind. The log
    is not forced to disk at each: after a power cut the last writes may be missing, none is torn. Everything
    runs in one thread of its own. A file that can't be read is kept as `FILE.corrupt`, and a new one begun.
    """

    name = "disk"

    def __init__(
        self,
        *,
        file: Path,
        max_bytes: int,
        clock: Callable[[], float],
        evicted: Callable[[], None] = lambda: None,
        values: ValueFormat,
    ) -> None:
        self._file = file
        self._max_pages = max_bytes // PAGE_BYTES
        self._clock = clock
        self._evicted = evicted
        self._values = values
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk-store")
        self._opened: sqlite3.Connection | None = None

    def get_now(self, key: str) -> Found | None:
        return None

    async def get(self, key: str) -> Found | None:
        entry = await self._run(lambda db: self._get(db, key))
        return Found(entry, self.name) if entry is not None else None

    def ask(self, key: str) -> None:
        return None

    async def put(self, key: str, entry: Entry, lease: Lease | None = None) -> None:
        if entry.is_kept(self._clock()):
            await self._run(lambda db: self._put(db, _name(key), self._values.to_bytes(key, entry), entry.kept_until))

    def fits(self, key: str, entry: Entry) -> bool:
        return _pages(entry.size + len(key)) + OVERHEAD_PAGES <= self._usable_pages()

    async def delete(self, key: str) -> bool:
        return await self._run(lambda db: db.execute("DELETE FROM entries WHERE key = ?", (_name(key),)).rowcount > 0)

    def forget(self, key: str) -> bool:
        return False

    async def scan(self) -> AsyncIterator[list[str]]:
        after = b""
        while True:
            names = await self._run(lambda db, after=after: _names_after(db, after))  # type: ignore[misc]
            if not names:
                return
            yield [name.decode("utf-8", "surrogatepass") for name in names]
            after = names[-1]

    def marks(self) -> MarksKeeper:
        return _DiskMarks(self._run, self._clock)

    def leases(self) -> None:
        return None

    def contents(self) -> None:
        return None

    def vectors(self) -> VectorKeeper:
        return disk_vectors.DiskVectors(self._run, self._clock)

    def labels(self) -> LabelKeeper | None:
        return None

    async def ping(self) -> None:
        await self._run(lambda db: db.execute("SELECT 1 FROM entries LIMIT 1").fetchone())

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    def _guarded(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do some work in one transaction; StoreError for whatever SQLite or the disk has against it."""
        try:
            db = self._connection()
            with db:
                return work(db)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in UNREADABLE:
                self._set_aside(error)
            raise StoreError(f"disk: {error}") from None
        except OSError as error:
            raise StoreError(f"disk: {error}") from None

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._opened = self._open()
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in UNREADABLE:
                    raise
                self._set_aside(error)
                self._opened = self._open()
        return self._opened

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._file, timeout=BUSY_SECONDS, check_same_thread=False)
        try:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA journal_size_limit = {4 * 2**20}")
            db.execute(f"PRAGMA max_page_count = {self._max_pages}")
            db.executescript(SCHEMA + disk_vectors.SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    def _set_aside(self, error: sqlite3.Error) -> None:
        log.error("store disk: %s can't be read (%s); it is kept as %s.corrupt", self._file, error, self._file.name)
        self._close()
        for ending in ("-wal", "-shm"):
            self._file.with_name(self._file.name + ending).unlink(missing_ok=True)
        if self._file.exists():
            self._file.replace(self._file.with_name(self._file.name + ".corrupt"))

    def _close(self) -> None:
        if self._opened is not None:
            opened, self._opened = self._opened, None
            opened.close()

    def _get(self, db: sqlite3.Connection, key: str) -> Entry | None:
        name = _name(key)
        row = db.execute("SELECT value, used_at FROM entries WHERE key = ?", (name,)).fetchone()
        if row is None:
            return None
        value, used_at = row
        try:
            entry = self._values.from_bytes(key, value)
        except StoreError:
            with db:  # before the error ends the transaction
                db.execute("DELETE FROM entries WHERE key = ?", (name,))
            raise
        now = self._clock()
        if not entry.is_kept(now):
            return None
        if now - used_at > USE_SECONDS:
            with suppress(sqlite3.OperationalError):  # a full disk must not lose what can be read
                db.execute("UPDATE entries SET used_at = ? WHERE key = ?", (now, name))
        return entry

    def _put(self, db: sqlite3.Connection, name: bytes, value: bytes, kept_until: float) -> None:
        needed = _pages(len(value) + len(name)) + OVERHEAD_PAGES
        if needed > self._usable_pages():
            return
        now = self._clock()
        db.execute("BEGIN IMMEDIATE")
        db.execute(
            "DELETE FROM entries WHERE key IN "
            "(SELECT key FROM entries WHERE kept_until <= ? ORDER BY kept_until LIMIT ?)",
            (now, EXPIRED_AT_ONCE),
        )
        db.execute("DELETE FROM entries WHERE key = ?", (name,))
        while _used_pages(db) + needed > self._usable_pages():
            oldest = "DELETE FROM entries WHERE key = (SELECT key FROM entries ORDER BY used_at, rowid LIMIT 1)"
            if not db.execute(oldest).rowcount:
                break
            self._evicted()
        db.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (name, value, kept_until, now))

    def _usable_pages(self) -> int:
        return self._max_pages - self._max_pages // SPARE_PART


class _DiskMarks:
    """Marks in the file of the entries. Another process, or an older configuration, may add to them."""

    shared = True
    pace = PACE

    def __init__(self, run: Callable[[Callable[[sqlite3.Connection], Any]], Any], clock: Callable[[], float]) -> None:
        self._run = run
        self._clock = clock

    async def read(self, known: int) -> tuple[int, dict[str, int]]:
        found: tuple[int, dict[str, int]] = await self._run(lambda db: self._read(db, known))
        return found

    async def add(self, scopes: Sequence[str], known: int) -> int:
        epoch: int = await self._run(lambda db: self._add(db, scopes, known))
        return epoch

    def _read(self, db: sqlite3.Connection, known: int) -> tuple[int, dict[str, int]]:
        if not _marks_are_whole(db, known):
            self._add(db, [ALL], known)  # nothing can be said of what was invalidated
        newer = dict(db.execute("SELECT scope, epoch FROM marks WHERE epoch > ?", (known,)).fetchall())
        (floor,) = db.execute("SELECT epoch FROM marks WHERE scope = ?", (ALL,)).fetchone()
        return floor, newer

    def _add(self, db: sqlite3.Connection, scopes: Sequence[str], known: int) -> int:
        if not db.in_transaction:
            db.execute("BEGIN IMMEDIATE")
        (newest,) = db.execute("SELECT coalesce(max(epoch), 0) FROM marks").fetchone()
        epoch: int = max(int(self._clock() * 1e6), newest + 1, known + 1)
        if ALL in scopes or not _marks_are_whole(db, known):
            db.execute("DELETE FROM marks")
            scopes = [*scopes, ALL]
        db.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?)", [(scope, epoch) for scope in scopes])
        oldest = "SELECT epoch FROM marks ORDER BY epoch DESC LIMIT 1 OFFSET ?"
        if db.execute(oldest, (MAX_MARKS,)).fetchone() is not None:
            (floor,) = db.execute(oldest, (MAX_MARKS // 2,)).fetchone()
            db.execute("DELETE FROM marks WHERE epoch <= ?", (floor,))
            db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (ALL, floor))
        return epoch


def _marks_are_whole(db: sqlite3.Connection, known: int) -> bool:
    (newest,) = db.execute("SELECT coalesce(max(epoch), 0) FROM marks").fetchone()
    return newest >= known and db.execute("SELECT 1 FROM marks WHERE scope = ?", (ALL,)).fetchone() is not None


def _names_after(db: sqlite3.Connection, after: bytes) -> list[bytes]:
    found = db.execute("SELECT key FROM entries WHERE key > ? ORDER BY key LIMIT ?", (after, SCAN_BATCH))
    return [name for (name,) in found]


def _name(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _pages(size: int) -> int:
    return -(-size // PAGE_BYTES)


def _used_pages(db: sqlite3.Connection) -> int:
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    return int(pages - free)
