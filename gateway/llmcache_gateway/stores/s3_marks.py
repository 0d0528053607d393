"""Marks in one object of the bucket that holds the entries."""

import asyncio
import random
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from llmcache_gateway.errors import StoreError
from llmcache_gateway.stores.marks import MarkTable, Pace
from llmcache_gateway.stores.s3_bucket import Bucket, Object

ATTEMPTS: Final = 20
"""How often a change is tried that another gateway's comes before."""

PAUSE_SECONDS: Final = 0.02
"""Longest pause after the first such attempt; it doubles, up to MAX_PAUSE_SECONDS."""

MAX_PAUSE_SECONDS: Final = 0.3

MAX_BYTES: Final = 64 * 2**20
"""Largest object of marks that is read: more than MAX_MARKS of the longest scopes take."""

NO_TAG: Final = f'"{"0" * 32}"'
"""A tag that no object has."""


class Seen(NamedTuple):
    """The object of the marks as it was last seen."""

    state: Object
    table: MarkTable | None
    """The marks in it; None when it holds none that can be read."""


class S3Marks:
    """Marks as one object, which is changed only from a state that was seen (If-Match, If-None-Match).

    A reading is one request, answered without content when nothing has changed. Those are paid for and slow, so
    that they are made less often than of other stores. Epochs begin with the server's clock, and count from there.
    """

    shared = True
    pace = Pace(refresh_seconds=1.0, trust_seconds=3.0, read_seconds=2.0)

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket = bucket
        self._name = f"{folder}/marks"
        self._probe = f"{folder}/probe"
        self._seen: Seen | None = None
        self._conditions_hold = False

    async def read(self, known: int) -> tuple[int, dict[str, int]]:
        table = await self._changed(known, ())
        return table.floor, table.newer(known)

    async def add(self, scopes: Sequence[str], known: int) -> int:
        return (await self._changed(known, scopes)).newest

    async def _changed(self, known: int, scopes: Sequence[str]) -> MarkTable:
        """Return the marks, with scopes marked if any are given, and a new floor if what was there is lost."""
        for attempt in range(ATTEMPTS):
            seen = await self._look()
            table = seen.table if seen is not None else None
            if table is None or table.newest < known:
                table = MarkTable(floor=max(await self._server_time(), known + 1))
            elif not scopes:
                return table
            if scopes:
                table = table.marked(scopes, known)
            if await self._write(table, seen.state.tag if seen is not None else None):
                return table
            await asyncio.sleep(random.uniform(0, min(PAUSE_SECONDS * 2**attempt, MAX_PAUSE_SECONDS)))  # noqa: S311
        raise StoreError("s3: other gateways change the marks all the time; try again")

    async def _look(self) -> Seen | None:
        before = self._seen
        known = before.state if before is not None else None
        state = await self._bucket.get(self._name, known, max_bytes=MAX_BYTES)
        if state is None:
            self._seen = None
        elif before is not None and state is before.state:
            return before
        else:
            try:
                self._seen = Seen(state, msgspec.json.decode(state.content, type=MarkTable))
            except (msgspec.DecodeError, UnicodeDecodeError):
                self._seen = Seen(state, None)
        return self._seen

    async def _server_time(self) -> int:
        """Return the server's time in microseconds: later than every epoch of marks that were lost a second ago.

        A gateway's own clock could be behind that of the one which made those.
        """
        await self._bucket.put(self._probe, b"")
        probe = await self._bucket.get(self._probe, max_bytes=0)
        if probe is None:
            raise StoreError("s3: what was written can't be read")
        return int(probe.modified * 1e6)

    async def _write(self, table: MarkTable, tag: str | None) -> bool:
        if not self._conditions_hold:
            await self._check_conditions()
        return await self._bucket.replace(self._name, msgspec.json.encode(table), tag)

    async def _check_conditions(self) -> None:
        """Raise StoreError unless the server heeds conditions: else one gateway's marks would overwrite another's."""
        await self._bucket.put(self._probe, b"")
        for header, tag in (("If-None-Match", None), ("If-Match", NO_TAG)):
            if await self._bucket.replace(self._probe, b"", tag):
                raise StoreError(f"s3: the server ignores {header} on writes: invalidations would be lost")
        self._conditions_hold = True
