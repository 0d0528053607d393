"""The express lane: hits answered as their bytes arrive, without aiohttp's request and response.

A lane's connection is aiohttp's own. Bytes take the lane only at the boundary between two requests, and only if they
are one whole request whose head aiohttp has read before, byte for byte but for the digits of its length, and for
which the gateway then had a hit. So nothing here parses HTTP: what such a head means is what aiohttp said of it. All
other bytes go to aiohttp, as if there were no lane, and so does every request that the lane can't answer, at once or as
soon as the store has said what it has, which goes with it.
What decides is the request path's own (`server.py`); this module only remembers, and writes.
"""

import asyncio
import re
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, Literal, cast

from aiohttp import HttpVersion11, web

from llmcache_gateway.dialects import Dialect, dialect_of
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import RequestError
from llmcache_gateway.exchange import Exchange, LookedUp, Question
from llmcache_gateway.heads import Head
from llmcache_gateway.hit_heads import HitHeads
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.server import DEBUG_HEADER, Handler
from llmcache_gateway.stores.base import Found
from llmcache_gateway.trusted import ADMIN_HEADER

MAX_BODY: Final = 256 * 1024
"""Longest body that waits here for its last byte, and longest answer that is written at once."""

MAX_HEADS: Final = 1000
"""Most heads that are remembered: about one for each client."""

MAX_HEAD_BYTES: Final = 16 * 1024
"""Longest head that is remembered: aiohttp takes some that are many times longer."""

MAX_SEEN: Final = 500
"""Most requests that are remembered whole, with what was found for them."""

MAX_SEEN_BYTES: Final = 64 * 1024
"""Longest answer that is remembered: MAX_SEEN of them must not weigh beside the store."""

MAX_SEEN_REQUESTS: Final = 2 * 2**20
"""Most bytes of remembered requests together: what is read from one takes up to twenty times as many."""

_LENGTH: Final = re.compile(rb"\r\nContent-Length: ([0-9]{1,6})\r\n", re.IGNORECASE)
_UNFIT: Final = ("Transfer-Encoding", "Expect", "Upgrade", "Content-Encoding", DEBUG_HEADER, ADMIN_HEADER)
"""Headers of requests that are left to aiohttp."""


class More(Enum):
    """Said of bytes that may become a request of the lane when more of them have come."""

    MORE = "more"


MORE: Final = More.MORE


@dataclass(slots=True)
class Asker:
    """A head that aiohttp has read: what all requests with it have in common."""

    head: Head
    dialect: Dialect
    runtime: Runtime
    tenant: str


@dataclass(slots=True)
class Seen:
    """A request that was answered, and the answer of the entry that it had then."""

    question: Question
    model: str | None
    upstream: str | None
    tenant: str | None
    policy: str | None
    version: str
    key: str
    entry: Entry
    content_type: str
    body: bytes


@dataclass(slots=True)
class Lookup:
    """A request whose entry has to be waited for."""

    exchange: Exchange
    question: Question
    name: tuple[bytes, bytes]
    seen: Seen | None


