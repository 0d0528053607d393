"""How Google is asked for a cached content: paths, bodies and answers.

Format: google-genai 3.6. `POST …/cachedContents` makes one, `PATCH …/NAME` renews it, `DELETE …/NAME` deletes it. Its
name is the provider's; of a request that uses it, model and project must be the content's own.
"""

import re
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from multidict import CIMultiDict

from llmcache_gateway.dialects.google_paths import generating
from llmcache_gateway.headers import CREDENTIAL_HEADERS, Headers
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.upstreams.base import Call

ALSO_SAID: Final = ("x-goog-user-project",)
"""Headers beside a credential that say who pays."""

METHOD_OVERRIDE: Final = "X-HTTP-Method-Override"

_NAME: Final = re.compile(
    r"(?:projects/[A-Za-z0-9][A-Za-z0-9.:_-]*/locations/[A-Za-z0-9-]+/)?cachedContents/[A-Za-z0-9_-]{1,128}"
)

_LIST: Final = re.compile(r"/cachedContents[/.:;]*$", re.IGNORECASE)

_MODEL: Final = re.compile(
    r"/(?P<version>v1(?:(?:alpha|beta)[0-9]*)?)/(?P<parent>projects/[^/]+/locations/[^/]+/)?"
    r"(?P<vertex>publishers/google/)?models/[^/]+"
)


class Home(NamedTuple):
    """Where the cached contents of a model stand."""

    version: str
    parent: str
    model: str
    """The model as a cached content names it."""


class Made(NamedTuple):
    """A cached content that was made."""

    name: str
    tokens: int


def home_of(target: str) -> Home | None:
    """Return where the contents for a request's model stand; None for a tuned one, an endpoint, or no project."""
    found = generating(target.partition("?")[0])
    place = _MODEL.fullmatch(found["resource"]) if found is not None else None
    if place is None or bool(place["vertex"]) != bool(place["parent"]):
        return None
    version, parent = place["version"], place["parent"] or ""
    return Home(version, parent, place[0].removeprefix(f"/{version}/"))


def lists_contents(method: str, path: str, headers: Headers) -> bool:
    """Say whether a request may ask which cached contents there are. Google takes another method in a header, too."""
    asks = method != "POST" or METHOD_OVERRIDE in headers
    return asks and _LIST.search(unquote(path)) is not None


def payers(headers: Headers) -> list[str]:
    """Return who pays for a request, where that is said beside its credential: a content is theirs."""
    return [value for name in ALSO_SAID for value in headers.getall(name, ())]


def speaker(headers: Headers) -> CIMultiDict[str]:
    """Return the headers of a request that say who asks, and who pays."""
    said = [(name, value) for name in (*CREDENTIAL_HEADERS, *ALSO_SAID) for value in headers.getall(name, ())]
    return CIMultiDict([*said, ("Content-Type", "application/json")])


def creating(home: Home, speaker: CIMultiDict[str], body: bytes) -> Call:
    """Return the call that makes a content."""
    return _call("POST", f"/{home.version}/{home.parent}cachedContents", speaker, body)


def renewing(home: Home, speaker: CIMultiDict[str], name: str, seconds: float) -> Call:
    """Return the call after which a content holds for so long."""
    return _call("PATCH", f"/{home.version}/{name}", speaker, dumps({"ttl": ttl(seconds)}))


def deleting(home: Home, speaker: CIMultiDict[str], name: str) -> Call:
    """Return the call that deletes a content."""
    return _call("DELETE", f"/{home.version}/{name}", speaker, None)


def ttl(seconds: float) -> str:
    """Return a length of time as Google writes it."""
    return f"{seconds:.0f}s"


def made(body: bytes) -> Made:
    """Return what an answer says was made; ValueError when it says nothing that can be used."""
    answer = loads(body)
    name, usage = _member(answer, "name"), _member(answer, "usageMetadata")
    tokens = _member(usage, "totalTokenCount")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"the provider calls a cached content {str(name)[:80]!r}")
    return Made(name, tokens if type(tokens) is int and 0 <= tokens < 10**9 else 0)


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _call(method: str, target: str, speaker: CIMultiDict[str], body: bytes | None) -> Call:
    return Call(method, target, speaker.copy(), body, decoded=True)
