"""Coalescing: one call upstream, and everybody who waits for its answer.

A flight holds what has come of an answer: event blocks, or the pieces of a body. Its readers, the client that caused
it among them, each read it from the beginning at their own pace. None of them can hold the others up: up to `limit`
bytes everything is kept, beyond it only what the readers have still to read, and a reader that falls too far behind
is cut off.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping
from typing import Final

from llmcache_gateway.errors import UpstreamError
from llmcache_gateway.freshness import Controls
from llmcache_gateway.record import Recording
from llmcache_gateway.stores.leases import Lease

LINGER_SECONDS: Final = 1.0
"""How long a stored answer stays at hand for requests that looked into the store before it was there."""

MIN_SLACK: Final = 4 * 2**20
"""How many bytes a reader may always be behind the fastest, however little may be stored."""


class Flight:
    """One answer on its way to its readers.

    `stream` says whether a stream was asked for; `started` is on the clock of `time.perf_counter`, and before all
    time while it is not known. `abandoned` is called when the last reader leaves before the end.
    """

    def __init__(self, *, stream: bool, started: float, epoch: int, limit: int, abandoned: Callable[[], None]) -> None:
        self.stream = stream
        self.name: Hashable = None
        self.started = started
        self.epoch = epoch
        """The invalidation epoch in which the call upstream began."""

        self.lease: Lease | None = None
        """What makes it the one call of all replicas; None where none is shared, or can be had."""

        self.ended: float | None = None
        """When it was over, for an answer that has been stored; None for every other."""

        self.ttl = float("inf")
        """The shortest lifetime that any of its clients allows the entry."""

        self.upstream_seconds: float | None = None
        """How long the upstream took to begin its answer."""

        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.events = False
        """Whether the pieces are event blocks."""

        self.recording: Recording | None = None
        """The whole answer, once it has come and was not too large."""

        self.stored = False
        self.reason = ""
        """Why it is not stored, as a stable word."""

        self.too_large = False
        self._limit = limit
        self._abandoned = abandoned
        self._pieces: list[bytes] = []
        self._dropped = 0
        self._size = 0
        self._begun = False
        self._over = False
        self._error: Exception | None = None
        self._readers: set[Reader] = set()
        self._waiting: list[asyncio.Future[None]] = []

    # What the call upstream does.

    def begin(self, status: int, headers: Mapping[str, str], *, events: bool) -> None:
        """Say what the answer is; its pieces follow."""
        self.status, self.headers, self.events, self._begun = status, headers, events, True
        self._wake()

    def add(self, pieces: Iterable[bytes]) -> None:
        """Take further pieces."""
        for piece in pieces:
            self._pieces.append(piece)
            self._size += len(piece)
        self.too_large = self.too_large or self._size > self._limit
        if self.too_large:
            self._drop_read()
        self._wake()

    async def room(self) -> None:
        """Wait until the fastest reader has caught up with what may be held for it."""
        while self.too_large and self._readers and min(reader.lag for reader in self._readers) > self._limit:
            await self._change()

    def finish(self, recording: Recording | None) -> None:
        """Say that the answer is whole."""
        self.recording = recording
        self._end(None)

    def fail(self, error: Exception) -> None:
        """Say that nothing more will come, and why."""
        self._end(error)

    # What its readers do.

    def join(self, ttl: float, skip: int = 0) -> "Reader":
        """Return a reader that stands at the beginning, or behind so many pieces, which must still be held."""
        self.ttl = min(self.ttl, ttl)
        reader = Reader(self, skip, sum(map(len, self._pieces[:skip])))
        self._readers.add(reader)
        return reader

    async def begun(self) -> None:
        """Wait until status and headers are known; the flight's error when it failed before."""
        while not self._begun:
            self._raise()
            await self._change()

    async def over(self) -> None:
        """Wait until the answer is whole or is too large to be held; the flight's error when it failed."""
        while not self._over and not self.too_large:
            await self._change()
        self._raise()

    async def settled(self) -> None:
        """Wait until nothing more will come."""
        while not self._over:
            await self._change()

    @property
    def followed(self) -> bool:
        """Whether it is another gateway that makes the call."""
        return self.lease is not None and not self.lease.mine

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._over

    def _end(self, error: Exception | None) -> None:
        if not self._over:
            self._over, self._error = True, error
            self._wake()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)  # the same one for each reader

    def _drop_read(self) -> None:
        """Forget what every reader has read; cut those off that would make it too much."""
        fastest = min((reader.lag for reader in self._readers), default=0)
        for reader in self._readers:
            reader.cut_off = reader.cut_off or reader.lag - fastest > max(2 * self._limit, MIN_SLACK)
        held = [reader.at for reader in self._readers if not reader.cut_off]
        first = min(held, default=self._dropped + len(self._pieces))
        del self._pieces[: first - self._dropped]
        self._dropped = first

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


class Reader:
    """One client's place in a flight. Used as a context manager, it leaves at the end of the block."""

    def __init__(self, flight: Flight, at: int, read: int) -> None:
        self.flight = flight
        self.at = at
        self.cut_off = False
        self._read = read

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        flight = self.flight
        flight._readers.discard(self)
        flight._wake()
        if not flight._readers and not flight.is_over:
            flight._abandoned()

    @property
    def lag(self) -> int:
        """Bytes that have come and that it has not read."""
        return self.flight._size - self._read

    async def pieces(self) -> AsyncIterator[list[bytes]]:
        """Yield what has come, as it comes; UpstreamError when the rest will not."""
        flight = self.flight
        while True:
            if self.cut_off:
                raise UpstreamError("the client read so slowly that the rest of the answer could not be kept for it")
            new = flight._pieces[self.at - flight._dropped :]
            if new:
                self.at += len(new)
                self._read += sum(map(len, new))
                if flight.too_large:
                    flight._wake()
                yield new
            elif flight.is_over:
                flight._raise()
                return
            else:
                await flight._change()

    async def rest(self) -> bytes:
        """Return all that it has not read; UpstreamError when it is not whole."""
        flight = self.flight
        if flight.is_over and not self.cut_off:
            flight._raise()
            return b"".join(flight._pieces[self.at - flight._dropped :])  # by far the most: nothing to wait for
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the same, piece by piece."""
        async for new in self.pieces():
            for piece in new:
                yield piece


class Flights:
    """The flights of this process that others may join, by a name of which the store is a part: epochs are its own."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight] = {}

    def joinable(self, name: Hashable, arrived: float, now: float, epoch: int, controls: Controls) -> Flight | None:
        """Return the flight that may answer a request that `arrived` then, both on `time.perf_counter`'s clock.

        A client that wants a newer answer (RFC 9111, `no-cache` and `max-age`) is not given one that was asked for
        before it came, nor is one that came after an invalidation (`epoch`) given one from before. A
        flight that is over answers only who came while it was under way.
        """
        flight = self._flights.get(name)
        if flight is None or flight.too_large or flight.epoch < epoch:
            return None
        if now - flight.started > controls.oldest:
            return None
        if flight.is_over and (flight.ended is None or arrived > flight.ended):
            return None
        return flight

    def add(self, name: Hashable, flight: Flight) -> None:
        """Let others join a flight from now on, in place of an older one."""
        flight.name = name
        self._flights[name] = flight

    def remove(self, flight: Flight) -> None:
        """Let nobody join a flight any more."""
        if flight.name is not None and self._flights.get(flight.name) is flight:
            del self._flights[flight.name]

    def remove_later(self, flight: Flight) -> None:
        """Do so once nobody can be under way who has missed its entry in the store."""
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self.remove, flight)
