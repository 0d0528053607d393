"""Requests of many independent inputs: each input has an entry of its own, and only what is missing is asked upstream.

A part's entry is the one that the same input asked for alone would have, so that lists of any make-up share them.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from aiohttp import web

from llmcache_gateway import freshness, replay, report
from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import RequestError
from llmcache_gateway.exchange import Exchange, Question
from llmcache_gateway.forward import Forwarder
from llmcache_gateway.freshness import Use
from llmcache_gateway.giving import answer_headers
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.usage import Usage

log = logging.getLogger(__name__)


@runtime_checkable
class Splitting(Protocol):
    """A dialect whose requests may hold many inputs that are answered independently."""

    def split(self, request: Request) -> list[Request] | None:
        """Return a request for each input alone, by position; None when it can't be split."""

    def missing_body(self, request: Request, positions: list[int]) -> bytes:
        """Return the body that asks for the inputs at these positions only."""

    def part_answers(self, answer: Any, parts: list[Request]) -> list[dict[str, Any]]:
        """Return a complete answer for each part, given the answer to all of them; ValueError when it is none."""

    def join(self, answers: list[Any]) -> dict[str, Any]:
        """Return one answer from the answers to each input alone, by position."""


def splitting(dialect: Dialect) -> Splitting | None:
    """Return a dialect as one that can split requests; None when it can't."""
    # A protocol's instance check takes longer than all else of a hit; this asks for the one name that tells.
    return dialect if hasattr(dialect, "split") and isinstance(dialect, Splitting) else None


@dataclass(frozen=True, slots=True)
class Known:
    """A part's answer that the store had."""

    entry: Entry
    tier: str
    answer: Any


class PartsAnswerer:
    """Answers a request part by part. `clock` returns seconds since the epoch."""

    def __init__(self, forwarder: Forwarder, clock: Callable[[], float]) -> None:
        self._forwarder = forwarder
        self._clock = clock

    async def answer(
        self, exchange: Exchange, question: Question, dialect: Splitting, parts: list[Request], keys: list[str]
    ) -> web.StreamResponse | None:
        """Return the answer, its parts from the store and from upstream; None when it has to be asked for whole.

        `keys` are the parts' own. RequestError(504) when the client wants nothing from upstream and parts are missing.
        """
        known = await self._look_up(exchange, question, dialect, keys)
        missing = [at for at, key in enumerate(keys) if key not in known and key not in keys[:at]]
        if not missing:
            return self._from_store(exchange, dialect, keys, known, question.settings.ttl)
        if question.controls.only_if_cached:
            raise RequestError(504, "Not every input has an entry that may be served.", code="only_if_cached")
        exchange.outcome, exchange.forward = "MISS", "partial" if known else "miss"
        asked = [parts[at] for at in missing]
        body = dialect.missing_body(question.request, missing)
        fetched = await self._forwarder.fetch(exchange, question, body, exchange.runtime.entry_bytes * len(asked))
        if fetched is None:
            return None
        if fetched.status != 200:
            own = report.miss(forward=exchange.forward, key=exchange.key or "", prefix=exchange.prefix, detail="status")
            return web.Response(status=fetched.status, body=fetched.body, headers=answer_headers(fetched.headers, own))
        try:
            answers = dialect.part_answers(loads(fetched.body), asked)
        except (ValueError, TypeError, KeyError):
            return None
        stored = [
            await self._forwarder.store_json(exchange.runtime, question, dumps(answer), fetched.headers, keys[at])
            for at, answer in zip(missing, answers, strict=True)
        ]
        exchange.spared = _spared(keys, known)
        by_key = {key: found.answer for key, found in known.items()}
        by_key |= {keys[at]: answer for at, answer in zip(missing, answers, strict=True)}
        own = report.miss(forward=exchange.forward, key=exchange.key or "", prefix=exchange.prefix, stored=all(stored))
        own.update(exchange.explained)
        return web.Response(
            body=dumps(dialect.join([by_key[key] for key in keys])), headers=answer_headers(fetched.headers, own)
        )

    async def _look_up(
        self, exchange: Exchange, question: Question, dialect: Splitting, keys: list[str]
    ) -> dict[str, Known]:
        known: dict[str, Known] = {}
        store, now = exchange.runtime.store, self._clock()
        for key in dict.fromkeys(keys):
            found = await store.get(key)
            if found is None:
                continue
            use = freshness.judge(
                found.entry,
                now,
                question.controls,
                ttl=question.settings.ttl,
                stale_while_revalidate=0.0,
                stale_if_error=0.0,
            )
            if use is Use.FRESH and found.entry.form == "json":
                try:
                    answer = loads(found.entry.blocks[0])
                    dialect.join([answer])
                except Exception:
                    # Whatever is wrong with an entry, the provider can still be asked.
                    log.exception("the entry %s can't be replayed; asking upstream", key)
                else:
                    known[key] = Known(found.entry, found.tier, answer)
        return known

    def _from_store(
        self, exchange: Exchange, dialect: Splitting, keys: list[str], known: dict[str, Known], ttl: float
    ) -> web.Response:
        now = self._clock()
        found = list(known.values())
        # The slowest tier that was needed, the shortest freshness, the greatest age: those of the whole answer.
        tier = next((one.tier for one in found if one.tier != "memory"), "memory")
        headers = report.hit(
            ttl=min(freshness.remaining(one.entry, now, ttl) for one in found),
            age=max(one.entry.age(now) for one in found),
            key=exchange.key or "",
            detail=tier,
            stale=False,
            prefix=exchange.prefix,
        )
        headers["Content-Type"] = replay.JSON_TYPE
        headers.update(exchange.explained)
        exchange.outcome, exchange.reason, exchange.spared = "HIT", tier, _spared(keys, known)
        return web.Response(body=dumps(dialect.join([known[key].answer for key in keys])), headers=headers)


def _spared(keys: list[str], known: dict[str, Known]) -> Usage | None:
    """Return what asking for the known parts would have taken; each as often as it was asked for."""
    usages = [known[key].entry.usage for key in keys if key in known]
    return sum((usage for usage in usages if usage is not None), Usage()) if any(usages) else None
