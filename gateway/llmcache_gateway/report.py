"""What the cache tells a client about its answer: response headers.

Cache-Status is RFC 9211; its strings are those of RFC 8941.
"""

import math
from typing import Final, Literal

Outcome = Literal["HIT", "STALE", "MISS", "COALESCED", "BYPASS"]

CACHE_NAME: Final = "llmcache"


def hit(*, ttl: float, age: int, key: str, detail: str, prefix: str, stale: bool) -> dict[str, str]:
    """Return the headers of an answer from the cache.

    `ttl` is what remains of its freshness in seconds, less than zero when it is stale; `detail` is the tier it
    came from, or why it is served stale.
    """
    status = f"{CACHE_NAME}; hit; ttl={math.floor(ttl)}; key={_string(key)}; detail={_string(detail)}"
    return _headers("STALE" if stale else "HIT", status, key=key, prefix=prefix, age=age)


def miss(
    *,
    forward: str,
    key: str,
    prefix: str,
    stored: bool = False,
    collapsed: bool = False,
    detail: str | None = None,
) -> dict[str, str]:
    """Return the headers of an answer from upstream that the cache was asked for first.

    `forward` is why it was not answered from the cache: miss, stale, or request (the client's directives).
    `collapsed` when an equal request was under way already, whose answer this is.
    """
    status = f"{CACHE_NAME}; fwd={forward}"
    if stored:
        status += "; stored"
    if collapsed:
        status += "; collapsed"
    status += f"; key={_string(key)}"
    if detail:
        status += f"; detail={_string(detail)}"
    return _headers("COALESCED" if collapsed else "MISS", status, key=key, prefix=prefix)


def bypass(*, detail: str, prefix: str) -> dict[str, str]:
    """Return the headers of an answer from upstream that the cache had no part in, and why."""
    return _headers("BYPASS", f"{CACHE_NAME}; fwd=bypass; detail={_string(detail)}", prefix=prefix)


def error(*, detail: str, prefix: str, forward: str | None) -> dict[str, str]:
    """Return the headers of an answer that the gateway itself had to give; `forward` when it had asked upstream."""
    status = f"{CACHE_NAME}; fwd={forward}; detail=" if forward else f"{CACHE_NAME}; detail="
    return _headers(
        "MISS" if forward in ("miss", "partial", "stale", "request") else "BYPASS",
        status + _string(detail),
        prefix=prefix,
    )


def _headers(
    outcome: Outcome, status: str, *, prefix: str, key: str | None = None, age: int | None = None
) -> dict[str, str]:
    headers = {"Cache-Status": status, "X-LLMCache": outcome, "X-LLMCache-Prefix": prefix}
    if key is not None:
        headers["X-LLMCache-Key"] = key
    if age is not None:
        headers["Age"] = str(age)
    return headers


def _string(text: str) -> str:
    """Return a structured-field string; every text here is printable ASCII."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
