"""Which hint a request is given on its way upstream: everything about hints comes together here.

A hint never changes an answer, a key or an entry: it is added to the bytes that go upstream, behind all that. What
can't be told for certain gets none, and the client's bytes go on as they are.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from llmcache_gateway.config import Hints, seconds
from llmcache_gateway.errors import RequestError
from llmcache_gateway.hint_stats import Side
from llmcache_gateway.hints import anthropic, bedrock, choice, gemini, openai
from llmcache_gateway.hints.capabilities import Capabilities, Capability
from llmcache_gateway.hints.edits import as_block, edited, inserted, with_member
from llmcache_gateway.hints.observed import Balances, Prefixes
from llmcache_gateway.hints.prompt import Place, Prompt
from llmcache_gateway.hints.standdowns import StandDown, StandDowns
from llmcache_gateway.plainjson import dumps

log = logging.getLogger(__name__)

CLIENTS_OWN: Final = (b'"cache_control"', b'"cachePoint"', b'"prompt_cache_breakpoint"')
"""Marks of a client's own. Where one stands, whatever it belongs to, nothing is added."""

CLIENTS_OWN_MEMBERS: Final = frozenset(
    {
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "prompt_cache_isolation_key",
        "session_id",
        "cachedContent",
        "cached_content",
        "continuationToken",
        "continuation_token",
    }
)
"""Top-level members by which a client says itself what is to be kept, or where."""

CLIENTS_OWN_HEADERS: Final = ("x-grok-conv-id", "x-session-affinity", "x-session-id")

CACHED_CONTENT: Final = "cachedContent"
"""The hint that is a name in place of what it names: what has that name must be made before."""

KEYS: Final = ("prompt_cache_key", "x-grok-conv-id")
"""Hints that name a prefix instead of marking it."""

_MARKS: Final[Mapping[str, Mapping[str, str]]] = {
    "cache_control": {"type": "ephemeral"},
    "cachePoint": {"type": "default"},
    "prompt_cache_breakpoint": {"mode": "explicit"},
}
"""What each mark is, where it is to be kept for the shortest time."""

DEFAULT_SECONDS: Final = 300.0
"""For how long a prefix counts as seen where nobody says how long a provider keeps it."""

_Reader = Callable[[Mapping[str, Any], tuple[str, ...]], Prompt]


class _API(NamedTuple):
    """How one wire API takes hints: which, and where. `text` is the type of a block that holds a text."""

    hints: tuple[str, ...]
    read: _Reader
    text: str


_APIS: Final[dict[str, _API]] = {
    "anthropic-messages": _API(("cache_control",), anthropic.read_prompt, "text"),
    "openai-chat": _API(
        ("cache_control", "prompt_cache_breakpoint", "prompt_cache_key", "x-grok-conv-id"), openai.read_chat, "text"
    ),
    "bedrock-invoke": _API(("cache_control",), anthropic.read_prompt, "text"),
    "bedrock-converse": _API(("cachePoint",), bedrock.read_converse, "text"),
    "gemini-generate": _API((CACHED_CONTENT,), gemini.read_prompt, ""),
    "vertex-generate": _API((CACHED_CONTENT,), gemini.read_prompt, ""),
    "openai-responses": _API(("prompt_cache_breakpoint", "prompt_cache_key"), openai.read_responses, "input_text"),
}
"""The APIs whose requests can be given hints, by the names of their dialects."""


class Asked(NamedTuple):
    """A request that may be given a hint: what it says, and where it goes. `body` is what goes upstream without one."""

    dialect: str
    provider: str
    upstream: str
    model: str
    tenant: str
    members: Mapping[str, Any]
    body: bytes
    headers: Mapping[str, str]
    side: Side = "main"


class _Taken(NamedTuple):
    api: _API
    capability: Capability
    hint: str


class Hinted(NamedTuple):
    """A request with its hint: the new body, a header more, and where the marks stand."""

    hint: str
    body: bytes
    header: tuple[str, str] | None
    places: tuple[Place, ...]
    kept_seconds: float = 0.0
    """For how long the provider keeps what is marked."""

    name: str = ""
    """The cached content that it uses."""


