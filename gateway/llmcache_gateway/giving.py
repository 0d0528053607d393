"""Giving an answer to one client: as it asked for it, as it comes, and with what the cache has to say of it."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

from aiohttp import web
from multidict import CIMultiDict

from llmcache_gateway import record, replay, report
from llmcache_gateway.dialects.framing import Framing
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import UpstreamError
from llmcache_gateway.exchange import Exchange, Question
from llmcache_gateway.flights import Flight, Reader
from llmcache_gateway.headers import hop_headers
from llmcache_gateway.sse import CONTENT_TYPE
from llmcache_gateway.upstreams.base import Answer

log = logging.getLogger(__name__)


class StaleInstead(Exception):
    """The upstream failed, and a stale entry is to be served instead. `reason` says how it failed."""

    def __init__(self, entry: Entry, reason: str) -> None:
        super().__init__(reason)
        self.entry = entry
        self.reason = reason


async def give(exchange: Exchange, question: Question, reader: Reader) -> web.StreamResponse | None:
    """Give a flight's answer to one client as it asked for it; None when that can't be made of what is held."""
    flight = reader.flight
    await flight.begun()
    exchange.replica = flight.followed
    if flight.followed:
        exchange.outcome = "COALESCED"
    exchange.upstream_seconds = flight.upstream_seconds
    if flight.status >= 500 and (stale := await stale_instead(exchange)) is not None:
        raise StaleInstead(stale, f"status-{flight.status}")
    if flight.status == 200 and flight.stream != question.request.stream:
        return await _convert(exchange, question, flight)
    if flight.events:
        return await _stream(exchange, question, reader)
    if flight.too_large:
        answer = Answer(flight.status, flight.headers, reader.chunks())
        return await pass_on(exchange, answer, _marked(exchange, flight))
    await flight.over()
    body = await reader.rest()
    if exchange.outcome == "COALESCED" and flight.status == 200 and question.dialect.echoes:
        return await _convert(exchange, question, flight)
    return web.Response(status=flight.status, body=body, headers=_marked(exchange, flight))


async def give_stored(
    exchange: Exchange, headers: Mapping[str, str], pieces: Sequence[tuple[float, bytes]], hurry: asyncio.Event
) -> web.StreamResponse:
    """Give an answer that is there, each piece the seconds after the last that stand with it; no more after `hurry`."""
    if len(pieces) == 1:
        return web.Response(body=pieces[0][1], headers=headers)
    response = web.StreamResponse(headers=headers)
    await response.prepare(exchange.http)
    # Reckoned from the beginning, so that writing and waking late don't add up.
    due = asyncio.get_running_loop().time()
    for pause, piece in pieces:
        due += pause
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await hurry.wait()
        await response.write(piece)
    await response.write_eof()
    return response


async def _convert(exchange: Exchange, question: Question, flight: Flight) -> web.Response | None:
    """Give the whole answer in the other form, or with what repeats the request repeating this one."""
    await flight.over()
    if flight.recording is None:
        return None
    if flight.events and (flight.reason == "error" or not flight.recording.ended):
        return None  # what came before an error, or without a last event, may be half an answer
    content_type = flight.headers.get("Content-Type", replay.JSON_TYPE)
    never = record.Lifetime(now=0.0, ttl=0.0, stale=0.0)
    entry = flight.recording.entry(content_type=content_type, model=question.request.model, lifetime=never)
    try:
        content_type, body = replay.replay(entry, question.dialect, question.request)
    except Exception:
        # Whatever the others' answer is, this client's own request can still be asked.
        log.info("an answer could not be shared in the form that another client asked for")
        return None
    headers = _marked(exchange, flight)
    headers["Content-Type"] = content_type
    return web.Response(body=body, headers=headers)


async def _stream(exchange: Exchange, question: Question, reader: Reader) -> web.StreamResponse:
    """Give a streamed answer event by event, as it comes."""
    dialect, request = question.dialect, question.request
    framing = Framing(request)
    headers = _marked(exchange, reader.flight)
    headers["Content-Type"] = framing.content_type(headers.get("Content-Type", CONTENT_TYPE))
    response = web.StreamResponse(headers=headers)
    await response.prepare(exchange.http)
    try:
        async for blocks in reader.pieces():
            if exchange.outcome == "COALESCED":
                blocks = dialect.personal_blocks(blocks, request)
            shown = [block for block in (dialect.for_client(one, request) for one in blocks) if block is not None]
            if shown:
                await response.write(framing.pieces(shown))
        exchange.reason = reader.flight.reason
    except UpstreamError as error:
        # The status line is gone: only an event can still say that the answer is not whole.
        exchange.reason = "unterminated"
        await response.write(framing.pieces([dialect.error_event(error.status, error.message, "upstream_failed")]))
    await response.write_eof(framing.end())
    return response


def _marked(exchange: Exchange, flight: Flight) -> CIMultiDict[str]:
    """Return the answer's headers with the cache's own."""
    if exchange.outcome == "BYPASS":
        own = report.bypass(detail=exchange.reason, prefix=exchange.prefix)
    else:
        collapsed = exchange.outcome == "COALESCED"
        exchange.reason = flight.reason
        own = report.miss(
            forward=exchange.forward,
            key=exchange.key or "",
            prefix=exchange.prefix,
            stored=flight.stored,
            collapsed=collapsed,
            detail=flight.reason,
        )
    own.update(exchange.explained)
    headers = answer_headers(flight.headers, own)
    if exchange.outcome == "COALESCED":
        headers.popall("Set-Cookie", None)  # another connection's
    return headers


async def stale_instead(exchange: Exchange) -> Entry | None:
    """Return the stale entry that may stand in for a failed upstream; None when there is none, or is none any more.

    It was looked up before the upstream was asked, which may be a minute ago: time enough to invalidate it anywhere.
    """
    stale = exchange.stale
    if stale is None or not await exchange.runtime.store.still_admits(exchange.key or "", stale):
        return None
    return stale


def answer_headers(given: Mapping[str, str], own: dict[str, str], *, decoded: bool = True) -> CIMultiDict[str]:
    """Return the upstream's headers as they may be passed on, with the cache's own in place of any it sent."""
    headers = CIMultiDict(given)
    others = [name for name in headers if name.lower().startswith("x-llmcache")]
    for name in (*hop_headers(headers), *others, *(("Content-Length", "Content-Encoding") if decoded else ())):
        headers.popall(name, None)
    headers.update(own)
    return headers


async def pass_on(exchange: Exchange, answer: Answer, headers: CIMultiDict[str]) -> web.StreamResponse:
    """Give an answer as it comes."""
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(exchange.http)
    try:
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
