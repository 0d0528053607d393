"""The admin port: health and metrics for everybody in the pod network, the rest for the admin token."""

import hmac
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from llmcache_gateway.budgets import Budgets, Measured
from llmcache_gateway.hints.droughts import REASONS
from llmcache_gateway.hot import shown
from llmcache_gateway.meter import Meter
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.plainjson import dumps
from llmcache_gateway.prefix import Prefix
from llmcache_gateway.reload import Reloader
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.stats import Stats

MAX_BODY = 64 * 2**20
"""Longest body: an invalidation may hold a whole request."""

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


def admin_app(
    *,
    reloader: Reloader,
    metrics: Metrics,
    stats: Stats,
    meter: Meter,
    budgets: Budgets,
    token: str,
    unready: Callable[[], str | None],
    routes: Sequence[web.RouteDef],
) -> web.Application:
    """Return the admin port's application. `unready` says why no request should come now; None when any may.

    `routes` are further ones, for the admin token as well.
    """

    @web.middleware
    async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_PATHS:
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, f"Bearer {token}".encode()):
                return _json({"error": "send Authorization: Bearer <admin token>"}, status=401)
        return await handler(request)

    @web.middleware
    async def direct(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            known = {f"{one.method} {one.resource.canonical}" for one in app.router.routes() if one.resource}
            there = ", ".join(sorted(one for one in known if not one.startswith("HEAD ")))
            problem = f"there is no {request.method} {request.path[:80]} here; known are {there}"
            return _json({"error": problem}, status=error.status)

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        # A broken store is no reason not to be ready: requests are answered without it.
        state = unready()
        if state:
            return web.Response(status=503, text=f"{state}\n")
        store = reloader.current.store
        circuits = [f"{op} {circuit}" for op, circuit in store.circuits.items() if circuit != "closed"]
        return web.Response(text=f"ok, without store {store.name}: {', '.join(circuits)}\n" if circuits else "ok\n")

    async def scrape(_: web.Request) -> web.Response:
        meter.settle()
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def status(_: web.Request) -> web.Response:
        runtime = reloader.current
        store_error = await runtime.store.ping()
        return _json(
            {
                "name": runtime.config.metadata.name,
                "namespace": runtime.config.metadata.namespace,
                "revision": runtime.revision,
                "configError": reloader.error,
                "prefix": _prefix(runtime.prefix),
                "store": {
                    "type": runtime.store.name,
                    "healthy": store_error is None,
                    "error": store_error,
                    "circuits": runtime.store.circuits,
                },
                "upstreams": [{"name": upstream.name} for upstream in runtime.upstreams if not upstream.translates],
                "hints": _hints(runtime, meter),
                "semantic": {"exactOnly": [one._asdict() for one in budgets.exact_only(runtime)]},
                "inFlight": runtime.in_flight,
            }
        )

    async def counted(_: web.Request) -> web.Response:
        meter.settle()
        measured = {one.policy: _rate(one) for one in budgets.measured(reloader.current)}
        return _json(stats.shown() | {"falseHits": measured})

    async def hot(request: web.Request) -> web.Response:
        wanted = request.query.get("limit", "100000")
        if not (wanted.isascii() and wanted.isdigit() and 0 < len(wanted) < 10):
            return _json({"error": f"limit must be a number of requests, not {wanted[:50]!r}"}, status=400)
        found = reloader.current.hot
        if not found.requests:
            return _json({"error": "spec.cache.hot.requests is 0: no requests are kept"}, status=404)
        return _json({"instance": stats.instance, "requests": shown(found.top(int(wanted)))})

    app = web.Application(middlewares=[authorize, direct], client_max_size=MAX_BODY)
    own: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": scrape,
        "/admin/v1/status": status,
        "/admin/v1/stats": counted,
        "/admin/v1/hot": hot,
    }
    app.add_routes([web.get(path, handler) for path, handler in own.items()])
    app.add_routes(routes)
    return app


def _prefix(prefix: Prefix) -> dict[str, object]:
    following = None if prefix.next is None else {"version": prefix.next, "percent": prefix.percent}
    return {"name": prefix.name, "version": prefix.active, "next": following}


def _rate(one: Measured) -> dict[str, object]:
    """Return how many of a policy's hits were wrong, as far as is known."""
    found = one.estimate
    return {"mode": one.mode, "compared": found.sampled, "wrong": found.wrong, "rate": found.bounds}


def _hints(runtime: Runtime, meter: Meter) -> dict[str, object]:
    """Return which models get no hint, and for how long; whose hints bring nothing, and why; and what is kept."""
    hinter, contents = runtime.hinter, runtime.contents
    kept = {} if contents is None else {"cachedContents": contents.shown(), "cachedContentsPaused": contents.paused()}
    return {
        **kept,
        "standDowns": [
            {"upstream": one.upstream, "model": one.model, "refused": one.refused, "seconds": round(one.until)}
            for one in hinter.standing_down()
        ],
        "paused": [
            {"upstream": upstream, "model": model, "seconds": round(seconds)}
            for (upstream, model), seconds in hinter.paused().items()
        ],
        "ineffective": [
            {"upstream": one.upstream, "model": one.model, "reason": one.reason, "message": REASONS[one.reason]}
            for one in meter.ineffective()
        ],
    }


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=dumps(value), content_type="application/json")