class Observed(NamedTuple):
    """What outlives a configuration."""

    prefixes: Prefixes
    balances: Balances
    stand_downs: StandDowns

    @classmethod
    def nothing(cls) -> "Observed":
        """Return what is known at first."""
        return cls(Prefixes(), Balances(), StandDowns())


class Hinter:
    """Adds hints to requests. `clock` returns seconds that don't go back."""

    def __init__(self, capabilities: Capabilities, observed: Observed, clock: Callable[[], float]) -> None:
        self.capabilities = capabilities
        self.observed = observed
        self._clock = clock

    def hinted(self, settings: Hints, asked: Asked) -> Hinted | None:
        """Return a request with the hint that its settings say; None when it gets none, or uses a cached content."""
        taken = self._taken(settings, asked)
        if taken is None or taken.hint == CACHED_CONTENT:
            return None
        api, capability, hint = taken
        try:
            prompt = api.read(asked.members, (asked.upstream, asked.model, asked.tenant))
            if capability.texts_only:
                prompt = prompt.texts()
            places = self._places(settings, asked, capability, hint, prompt)
            if not places:
                return None
            hinted = _with(hint, settings.ttl, capability, api, asked, places)
            return hinted._replace(kept_seconds=_seconds_kept(settings.ttl, capability))
        except (ValueError, RequestError) as error:
            log.debug("no hint is added: %s", error)  # a shape that nobody reads as its provider does
            return None

    def beginnings(self, settings: Hints, asked: Asked, whose: Iterable[Any]) -> list[Place]:
        """Return up to where a cached content may hold a request's beginning, those first that count most.

        `whose` tells contents apart that can't be, or are not to be, one.
        """
        taken = self._taken(settings, asked)
        if taken is None or taken.hint != CACHED_CONTENT:
            return []
        least = taken.capability.minimum_tokens
        try:
            prompt = gemini.read_prompt(asked.members, whose)
        except ValueError as error:
            log.debug("it uses no cached content: %s", error)
            return []
        if settings.points:
            return gemini.worth_keeping(choice.named(prompt, settings.points), least)
        return gemini.stable(prompt, least)

    def prefix(self, asked: Asked) -> bytes | None:
        """Return what tells a prompt's beginning from others; None where the client cares for it, or none is known."""
        api = _APIS.get(asked.dialect)
        if api is None or _has_own(asked):
            return None
        try:
            stable = choice.stable(api.read(asked.members, (asked.upstream, asked.model, asked.tenant)))
        except (ValueError, RequestError):
            return None
        return stable.prefix if stable is not None else None

    def stand_down(self, upstream: str, model: str, hint: str) -> None:
        """Give a model no hints for a while: its upstream refused one."""
        self.observed.stand_downs.note(upstream, model, hint, self._clock())

    def standing_down(self) -> list[StandDown]:
        """Return the models that get no hint now, and for how many seconds more in `until`."""
        now = self._clock()
        return [one._replace(until=one.until - now) for one in self.observed.stand_downs.current(now)]

    def paused(self) -> dict[tuple[str, str], float]:
        """Return the routes (upstream and model) whose marks did not pay, and for how many seconds they get none."""
        now = self._clock()
        return {route: until - now for route, until in self.observed.balances.paused(now).items()}

    def _taken(self, settings: Hints, asked: Asked) -> _Taken | None:
        """Return the hint that a request may be given; None when it may be given none."""
        if settings.mode == "off":
            return None
        api = _APIS.get(asked.dialect)
        capability = self.capabilities.of(asked.provider, asked.model)
        hint = next((one for one in capability.hints if api is not None and one in api.hints), None)
        if api is None or hint is None or self.observed.stand_downs.holds(asked.upstream, asked.model, self._clock()):
            return None
        return None if _has_own(asked) else _Taken(api, capability, hint)

    def _places(
        self, settings: Hints, asked: Asked, capability: Capability, hint: str, prompt: Prompt
    ) -> tuple[Place, ...]:
        """Return the places to mark, at most as many as the provider takes; for a hint that names a prefix, its end."""
        # What OpenAI marks by itself counts as one.
        most = 1 if hint in KEYS else max(0, capability.markers - (hint == "prompt_cache_breakpoint"))
        if settings.mode == "always":
            return tuple(choice.named(prompt, settings.points)[:most])
        now, ttl = self._clock(), _seconds_kept(settings.ttl, capability)
        prefixes = self.observed.prefixes

        def seen(prefix: bytes) -> bool:
            return prefixes.was_seen(prefix, now, ttl)

        if settings.points:
            places = [place for place in choice.named(prompt, settings.points) if seen(place.prefix)]
        elif hint in KEYS:
            stable = choice.stable(prompt)
            places = [stable] if stable is not None and seen(stable.prefix) else []
        else:
            places = choice.observed(prompt, seen, capability.minimum_tokens)
        found = tuple(places[:most])
        watched = [*choice.watched(prompt), *choice.named(prompt, settings.points)]
        paying = hint in KEYS or self._pays(asked, capability, settings.ttl, found, watched, now, ttl)
        prefixes.see((place.prefix for place in watched), now)
        if not paying:
            return ()
        for place in found:
            prefixes.mark(place.prefix, now)
        return found

    def _pays(
        self,
        asked: Asked,
        capability: Capability,
        wanted: str | None,
        found: tuple[Place, ...],
        watched: list[Place],
        now: float,
        ttl: float,
    ) -> bool:
        """Say whether marks may still be worth their price on this route, and count what these cost and bring."""
        prices = capability.prices
        if not found or prices is None:
            return bool(found)
        balance = self.observed.balances.of(route(asked.upstream, asked.model, asked.side))
        if now < balance.paused_until:
            return False
        written = max(place.size for place in found)
        marked = (place.size for place in watched if self.observed.prefixes.was_marked(place.prefix, now, ttl))
        read = min(written, max(marked, default=0))
        balance.add(read=read, written=written - read)
        write_price = prices.write.get(_ttl(wanted, capability) or "", 1.0)
        return not balance.judge(now, read_price=prices.read, write_price=write_price)


