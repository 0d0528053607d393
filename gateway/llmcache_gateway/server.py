"""The public port: from a client's bytes to an answer, by way of the cache.

Read `Handler._answer` for the request path; everything it decides stands in the pure modules it calls.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from llmcache_gateway import alike, canonical, freshness, hinting, hooked, hot, key, replay, report, trusted
from llmcache_gateway.bodies import invite_body, read_body, without_cache_member
from llmcache_gateway.dialects import Dialect, dialect_of, kin_of
from llmcache_gateway.dialects.base import Request
from llmcache_gateway.dialects.openai_errors import error_body
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import RequestError, UpstreamError
from llmcache_gateway.exchange import Exchange, Question
from llmcache_gateway.false_hits import FalseHits
from llmcache_gateway.forward import Forwarder
from llmcache_gateway.freshness import Use
from llmcache_gateway.giving import StaleInstead, answer_headers, give_stored, pass_on
from llmcache_gateway.heads import Head
from llmcache_gateway.meter import Meter
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.parts import PartsAnswerer, Splitting, splitting
from llmcache_gateway.plainjson import dumps
from llmcache_gateway.refresh import Refresher
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.stats import Ended, Stats
from llmcache_gateway.tenant import SHARED
from llmcache_gateway.trusted import ADMIN_HEADER
from llmcache_gateway.upstreams import choice
from llmcache_gateway.upstreams.base import Call

log = logging.getLogger("llmcache_gateway.requests")

UNKNOWN_PATH = "unknown-path"
"""Why a request that no dialect knows passes by the cache."""

DEBUG_HEADER = "X-LLMCache-Debug"
"""A client that sends it learns which policy applied (X-LLMCache-Policy), and its call's hint (X-LLMCache-Hint)."""


