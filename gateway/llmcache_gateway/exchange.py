"""What belongs to one request."""

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from llmcache_gateway.dialects import Dialect
from llmcache_gateway.dialects.base import Request
from llmcache_gateway.entry import Entry
from llmcache_gateway.freshness import Controls
from llmcache_gateway.headers import Headers
from llmcache_gateway.heads import Head
from llmcache_gateway.hint_stats import Side
from llmcache_gateway.hints.hinter import Hinted
from llmcache_gateway.hints.standdowns import Refusal
from llmcache_gateway.policy import Settings
from llmcache_gateway.stores.base import Found
from llmcache_gateway.trusted import CLIENT, Named
from llmcache_gateway.upstreams.base import Call, Upstream
from llmcache_gateway.usage import Usage

if TYPE_CHECKING:
    from llmcache_gateway.runtime import Runtime
    from llmcache_gateway.semantic.indexes.base import Neighbour
    from llmcache_gateway.semantic.suitability import Asked


class Withheld(msgspec.Struct, frozen=True):
    """A hit by meaning that mode `shadow` did not serve: the entry, by its key and when it was stored."""

    key: str
    stored_at: float
    similarity: float
    alias: bool
    """Whether a judge had found the two questions to be one."""


class Question(msgspec.Struct):
    """A request that a dialect has read, and all that is needed to ask it upstream and to record the answer."""

    dialect: Dialect
    request: Request
    upstream: Upstream
    target: str
    headers: Headers
    dropped: tuple[str, ...]
    """Headers of the client's that go no further."""

    controls: Controls
    settings: Settings
    recorded: bool = True
    """Whether the answer is to be recorded: only then is anything added to what the client sent."""

    unchanged: bool = False
    """Whether pre_upstream failed to change it: its answer is then not what others are to be given."""

    tenant: str = ""
    """Whose request it is."""

    hinting: bool = True
    """Whether it may be given a hint for the provider's own prompt cache: its upstream has not refused one yet."""

    side: Side | None = None
    """Which hints it was given, or could have been; None where hints are none of its concern."""

    hinted: Hinted | None = None
    """The hint it was given when it was last asked."""

    suspected: Refusal | None = None
    """How it was refused with a hint of which nothing was said; it is asked again without."""

    epoch: int = 0
    """The invalidation epoch known when the request began: what it is answered with is no newer."""

    asked: "Asked | None" = None
    """What it asks, where others that mean the same may be given its answer."""

    grey: "Neighbour | None" = None
    """The stored question that it may be, for a judge to decide once it has been answered."""

    withheld: Withheld | None = None
    """What it would have been answered with, to be compared with its answer once that is there."""

    def call(self, body: bytes | None = None) -> Call:
        """Return the request as it goes upstream, with a body of its own where one is given."""
        headers = self.headers.copy()
        for name in ("Content-Encoding", *self.dropped):
            headers.popall(name, None)
        if body is None:
            body = self.dialect.for_upstream(self.request) if self.recorded else self.request.body
        return Call("POST", self.dialect.upstream_target(self.request, self.target), headers, body, decoded=True)


class LookedUp(msgspec.Struct):
    """What the store had under the key, or that it had nothing."""

    found: Found | None = None
    seconds: float = 0.0
    """How long that took to learn."""


class Exchange(msgspec.Struct):
    """One request on its way, and what its log line will say."""

    http: web.BaseRequest
    """The request as it is on the wire; of no use on the express lane, where it is none of aiohttp's."""

    head: Head
    runtime: "Runtime"
    version: str
    """The prefix version that it belongs to: the active one until its key is known."""

    started: float
    dialect: Dialect | None = None
    named: Named = CLIENT
    """Whose entry of which version it fills, where it is proven that it may say so."""

    model: str | None = None
    tenant: str | None = None
    policy: str | None = None
    key: str | None = None
    upstream: str | None = None
    body: bytes | None = None
    """What the express lane has read it from."""

    looked_up: LookedUp | None = None
    """What the express lane has found out already, so that a store is asked once."""

    explained: dict[str, str] = {}
    """Further headers of the answer, for a client that asked for them."""

    upstream_seconds: float | None = None
    """How long the upstream took to begin its answer, once it has."""

    spared: Usage | None = None
    """The tokens of what it was given, as far as no upstream was asked for it."""

    stale: Entry | None = None
    """What may be served instead when the upstream fails."""

    lookup_seconds: float = 0.0
    """How long it has waited for the store."""

    hint: str | None = None
    """What was added for the provider's own prompt cache to the call that was made for it."""

    replica: bool = False
    """Whether its answer is one that another gateway asked for."""

    forward: str = "miss"
    """Why it went upstream, in RFC 9211's words: miss, partial, stale, request or bypass."""

    question: Question | None = None
    """What it asks, where an entry may answer that."""

    semantic: str | None = None
    """What the semantic cache said of it, as a stable word; None where it was not asked."""

    similarity: float | None = None
    """Of the nearest question that it knows, where there is one."""

    stored: str | None = None
    """The key of the entry that answered another question than its own."""

    outcome: str = "ERROR"
    attempted: str = "ERROR"
    """The outcome it was on the way to when it became an error."""

    reason: str = ""
    status: int = 0

    def note_hint(self, hinted: Hinted) -> None:
        """Note which hint its call had, for the log and for a client that wants to know."""
        self.hint = hinted.hint
        if self.explained:
            named = f'; name="{hinted.name}"' if hinted.name else ""
            self.explained = {**self.explained, "X-LLMCache-Hint": self.hint + named}

    @property
    def prefix(self) -> str:
        """Name and version of its prefix, as clients see them."""
        return f"{self.runtime.prefix.name}:{self.version}"

    @property
    def target(self) -> str:
        """The raw path with its query, as the client sent it, but for a credential in it."""
        return self.head.target

    @property
    def path(self) -> str:
        """The raw path without its query."""
        return self.head.path
