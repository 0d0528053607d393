"""Hints that never lead to a hit of the provider's: which, and why that may be."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from llmcache_gateway.usage import Usage

Reason = Literal["PrefixTooShort", "PrefixVolatile", "TrafficGap", "NotKept"]

CALLS: Final = 20
"""So many calls with a hint must have brought nothing,"""

SECONDS: Final = 600.0
"""and for so long."""

SILENCE: Final = 3600.0
"""A route without a hint for so long is no longer spoken of."""

MAX_ROUTES: Final = 500
MAX_PREFIXES: Final = 100
"""Most prefixes of one route that are told apart: more, in a drought, are as many reasons for it."""

REASONS: Final[dict[Reason, str]] = {
    "PrefixTooShort": "the provider keeps nothing: the prompts' beginnings are shorter than what it keeps at all",
    "PrefixVolatile": "the marked beginning is another one each time: something in it changes, such as a date",
    "TrafficGap": "equal beginnings come further apart than the provider keeps them: a longer ttl may help",
    "NotKept": "equal beginnings come in time, but the provider reads none from its cache",
}


class Call(NamedTuple):
    """One call with a hint: what it took, which prefix was marked, for how many seconds that is kept."""

    usage: Usage
    prefix: bytes
    minimum_tokens: int
    kept_seconds: float


class Ineffective(NamedTuple):
    """A route (upstream and model) whose hints bring nothing."""

    upstream: str
    model: str
    reason: Reason


@dataclass(slots=True)
class _Drought:
    began: float
    last: float
    calls: int = 0
    written: int = 0
    longest: int = 0
    minimum: int = 0
    new: int = 0
    late: int = 0
    in_time: int = 0
    times: dict[bytes, float] = field(default_factory=dict)

    def note(self, call: Call, now: float) -> None:
        before = self.times.pop(call.prefix, None)
        if before is None:
            self.new += 1
        elif now - before > call.kept_seconds:
            self.late += 1
        else:
            self.in_time += 1
        self.times[call.prefix] = self.last = now
        if len(self.times) > MAX_PREFIXES:
            del self.times[next(iter(self.times))]
        self.calls += 1
        self.written += call.usage.written
        self.longest = max(self.longest, call.usage.input)
        self.minimum = call.minimum_tokens

    @property
    def reason(self) -> Reason:
        if self.longest < self.minimum:
            return "PrefixTooShort"
        if self.new >= max(self.late, self.in_time):
            return "PrefixVolatile"
        if self.late >= self.in_time:
            return "TrafficGap"
        return "NotKept" if self.written else "PrefixTooShort"


class Droughts:
    """What has come of hints on each route since its provider last read something from its cache."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], _Drought] = {}

    def note(self, route: tuple[str, str], call: Call, now: float) -> None:
        """Take what came of a call with a hint."""
        drought = self._routes.pop(route, None)
        if call.usage.cached:
            return
        if drought is None or now - drought.last > SILENCE:
            drought = _Drought(now, now)
        drought.note(call, now)
        self._routes[route] = drought
        if len(self._routes) > MAX_ROUTES:
            del self._routes[next(iter(self._routes))]

    def current(self, now: float) -> Iterator[Ineffective]:
        """Return the routes whose hints have brought nothing for long enough to say so, by name."""
        for (upstream, model), one in sorted(self._routes.items()):
            if one.calls >= CALLS and one.last - one.began >= SECONDS and now - one.last <= SILENCE:
                yield Ineffective(upstream, model, one.reason)