class Handler:
    """Answers the requests of the public port. `runtime` returns the configuration now in force.

    Once `hurry` is set, nothing is paced any more.
    """

    def __init__(
        self,
        runtime: Callable[[], Runtime],
        forwarder: Forwarder,
        refresher: Refresher,
        metrics: Metrics,
        stats: Stats,
        meter: Meter,
        admin_token: str,
        clock: Callable[[], float],
        hurry: asyncio.Event,
        false_hits: FalseHits,
    ) -> None:
        self._runtime = runtime
        self._forwarder = forwarder
        self._parts = PartsAnswerer(forwarder, clock)
        self._refresher = refresher
        self._metrics = metrics
        self._stats = stats
        self._meter = meter
        self._admin_token = admin_token.encode()
        self._clock = clock
        self._hurry = hurry
        self._false_hits = false_hits

    async def handle(self, http: web.BaseRequest, begun: Exchange | None = None) -> web.StreamResponse:
        """Answer a request; `begun` is what the express lane has made of it, to the key and perhaps a lookup."""
        runtime = self._runtime()
        head = Head(http.method, http.raw_path, http.headers)
        # It came before what the lane did: a call that has ended since may answer it.
        started = time.perf_counter() if begun is None else begun.started
        if begun is not None and begun.runtime is runtime:
            exchange, exchange.http, exchange.head = begun, http, head
        else:
            exchange = Exchange(http, head, runtime, runtime.prefix.active, started)
        runtime.enter()
        try:
            response = await self._answer_or_error(exchange)
            exchange.status = response.status
            return response
        finally:
            runtime.leave()
            # Once the answer is on its way: its client need not wait for the counting.
            asyncio.get_running_loop().call_soon(self.account, exchange)

    async def _answer_or_error(self, exchange: Exchange) -> web.StreamResponse:
        try:
            return await self._answer(exchange)
        except RequestError as error:
            exchange.reason = error.code or "refused"
            return _error(exchange, error.status, error.message, error.code, error.param)
        except UpstreamError as error:
            exchange.reason = error.reason
            return _error(exchange, error.status, error.message, error.reason.replace("-", "_"), None)
        except (ConnectionResetError, asyncio.CancelledError):
            exchange.reason = "client-gone"
            raise
        except Exception:
            # The last line of defence: the client gets an answer in the provider's shape, the log the traceback.
            log.exception("a request failed inside the gateway")
            exchange.reason = "internal"
            return _error(exchange, 500, "The gateway failed; its log says why.", "internal_error", None)

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        if exchange.question is not None:
            return await self._go_on(exchange, exchange.question)
        _refuse_odd_targets(exchange)
        self.read_named(exchange)
        dialect = exchange.dialect = dialect_of(exchange.head.method, exchange.path)
        if dialect is None:
            return await self._pass_through(exchange)
        question = await self._read(exchange, dialect)
        trusted.refuse_borrowed_credential(exchange.named, question.upstream.name, question.upstream.passthrough)
        reason = question.settings.bypass(dialect, question.request, question.controls, question.headers)
        question.recorded = reason is None
        if reason is not None:
            if question.controls.only_if_cached:
                raise _only_if_cached()
            exchange.outcome, exchange.reason, exchange.forward = "BYPASS", reason, "bypass"
            return await self._forwarder.forward(exchange, question)

        exchange.key = await self.key_of(exchange, question)
        exchange.question = question
        split = self.parts_of(exchange, question)
        if split is not None:
            response = await self._parts.answer(exchange, question, *split)
            if response is not None:
                return response
        return await self._by_key(exchange, question)

    async def _go_on(self, exchange: Exchange, question: Question) -> web.StreamResponse:
        """Answer a request that the express lane has read."""
        question.headers = exchange.head.headers
        if await read_body(exchange.http, exchange.runtime.request_bytes) != exchange.body:
            raise RuntimeError("the express lane has read another request")
        return await self._by_key(exchange, question)

    async def _by_key(self, exchange: Exchange, question: Question) -> web.StreamResponse:
        """Answer a request from the entry of its key, or from upstream."""
        response = await self._from_store(exchange, question)
        if response is None and exchange.runtime.semantic is not None:
            response = await alike.answer(
                exchange, question, self._metrics, self.use_of, self._served, self._hurry, self._false_hits
            )
        if response is not None:
            return response
        if question.controls.only_if_cached:
            raise _only_if_cached()
        exchange.outcome = "MISS"
        try:
            return await self._forwarder.forward(exchange, question)
        except StaleInstead as instead:
            log.info("stale-if-error: %s", instead.reason)
            served = self._served(exchange, question, instead.entry, Use.IF_ERROR.value)
            return await give_stored(exchange, *served, self._hurry)

    def read_named(self, exchange: Exchange) -> None:
        """Note what a request that fills the cache for others names; RequestError for a client that names something."""
        runtime = exchange.runtime
        named = exchange.named = trusted.read_named(
            exchange.head.headers,
            token=self._admin_token,
            versions=runtime.prefix.versions,
            of_the_front=runtime.own_headers,
        )
        if named.version is not None:
            exchange.version = named.version

    async def _read(self, exchange: Exchange, dialect: Dialect) -> Question:
        """Read the request, and find what holds for it."""
        tenant = self.tenant_of(exchange)  # first: a stranger's body is not even read
        return self.question(exchange, dialect, tenant, await read_body(exchange.http, exchange.runtime.request_bytes))

    @staticmethod
    def tenant_of(exchange: Exchange) -> str:
        """Return the tenant that a head belongs to, or that a proven one names; RequestError where it has none."""
        tenants, named = exchange.runtime.tenants, exchange.named.tenant
        return tenants.tenant(exchange.head.headers) if named is None else tenants.named(named)

    def question(self, exchange: Exchange, dialect: Dialect, tenant: str, body: bytes) -> Question:
        """Return what a body asks, and what holds for it; RequestError for one that can't be read."""
        head, runtime = exchange.head, exchange.runtime
        members = canonical.decode(body)
        own = None
        if isinstance(members, dict) and "cache" in members:
            own, body = members.pop("cache"), without_cache_member(body)
        controls = head.controls(own)
        request = dialect.parse(members, body, head.target)
        upstream = runtime.upstream_for(dialect, request.model)
        dialect = dialect.for_provider(upstream.provider)
        settings = runtime.policies.settings(
            dialect=dialect.name, model=request.model, tenant=tenant, headers=head.headers
        )
        if settings.isolation != runtime.isolation:
            if exchange.named.tenant is None:
                tenant = runtime.tenants.tenant(head.headers, settings.isolation)
            elif settings.isolation == "Shared":
                tenant = SHARED
        exchange.model, exchange.upstream = request.model, upstream.name
        exchange.tenant, exchange.policy = tenant, settings.policy
        if DEBUG_HEADER in head.headers:
            exchange.explained = {"X-LLMCache-Policy": settings.policy}
        own_headers = runtime.own_headers
        return Question(
            dialect, request, upstream, head.target, head.headers, own_headers, controls, settings, tenant=tenant
        )

    async def key_of(self, exchange: Exchange, question: Question) -> str:
        """Return the key that the hook makes; the default key, which shares less, when there is none, or it fails."""
        default = self._key(exchange, question)
        if not hooked.defines(exchange.runtime.hooks, "build_key"):
            return default
        built = await hooked.built_key(exchange.runtime.hooks, question, default.rpartition(":")[2])
        return default if built is None else self._key(exchange, question, built)

    def parts_of(self, exchange: Exchange, question: Question) -> tuple[Splitting, list[Request], list[str]] | None:
        """Return the parts of a request whose key is known, and theirs; None for one that is answered whole."""
        splits = splitting(question.dialect)
        # A key of the user's own is for a whole request; its parts have none.
        if splits is None or hooked.defines(exchange.runtime.hooks, "build_key"):
            return None
        parts = splits.split(question.request)
        if parts is None or len(parts) < 2:
            return None
        # By the whole request's version: one request sees one version.
        return splits, parts, [self._stored_key(exchange, self.digest_of(exchange, question, one)) for one in parts]

    def _key(self, exchange: Exchange, question: Question, built: str | None = None) -> str:
        """Return the key of a request, and note the version that it belongs to."""
        digest = self.digest_of(exchange, question, built=built)
        if exchange.named.version is None:
            exchange.version = exchange.runtime.prefix.version_of(exchange.tenant or "", digest)
        return self._stored_key(exchange, digest)

    @staticmethod
    def digest_of(
        exchange: Exchange, question: Question, request: Request | None = None, built: str | None = None
    ) -> str:
        """Return the digest of a request, or of a part of it, or of what a hook made of it."""
        return key.digest(
            dialect=question.dialect,
            request=request or question.request,
            settings=question.settings,
            head=exchange.head,
            upstream=question.upstream.identity,
            tenant=exchange.tenant or "",
            namespace=question.controls.namespace,
            built=built,
        )

    @staticmethod
    def _stored_key(exchange: Exchange, digest: str) -> str:
        return key.stored_key(exchange.runtime.prefix.name, exchange.version, exchange.tenant or "", digest)

    async def _from_store(self, exchange: Exchange, question: Question) -> web.StreamResponse | None:
        """Answer from the store where that may be; else note in the exchange why not."""
        runtime, store_key = exchange.runtime, exchange.key or ""
        if exchange.looked_up is not None:
            found, exchange.lookup_seconds = exchange.looked_up.found, exchange.looked_up.seconds
        else:
            asked = time.perf_counter()
            found = await runtime.store.get(store_key)
            exchange.lookup_seconds = time.perf_counter() - asked
        if found is None:
            return None
        use = self.use_of(found.entry, question)
        if use is Use.FRESH or use is Use.REVALIDATE:
            detail = found.tier if use is Use.FRESH else use.value
            try:
                served = self._served(exchange, question, found.entry, detail)
            except Exception:
                # Whatever is wrong with an entry, the provider can still be asked.
                log.exception("the entry %s can't be replayed; asking upstream", store_key)
                return None
            if use is Use.REVALIDATE and not question.controls.only_if_cached:
                alike.read(exchange, question, self._metrics)
                self._refresher.refresh_soon(runtime, question, store_key)
            return await give_stored(exchange, *served, self._hurry)
        exchange.forward = self.forward_of(found.entry, question)
        exchange.stale = found.entry if use is Use.IF_ERROR else None
        return None

    def use_of(self, entry: Entry, question: Question) -> Use:
        """Say what an entry is good for, for this request."""
        settings = question.settings
        return freshness.judge(
            entry,
            self._clock(),
            question.controls,
            ttl=settings.ttl,
            stale_while_revalidate=settings.stale_while_revalidate,
            stale_if_error=settings.stale_if_error,
        )

    def forward_of(self, entry: Entry, question: Question) -> str:
        """Say why upstream is asked although there is an entry: it is stale, or else the request wants a newer one."""
        return "request" if freshness.remaining(entry, self._clock(), question.settings.ttl) > 0 else "stale"

    def key_now(self, exchange: Exchange, question: Question) -> str | None:
        """Return the key of a request that one entry may answer; None when it takes more than a lookup."""
        reason = question.settings.bypass(question.dialect, question.request, question.controls, question.headers)
        waits = splitting(question.dialect) is not None or hooked.defines(exchange.runtime.hooks, "build_key")
        if reason is not None or waits:
            return None
        return self._key(exchange, question)

    def answers_at_once(self, entry: Entry, question: Question) -> bool:
        """Say whether an entry is fresh, and given whole: not at the pace of a stream."""
        pace = question.settings.pace
        paced = pace is not None and replay.is_paced(entry, question.request, pace)
        return not paced and self.use_of(entry, question) is Use.FRESH

    @staticmethod
    def replay(entry: Entry, question: Question) -> tuple[str, bytes]:
        """Return content type and body of a hit, as this client asked for it."""
        return replay.replay(entry, question.dialect, question.request)

    def _served(
        self, exchange: Exchange, question: Question, entry: Entry, detail: str, key: str | None = None
    ) -> tuple[dict[str, str], list[tuple[float, bytes]]]:
        """Return headers and pieces of a hit, each with the seconds before it; `key` if it isn't the request's."""
        pace = question.settings.pace
        if pace is not None and replay.is_paced(entry, question.request, pace):
            content_type, pieces = replay.paced(entry, question.dialect, question.request, pace)
        else:
            content_type, body = self.replay(entry, question)
            pieces = [(0.0, body)]
        headers = self.hit_headers(exchange, question, entry, detail, key)
        headers["Content-Type"] = content_type
        return headers, pieces

    def hit_headers(
        self, exchange: Exchange, question: Question, entry: Entry, detail: str, key: str | None = None
    ) -> dict[str, str]:
        """Return the headers of a hit, and note it in the exchange."""
        now = self._clock()
        stale = detail in (Use.REVALIDATE.value, Use.IF_ERROR.value)
        headers = report.hit(
            ttl=freshness.remaining(entry, now, question.settings.ttl),
            age=entry.age(now),
            key=key or exchange.key or "",
            detail=detail,
            stale=stale,
            prefix=exchange.prefix,
        )
        headers.update(exchange.explained)
        self.note_hit(exchange, entry, detail, stale=stale)
        return headers

    @staticmethod
    def note_hit(exchange: Exchange, entry: Entry, detail: str, *, stale: bool = False) -> None:
        """Note in the exchange that an entry has answered it."""
        exchange.outcome, exchange.reason = "STALE" if stale else "HIT", detail
        if not stale:  # for a stale one, upstream is asked all the same
            exchange.spared = entry.usage

    async def _pass_through(self, exchange: Exchange) -> web.StreamResponse:
        """Send on a request that no dialect knows, byte for byte in both directions."""
        if exchange.named.proven:
            message = f"Nothing is cached for {exchange.path[:80]}: there is nothing to fill with {ADMIN_HEADER}."
            raise RequestError(409, message, code="nothing_to_fill")
        http, head, runtime = exchange.http, exchange.head, exchange.runtime
        runtime.tenants.tenant(head.headers)  # where clients need a key, they need it here too
        upstream = choice.for_path(runtime.upstreams, kin_of(head.path, head.headers))
        hinting.refuse_to_list(runtime, upstream, head)
        exchange.upstream = upstream.name
        exchange.outcome, exchange.reason = "BYPASS", UNKNOWN_PATH
        headers = head.headers.copy()
        for name in runtime.own_headers:
            headers.popall(name, None)
        await invite_body(http)
        body = http.content.iter_any() if http.body_exists else None
        call = Call(http.method, exchange.target, headers, body, decoded=False)
        async with upstream.send(call) as answer:
            own = report.bypass(detail=UNKNOWN_PATH, prefix=exchange.prefix)
            return await pass_on(exchange, answer, answer_headers(answer.headers, own, decoded=False))

    def account(self, exchange: Exchange) -> None:
        """Count and log a request that is over."""
        seconds = time.perf_counter() - exchange.started
        name, policy = exchange.dialect.name if exchange.dialect else "none", exchange.policy or "none"
        if exchange.named.proven:
            self._stats.count_warmed(exchange.version)
        else:
            self._count_asked(exchange, policy)
        self._metrics.count_request(
            dialect=name,
            model=exchange.model or "none",
            policy=policy,
            version=exchange.version,
            outcome=exchange.outcome,
            seconds=seconds,
        )
        if exchange.outcome == "HIT":
            self._metrics.hits.add(exchange.reason)
        elif exchange.outcome == "STALE":
            self._metrics.stale.labels(exchange.reason).inc()
        elif exchange.outcome == "MISS":
            self._metrics.misses.add(exchange.forward)
        elif exchange.outcome == "COALESCED":
            self._metrics.coalesced.add("replica" if exchange.replica else "local")
        if log.isEnabledFor(logging.INFO):
            log.info(f"CACHE {exchange.outcome}", extra={"fields": _log_fields(exchange, name, seconds)})

    def _count_asked(self, exchange: Exchange, policy: str) -> None:
        """Count a request that a client asked: what fills the cache says nothing of what clients want and get."""
        ended = Ended(exchange.outcome, exchange.attempted, exchange.reason, exchange.status)
        self._stats.count(ended, version=exchange.version, policy=policy, seconds=exchange.upstream_seconds)
        if exchange.spared is not None:
            self._meter.spared(exchange)
        if exchange.question is not None and exchange.status == 200:
            _count_hot(exchange, exchange.question)


