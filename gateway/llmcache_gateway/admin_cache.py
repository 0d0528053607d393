"""The admin port's routes about what is cached: invalidation, entries, and LiteLLM's `/cache/*`.

No route ever shows a prompt or an answer.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from multidict import CIMultiDict

from llmcache_gateway import canonical
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import RequestError, StoreError
from llmcache_gateway.invalidate import KEY, Invalidator, Job, Selection, of_keys, read_selection
from llmcache_gateway.marks import ALL
from llmcache_gateway.plainjson import dumps, raw_members
from llmcache_gateway.runtime import Runtime

WAIT_SECONDS: Final = 1.0
"""How long an invalidation is waited for, so that a small one's answer has its final figures."""

MOST_LISTED: Final = 1000
"""Most entries of one listing."""

KeysOf = Callable[[Runtime, str, CIMultiDict[str], bytes, str | None], Awaitable[list[str]]]
"""Returns the keys of a request: runtime, path with query, headers, body, and the tenant where it is named."""


class CacheRoutes:
    """Answers the routes. `runtime` returns the configuration now in force."""

    def __init__(self, runtime: Callable[[], Runtime], invalidator: Invalidator, keys_of: KeysOf) -> None:
        self._runtime = runtime
        self._invalidator = invalidator
        self._keys_of = keys_of

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, all of them for the admin token only."""
        return [
            web.post("/admin/v1/invalidate", told(self.invalidate)),
            web.get("/admin/v1/invalidations/{id}", told(self.invalidation)),
            web.get("/admin/v1/entries", told(self.entries)),
            web.get("/admin/v1/entries/{key}", told(self.entry)),
            web.delete("/admin/v1/entries/{key}", told(self.delete_entry)),
            web.get("/cache/ping", told(self.ping)),
            web.post("/cache/delete", told(self.delete)),
            web.post("/cache/flushall", told(self.flush_all)),
        ]

    async def invalidate(self, http: web.Request) -> web.Response:
        runtime = self._runtime()
        written = await http.read()
        wanted = plain(written)
        request = wanted.get("request") if isinstance(wanted, dict) else None
        keys = await self._keys(runtime, member(written, "request")) if isinstance(request, dict) else []
        selection, dry_run = read_selection(wanted, keys)
        if dry_run:
            return json_answer(
                {"dryRun": True, "matched": await self._invalidator.count(runtime, selection), "deleted": 0}
            )
        return await self._invalidated(runtime, selection)

    async def invalidation(self, http: web.Request) -> web.Response:
        job = self._invalidator.job(http.match_info["id"])
        if job is None:
            return json_answer(
                {"error": "this gateway knows of no such invalidation; ask the one that answered it"}, 404
            )
        return json_answer(_shown(job))

    async def entries(self, http: web.Request) -> web.Response:
        limit = http.query.get("limit", "100")
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= MOST_LISTED:
            raise RequestError(400, f"limit: it must be a number from 1 to {MOST_LISTED}", param="limit")
        found: dict[str, dict[str, Any]] = {}
        runtime = self._runtime()
        async for batch in runtime.store.scan():
            for key in filter(KEY.fullmatch, batch):
                entry = await runtime.store.peek(key)
                if entry is None or not runtime.store.admits(key, entry):
                    continue
                if len(found) >= int(limit) and key not in found:
                    return json_answer({"entries": list(found.values()), "more": True})
                found[key] = metadata(key, entry)
        return json_answer({"entries": list(found.values()), "more": False})

    async def entry(self, http: web.Request) -> web.Response:
        key, runtime = http.match_info["key"], self._runtime()
        entry = await runtime.store.peek(key) if KEY.fullmatch(key) else None
        if entry is None or not runtime.store.admits(key, entry):
            return json_answer({"error": "no entry has this key; X-LLMCache-Key shows the key of an answer"}, 404)
        return json_answer(metadata(key, entry))

    async def delete_entry(self, http: web.Request) -> web.Response:
        selection, _ = read_selection({"keys": [http.match_info["key"]]})
        return await self._invalidated(self._runtime(), selection)

    async def ping(self, _: web.Request) -> web.Response:
        store = self._runtime().store
        error = await store.ping()
        if error is not None:
            return json_answer(
                {"status": "unhealthy", "cache_type": store.name, "ping_response": False, "error": error}, 503
            )
        return json_answer({"status": "healthy", "cache_type": store.name, "ping_response": True})

    async def delete(self, http: web.Request) -> web.Response:
        wanted = plain(await http.read())
        if not isinstance(wanted, dict) or set(wanted) != {"keys"}:
            raise RequestError(400, 'keys: send {"keys": ["…"]} and nothing else', param="keys")
        selection, _ = read_selection(wanted)
        await self._invalidator.begin(self._runtime(), of_keys(list(selection.keys or ())), WAIT_SECONDS)
        return json_answer({"status": "success"})

    async def flush_all(self, _: web.Request) -> web.Response:
        await self._invalidator.begin(self._runtime(), Selection((ALL,)), WAIT_SECONDS)
        return json_answer({"status": "success"})

    async def _invalidated(self, runtime: Runtime, selection: Selection) -> web.Response:
        job = await self._invalidator.begin(runtime, selection, WAIT_SECONDS)
        return json_answer(_shown(job), 202 if job.state == "running" else 200)

    async def _keys(self, runtime: Runtime, written: bytes) -> list[str]:
        asked = read_request(written, "request.")
        try:
            return await self._keys_of(runtime, *asked)
        except RequestError as error:
            raise _bad("request", error.message) from None


def read_request(written: bytes, where: str = "") -> tuple[str, CIMultiDict[str], bytes, str | None]:
    """Return path, headers, body and tenant of a request given as an object; RequestError(400) for what is none.

    The body is the client's, byte for byte: its numbers may have more digits than any reader keeps.
    """
    request = plain(written)
    if not isinstance(request, dict):
        raise _bad("body", 'send an object, such as {"path": "/v1/chat/completions", "body": {…}}')
    for name in request:
        if name not in ("path", "body", "headers", "tenant"):
            raise _bad(f"{where}{str(name)[:50]}", "unknown; known are path, body, headers and tenant")
    path, headers, tenant = request.get("path"), request.get("headers", {}), request.get("tenant")
    if not isinstance(path, str) or not path.startswith("/"):
        raise _bad(f"{where}path", "it must be a path, such as /v1/chat/completions")
    if not isinstance(request.get("body"), dict):
        raise _bad(f"{where}body", "it must be the object that the client sent")
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise _bad(f"{where}headers", 'it must be an object of texts, such as {"Authorization": "Bearer sk-…"}')
    if tenant is not None and (not isinstance(tenant, str) or not tenant or ":" in tenant):
        raise _bad(f"{where}tenant", "it must be a tenant, the third part of a key")
    return path, CIMultiDict(headers), member(written, "body"), tenant


def told(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler that says in JSON what is wrong, be it with the request or with the store."""

    async def handle(http: web.Request) -> web.Response:
        try:
            return await handler(http)
        except RequestError as error:
            return json_answer({"error": error.message, "param": error.param}, error.status)
        except StoreError as error:
            return json_answer({"error": f"the store can't do it now, nothing was changed: {error}"}, 503)

    return handle


