"""`POST /admin/v1/explain`: a request's key and what went into it, what the cache would do, and what comes closest.

Nothing is asked upstream, stored or counted. No prompt, answer or credential is shown.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from multidict import CIMultiDict

from llmcache_gateway.about import About
from llmcache_gateway.admin_cache import json_answer, metadata, read_request, told
from llmcache_gateway.dialects import dialect_of
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import RequestError
from llmcache_gateway.exchange import Exchange, Question
from llmcache_gateway.explain import Form, alike, differences, form, ingredients
from llmcache_gateway.freshness import Use
from llmcache_gateway.key import stored_key
from llmcache_gateway.runtime import Runtime
from llmcache_gateway.server import UNKNOWN_PATH, Handler

MOST_COMPARED: Final = 200
"""Most requests that are compared with the one that is explained: those asked most."""

MOST_LOOKED_UP: Final = 10
"""Most of them, the closest first, for which an entry is looked for."""

_SERVED: Final = {Use.FRESH: "HIT", Use.REVALIDATE: "STALE"}


@dataclass(frozen=True, slots=True)
class _Near:
    """A known request beside the one that is explained."""

    key: str
    differences: list[dict[str, Any]]
    alike: int


class ExplainRoute:
    """Answers the route. `runtime` returns the configuration now in force."""

    def __init__(self, runtime: Callable[[], Runtime], about: About, handler: Handler) -> None:
        self._runtime = runtime
        self._about = about
        self._handler = handler

    def routes(self) -> list[web.RouteDef]:
        """Return the route, for the admin token only."""
        return [web.post("/admin/v1/explain", told(self.explain))]

    async def explain(self, http: web.Request) -> web.Response:
        """Explain a request given as path, body and, where they count, headers and tenant."""
        asked = read_request(await http.read())
        runtime = self._runtime()
        try:
            exchange, question = self._about.read(runtime, *asked)
        except RequestError as error:
            return json_answer({"decision": _refused(error), "key": None})
        settings = question.settings
        shown: dict[str, Any] = {
            "model": question.request.model,
            "stream": question.request.stream,
            "upstream": question.upstream.name,
            "policy": settings.policy,
            "tenant": exchange.tenant,
        }
        made_of = _form(exchange, question)
        shown["ingredients"] = ingredients(made_of, question.request, settings, exchange.head, question.dropped)
        reason = settings.bypass(question.dialect, question.request, question.controls, question.headers)
        if reason is not None:
            decision: dict[str, Any] = {"outcome": "BYPASS", "reason": reason}
            return json_answer({"decision": _or_504(decision, question), "key": None, **shown})
        key = await self._handler.key_of(exchange, question)
        standard = self._handler.digest_of(exchange, question)
        if key.rpartition(":")[2] != standard:
            shown["ingredients"]["replacedBy"] = "the hook build_key"
        elif settings.builder is not None:
            shown["ingredients"]["builder"] = "cache.key.builder may have replaced members, headers and query"
        split = self._handler.parts_of(exchange, question)
        decision, entry = await self._decision(runtime, question, key, None if split is None else split[2])
        if decision["outcome"] == "MISS" and settings.semantic is not None and runtime.semantic is not None:
            decision["semantic"] = "not looked up: ask with X-LLMCache-Debug, which tells in X-LLMCache-Semantic"
        shown |= {"version": exchange.version, "entry": None if entry is None else metadata(key, entry)}
        if decision["outcome"] == "MISS" and entry is None:
            shown["nearest"] = await self._nearest(runtime, exchange, question, made_of, key)
        return json_answer({"decision": _or_504(decision, question), "key": key, **shown})

    async def _decision(
        self, runtime: Runtime, question: Question, key: str, parts: list[str] | None
    ) -> tuple[dict[str, Any], Entry | None]:
        """Return what the cache would do, and the entry that it would look at."""
        if parts is not None:
            entries = [await _stored(runtime, part) for part in parts]
            uses = [one is not None and self._handler.use_of(one, question) is Use.FRESH for one in entries]
            inputs = {"inputs": len(parts), "inputsStored": sum(uses)}
            return {"outcome": "HIT" if all(uses) else "MISS", "reason": "by-input", **inputs}, None
        entry = await runtime.store.peek(key)
        if entry is None:
            return {"outcome": "MISS", "reason": "nothing-stored"}, None
        if not runtime.store.admits(key, entry):
            return {"outcome": "MISS", "reason": "invalidated"}, None
        use = self._handler.use_of(entry, question)
        if use in _SERVED:
            return {"outcome": _SERVED[use], "reason": use.value}, entry
        return {"outcome": "MISS", "reason": self._handler.forward_of(entry, question)}, entry

    async def _nearest(
        self, runtime: Runtime, exchange: Exchange, question: Question, made_of: Form, key: str
    ) -> dict[str, Any]:
        """Return the closest request that has an entry, of what is known: its other versions, the hot ones."""
        prefix, tenant, digest = runtime.prefix, exchange.tenant or "", key.rpartition(":")[2]
        for version in prefix.versions:
            other = stored_key(prefix.name, version, tenant, digest)
            if other != key and await _stored(runtime, other) is not None:
                return {"key": other, "differences": [{"where": "version", "this": exchange.version, "that": version}]}
        compared = await self._compared(runtime, question, made_of)
        compared.sort(key=lambda one: (len(one.differences), -one.alike))
        for one in compared[:MOST_LOOKED_UP]:
            if await _stored(runtime, one.key) is not None:
                return {"key": one.key, "differences": one.differences}
        kept = f"{len(compared)} of the requests asked most (GET /admin/v1/hot) are of this API"
        return {"key": None, "note": f"{kept}, and none of the closest has an entry; bodies of others are not kept"}

    async def _compared(self, runtime: Runtime, question: Question, made_of: Form) -> list[_Near]:
        """Return the hot requests of the same API, compared with one."""
        compared = []
        for one, _ in runtime.hot.top(MOST_COMPARED):
            dialect = dialect_of("POST", one.path.partition("?")[0])
            if dialect is None or dialect.name != question.dialect.name:
                continue
            await asyncio.sleep(0)  # requests that are under way go on
            try:
                exchange, other = self._about.read(runtime, one.path, CIMultiDict(one.headers), one.body, one.tenant)
            except RequestError:
                continue  # of a configuration that is over
            found = differences(made_of, _form(exchange, other))
            if found:
                compared.append(_Near(await self._handler.key_of(exchange, other), found, alike(found)))
        return compared


def _or_504(decision: dict[str, Any], question: Question) -> dict[str, Any]:
    """Return a decision as it is for a client that may want nothing from upstream."""
    if decision["outcome"] in ("MISS", "BYPASS") and question.controls.only_if_cached:
        return decision | {"outcome": "ERROR", "status": 504, "message": "the request is only-if-cached"}
    return decision


def _refused(error: RequestError) -> dict[str, Any]:
    if error.code == UNKNOWN_PATH:
        return {"outcome": "BYPASS", "reason": UNKNOWN_PATH}
    return {
        "outcome": "ERROR",
        "reason": error.code or "refused",
        "status": error.status,
        "message": error.message,
    }


def _form(exchange: Exchange, question: Question) -> Form:
    return form(
        dialect=question.dialect,
        request=question.request,
        settings=question.settings,
        head=exchange.head,
        upstream=question.upstream.identity,
        tenant=exchange.tenant or "",
        namespace=question.controls.namespace,
    )


async def _stored(runtime: Runtime, key: str) -> Entry | None:
    entry = await runtime.store.peek(key)
    return entry if entry is not None and runtime.store.admits(key, entry) else None