def _count_hot(exchange: Exchange, question: Question) -> None:
    """Count a request that was answered among those asked most, and keep it when it is time to."""
    found, key, tenant = exchange.runtime.hot, exchange.key, exchange.tenant
    if key is None or tenant is None or question.controls.only_if_cached or not found.count(key):
        return
    asked = hot.asked(
        target=exchange.target,
        body=question.request.body,
        headers=exchange.head.headers,
        controls=question.controls,
        tenant=tenant,
        model=exchange.model,
        dropped=exchange.runtime.own_headers,
        digest=key.rpartition(":")[2],
    )
    found.keep(key, asked)


def _log_fields(exchange: Exchange, dialect: str, seconds: float) -> dict[str, Any]:
    return {
        "reason": exchange.reason or exchange.forward,
        "status": exchange.status,
        "method": exchange.head.method,
        "path": exchange.path[:200],
        "dialect": dialect,
        "model": exchange.model and exchange.model[:200],
        "upstream": exchange.upstream,
        "tenant": exchange.tenant,
        "filled": exchange.named.proven or None,
        "policy": exchange.policy,
        "prefix": exchange.prefix,
        "key": exchange.key,
        "hint": exchange.hint,
        "semantic": exchange.semantic,
        "stored": exchange.stored,
        "similarity": exchange.similarity and round(exchange.similarity, 4),
        "milliseconds": round(seconds * 1000, 3),
    }


