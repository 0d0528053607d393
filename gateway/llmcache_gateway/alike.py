"""Answering a question with the entry of one that means the same: what goes between the request path and the cache."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web

from llmcache_gateway.entry import Entry
from llmcache_gateway.exchange import Exchange, Question, Withheld
from llmcache_gateway.false_hits import FalseHits
from llmcache_gateway.freshness import Use
from llmcache_gateway.giving import give_stored
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.semantic import suitability
from llmcache_gateway.semantic.judge import ALIAS

if TYPE_CHECKING:
    from llmcache_gateway.semantic.cache import Match

log = logging.getLogger(__name__)

Served = tuple[dict[str, str], list[tuple[float, bytes]]]
"""Headers and pieces of a hit, each piece with the seconds before it."""

SEMANTIC = "semantic"
"""Detail of a hit by meaning, in Cache-Status, logs and `llmcache_hits_total`."""

HEADER = "X-LLMCache-Similarity"
DEBUG = "X-LLMCache-Semantic"


def read(exchange: Exchange, question: Question, metrics: Metrics) -> None:
    """Note what a request asks, where others that mean the same may be given its answer."""
    semantic, cache = question.settings.semantic, exchange.runtime.semantic
    if semantic is None or cache is None or question.asked is not None or exchange.semantic is not None:
        return
    asked = suitability.read(
        dialect=question.dialect,
        request=question.request,
        settings=question.settings,
        semantic=semantic,
        head=exchange.head,
        upstream=question.upstream.identity,
        tenant=exchange.tenant or "",
        namespace=question.controls.namespace,
        prefix=exchange.prefix,
        embedding=cache.identity,
    )
    if isinstance(asked, str):
        exchange.semantic = asked
        metrics.semantic_skipped.labels(asked).inc()
        _tell(exchange, f"skipped; reason={asked}")
    else:
        question.asked = asked


def _tell(exchange: Exchange, decided: str) -> None:
    """Say what was decided to a client that debugs."""
    if exchange.explained:
        exchange.explained = {**exchange.explained, DEBUG: decided}


async def answer(
    exchange: Exchange,
    question: Question,
    metrics: Metrics,
    use_of: Callable[[Entry, Question], Use],
    serve: Callable[[Exchange, Question, Entry, str, str], Served],
    hurry: asyncio.Event,
    false_hits: FalseHits,
) -> web.StreamResponse | None:
    """Answer with the entry of a question that means the same; None where none may be given.

    `use_of` says what an entry is good for, `serve` makes headers and pieces of one, under its key; after `hurry`
    nothing is paced.
    """
    match = await look_up(exchange, question, metrics, false_hits, lambda entry: use_of(entry, question) is Use.FRESH)
    if match is None or match.found is None:
        return None
    try:
        detail = ALIAS if match.why == ALIAS else SEMANTIC
        headers, pieces = serve(exchange, question, match.found.entry, detail, match.key)
    except Exception:
        # Whatever is wrong with an entry, the provider can still be asked.
        log.exception("the entry %s can't be replayed; asking upstream", match.key)
        return None
    false_hits.sample_soon(exchange.runtime, question, exchange.key or "", match)
    exchange.stored = match.key
    headers[HEADER] = f"{match.similarity:.4f}"
    return await give_stored(exchange, headers, pieces, hurry)


async def look_up(
    exchange: Exchange,
    question: Question,
    metrics: Metrics,
    false_hits: FalseHits,
    usable: Callable[[Entry], bool],
) -> "Match | None":
    """Return the entry of a question that means the same, if one is to be served; note what was found, and count it.

    Nothing that fills the cache is looked up, nor what has an entry of its own that only may not be served.
    """
    semantic, cache = question.settings.semantic, exchange.runtime.semantic
    read(exchange, question, metrics)
    filled_or_newer = exchange.named.proven or exchange.forward != "miss"
    if semantic is None or cache is None or question.asked is None or filled_or_newer or question.controls.no_cache:
        return None
    least = false_hits.budgets.threshold(exchange.runtime, question)
    match = await cache.look_up(question.asked, exchange.key or "", semantic, usable, least)
    exchange.semantic = match.why
    if match.similarity:
        exchange.similarity = match.similarity
        metrics.semantic_similarity.observe(match.similarity)
    question.grey = match.grey
    outcome = match.why if match.why in ("served", "none", ALIAS) else "rejected"
    metrics.semantic_lookups.labels(semantic.mode, outcome).inc()
    if outcome == "rejected":
        metrics.semantic_rejected.labels(match.why).inc()
    near = f"; similarity={match.similarity:.4f}" if match.similarity else ""  # there may be nothing to compare with
    unsure = "; unsure" if match.grey is not None else ""
    _tell(exchange, f"{match.why}{near}{unsure}")
    if match.found is not None and semantic.mode == "shadow":
        question.withheld = Withheld(match.key, match.found.entry.stored_at, match.similarity, match.why == ALIAS)
        return None
    return match if match.found is not None else None
