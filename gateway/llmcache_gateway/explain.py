"""What of a request went into its key, and how two requests differ. No prompt and no credential stands in any of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.headers import CREDENTIAL_HEADERS, counted, may_be_secret
from llmcache_gateway.heads import Head
from llmcache_gateway.key import SCHEMA, counted_members
from llmcache_gateway.policy import Settings

MOST_DIFFERENCES: Final = 20
"""Most differences that are told, or counted, of two requests."""

_CREDENTIALS: Final = frozenset(name.lower() for name in CREDENTIAL_HEADERS)
_NOT_THERE: Final = object()


@dataclass(frozen=True, slots=True)
class Form:
    """Everything that makes a request's key. Two requests have one digest when their forms are equal."""

    dialect: str
    upstream: tuple[str, ...]
    tenant: str
    namespace: str
    shares: list[Any]
    query: str
    headers: Mapping[str, list[str]]
    body: Mapping[str, Any]


def form(
    *, dialect: Dialect, request: Request, settings: Settings, head: Head, upstream: tuple[str, ...], tenant: str,
    namespace: str,
) -> Form:  # fmt: skip
    """Return a request's form; the arguments are those of `key.digest`."""
    return Form(
        dialect=dialect.name,
        upstream=upstream,
        tenant=tenant,
        namespace=namespace,
        shares=settings.shares,
        query=head.counted_query(dialect.uncounted_fields),
        headers=head.counted(dialect.key_headers, settings.ignore_headers),
        body=counted_members(dialect, request, settings),
    )


def ingredients(
    made_of: Form, request: Request, settings: Settings, head: Head, own_headers: Sequence[str]
) -> dict[str, Any]:
    """Return what went into a key and what did not, each with why, for people to read."""
    own = {name.lower() for name in own_headers}
    ignored_members = {
        name: "cache.key.ignore" if name in settings.ignore else "never counts"
        for name in request.members
        if name not in made_of.body
    }
    names = ("ignore", "ignoreHeaders", "normalize", "builder", "storeAlso", "admit")
    return {
        "schema": SCHEMA,
        "dialect": made_of.dialect,
        "upstream": list(made_of.upstream),
        "tenant": made_of.tenant,
        "namespace": made_of.namespace,
        "queryFields": [field.partition("=")[0] for field in made_of.query.split("&") if field],
        "settings": {name: value for name, value in zip(names, made_of.shares, strict=True) if value},
        "members": {"counted": sorted(made_of.body), "ignored": ignored_members},
        "headers": {
            "counted": {
                name: None if may_be_secret(name) else values for name, values in sorted(made_of.headers.items())
            },
            "ignored": {
                name: "of this gateway" if name in own else _why_ignored(name, head)
                for name in sorted({name.lower() for name in head.headers})
                if name not in made_of.headers
            },
        },
    }


def _why_ignored(name: str, head: Head) -> str:
    if name in _CREDENTIALS:
        return "a credential: it makes the tenant"
    if name.startswith("x-llmcache-"):
        return "of this gateway"
    return "cache.key.ignoreHeaders" if name in counted(head.headers, frozenset()) else "never counts"


def differences(this: Form, that: Form) -> list[dict[str, Any]]:
    """Return where two requests differ, and how, at most MOST_DIFFERENCES; none when they have one digest."""
    pairs = ((name, getattr(this, name), getattr(that, name)) for name in Form.__slots__)
    found = (one for name, ours, theirs in pairs for one in _differences(name, ours, theirs))
    return list(islice(found, MOST_DIFFERENCES))


def alike(found: list[dict[str, Any]]) -> int:
    """Return how many characters the texts that differ have in common at their beginning."""
    return sum(one.get("firstDifferenceAt", 0) for one in found)


def _differences(where: str, this: Any, that: Any) -> Iterator[dict[str, Any]]:
    if isinstance(this, Mapping) and isinstance(that, Mapping):
        for name in sorted({*this, *that}):
            yield from _differences(f"{where}.{name}", this.get(name, _NOT_THERE), that.get(name, _NOT_THERE))
    elif isinstance(this, list | tuple) and isinstance(that, list | tuple):
        for at in range(max(len(this), len(that))):
            ours, theirs = (side[at] if at < len(side) else _NOT_THERE for side in (this, that))
            yield from _differences(f"{where}[{at}]", ours, theirs)
    elif isinstance(this, bool) is not isinstance(that, bool) or this != that:
        told = {"where": where, "this": _told(where, this), "that": _told(where, that)}
        if isinstance(this, str) and isinstance(that, str):
            told["firstDifferenceAt"] = _common(this, that)
        yield told


def _told(where: str, value: Any) -> Any:
    """Return what may be said of a value: what people write is told by its length only."""
    if value is _NOT_THERE:
        return "not there"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, str):
        return value if where in ("dialect", "tenant", "body.model") else f"a text of {len(value)} characters"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return str(value)[:40]


def _common(this: str, that: str) -> int:
    shorter = min(len(this), len(that))
    return next((at for at in range(shorter) if this[at] != that[at]), shorter)
