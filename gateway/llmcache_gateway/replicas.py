"""Coalescing across replicas: one gateway makes the call and publishes its answer, the others follow it.

Who makes it holds a lease, and publishes nothing until another gateway wants it; then all, from the beginning. Who
follows fills a flight of its own from that, which clients read like any other.
"""

import asyncio
import logging
import math
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from multidict import CIMultiDict

from llmcache_gateway.errors import LostCallError, StoreError, UpstreamError
from llmcache_gateway.flights import LINGER_SECONDS, Flight, Reader
from llmcache_gateway.published import End, Head, from_bytes, shown, to_bytes
from llmcache_gateway.record import Recording
from llmcache_gateway.stores.guarded_leases import PATIENCE_SECONDS, GuardedLeases
from llmcache_gateway.stores.leases import Lease, Wish

log = logging.getLogger(__name__)

RENEW_SECONDS: Final = 0.25
"""How often a lease is renewed, and followers are looked for: twelve times within its life."""

POLL_SECONDS: Final = (0.01, 0.05)
"""How long a follower waits before it reads again: after a piece has come, and in a long silence."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What makes a flight the one call of all replicas, or a follower of it."""

    leases: GuardedLeases
    key: str
    call: str
    """Names the call: equal for two that may share one."""

    arrived: float
    """When the request came, on `time.perf_counter`'s clock."""

    oldest: float
    """How many seconds ago a call that serves it may have begun."""

    waited: float
    """How long it has waited for the store."""

    async def take(self, flight: Flight) -> None:
        """Take the lease for a flight, or learn who has it; neither where that can't be said in time."""
        wish = Wish(epoch=flight.epoch, max_age=self.oldest, came=time.perf_counter() - self.arrived)
        lease = await self.leases.claim(self.key, self.call, wish, waited=self.waited)
        flight.lease, flight.started = lease, time.perf_counter()
        if lease is not None:
            flight.epoch, flight.started = lease.epoch, flight.started - lease.age_seconds

    async def lead(self, flight: Flight) -> None:
        """Hold a flight's lease until its answer is there for all, and publish it while others follow."""
        if flight.lease is None:
            return
        publication = _Publication(flight, self.leases, flight.lease)
        try:
            while not publication.failed:
                await _until_over(flight, RENEW_SECONDS)
                over = flight.is_over
                try:
                    standing = await self.leases.renew(flight.lease, over=over)
                except StoreError:
                    if over:
                        return
                    continue  # the next may get through; if none does, the lease ends by itself
                if not standing.alive:
                    return  # others have gone on without it
                if standing.ttl is None:
                    await publication.pause()
                else:
                    flight.ttl = min(flight.ttl, standing.ttl)
                    publication.go_on()
                if over:
                    await publication.caught_up()
                    lingers = flight.ended is not None and time.perf_counter() - flight.ended < LINGER_SECONDS
                    if not lingers or not standing.held:
                        return
                    await asyncio.sleep(RENEW_SECONDS)
        finally:
            await publication.pause()
            with suppress(StoreError):
                await self.leases.release(flight.lease, () if publication.ended else (to_bytes(End("lost")),))

    async def follow(self, flight: Flight, recording: Recording) -> None:
        """Fill a flight with what another gateway publishes; UpstreamError when it does not come whole."""
        if flight.lease is None:
            return
        at, known, pause = 0, time.monotonic(), POLL_SECONDS[0]
        while not flight.is_over:
            try:
                published = await self.leases.read(flight.lease, at, flight.ttl)
            except StoreError as error:
                if time.monotonic() - known > PATIENCE_SECONDS:
                    raise LostCallError(f"the answer that another gateway asked for can't be read: {error}") from None
                published = []
            else:
                known = time.monotonic()
            if published is None:
                raise LostCallError("the gateway that asked for this answer is gone")
            at += len(published)
            try:
                parts = [from_bytes(one) for one in published]
            except ValueError as error:
                raise LostCallError(f"what another gateway published is of no use: {error}") from None
            _take(flight, recording, parts)
            if not flight.is_over:
                pause = POLL_SECONDS[0] if published else min(pause * 1.5, POLL_SECONDS[1])
                await flight.room()
                await asyncio.sleep(pause)


