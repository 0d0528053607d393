"""What the cache tells a client about its answer: response headers.

Cache-Status is RFC 9211; its strings are those of RFC 8941.
"""

from typing import Final, Literal

from multidict import CIMultiDict

Outcome = Literal["HIT", "MISS", "BYPASS"]

CACHE_NAME: Final = "llmcache"


def hit(*, ttl: float, age: int, key: str, tier: str, prefix: str) -> CIMultiDict[str]:
    """Return the headers of an answer from the cache. `ttl` is what remains of its lifetime, in seconds."""
    status = f"{CACHE_NAME}; hit; ttl={int(ttl)}; key={_string(key)}; detail={_string(tier)}"
    return _headers("HIT", status, key=key, prefix=prefix, age=age)


def miss(*, key: str, prefix: str, stored: bool = False, detail: str | None = None) -> CIMultiDict[str]:
    """Return the headers of an answer from upstream that the cache was asked for first."""
    status = f"{CACHE_NAME}; fwd=miss"
    if stored:
        status += "; stored"
    status += f"; key={_string(key)}"
    if detail:
        status += f"; detail={_string(detail)}"
    return _headers("MISS", status, key=key, prefix=prefix)


def bypass(*, detail: str, prefix: str) -> CIMultiDict[str]:
    """Return the headers of an answer from upstream that the cache had no part in, and why."""
    return _headers("BYPASS", f"{CACHE_NAME}; fwd=bypass; detail={_string(detail)}", prefix=prefix)


def error(*, detail: str, prefix: str, forwarded: bool) -> CIMultiDict[str]:
    """Return the headers of an answer that the gateway itself had to give."""
    status = f"{CACHE_NAME}; fwd=miss; detail=" if forwarded else f"{CACHE_NAME}; detail="
    return _headers("BYPASS", status + _string(detail), prefix=prefix)


def _headers(
    outcome: Outcome, status: str, *, prefix: str, key: str | None = None, age: int | None = None
) -> CIMultiDict[str]:
    headers = CIMultiDict({"Cache-Status": status, "X-LLMCache": outcome, "X-LLMCache-Prefix": prefix})
    if key is not None:
        headers["X-LLMCache-Key"] = key
    if age is not None:
        headers["Age"] = str(age)
    return headers


def _string(text: str) -> str:
    """Return a structured-field string; every text here is printable ASCII."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
