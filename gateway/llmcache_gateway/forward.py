"""Asking upstream: the answer goes to the client as it comes, and is recorded on the way."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from llmcache_gateway import record, replay, report
from llmcache_gateway.dialects.base import Verdict
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import UpstreamError
from llmcache_gateway.exchange import Exchange, Question
from llmcache_gateway.freshness import response_ttl
from llmcache_gateway.headers import hop_headers
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.sse import CONTENT_TYPE, END_OF_EVENT, MAX_EVENT_BYTES, EventSplitter
from llmcache_gateway.upstreams.base import Answer

log = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 0.1
"""How long to wait for the end of a stream whose last event has come, so that its connection can be used again."""


class StaleInstead(Exception):
    """The upstream failed, and a stale entry is to be served instead. `reason` says how it failed."""

    def __init__(self, entry: Entry, reason: str) -> None:
        super().__init__(reason)
        self.entry = entry
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """An upstream's answer, held whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Forwarder:
    """Asks upstream for an exchange, writes the answer to its client, and stores it where that is right."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock

    async def forward(self, exchange: Exchange, question: Question) -> web.StreamResponse:
        """Give the upstream's answer; StaleInstead where it failed and the exchange has a stale entry to serve."""
        try:
            response = await self._forward_once(exchange, question)
            if response is None:
                # What the recording adds is not worth a request: once more, as the client sent it.
                question.recorded = False
                response = await self._forward_once(exchange, question)
            if response is None:
                raise UpstreamError(f"upstream {question.upstream.name!r} answered 400 without a reason")
            return response
        except UpstreamError as error:
            if exchange.stale is None:
                raise
            log.warning("%s; a stale entry is served", error.message)
            raise StaleInstead(exchange.stale, error.reason) from None

    async def _forward_once(self, exchange: Exchange, question: Question) -> web.StreamResponse | None:
        """Give the upstream's answer; None when it refuses what the gateway added to the request."""
        asked = time.perf_counter()
        call = question.call()
        async with question.upstream.send(call) as answer:
            self._metrics.upstream_seconds.observe(time.perf_counter() - asked)
            if answer.status >= 500 and exchange.stale is not None:
                raise StaleInstead(exchange.stale, f"status-{answer.status}")
            if answer.content_type == CONTENT_TYPE and answer.status == 200:
                return await self._stream(exchange, question, answer)
            added = call.body != question.request.body
            return await self._whole(exchange, question, answer, added=added)

    async def refresh(self, runtime: Runtime, question: Question, key: str) -> str:
        """Ask upstream for nobody, store the answer, and return what came of it as a stable word."""
        try:
            async with question.upstream.send(question.call()) as answer:
                verdict = await self._collect(runtime, question, answer, key)
        except UpstreamError as error:
            log.warning("a stale entry could not be refreshed: %s", error.message)
            return "failed"
        return "stored" if verdict.store else verdict.reason

    async def fetch(self, exchange: Exchange, question: Question, body: bytes, limit: int) -> Fetched | None:
        """Ask upstream with another body, and return the whole answer; None when it is larger than `limit` bytes."""
        asked = time.perf_counter()
        async with question.upstream.send(question.call(body)) as answer:
            self._metrics.upstream_seconds.observe(time.perf_counter() - asked)
            held = bytearray()
            async for chunk in answer.chunks:
                held += chunk
                if len(held) > limit:
                    self._skip(exchange, "too-large")
                    return None
        return Fetched(answer.status, answer.headers, bytes(held))

    def store_json(
        self, runtime: Runtime, question: Question, body: bytes, headers: Mapping[str, str], key: str
    ) -> bool:
        """Store an unstreamed answer, unless it is too large or is to live for no time; say whether."""
        recording = _recording(question, runtime)
        recording.add_body(body)
        return not recording.too_large and self._store(runtime, question, recording, headers, key)

    async def _collect(self, runtime: Runtime, question: Question, answer: Answer, key: str) -> Verdict:
        streamed = answer.content_type == CONTENT_TYPE
        recording = _recording(question, runtime)
        splitter = EventSplitter(MAX_EVENT_BYTES)
        async for chunk in answer.chunks:
            if streamed:
                recording.add_events(splitter.feed(chunk))
            else:
                recording.add_body(chunk)
            if recording.over:
                break
        verdict = recording.verdict(answer.status)
        if verdict.store:
            self._store(runtime, question, recording, answer.headers, key)
        return verdict

    async def _whole(
        self, exchange: Exchange, question: Question, answer: Answer, *, added: bool
    ) -> web.StreamResponse | None:
        """Give an unstreamed answer: held until it is whole, or passed on as it comes when it is too large.

        None when it is a refusal of what was `added` to the request.
        """
        recording = _recording(question, exchange.runtime)
        async for chunk in answer.chunks:
            recording.add_body(chunk)
            if recording.too_large:
                return await pass_on(exchange, answer, self._marked(exchange, answer, "too-large"), recording.body)
        if added and answer.status == 400 and b"stream_options" in recording.body:
            return None
        verdict = recording.verdict(answer.status)
        if exchange.outcome == "MISS" and verdict.store:
            stored = self._store(exchange.runtime, question, recording, answer.headers, exchange.key or "")
            headers = self._marked(exchange, answer, None, stored=stored)
        else:
            headers = self._marked(exchange, answer, verdict.reason)
        return web.Response(status=answer.status, body=recording.body, headers=headers)

    async def _stream(self, exchange: Exchange, question: Question, answer: Answer) -> web.StreamResponse:
        """Give a streamed answer event by event, as it comes."""
        dialect, request = question.dialect, question.request
        response = web.StreamResponse(headers=self._marked(exchange, answer, None))
        await response.prepare(exchange.http)
        splitter = EventSplitter(MAX_EVENT_BYTES)
        recording = _recording(question, exchange.runtime)
        gone = False
        try:
            async for chunk in answer.chunks:
                blocks = splitter.feed(chunk)
                shown = [block for block in (dialect.for_client(one, request) for one in blocks) if block is not None]
                if shown and not gone:
                    try:
                        await response.write(END_OF_EVENT.join([*shown, b""]))
                    except ConnectionResetError:
                        if exchange.outcome != "MISS" or not question.settings.record_abandoned:
                            raise
                        gone = True
                recording.add_events(blocks)
                if recording.ended:
                    break
        except UpstreamError as error:
            # The status line is gone: only an event can still say that the answer is not whole.
            log.warning("%s", error.message)
            self._skip(exchange, "unterminated")
            if gone:
                return response
            await response.write(dialect.error_event(error.status, error.message, "upstream_failed") + END_OF_EVENT)
            await response.write_eof()
            return response
        if not gone:
            await response.write_eof()
        verdict = recording.verdict(answer.status)
        if exchange.outcome == "MISS" and verdict.store:
            self._store(exchange.runtime, question, recording, answer.headers, exchange.key or "")
        else:
            self._skip(exchange, verdict.reason)
        with suppress(TimeoutError, UpstreamError):
            async with asyncio.timeout(DRAIN_SECONDS):
                async for _ in answer.chunks:
                    pass
        return response

    def _store(
        self, runtime: Runtime, question: Question, recording: record.Recording, headers: Mapping[str, str], key: str
    ) -> bool:
        ttl = question.settings.lifetime(
            question.controls.ttl,
            response_ttl(headers),
            random.random(),  # noqa: S311 (spreads expiry, hides nothing)
        )
        if ttl <= 0:
            self._metrics.store_skipped.labels("no-lifetime").inc()
            return False
        lifetime = record.Lifetime(now=self._clock(), ttl=ttl, stale=question.settings.stale)
        content_type = headers.get("Content-Type", replay.JSON_TYPE)
        entry = recording.entry(
            content_type=content_type,
            model=question.request.model,
            lifetime=lifetime,
            tags=question.controls.tags,
            epoch=question.epoch,
        )
        return runtime.store.put_soon(key, entry)

    def _marked(
        self, exchange: Exchange, answer: Answer, detail: str | None, *, stored: bool = False
    ) -> CIMultiDict[str]:
        """Return the answer's headers with the cache's own; `detail` says why it is not stored."""
        if exchange.outcome == "MISS":
            if detail:
                self._skip(exchange, detail)
            own = report.miss(
                forward=exchange.forward, key=exchange.key or "", prefix=exchange.prefix, stored=stored, detail=detail
            )
        else:
            own = report.bypass(detail=exchange.reason, prefix=exchange.prefix)
        own.extend(exchange.explained)
        return answer_headers(answer, own)

    def _skip(self, exchange: Exchange, reason: str) -> None:
        if exchange.outcome == "MISS":
            exchange.reason = reason
            self._metrics.store_skipped.labels(reason).inc()