def _take(flight: Flight, recording: Recording, parts: Iterable[Head | End | bytes]) -> None:
    """Add published parts to a flight; UpstreamError where they say that it failed."""
    pieces: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            pieces.append(part)
            continue
        _add(flight, recording, pieces)
        pieces = []
        if isinstance(part, Head):
            flight.stream, flight.stored, flight.reason = part.stream, part.stored, part.reason
            flight.begin(part.status, CIMultiDict(part.headers), events=part.events)
        else:
            _finish(flight, recording, part)
    _add(flight, recording, pieces)


def _add(flight: Flight, recording: Recording, pieces: list[bytes]) -> None:
    if not pieces:
        return
    if flight.events:
        recording.add_events(pieces, time.perf_counter())
    else:
        for piece in pieces:
            recording.add_body(piece)
    flight.add(pieces)


def _finish(flight: Flight, recording: Recording, end: End) -> None:
    if end.how == "failed":
        raise UpstreamError(end.message, timed_out=end.timed_out)
    if end.how != "whole":
        raise LostCallError("the gateway that asked for this answer gave it up", alone=end.how == "too-large")
    flight.stored, flight.reason = end.stored, end.reason
    recording.end()
    flight.finish(None if recording.too_large else recording)


class _Publication:
    """What other gateways can read of a flight; it goes on from where it was paused."""

    def __init__(self, flight: Flight, leases: GuardedLeases, lease: Lease) -> None:
        self._flight = flight
        self._leases = leases
        self._lease = lease
        self._published = 0
        """How many parts are published: the head, then the pieces."""

        self._appending = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.ended = False
        """Whether the end is published."""

        self.failed = False
        """Whether something could not be published, so that what follows may not be either."""

    def go_on(self) -> None:
        """Publish what there is, and what comes."""
        if self._task is None:
            self._task = asyncio.create_task(self._publish())

    async def pause(self) -> None:
        """Publish nothing more for now: nobody waits for it."""
        task, self._task = self._task, None
        if task is not None:
            async with self._appending:  # so that it is known how much has been published
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def caught_up(self) -> None:
        """Wait until all is published, where that is under way."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _publish(self) -> None:
        if self.ended:
            return
        try:
            # A reader like a client: the call goes on for those who follow, though nobody waits here.
            with self._flight.join(math.inf, skip=max(0, self._published - 1)) as reader:
                end = await self._until_end(reader)
                await self._append(end)
                self.ended = True
        except StoreError:
            self.failed = True
        except Exception:
            log.exception("an answer could not be published for other gateways")
            self.failed = True

    async def _until_end(self, reader: Reader) -> End:
        """Publish the answer as it comes, and return how it ended."""
        flight = self._flight
        try:
            await flight.begun()
            if not self._published:
                await self._append(_head(flight))
            async for pieces in reader.pieces():
                if flight.too_large:
                    break
                await self._append(*pieces)
        except LostCallError:
            return End("lost")
        except UpstreamError as error:
            if not flight.too_large:
                return End("failed", message=error.message, timed_out=error.timed_out)
        if flight.too_large:
            return End("too-large")
        return End("whole", stored=flight.stored, reason=flight.reason)

    async def _append(self, *parts: Head | End | bytes) -> None:
        async with self._appending:
            if not await self._leases.publish(self._lease, self._published, [to_bytes(part) for part in parts]):
                raise StoreError("nobody reads it any more")
            self._published += len(parts)


def _head(flight: Flight) -> Head:
    return Head(
        status=flight.status,
        headers=shown(flight.headers),
        stream=flight.stream,
        events=flight.events,
        stored=flight.stored,
        reason=flight.reason,
    )


async def _until_over(flight: Flight, seconds: float) -> None:
    """Wait until a flight is over, but not for longer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await flight.settled()
