"""Whether a stored answer may be served now: HTTP's rules, and what clients may ask for.

Request directives are those of RFC 9111, section 5.2.1, and `stale-if-error` of RFC 5861. Everything that a
client can say narrows what the configuration allows; `max-stale`, which would widen it, is not obeyed.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from multidict import CIMultiDict, CIMultiDictProxy

from llmcache_gateway.config import seconds
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import RequestError

TTL_HEADER: Final = "X-LLMCache-TTL"
NAMESPACE_HEADER: Final = "X-LLMCache-Namespace"
TAGS_HEADER: Final = "X-LLMCache-Tags"
MAX_NAMESPACE: Final = 200
MAX_TAGS: Final = 16
TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@=+-]{0,99}")
"""What a tag may be: it stands in a comma-separated header, in stored marks and in answers of the admin port."""

FOREVER: Final = float("inf")
MAX_SECONDS: Final = 10**10
"""Largest number of seconds that a client may send: three centuries."""


@dataclass(frozen=True, slots=True)
class Controls:
    """What a client asks of the cache. Times are seconds; `FOREVER` where it sets no bound."""

    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    use_cache: bool = False
    max_age: float = FOREVER
    min_fresh: float = 0.0
    stale_if_error: float = FOREVER
    ttl: float = FOREVER
    namespace: str = ""
    tags: tuple[str, ...] = ()
    """What the entry can be invalidated by."""

    @property
    def oldest(self) -> float:
        """How long ago a call may have begun whose answer is new enough; less than zero when none is."""
        return -1.0 if self.no_cache else self.max_age


_NOTHING: Final = Controls()
_CONTROL_HEADERS: Final = ("Cache-Control", "Pragma", TTL_HEADER, NAMESPACE_HEADER, TAGS_HEADER)


class Use(Enum):
    """What a stored answer is good for."""

    FRESH = "fresh"
    REVALIDATE = "stale-while-revalidate"
    """Serve it, and refresh it in the background."""

    IF_ERROR = "stale-if-error"
    """Ask upstream, and serve it when that fails."""

    NONE = "none"


def read_controls(headers: CIMultiDict[str] | CIMultiDictProxy[str], body_object: Any) -> Controls:
    """Return what a request's headers and its body's `cache` object ask; RequestError(400) for what is malformed.

    The `cache` object is LiteLLM's: ttl, s-maxage, no-cache, no-store, use-cache, namespace. Where both say
    something, the narrower holds.
    """
    if body_object is None and not any(name in headers for name in _CONTROL_HEADERS):
        return _NOTHING  # by far the most requests
    found = _from_cache_control(headers)
    own = _from_body(body_object)
    ttl = min(map(_ttl, headers.getall(TTL_HEADER, ())), default=FOREVER)
    named = {*headers.getall(NAMESPACE_HEADER, ()), own.namespace} - {""}
    if len(named) > 1:
        raise _bad("cache.namespace", f"{NAMESPACE_HEADER} and cache.namespace name two namespaces: send one")
    namespace = next(iter(named), "")
    if len(namespace) > MAX_NAMESPACE:
        raise _bad("cache.namespace", f"a namespace has at most {MAX_NAMESPACE} characters")
    return Controls(
        no_store=found.no_store or own.no_store,
        no_cache=found.no_cache or own.no_cache,
        only_if_cached=found.only_if_cached,
        use_cache=own.use_cache,
        max_age=min(found.max_age, own.max_age),
        min_fresh=found.min_fresh,
        stale_if_error=found.stale_if_error,
        ttl=min(ttl, own.ttl),
        namespace=namespace,
        tags=read_tags(headers.getall(TAGS_HEADER, ())),
    )


def read_tags(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the tags of comma-separated lines, each once, in order; RequestError(400) for what can't be a tag."""
    tags = dict.fromkeys(tag for line in lines for item in line.split(",") if (tag := item.strip()))
    if len(tags) > MAX_TAGS:
        raise _bad(TAGS_HEADER, f"an entry has at most {MAX_TAGS} tags, not {len(tags)}")
    for tag in tags:
        if not TAG.fullmatch(tag):
            message = f"{tag[:50]!r} is no tag: send up to 100 of letters, digits and ._:/@=+-, a letter or digit first"
            raise _bad(TAGS_HEADER, message)
    return tuple(tags)


def judge(
    entry: Entry, now: float, controls: Controls, *, ttl: float, stale_while_revalidate: float, stale_if_error: float
) -> Use:
    """Say what an entry is good for, now and for this client. The three times are the policy's, in seconds."""
    age = now - entry.stored_at
    fresh = remaining(entry, now, ttl)
    wanted = age <= controls.max_age and not controls.no_cache
    if wanted and fresh > 0 and fresh >= controls.min_fresh:
        return Use.FRESH
    if wanted and fresh <= 0 and controls.min_fresh == 0 and -fresh < stale_while_revalidate:
        return Use.REVALIDATE
    # A client that wants a newer answer may be better off with this one than with an error: where the configuration
    # allows that at all, and unless it said that it wants none from here.
    if stale_if_error > 0 and not controls.no_cache and -fresh < min(stale_if_error, controls.stale_if_error):
        return Use.IF_ERROR
    return Use.NONE