class Lane:
    """Remembers heads and requests, and answers those that it can."""

    def __init__(self, handler: Handler, heads: HitHeads, runtime: Callable[[], Runtime], metrics: Metrics) -> None:
        self._handler = handler
        self._runtime = runtime
        self._metrics = metrics
        self._of: Runtime | None = None
        """The configuration by which all that is remembered was decided."""

        self._askers: dict[bytes, Asker] = {}
        self._seen: dict[tuple[bytes, bytes], Seen] = {}
        self._seen_bytes = 0
        # Hashes of requests that came once, each at the one place where it may be. Two with one hash do no harm.
        self._once = [0] * MAX_SEEN
        self._heads = heads

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer a request that aiohttp has read, and remember its head where it had a hit."""
        response = None
        connection = http.protocol if isinstance(http.protocol, LaneConnection) else None
        try:
            begun = connection.taken_on() if connection is not None else None
            response = await self._handler.handle(http, begun)
            return response
        finally:
            if connection is not None:
                head = connection.over(http)
                if head is not None and response is not None and response.headers.get("X-LLMCache") == "HIT":
                    self._learn(http, head)

    def answer(self, data: bytes) -> bytes | Lookup | Exchange | Literal[More.MORE] | None:
        """Return the answer to the bytes of a request, or what has to be looked up for it.

        MORE when it is not whole yet; an exchange, for the request path to go on with, when there is nothing at hand;
        None when it is not for here.
        """
        end = data.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(data, 0, end) if end > 3 else None
        if length is None:
            return None
        head = data[: length.start(1)] + data[length.end(1) : end]
        asker = self._askers.get(head)
        if asker is None:
            return None
        whole = end + int(length[1])
        if len(data) < whole <= MAX_BODY:
            return MORE
        if len(data) != whole:
            return None
        runtime, started = asker.runtime, time.perf_counter()
        if runtime is not self._runtime():
            self._forget()
            return None
        if whole - end > runtime.request_bytes:
            return None
        no_wire = cast(Any, None)  # nothing on the lane reads from it
        exchange = Exchange(no_wire, asker.head, runtime, runtime.prefix.active, started, asker.dialect)
        body = exchange.body = data[end:]
        try:
            return self._answer(exchange, asker, head, body)
        except Exception:
            # Whatever is wrong with a request or an entry, the request path says it, or does without.
            return None

    def look_up(self, lookup: Lookup) -> asyncio.Future[Found | None]:
        """Ask the store, and return what will have its answer, which `looked_up` must be given, cancelled or not."""
        runtime = lookup.exchange.runtime
        asked = runtime.store.ask(lookup.exchange.key or "")
        runtime.enter()  # its store must not be closed meanwhile
        return asked

    def looked_up(self, lookup: Lookup, asked: asyncio.Future[Found | None]) -> bytes | None:
        """Return the answer to a request whose entry has been asked for; None when it is not for here."""
        looked_up = lookup.exchange.looked_up = LookedUp(seconds=time.perf_counter() - lookup.exchange.started)
        lookup.exchange.runtime.leave()
        if asked.cancelled() or asked.exception() is not None:
            return None
        found = looked_up.found = asked.result()
        if found is None:
            return None
        try:
            return self._hit(lookup.exchange, lookup.question, lookup.name, lookup.seen, found)
        except Exception:
            return None  # as in `answer`

    def _answer(self, exchange: Exchange, asker: Asker, head: bytes, body: bytes) -> bytes | Lookup | Exchange | None:
        name = (head, body)
        seen = self._seen.get(name)
        if seen is None:
            question = self._handler.question(exchange, asker.dialect, asker.tenant, body)
            key = self._handler.key_now(exchange, question)
            if key is None:
                return None
        else:
            question, key = seen.question, seen.key
            exchange.model, exchange.upstream = seen.model, seen.upstream
            exchange.tenant, exchange.policy, exchange.version = seen.tenant, seen.policy, seen.version
        exchange.key, exchange.question = key, question
        store = exchange.runtime.store
        found = store.get_now(key)
        if found is not None:
            return self._hit(exchange, question, name, seen, found)
        if seen is not None:
            exchange.question = copy(question)  # the request path may note something in its own
        if store.waits:
            return Lookup(exchange, question, name, seen)
        return exchange

    def _hit(
        self, exchange: Exchange, question: Question, name: tuple[bytes, bytes], seen: Seen | None, found: Found
    ) -> bytes | None:
        entry = found.entry
        if not self._handler.answers_at_once(entry, question):
            return None
        if seen is not None and seen.entry is entry:
            content_type, answer = seen.content_type, seen.body
        else:
            content_type, answer = self._handler.replay(entry, question)
            self._remember(exchange, name, question, entry, content_type, answer)
        if len(answer) > MAX_BODY:
            return None
        start = self._heads.head(exchange, question, found, content_type, len(answer))
        if start is None:
            return None
        exchange.status = 200
        self._handler.account(exchange)
        self._metrics.express.add()
        return start + answer

    def _remember(
        self,
        exchange: Exchange,
        name: tuple[bytes, bytes],
        question: Question,
        entry: Entry,
        content_type: str,
        answer: bytes,
    ) -> None:
        """Remember a request from its second time on, so that those that come once drive nothing out."""
        if len(answer) > MAX_SEEN_BYTES or len(name[1]) > MAX_SEEN_BYTES:
            return
        if question.settings.builder is not None:
            return  # a function of somebody else's, which may return another key the next time
        if exchange.runtime is not self._of:
            return  # its store was asked while another configuration came
        if name not in self._seen:
            hashed = hash(name)
            if self._once[hashed % MAX_SEEN] != hashed:
                self._once[hashed % MAX_SEEN] = hashed
                return
            self._seen_bytes += len(name[1])
        self._seen[name] = Seen(
            question=question,
            model=exchange.model,
            upstream=exchange.upstream,
            tenant=exchange.tenant,
            policy=exchange.policy,
            version=exchange.version,
            key=exchange.key or "",
            entry=entry,
            content_type=content_type,
            body=answer,
        )
        while len(self._seen) > MAX_SEEN or self._seen_bytes > MAX_SEEN_REQUESTS:
            oldest = next(iter(self._seen))
            del self._seen[oldest]
            self._seen_bytes -= len(oldest[1])

    def _learn(self, http: web.BaseRequest, head: bytes) -> None:
        dialect = dialect_of(http.method, http.raw_path.partition("?")[0])
        length = _LENGTH.search(head)
        fits = len(head) <= MAX_HEAD_BYTES and http.version == HttpVersion11 and http.keep_alive
        if not fits or dialect is None or length is None or any(name in http.headers for name in _UNFIT):
            return
        runtime = self._runtime()
        known = Head(http.method, http.raw_path, http.headers)
        try:
            tenant = runtime.tenants.tenant(known.headers)
        except RequestError:
            return  # it was let in by a configuration that is over
        if runtime is not self._of:
            self._forget()  # nothing has taken the lane since the configuration changed
            self._of = runtime
        asker = Asker(known, dialect, runtime, tenant)
        self._askers[head[: length.start(1)] + head[length.end(1) :]] = asker
        if len(self._askers) > MAX_HEADS:
            del self._askers[next(iter(self._askers))]

    def _forget(self) -> None:
        """Let go of all that another configuration decided."""
        self._askers.clear()
        self._seen.clear()
        self._seen_bytes = 0
        self._once = [0] * MAX_SEEN
        self._heads.forget()


class LaneConnection(web.RequestHandler):
    """aiohttp's connection, with a look at what arrives between two requests.

    Bytes are counted from one boundary to the next: only if a request's length is exactly what was handed to aiohttp
    does its parser hold nothing back, and may the next bytes take the lane. Where that can't be said (pipelining,
    chunked bodies), the rest of the connection is aiohttp's.
    """

    __slots__ = ("_begun", "_close_after", "_fed", "_held", "_lane", "_looking_up", "_open", "_taken_on")

    def __init__(self, manager: web.Server, lane: Lane, **options: Any) -> None:
        super().__init__(manager, **options)
        self._lane = lane
        self._open = True
        self._begun = b""
        self._fed = 0
        self._held = b""
        self._looking_up: asyncio.Future[Found | None] | None = None
        self._taken_on: Exchange | None = None
        self._close_after = False

    def data_received(self, data: bytes) -> None:
        if self._looking_up is not None:
            self._held += data
            if self.transport is not None:
                self.transport.pause_reading()  # so that no more is held than comes at once
            return
        if self._held:
            data, self._held = self._held + data, b""
        if self._open and data and not self._fed:
            if self._is_idle():
                answer = self._lane.answer(data)
                if answer is MORE:
                    self._held = data
                    return
                if isinstance(answer, Lookup):
                    self._looking_up = self._lane.look_up(answer)
                    self._looking_up.add_done_callback(partial(self._answer, answer, data))
                    self._stay()
                    return
                if isinstance(answer, Exchange):
                    self._taken_on = answer
                elif answer is not None:
                    self._write(answer)
                    return
            self._begun = data
        self._fed += len(data)
        super().data_received(data)

    def close(self) -> None:
        if self._looking_up is not None:
            self._close_after = True  # a client waits of whom aiohttp does not know
        else:
            super().close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        if self._looking_up is not None:
            await asyncio.wait([self._looking_up], timeout=timeout)
            await asyncio.sleep(0)  # aiohttp begins with what the lane could not answer
        await super().shutdown(timeout)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._looking_up is not None:
            self._looking_up.cancel()
        super().connection_lost(exc)

    def _answer(self, lookup: Lookup, data: bytes, asked: asyncio.Future[Found | None]) -> None:
        """Answer a request once the store has been asked, or leave it to aiohttp; then go on with what came since."""
        self._looking_up = None
        answer = self._lane.looked_up(lookup, asked)
        if self.transport is None:
            return  # its client has gone
        if answer is not None:
            self._write(answer)
        else:
            self._taken_on = lookup.exchange
            self._begun, self._fed = data, len(data)
            super().data_received(data)
        held, self._held = self._held, b""
        if held:
            if self.transport is not None:
                self.transport.resume_reading()
            self.data_received(held)
        if self._close_after:
            self.close()

    def taken_on(self) -> Exchange | None:
        """Return what was made of the request that aiohttp has read, once."""
        taken_on, self._taken_on = self._taken_on, None
        return taken_on

    def _write(self, answer: bytes) -> None:
        if self.transport is not None:
            self.transport.write(answer)
            self._stay()

    def _stay(self) -> None:
        """Have aiohttp keep the connection for as long as one that it has answered on now."""
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout

    def over(self, http: web.BaseRequest) -> bytes | None:
        """Note that a request has been answered; return its head if its bytes are all that aiohttp was given."""
        end = self._begun.find(b"\r\n\r\n") + 4
        chunked = "Transfer-Encoding" in http.headers
        if end < 4 or chunked or self._fed != end + (http.content_length or 0):
            self._open = False
            return None
        head, self._begun, self._fed = self._begun[:end], b"", 0
        return head

    def _is_idle(self) -> bool:
        """Say whether aiohttp waits for the next request, and the client takes what is written."""
        waiter = self._waiter
        return (
            waiter is not None
            and not waiter.done()
            and not (self._messages or self._close or self._force_close or self._upgraded or self._buffer_paused)
            and not self.writing_paused
        )


class LaneServer(web.Server):
    """aiohttp's server, with a lane."""

    def __init__(self, lane: Lane, **options: Any) -> None:
        super().__init__(lane.handle, **options)
        self._lane = lane

    def __call__(self) -> web.RequestHandler:
        return LaneConnection(self, self._lane, loop=self._loop, **self._kwargs)