def _refuse_odd_targets(exchange: Exchange) -> None:
    if not exchange.target.startswith("/"):
        raise RequestError(400, "The request target must be a path.", code="invalid_target")
    path = exchange.path
    if "." in path or "%" in path:
        # As the most liberal server reads it: escapes undone, backslashes as slashes, parameters dropped.
        segments = re.split(r"[/\\]", unquote(unquote(path)))
        if any(segment.partition(";")[0] in (".", "..") for segment in segments):
            raise RequestError(400, "The path must not contain '.' or '..' segments.", code="invalid_path")
    # Other upgrades (h2c, say) may be ignored (RFC 9110, section 7.8); a WebSocket's client takes no other answer.
    if "websocket" in exchange.head.headers.get("Upgrade", "").lower():
        raise RequestError(501, "Protocol upgrades (WebSockets) are not supported.", code="upgrade_not_supported")


def _only_if_cached() -> RequestError:
    """Return what is said to a client that wants nothing from upstream where the cache has, or knows, nothing."""
    message = "Nothing is stored for this request that may be served, and it asked for nothing else."
    return RequestError(504, message, code="only_if_cached")


def _error(exchange: Exchange, status: int, message: str, code: str | None, param: str | None) -> web.StreamResponse:
    dialect = exchange.dialect or kin_of(exchange.path, exchange.head.headers)
    shape = dialect.error_body if dialect else error_body
    forward = None if exchange.outcome == "ERROR" else exchange.forward
    headers = report.error(detail=exchange.reason, prefix=exchange.prefix, forward=forward)
    exchange.attempted, exchange.outcome = exchange.outcome, "ERROR"
    headers["Content-Type"] = replay.JSON_TYPE
    response = web.Response(status=status, body=dumps(shape(status, message, code, param)), headers=headers)
    if status in (401, 413):
        response.force_close()  # the rest of the body is not read
    return response