def _recording(question: Question, runtime: Runtime) -> record.Recording:
    return record.Recording(question.dialect, question.request, question.settings.store_also, runtime.entry_bytes)


def answer_headers(answer: Answer | Fetched, own: CIMultiDict[str], *, decoded: bool = True) -> CIMultiDict[str]:
    """Return the upstream's headers as they may be passed on, with the cache's own in place of any it sent."""
    dropped = hop_headers(CIMultiDict(answer.headers)) | {name.lower() for name in own} | {"age"}
    if decoded:
        dropped |= {"content-length", "content-encoding"}
    headers = CIMultiDict(
        (name, value)
        for name, value in answer.headers.items()
        if name.lower() not in dropped and not name.lower().startswith("x-llmcache")
    )
    headers.extend(own)
    return headers


async def pass_on(
    exchange: Exchange, answer: Answer, headers: CIMultiDict[str], begun: bytes = b""
) -> web.StreamResponse:
    """Give an answer as it comes; `begun` is what has come of it already."""
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(exchange.http)
    try:
        if begun:
            await response.write(begun)
        async for chunk in answer.chunks:
            await response.write(chunk)
    except UpstreamError as error:
        # An answer that ends early must not look whole: the connection is cut instead of being ended.
        log.warning("%s", error.message)
        exchange.reason = "unterminated"
        if exchange.http.transport is not None:
            exchange.http.transport.abort()
        return response
    await response.write_eof()
    return response
