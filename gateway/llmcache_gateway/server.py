"""The public port: from a client's bytes to an answer, by way of the cache.

Read `Handler._answer` for the request path; everything it decides stands in the pure modules it calls.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from aiohttp import web
from multidict import CIMultiDict

from llmcache_gateway import canonical, key, record, replay, report
from llmcache_gateway.dialects import Dialect, dialect_of, kin_of
from llmcache_gateway.dialects.base import Request, refuse
from llmcache_gateway.dialects.openai_errors import error_body
from llmcache_gateway.errors import RequestError, UpstreamError
from llmcache_gateway.headers import HOP_BY_HOP
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.plainjson import dumps
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.sse import CONTENT_TYPE, END_OF_EVENT, EventSplitter
from llmcache_gateway.upstreams import choice
from llmcache_gateway.upstreams.base import Answer, Call, Upstream

log = logging.getLogger("llmcache_gateway.requests")

DRAIN_SECONDS: Final = 0.1
"""How long to wait for the end of a stream whose last event has come, so that its connection can be used again."""


@dataclass(slots=True)
class Exchange:
    """What belongs to one request, and what its log line says."""

    http: web.BaseRequest
    runtime: Runtime
    prefix: str
    started: float
    dialect: Dialect | None = None
    model: str | None = None
    tenant: str | None = None
    key: str | None = None
    upstream: str | None = None
    outcome: str = "ERROR"
    reason: str = ""
    status: int = 0

    @property
    def target(self) -> str:
        """The raw path with its query, as the client sent it."""
        return self.http.raw_path

    @property
    def path(self) -> str:
        """The raw path without its query."""
        return self.target.partition("?")[0]


class Handler:
    """Answers the requests of the public port. `runtime` returns the configuration now in force."""

    def __init__(self, runtime: Callable[[], Runtime], metrics: Metrics, clock: Callable[[], float]) -> None:
        self._runtime = runtime
        self._metrics = metrics
        self._clock = clock

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        runtime = self._runtime()
        prefix = f"{runtime.prefix_name}:{runtime.prefix_version}"
        exchange = Exchange(http, runtime, prefix, time.perf_counter())
        runtime.enter()
        try:
            response = await self._answer_or_error(exchange)
            exchange.status = response.status
            return response
        finally:
            runtime.leave()
            self._account(exchange)

    async def _answer_or_error(self, exchange: Exchange) -> web.StreamResponse:
        try:
            return await self._answer(exchange)
        except RequestError as error:
            exchange.reason = error.code or "refused"
            return _error(exchange, error.status, error.message, error.code, error.param)
        except UpstreamError as error:
            exchange.reason = "upstream-timeout" if error.timed_out else "upstream-unreachable"
            code = exchange.reason.replace("-", "_")
            return _error(exchange, 504 if error.timed_out else 502, error.message, code, None)
        except (ConnectionResetError, asyncio.CancelledError):
            exchange.reason = "client-gone"
            raise
        except Exception:
            # The last line of defence: the client gets an answer in the provider's shape, the log the traceback.
            log.exception("a request failed inside the gateway")
            exchange.reason = "internal"
            return _error(exchange, 500, "The gateway failed; its log says why.", "internal_error", None)

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        http, runtime = exchange.http, exchange.runtime
        _refuse_odd_targets(exchange)
        dialect = exchange.dialect = dialect_of(http.method, exchange.path)
        if dialect is None:
            return await self._pass_through(exchange)
        body = await self._body(exchange)
        request = dialect.parse(canonical.decode(body), body)
        upstream = choice.for_model(runtime.upstreams, dialect, request.model)
        exchange.model, exchange.upstream = request.model, upstream.name
        call = Call("POST", exchange.target, http.headers.copy(), dialect.for_upstream(request), decoded=True)

        reason = "disabled" if not runtime.enabled else dialect.bypass(request)
        if reason is not None:
            exchange.outcome, exchange.reason = "BYPASS", reason
            headers = report.bypass(detail=reason, prefix=exchange.prefix)
            return await self._forward(exchange, upstream, call, request, dialect, headers)

        tenant = exchange.tenant = runtime.tenants.tenant(http.headers)
        digest = key.digest(
            dialect=dialect,
            request=request,
            query=exchange.target.partition("?")[2],
            headers=http.headers,
            upstream=upstream.identity,
            tenant=tenant,
        )
        exchange.key = key.stored_key(runtime.prefix_name, runtime.prefix_version, tenant, digest)
        found = runtime.store.get_now(exchange.key) or await runtime.store.get(exchange.key)
        if found is not None:
            try:
                content_type, answer = replay.replay(found.entry, dialect, request)
            except (ValueError, KeyError, TypeError):
                log.exception("the entry %s can't be replayed; asking upstream", exchange.key)
            else:
                exchange.outcome, exchange.reason = "HIT", found.tier
                now = self._clock()
                headers = report.hit(
                    ttl=found.entry.remaining(now),
                    age=found.entry.age(now),
                    key=exchange.key,
                    tier=found.tier,
                    prefix=exchange.prefix,
                )
                headers["Content-Type"] = content_type
                return web.Response(body=answer, headers=headers)
        exchange.outcome = "MISS"
        return await self._forward(exchange, upstream, call, request, dialect, None)

    async def _forward(
        self,
        exchange: Exchange,
        upstream: Upstream,
        call: Call,
        request: Request,
        dialect: Dialect,
        headers: CIMultiDict[str] | None,
    ) -> web.StreamResponse:
        """Ask upstream and record the answer. `headers` are given where nothing is to be recorded."""
        asked = time.perf_counter()
        async with upstream.send(call) as answer:
            self._metrics.upstream_seconds.observe(time.perf_counter() - asked)
            if answer.content_type == CONTENT_TYPE and answer.status == 200:
                return await self._stream(exchange, answer, request, dialect, headers)
            return await self._whole(exchange, answer, request, dialect, headers)

    async def _whole(
        self,
        exchange: Exchange,
        answer: Answer,
        request: Request,
        dialect: Dialect,
        headers: CIMultiDict[str] | None,
    ) -> web.StreamResponse:
        """Give an unstreamed answer: held until it is whole, or passed on as it comes when it is too large."""
        body = bytearray()
        limit = exchange.runtime.entry_bytes
        async for chunk in answer.chunks:
            body += chunk
            if len(body) > limit:
                self._skip(exchange, "too-large")
                marked = _answer_headers(answer, headers or _miss(exchange, detail="too-large"))
                return await _pass_on(exchange, answer, marked, bytes(body))
        if headers is None:
            verdict = record.judge_json(dialect, answer.status, bytes(body))
            if verdict.store:
                stored = self._store(exchange, "json", [bytes(body)], answer)
                headers = _miss(exchange, stored=stored)
            else:
                self._skip(exchange, verdict.reason)
                headers = _miss(exchange, detail=verdict.reason)
        return web.Response(status=answer.status, body=bytes(body), headers=_answer_headers(answer, headers))

    async def _stream(
        self,
        exchange: Exchange,
        answer: Answer,
        request: Request,
        dialect: Dialect,
        headers: CIMultiDict[str] | None,
    ) -> web.StreamResponse:
        """Give a streamed answer event by event, as it comes, and record it on the way."""
        recording = headers is None
        response = web.StreamResponse(headers=_answer_headers(answer, headers or _miss(exchange)))
        await response.prepare(exchange.http)
        splitter = EventSplitter(exchange.runtime.entry_bytes)
        blocks: list[bytes] = []
        size = 0
        ended = False
        try:
            async for chunk in answer.chunks:
                new = splitter.feed(chunk)
                shown = [block for block in (dialect.for_client(block, request) for block in new) if block is not None]
                if shown:
                    await response.write(END_OF_EVENT.join([*shown, b""]))
                size += sum(map(len, new))
                recording = recording and size <= exchange.runtime.entry_bytes
                if recording:
                    blocks += [block for block in new if not block.startswith(b":")]
                ended = any(map(dialect.is_terminal, new))
                if ended:
                    break
        except UpstreamError as error:
            # The status line is gone: only an event can still say that the answer is not whole.
            log.warning("%s", error.message)
            self._skip(exchange, "unterminated")
            status = 504 if error.timed_out else 502
            await response.write(dialect.error_event(status, error.message, "upstream_failed") + END_OF_EVENT)
            await response.write_eof()
            return response
        await response.write_eof()
        if headers is None:
            if size > exchange.runtime.entry_bytes:
                verdict = refuse("too-large")
            else:
                verdict = record.judge_stream(dialect, answer.status, blocks, ended=ended)
            if verdict.store:
                self._store(exchange, "sse", blocks, answer)
            else:
                self._skip(exchange, verdict.reason)
        with suppress(TimeoutError, UpstreamError):
            async with asyncio.timeout(DRAIN_SECONDS):
                async for _ in answer.chunks:
                    pass
        return response

    async def _pass_through(self, exchange: Exchange) -> web.StreamResponse:
        """Send on a request that no dialect knows, byte for byte in both directions."""
        http = exchange.http
        upstream = choice.for_path(exchange.runtime.upstreams, kin_of(exchange.path, http.headers))
        exchange.upstream = upstream.name
        exchange.outcome, exchange.reason = "BYPASS", "unknown-path"
        body = http.content.iter_any() if http.body_exists else None
        call = Call(http.method, exchange.target, http.headers.copy(), body, decoded=False)
        async with upstream.send(call) as answer:
            marked = _answer_headers(
                answer, report.bypass(detail="unknown-path", prefix=exchange.prefix), decoded=False
            )
            return await _pass_on(exchange, answer, marked, b"")

    async def _body(self, exchange: Exchange) -> bytes:
        http, limit = exchange.http, exchange.runtime.request_bytes
        encoding = http.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise RequestError(
                415, f"Request bodies with Content-Encoding {encoding!r} are not accepted.", code="unsupported_encoding"
            )
        too_large = RequestError(413, f"The body is larger than {limit} bytes.", code="request_too_large")
        length = http.content_length
        if length is not None:
            if length > limit:
                raise too_large
            try:
                return await http.content.readexactly(length) if length else b""
            except asyncio.IncompleteReadError:
                raise ConnectionResetError("the client hung up in the middle of its request") from None
        body = bytearray()
        async for chunk in http.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise too_large
        return bytes(body)

    def _store(self, exchange: Exchange, form: record.Form, blocks: list[bytes], answer: Answer) -> bool:
        lifetime = record.Lifetime(now=self._clock(), ttl=exchange.runtime.ttl_seconds)
        content_type = answer.headers.get("Content-Type", replay.JSON_TYPE)
        entry = record.entry(form, blocks, content_type=content_type, model=exchange.model or "", lifetime=lifetime)
        return exchange.runtime.store.put_soon(exchange.key or "", entry)

    def _skip(self, exchange: Exchange, reason: str) -> None:
        if exchange.outcome == "MISS":
            exchange.reason = reason
            self._metrics.store_skipped.labels(reason).inc()

    def _account(self, exchange: Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        name = exchange.dialect.name if exchange.dialect else "none"
        self._metrics.count_request(name, exchange.runtime.prefix_version, exchange.outcome, seconds)
        if exchange.outcome == "HIT":
            self._metrics.count_hit(exchange.reason)
        elif exchange.outcome == "MISS":
            self._metrics.misses.labels("not-found").inc()
        if log.isEnabledFor(logging.INFO):
            log.info(
                f"CACHE {exchange.outcome}",
                extra={
                    "fields": {
                        "reason": exchange.reason,
                        "status": exchange.status,
                        "method": exchange.http.method,
                        "path": exchange.path[:200],
                        "dialect": name,
                        "model": exchange.model and exchange.model[:200],
                        "upstream": exchange.upstream,
                        "tenant": exchange.tenant,
                        "prefix": exchange.prefix,
                        "key": exchange.key,
                        "milliseconds": round(seconds * 1000, 3),
                    }
                },
            )


def _refuse_odd_targets(exchange: Exchange) -> None:
    if not exchange.target.startswith("/"):
        raise RequestError(400, "The request target must be a path.", code="invalid_target")
    path = exchange.path
    if ("/." in path or "%" in path) and any(unquote(segment) in (".", "..") for segment in path.split("/")):
        raise RequestError(400, "The path must not contain '.' or '..' segments.", code="invalid_path")
    if "upgrade" in exchange.http.headers.get("Connection", "").lower():
        raise RequestError(501, "Protocol upgrades (WebSockets) are not supported.", code="upgrade_not_supported")


def _miss(exchange: Exchange, *, stored: bool = False, detail: str | None = None) -> CIMultiDict[str]:
    return report.miss(key=exchange.key or "", prefix=exchange.prefix, stored=stored, detail=detail)


def _answer_headers(answer: Answer, own: CIMultiDict[str], *, decoded: bool = True) -> CIMultiDict[str]:
    """Return the upstream's headers as they may be passed on, with the cache's own in place of any it sent."""
    listed = {name.strip().lower() for name in answer.headers.get("Connection", "").split(",")}
    dropped = HOP_BY_HOP | listed | {name.lower() for name in own} | {"x-llmcache", "age"}
    if decoded:
        dropped |= {"content-length", "content-encoding"}
    headers = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in dropped)
    headers.extend(own)
    return headers


async def _pass_on(exchange: Exchange, answer: Answer, headers: CIMultiDict[str], begun: bytes) -> web.StreamResponse:
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


def _error(exchange: Exchange, status: int, message: str, code: str | None, param: str | None) -> web.StreamResponse:
    dialect = exchange.dialect or kin_of(exchange.path, exchange.http.headers)
    shape = dialect.error_body if dialect else error_body
    forwarded = exchange.outcome != "ERROR"
    headers = report.error(detail=exchange.reason, prefix=exchange.prefix, forwarded=forwarded)
    exchange.outcome = "ERROR"
    headers["Content-Type"] = replay.JSON_TYPE
    response = web.Response(status=status, body=dumps(shape(status, message, code, param)), headers=headers)
    if status == 413:
        response.force_close()  # the rest of the body is not read
    return response
