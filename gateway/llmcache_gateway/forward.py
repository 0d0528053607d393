"""Asking upstream: each call is a flight that clients read, and its answer is recorded on the way."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from llmcache_gateway import hinting, hooked, record, replay
from llmcache_gateway.background import Background
from llmcache_gateway.errors import LostCallError, UpstreamError
from llmcache_gateway.exchange import Exchange, Question
from llmcache_gateway.flights import Flight, Flights, Reader
from llmcache_gateway.freshness import response_age, response_ttl
from llmcache_gateway.giving import StaleInstead, give, stale_instead
from llmcache_gateway.judging import Judging
from llmcache_gateway.meter import Meter
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.replicas import Claim
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.semantic.suitability import unfit
from llmcache_gateway.shadowing import Shadowing
from llmcache_gateway.sse import CONTENT_TYPE, MAX_EVENT_BYTES, EventSplitter
from llmcache_gateway.stores.guarded_leases import GuardedLeases
from llmcache_gateway.stores.leases import Lease
from llmcache_gateway.upstreams.base import Answer, Call

log = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 0.1
"""How long to wait for the end of a stream whose last event has come, so that its connection can be used again."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An upstream's answer, held whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Forwarder:
    """Asks upstream for an exchange, writes the answer to its client, and stores it where that is right."""

    def __init__(
        self, metrics: Metrics, meter: Meter, clock: Callable[[], float], judging: Judging, shadowing: Shadowing
    ) -> None:
        self._metrics = metrics
        self._meter = meter
        self._clock = clock
        self._judging = judging
        self._shadowing = shadowing
        self._flights = Flights()
        self._flying = Background()
        self._leading = Background()

    async def close(self) -> None:
        """Break off what is still asked: nobody waits for it any more, or other gateways ask again."""
        await self._flying.close()
        await self._leading.close()

    async def forward(self, exchange: Exchange, question: Question) -> web.StreamResponse:
        """Give the upstream's answer; StaleInstead where it failed and the exchange has a stale entry to serve.

        It may be the answer to a call that another client's request has begun.
        """
        question.epoch = exchange.runtime.store.epoch
        calls = _call_name(exchange, question)
        try:
            response = await self._share(exchange, question, calls)
            if response is None:
                # What the others wait for makes no answer in this client's form: asked again, once for each form.
                exchange.outcome = "MISS"
                response = await self._share(exchange, question, f"{calls} stream={question.request.stream}")
            if response is None:
                raise UpstreamError(f"upstream {question.upstream.name!r} gave no answer that can be read")
            return response
        except UpstreamError as error:
            stale = await stale_instead(exchange)
            if stale is None:
                raise
            log.warning("%s; a stale entry is served", error.message)
            raise StaleInstead(stale, error.reason) from None

    async def _share(self, exchange: Exchange, question: Question, name: str) -> web.StreamResponse | None:
        """Give the answer of the call of that name; None when that can't be made of what is held."""
        try:
            with self._board(exchange, question, name, among_replicas=True) as reader:
                return await _give(exchange, question, reader)
        except LostCallError as lost:
            # This client has been given nothing of it. All who wait come here, and one of them asks again.
            exchange.outcome = "MISS"
            with self._board(exchange, question, name, among_replicas=not lost.alone) as reader:
                return await _give(exchange, question, reader)

    def _board(self, exchange: Exchange, question: Question, name: str, *, among_replicas: bool) -> Reader:
        """Join the flight of that name, or begin one."""
        if exchange.outcome != "MISS" or not question.settings.coalesce:
            return self._depart(exchange, question, None, None)
        shared = (name, exchange.runtime.store)
        flight = self._flights.joinable(
            shared, exchange.started, time.perf_counter(), question.epoch, question.controls
        )
        if flight is None:
            leases = exchange.runtime.store.leases if among_replicas else None
            return self._depart(exchange, question, name, leases)
        exchange.outcome = "COALESCED"
        return flight.join(question.controls.ttl)

    def _depart(self, exchange: Exchange, question: Question, name: str | None, leases: GuardedLeases | None) -> Reader:
        """Begin a call upstream in a task of its own, so that no client's hanging up ends it for the others.

        `name` lets others join it; None keeps it to this client. With `leases` it is one call of all replicas.
        """
        key = exchange.key if exchange.outcome == "MISS" else None
        stays = key is not None and (question.settings.record_abandoned or not question.request.stream)

        def abandoned() -> None:
            if not stays or flight.followed:
                self._flights.remove(flight)
                task.cancel()

        flight = Flight(
            stream=question.request.stream,
            started=time.perf_counter() if leases is None else float("-inf"),
            epoch=question.epoch,
            limit=exchange.runtime.entry_bytes,
            abandoned=abandoned,
        )
        if name is not None:
            self._flights.add((name, exchange.runtime.store), flight)
        claim = None
        if leases is not None and key is not None and name is not None:
            claim = Claim(
                leases,
                key,
                name,
                arrived=exchange.started,
                oldest=question.controls.oldest,
                waited=exchange.lookup_seconds,
            )
        task = self._flying.begin(self._fly(flight, exchange.runtime, question, key, claim))
        return flight.join(question.controls.ttl)

    async def _fly(
        self, flight: Flight, runtime: Runtime, question: Question, key: str | None, claim: Claim | None
    ) -> None:
        """Carry a flight out. `key` is where its answer is stored; None when it is not."""
        runtime.enter()  # its store must not be closed under it
        try:
            if claim is not None:
                await claim.take(flight)
                if flight.followed:
                    await claim.follow(flight, _recording(question, runtime))
                    if flight.stored:
                        self._linger(flight)
                    return
                if flight.lease is not None:
                    self._leading.begin(_lead(flight, runtime, claim))
            while not await self._ask(flight, runtime, question, key):
                pass  # what the gateway adds is not worth a request: once more without
        except UpstreamError as error:
            if flight.followed or flight.status:
                log.warning("%s", error.message)
            if flight.followed:
                flight.stored = False
            elif flight.status:
                self._not_stored(flight, key, "unterminated")
            flight.fail(error)
        except asyncio.CancelledError:
            flight.fail(LostCallError("the call upstream was broken off"))
            raise
        except Exception as error:
            flight.fail(error)  # its readers say so
        finally:
            if not flight.stored:
                self._flights.remove(flight)
            runtime.leave()

    def _linger(self, flight: Flight) -> None:
        """Keep a stored answer at hand for those who missed its entry just before it was there."""
        flight.ended = time.perf_counter()
        self._flights.remove_later(flight)

    async def _ask(self, flight: Flight, runtime: Runtime, question: Question, key: str | None) -> bool:
        """Ask upstream and fill the flight; False when it refuses what the gateway added to the request."""
        asked = time.perf_counter()
        call = await self._call(runtime, question)
        async with question.upstream.send(call) as answer:
            flight.upstream_seconds = time.perf_counter() - asked
            self._metrics.upstream_seconds.add(flight.upstream_seconds)
            hinting.answered(runtime, question, answer.status, self._metrics)
            if answer.content_type == CONTENT_TYPE and answer.status == 200:
                await self._take_events(flight, runtime, question, answer, key)
                with suppress(TimeoutError, UpstreamError):
                    async with asyncio.timeout(DRAIN_SECONDS):
                        async for _ in answer.chunks:
                            pass
                return True
            return await self._take_body(flight, runtime, question, answer, key)

    async def _take_events(
        self, flight: Flight, runtime: Runtime, question: Question, answer: Answer, key: str | None
    ) -> None:
        flight.begin(answer.status, answer.headers, events=True)
        splitter = EventSplitter(MAX_EVENT_BYTES)
        recording = _recording(question, runtime)
        async for chunk in answer.chunks:
            blocks = splitter.feed(chunk)
            recording.add_events(blocks, time.perf_counter())
            flight.add(blocks)
            if recording.ended:
                break
            await flight.room()
        last = _unended(splitter, question, recording)
        recording.add_events(last, time.perf_counter())
        flight.add(last)
        recording.end()
        await self._land(flight, runtime, question, recording, key)

    async def _take_body(
        self, flight: Flight, runtime: Runtime, question: Question, answer: Answer, key: str | None
    ) -> bool:
        """Hold an unstreamed answer until it is whole, or pass it on as it comes when it is too large."""
        recording = _recording(question, runtime)
        async for chunk in answer.chunks:
            recording.add_body(chunk)
            if recording.too_large:
                self._not_stored(flight, key, "too-large")
                flight.begin(answer.status, answer.headers, events=False)
                flight.add([recording.body])
                break
        if recording.too_large:
            async for chunk in answer.chunks:
                await flight.room()
                flight.add([chunk])
            flight.finish(None)
            return True
        if self._refuses_addition(runtime, question, answer, recording):
            return False
        flight.status, flight.headers = answer.status, answer.headers
        await self._land(flight, runtime, question, recording, key)
        return True

    async def _land(
        self, flight: Flight, runtime: Runtime, question: Question, recording: record.Recording, key: str | None
    ) -> None:
        """Judge a whole answer, store it where that is right, and give it to everybody."""
        hooked.observe(runtime.hooks, question, flight.status, recording, streamed=flight.events)
        verdict = recording.verdict(flight.status)
        if flight.status == 200:
            self._meter.answered(runtime, question, recording, flight.headers)
            if key is not None:
                self._judging.judge_soon(runtime, question, key, recording)
        if key is not None and verdict.store:
            flight.stored = await self._store(
                runtime, question, recording, flight.headers, key, ttl=flight.ttl, lease=flight.lease
            )
            if flight.stored:
                self._linger(flight)
        else:
            self._not_stored(flight, key, verdict.reason)
        if not flight.events:
            flight.begin(flight.status, flight.headers, events=False)
            flight.add([recording.body])
        flight.finish(None if recording.too_large else recording)
        if key is not None:  # behind the clients, who have their turn first
            self._shadowing.compare_soon(runtime, question, key, recording if flight.stored else None)

    def _not_stored(self, flight: Flight, key: str | None, reason: str) -> None:
        if key is not None:
            flight.reason = reason
            self._metrics.store_skipped.labels(reason).inc()

    async def refresh(self, runtime: Runtime, question: Question, key: str) -> str:
        """Ask upstream for nobody, store the answer, and return what came of it as a stable word."""
        question.epoch = runtime.store.epoch
        try:
            while not (came := await self._collect(runtime, question, key)):
                pass  # once more without what was refused
        except UpstreamError as error:
            log.warning("a stale entry could not be refreshed: %s", error.message)
            return "failed"
        return came

    async def fetch(self, exchange: Exchange, question: Question, body: bytes, limit: int) -> Fetched | None:
        """Ask upstream with another body, and return the whole answer; None when it is larger than `limit` bytes."""
        question.epoch = exchange.runtime.store.epoch
        asked = time.perf_counter()
        call = await hooked.changed_call(exchange.runtime.hooks, question, question.call(body))
        async with question.upstream.send(call) as answer:
            exchange.upstream_seconds = time.perf_counter() - asked
            self._metrics.upstream_seconds.add(exchange.upstream_seconds)
            held = bytearray()
            async for chunk in answer.chunks:
                held += chunk
                if len(held) > limit:
                    self._metrics.store_skipped.labels("too-large").inc()
                    return None
        return Fetched(answer.status, answer.headers, bytes(held))

    async def store_json(
        self, runtime: Runtime, question: Question, body: bytes, headers: Mapping[str, str], key: str
    ) -> bool:
        """Store an unstreamed answer, unless it is too large or is to live for no time; say whether."""
        recording = _recording(question, runtime)
        recording.add_body(body)
        self._meter.answered(runtime, question, recording, {})
        return not recording.too_large and await self._store(
            runtime, question, recording, headers, key, ttl=question.controls.ttl
        )

    async def _collect(self, runtime: Runtime, question: Question, key: str) -> str:
        """Ask upstream, store the answer, and say what came of it; nothing when what the gateway added is refused."""
        call = await self._call(runtime, question)
        recording = _recording(question, runtime)
        splitter = EventSplitter(MAX_EVENT_BYTES)
        async with question.upstream.send(call) as answer:
            hinting.answered(runtime, question, answer.status, self._metrics)
            streamed = answer.content_type == CONTENT_TYPE
            async for chunk in answer.chunks:
                if streamed:
                    recording.add_events(splitter.feed(chunk), time.perf_counter())
                else:
                    recording.add_body(chunk)
                if recording.over:
                    break
        if self._refuses_addition(runtime, question, answer, recording):
            return ""
        if streamed:
            recording.add_events(_unended(splitter, question, recording), time.perf_counter())
        recording.end()
        hooked.observe(runtime.hooks, question, answer.status, recording, streamed=streamed)
        verdict = recording.verdict(answer.status)
        if answer.status == 200:
            self._meter.answered(runtime, question, recording, answer.headers)
        if not verdict.store:
            return verdict.reason
        stored = await self._store(runtime, question, recording, answer.headers, key, ttl=question.controls.ttl)
        return "stored" if stored else "not-stored"

    async def _call(self, runtime: Runtime, question: Question) -> Call:
        """Return the call upstream: what the client sent, with what the user's hooks change and the gateway adds."""
        plain = question.call()
        call = await hooked.changed_call(runtime.hooks, question, plain)
        return hinting.hinted_call(runtime, question, call, self._metrics, changed=call is not plain)

    def _refuses_addition(
        self, runtime: Runtime, question: Question, answer: Answer, recording: record.Recording
    ) -> bool:
        """Say whether an answer refuses what the gateway added to a request, which is then added no more."""
        if hinting.hint_is_refused(runtime, question, answer.status, recording.body, self._metrics):
            return True
        added = question.recorded and question.call().body != question.request.body
        if added and answer.status in (400, 422) and b"stream_options" in recording.body:
            question.recorded = False
            return True
        return False

    async def _store(
        self,
        runtime: Runtime,
        question: Question,
        recording: record.Recording,
        headers: Mapping[str, str],
        key: str,
        *,
        ttl: float,
        lease: Lease | None = None,
    ) -> bool:
        """Store an answer unless it is to live for no time; `ttl` is the longest that its clients allow."""
        ttl = question.settings.lifetime(
            ttl,
            response_ttl(headers),
            random.random(),  # noqa: S311 (spreads expiry, hides nothing)
        )
        age = response_age(headers)
        ttl -= age  # the upstream is a cache itself, or behind one
        if ttl <= 0:
            self._metrics.store_skipped.labels("no-lifetime").inc()
            return False
        if question.unchanged:
            self._metrics.store_skipped.labels("hook-failed").inc()
            return False
        decided = await hooked.decision(runtime.hooks, question, recording, key, ttl)
        if decided.veto or not decided.ttl:
            self._metrics.store_skipped.labels("vetoed").inc()
            return False
        lifetime = record.Lifetime(now=self._clock(), ttl=decided.ttl, stale=question.settings.stale, age=age)
        content_type = headers.get("Content-Type", replay.JSON_TYPE)
        entry = recording.entry(
            content_type=content_type,
            model=question.request.model,
            lifetime=lifetime,
            tags=decided.tags,
            epoch=question.epoch,
        )
        stored = runtime.store.put_soon(key, entry, lease)
        if stored and question.asked is not None and runtime.semantic is not None:
            runtime.semantic.remember_soon(
                question.asked, key, entry, lambda: unfit(question.dialect, question.request, recording.answer())
            )
        return stored