def plain(written: bytes) -> Any:
    """Return a request's body as plain data; RequestError(400) when it is no JSON."""
    try:
        return canonical.decode(written)
    except RequestError as error:
        raise _bad("body", error.message) from None


def member(written: bytes, name: str) -> bytes:
    """Return a member of an object as it is written; RequestError(400) where the object can't be taken apart."""
    members = raw_members(written)
    if members is None or name not in members:
        raise _bad("body", f"{name} can't be taken out of it")
    return bytes(members[name])


def _shown(job: Job) -> dict[str, Any]:
    shown = {"id": job.id, "state": job.state, "scanned": job.scanned, "matched": job.matched, "deleted": job.deleted}
    return shown | ({"error": job.error} if job.error else {})


def metadata(key: str, entry: Entry) -> dict[str, Any]:
    """Return what may be shown of an entry."""
    return {
        "key": key,
        "model": entry.model,
        "tags": entry.tags,
        "form": "alias" if entry.is_alias else entry.form,
        "bytes": entry.size,
        "storedAt": entry.stored_at,
        "freshUntil": entry.fresh_until,
        "keptUntil": entry.kept_until,
    }


def _bad(param: str, message: str) -> RequestError:
    return RequestError(400, f"{param}: {message}", param=param)


def json_answer(value: object, status: int = 200) -> web.Response:
    """Return an answer in JSON."""
    return web.Response(status=status, body=dumps(value), content_type="application/json")
