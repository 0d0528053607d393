"""What one gateway knows of cached contents: which prefixes come often, which are kept, and what is to be done.

Everything here takes the time as an argument, and does nothing but say what is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from llmcache_gateway.config import CachedContents, seconds
from llmcache_gateway.hints.prompt import Place

MAX_PREFIXES: Final = 20_000
"""Most prefixes that are counted, about four megabytes."""

MARGIN_SECONDS: Final = 5.0
"""So long before its end a content is not used any more: a request takes its time to get there."""

PAUSE_SECONDS: Final = 600.0
"""For how long nothing is made of a prefix, or a model's prompts, after the provider has refused that."""

MAX_PAUSES: Final = 1000

MAX_MAKING: Final = 8
"""Most contents that are made at once: each holds a whole request until it is there."""


TRIED: Final = 5
"""After how many contents that nobody used any more it is judged whether they paid on a route."""

Route = tuple[str, str, str]
"""What is refused, or does not pay, together: the contents of an upstream, in a project, for a model."""

MAX_ROUTES: Final = 500
"""Most routes that are judged: clients choose the models' names."""


@dataclass(slots=True)
class Content:
    """A cached content that is there: what the provider calls it, and until when it holds, on this gateway's clock."""

    name: str
    tokens: int
    ends: float
    used: float
    """When a request of this gateway's last used it."""

    uses: int = 0
    """How many have since the ledger was last told."""


class Choice(NamedTuple):
    """What becomes of a request: the content that it uses, and the place whose beginning is to be kept from now on."""

    used: tuple[Place, Content] | None = None
    wanted: Place | None = None


@dataclass(slots=True)
class _Trial:
    contents: int = 0
    brought: float = 0.0


@dataclass(slots=True)
class _Seen:
    last: float
    times: int = 0


class Contents:
    """The prefixes and contents of one configuration."""

    def __init__(self, settings: CachedContents) -> None:
        self._after = settings.after
        self._limit = settings.limit
        self.ttl = seconds(settings.ttl)
        self.idle = seconds(settings.idle)
        self.there: dict[bytes, Content] = {}
        self._seen: dict[bytes, _Seen] = {}
        self._making: set[bytes] = set()
        self._pauses: dict[bytes | Route, float] = {}
        self._trials: dict[Route, _Trial] = {}

    def choose(self, places: Iterable[Place], route: Route, now: float) -> Choice:
        """Count a request whose beginning may be kept up to one of these places, and say what becomes of it.

        The first place counts most. `route` is what a refusal of the provider's is about, beside the prefix.
        """
        used, wanted = None, None
        for place in places:
            often = self._see(place.prefix, now)
            content = self.there.get(place.prefix)
            if content is not None and now < content.ends - MARGIN_SECONDS:
                if used is None:
                    content.used, used = now, (place, content)
                    content.uses += 1
                break  # the rest begins with less
            if wanted is None and often and self._may_be_made(place.prefix, route, now):
                wanted = place
        return Choice(used, wanted)

    def begin(self, prefix: bytes) -> None:
        """Note that a content is being made."""
        self._making.add(prefix)

    def learn(self, prefix: bytes, content: Content) -> None:
        """Note a content that is there now."""
        self._making.discard(prefix)
        self.there[prefix] = content

    def give_up(self, prefix: bytes, paused: bytes | Route, until: float) -> None:
        """Note that none was made, and of what none is to be made for a while: of the prefix, or of a route."""
        self._making.discard(prefix)
        self._pause(paused, until)

    def forget(self, prefix: bytes) -> None:
        """Note that a content is gone. Its prefix is counted anew."""
        self.there.pop(prefix, None)
        self._seen.pop(prefix, None)

    def prefix_of(self, name: str) -> bytes | None:
        """Return the prefix that a content holds."""
        return next((prefix for prefix, content in self.there.items() if content.name == name), None)

    def judge(self, route: Route, brought: float, now: float) -> bool:
        """Take what a content that is deleted has brought, and say whether a route's cost more than they brought.

        Then none is made on it for a while, and a new trial begins.
        """
        trial = self._trials.pop(route, None) or _Trial()
        trial.contents, trial.brought = trial.contents + 1, trial.brought + brought
        if trial.contents < TRIED:
            self._trials[route] = trial
            while len(self._trials) > MAX_ROUTES:
                del self._trials[next(iter(self._trials))]
            return False
        if trial.brought < 0:
            self._pause(route, now + PAUSE_SECONDS)
        return trial.brought < 0

    def paused(self, now: float) -> dict[Route, float]:
        """Return the routes on which none is made now, and for how many seconds more."""
        return {one: until - now for one, until in self._pauses.items() if isinstance(one, tuple) and until > now}

    def is_hot(self, content: Content, now: float) -> bool:
        """Say whether requests use it: then it is renewed when half of its time is left."""
        return now - content.used < self.idle

    def _pause(self, paused: bytes | Route, until: float) -> None:
        self._pauses.pop(paused, None)
        self._pauses[paused] = until
        while len(self._pauses) > MAX_PAUSES:
            del self._pauses[next(iter(self._pauses))]

    def _see(self, prefix: bytes, now: float) -> bool:
        """Count a request that begins so, and say whether there have been enough in a row."""
        seen = self._seen.pop(prefix, None)
        if seen is None or now - seen.last >= self.idle:
            seen = _Seen(now)
        seen.last, seen.times = now, seen.times + 1
        self._seen[prefix] = seen
        while len(self._seen) > MAX_PREFIXES:
            del self._seen[next(iter(self._seen))]
        return seen.times >= self._after

    def _may_be_made(self, prefix: bytes, route: Route, now: float) -> bool:
        paused = any(now < self._pauses.get(one, now) for one in (prefix, route))
        room = len(self.there) + len(self._making) < self._limit
        return prefix not in self._making and len(self._making) < MAX_MAKING and room and not paused