async def _give(exchange: Exchange, question: Question, reader: Reader) -> web.StreamResponse | None:
    """Give a flight's answer to one client, and note what it is spared where another's call has brought it."""
    await reader.flight.begun()
    if question.hinted is not None:
        exchange.note_hint(question.hinted)
    response = await give(exchange, question, reader)
    flight = reader.flight
    if exchange.outcome == "COALESCED" and flight.status == 200 and flight.recording is not None:
        exchange.spared = flight.recording.usage(flight.headers)
    return response


async def _lead(flight: Flight, runtime: Runtime, claim: Claim) -> None:
    runtime.enter()
    try:
        await claim.lead(flight)
    finally:
        runtime.leave()


def _call_name(exchange: Exchange, question: Question) -> str:
    """Name the call upstream that this request needs: equal for two that may share one, on any replica.

    Where entries are shared, so are answers, but not what a provider says to somebody else's credential.
    """
    if not question.upstream.passthrough:
        return exchange.key or ""
    return f"{exchange.key} {exchange.runtime.tenants.credential(question.headers)}"


def _unended(splitter: EventSplitter, question: Question, recording: record.Recording) -> list[bytes]:
    """Return a stream's last event where only the blank line behind it is missing: any other may be half of one."""
    dialect = question.dialect
    rest = [] if recording.ended else splitter.end()
    return [block for block in rest if dialect.is_terminal(block) or dialect.is_whole([block])]


def _recording(question: Question, runtime: Runtime) -> record.Recording:
    return record.Recording(question.dialect, question.request, question.settings.store_also, runtime.entry_bytes)