def remaining(entry: Entry, now: float, ttl: float) -> float:
    """Return the seconds for which an entry is still fresh, less than zero when it is stale.

    It is the shorter of the lifetime that it was stored with and `ttl`, the one that holds now.
    """
    return min(entry.freshness(now), entry.stored_at + ttl - now)


def steady_seconds(entry: Entry, now: float, ttl: float) -> float:
    """Return for how many seconds an entry's age and what remains of its freshness stay the same in whole seconds."""
    return min(1 - (now - entry.stored_at) % 1, remaining(entry, now, ttl) % 1)


def response_ttl(headers: Mapping[str, str]) -> float:
    """Return the lifetime that an upstream sets for its own answer with X-LLMCache-TTL; FOREVER without one.

    Cache-Control of the answer is not obeyed: providers send `no-cache` on every stream.
    """
    value = headers.get(TTL_HEADER)
    if value is None:
        return FOREVER
    try:
        return _seconds(value)
    except ValueError:
        return 0.0  # it meant to narrow; the narrowest reading is safe


def response_age(headers: Mapping[str, str]) -> float:
    """Return for how many seconds an answer had been in caches before it came here (RFC 9111, section 5.1)."""
    value = headers.get("Age", "")
    return min(float(value), MAX_SECONDS) if value.isascii() and value.isdigit() else 0.0


def _from_cache_control(headers: CIMultiDict[str] | CIMultiDictProxy[str]) -> Controls:
    if "Cache-Control" not in headers:
        # RFC 9111, section 5.4: Pragma counts only where Cache-Control is not there.
        return Controls(no_cache="no-cache" in headers.get("Pragma", "").lower()) if "Pragma" in headers else Controls()
    directives: dict[str, str] = {}
    for value in headers.getall("Cache-Control"):
        for directive in value.split(","):
            name, _, argument = directive.strip().partition("=")
            directives.setdefault(name.strip().lower(), argument.strip().strip('"'))
    return Controls(
        no_store="no-store" in directives,
        no_cache="no-cache" in directives,
        only_if_cached="only-if-cached" in directives,
        # A bound that can't be read is taken as the narrowest: the client wanted one.
        max_age=_delta(directives.get("max-age"), unset=FOREVER, malformed=0.0),
        min_fresh=_delta(directives.get("min-fresh"), unset=0.0, malformed=FOREVER),
        stale_if_error=_delta(directives.get("stale-if-error"), unset=FOREVER, malformed=0.0),
    )


def _delta(argument: str | None, *, unset: float, malformed: float) -> float:
    """Return delta-seconds (RFC 9111, section 1.2.2)."""
    if argument is None:
        return unset
    # More than any lifetime means forever (RFC 9111, section 1.2.2).
    return min(float(argument), MAX_SECONDS) if argument.isascii() and argument.isdigit() else malformed


def _from_body(value: Any) -> Controls:
    if value is None:
        return Controls()
    if not isinstance(value, dict):
        raise _bad("cache", 'it must be an object, such as {"ttl": 600}')
    known = {"ttl", "s-maxage", "s-max-age", "no-cache", "no-store", "use-cache", "namespace"}
    for name in value:
        if name not in known:
            raise _bad(f"cache.{name}", f"unknown; known are {', '.join(sorted(known))}")
    namespace = value.get("namespace") or ""
    if not isinstance(namespace, str):
        raise _bad("cache.namespace", "it must be a string")
    ages = [_number(value, name) for name in ("s-maxage", "s-max-age")]
    return Controls(
        no_store=_flag(value, "no-store"),
        no_cache=_flag(value, "no-cache"),
        use_cache=_flag(value, "use-cache"),
        max_age=min(ages),
        ttl=_number(value, "ttl"),
        namespace=namespace,
    )


def _flag(value: Mapping[str, Any], name: str) -> bool:
    flag = value.get(name)
    if flag is not None and not isinstance(flag, bool):
        raise _bad(f"cache.{name}", "it must be true or false")
    return bool(flag)


def _number(value: Mapping[str, Any], name: str) -> float:
    number = value.get(name)
    if number is None:
        return FOREVER
    if isinstance(number, bool | str | list | dict) or not 0 <= number <= MAX_SECONDS:
        raise _bad(f"cache.{name}", "it must be a number of seconds, zero or more")
    return float(number)


def _ttl(value: str) -> float:
    try:
        return _seconds(value)
    except ValueError:
        message = f"{value[:50]!r} is no time: send seconds, such as 600, or a duration, such as 10m"
        raise _bad(TTL_HEADER, message) from None


def _seconds(text: str) -> float:
    return min(float(text), MAX_SECONDS) if text.isascii() and text.isdigit() else seconds(text[:32])


def _bad(param: str, message: str) -> RequestError:
    return RequestError(400, f"{param}: {message}", code="bad_cache_control", param=param)