def route(upstream: str, model: str, side: Side) -> tuple[str, str]:
    """Name what is judged together: the requests to a model of an upstream that are given the same hints."""
    return upstream, model if side == "main" else f"{model} (alternative)"


def _has_own(asked: Asked) -> bool:
    """Say whether the client says itself what its provider is to keep."""
    return (
        any(own in asked.body for own in CLIENTS_OWN)
        or not CLIENTS_OWN_MEMBERS.isdisjoint(asked.members)
        or any(own in asked.headers for own in CLIENTS_OWN_HEADERS)
    )


def _with(
    hint: str, wanted: str | None, capability: Capability, api: _API, asked: Asked, places: tuple[Place, ...]
) -> Hinted:
    """Return the request with marks at these places; ValueError when its body can't be changed."""
    if hint in KEYS:
        name = f"llmcache-{places[0].prefix.hex()}"
        if hint == "prompt_cache_key":
            return Hinted(hint, edited(asked.body, (), with_member(hint, dumps(name))), None, places)
        return Hinted(hint, asked.body, (hint, name), places)
    ttl = _ttl(wanted, capability)
    mark = dict(_MARKS[hint])
    if ttl is not None and ttl != capability.ttls[0]:
        mark["ttl"] = ttl
    body, value = asked.body, dumps(mark)
    for place in places:  # no two of which are in one list, where the first would move the second
        if hint == "cachePoint":
            *where, at = place.path
            body = edited(body, tuple(where), inserted(int(at) + 1, b'{"cachePoint":' + value + b"}"))
        else:
            change = as_block(api.text, hint, value) if place.is_bare else with_member(hint, value)
            body = edited(body, place.path, change)
    return Hinted(hint, body, None, places)


def _ttl(wanted: str | None, capability: Capability) -> str | None:
    """Return for how long a prefix is kept: as wanted, where that can be had."""
    if wanted in capability.ttls:
        return wanted
    return capability.ttls[0] if capability.ttls else None


def _seconds_kept(wanted: str | None, capability: Capability) -> float:
    ttl = _ttl(wanted, capability)
    return DEFAULT_SECONDS if ttl is None else seconds(ttl)
