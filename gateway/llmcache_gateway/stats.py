"""How each prefix version fares, counted since the process began: the evidence on which a rollout goes on or ends."""

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from llmcache_gateway.hint_stats import Side, SideCounts
from llmcache_gateway.usage import Usage

BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
"""Upper bounds of the buckets of `missLatency`, in seconds; one bucket without a bound follows."""

MAX_NAMES: Final = 50
"""Most versions, and most policies, that are counted by name: the one not seen for longest makes room."""

COLUMNS: Final = {
    "HIT": "hits",
    "STALE": "stale",
    "COALESCED": "coalesced",
    "MISS": "misses",
    "BYPASS": "bypasses",
    "ERROR": "errors",
}
"""Where a request is counted, by its outcome: each in one column."""

NO_ANSWER: Final = frozenset({"upstream-unreachable", "upstream-timeout"})
"""Reasons of errors that say that the upstream gave no answer."""

NO_WHOLE_ANSWER: Final = frozenset({"unterminated", "error"})
"""Reasons of answers that broke off, or had an error in them, after a good beginning."""


class Ended(msgspec.Struct, frozen=True):
    """What a request came to, in the words of its exchange.

    `attempted` is the outcome it was on the way to when it failed; ERROR when to none.
    """

    outcome: str
    attempted: str
    reason: str
    status: int


class Saving(NamedTuple):
    """What answers would have taken to ask for, and cost; None where the model's price is not known."""

    usage: Usage
    usd: float | None
    model: str


def column(ended: Ended) -> str:
    """Return where a request is counted: one whose upstream gave no answer is the miss that it was."""
    unanswered = ended.outcome == "ERROR" and ended.reason in NO_ANSWER
    return COLUMNS[ended.attempted if unanswered else ended.outcome]


def upstream_failed(ended: Ended) -> bool:
    """Say whether a request failed by its upstream's doing.

    An answer of 4xx is no failure: the client's own making, or (429) a limit that all versions share.
    """
    if ended.outcome == "ERROR":
        return ended.reason in NO_ANSWER
    return ended.status >= 500 or ended.reason in NO_WHOLE_ANSWER


@dataclass(slots=True)
class Counts:
    """Requests by what the cache did."""

    columns: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COLUMNS.values(), 0))
    seen: int = 0
    """The number of the last request that was counted here."""

    saved_input: int = 0
    saved_output: int = 0
    saved_usd: float = 0.0
    unpriced: int = 0
    """Of the saved tokens, those whose price is not known."""

    def save(self, saving: Saving) -> None:
        """Count answers that no provider was asked for."""
        self.saved_input += saving.usage.input
        self.saved_output += saving.usage.output
        if saving.usd is None:
            self.unpriced += saving.usage.input + saving.usage.output
        else:
            self.saved_usd += saving.usd

    @property
    def hit_ratio(self) -> float | None:
        """The share of the requests that the cache was asked for which it answered; None when it was never asked."""
        hits = self.columns["hits"] + self.columns["stale"]
        asked = hits + self.columns["coalesced"] + self.columns["misses"]
        return hits / asked if asked else None

    def shown(self) -> dict[str, Any]:
        """Return them as the admin port shows them."""
        return {
            "requests": sum(self.columns.values()),
            **self.columns,
            "hitRatio": self.hit_ratio,
            "savedTokens": {"input": self.saved_input, "output": self.saved_output, "unpriced": self.unpriced},
            "savedUSD": self.saved_usd,
        }


@dataclass(slots=True)
class PolicyCounts(Counts):
    """Requests of one policy, and what their providers report."""

    provider: Usage = field(default_factory=Usage)
    sides: dict[Side, SideCounts] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """Return them as the admin port shows them."""
        used = self.provider
        tokens = {"cached": used.cached, "written": used.written, "uncached": used.uncached, "output": used.output}
        hints = {"hints": {side: counts.shown() for side, counts in self.sides.items()}} if self.sides else {}
        return {**Counts.shown(self), "providerTokens": tokens, **hints}


@dataclass(slots=True)
class VersionCounts(Counts):
    """Requests of one version, and how its upstreams did with its misses."""

    miss_errors: int = 0
    warmed: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def shown(self) -> dict[str, Any]:
        """Return them as the admin port shows them; buckets are cumulative."""
        latency = {"le": [*BOUNDS, None], "counts": list(accumulate(self.buckets)), "sumSeconds": self.seconds}
        own = {"missErrors": self.miss_errors, "warmed": self.warmed, "missLatency": latency}
        return {**Counts.shown(self), **own}


AnyCounts = TypeVar("AnyCounts", bound=Counts)


class Stats:
    """Counts requests that are over. `instance` names the process, `started_at` is its beginning in epoch seconds."""

    def __init__(self, instance: str, started_at: float) -> None:
        self.instance = instance
        self._started_at = started_at
        self._number = 0
        self._versions: dict[str, VersionCounts] = {}
        self._policies: dict[str, PolicyCounts] = {}
        self._tiers: dict[str, int] = {}
        self._all = Counts()
        self._unpriced: dict[str, None] = {}

    def count(self, ended: Ended, *, version: str, policy: str, seconds: float | None) -> None:
        """Count a request of a client; `seconds` is how long its upstream took to begin its answer, if it was asked."""
        where = column(ended)
        of_version = self._version(version)
        of_version.columns[where] += 1
        of_policy = self._named(self._policies, policy, PolicyCounts)
        of_policy.columns[where] += 1
        self._all.columns[where] += 1
        if where == "hits":
            self._tiers[ended.reason] = self._tiers.get(ended.reason, 0) + 1
        elif where == "misses":
            failed = upstream_failed(ended)
            of_version.miss_errors += failed
            # A refusal is quick: counted, it would make a version that is refused look fast.
            if seconds is not None and not failed and ended.status < 400:
                of_version.buckets[bisect_left(BOUNDS, seconds)] += 1
                of_version.seconds += seconds

    def count_warmed(self, version: str) -> None:
        """Count a request that filled the cache: no client's, so no evidence of how clients fare."""
        self._version(version).warmed += 1

    @property
    def all(self) -> Counts:
        """All requests of clients."""
        return self._all

    def save(self, saving: Saving, *, version: str, policy: str) -> None:
        """Count what answers would have taken that no provider was asked for."""
        for counts in (self._all, self._version(version), self._named(self._policies, policy, PolicyCounts)):
            counts.save(saving)
        if saving.usd is None and len(self._unpriced) < MAX_NAMES:
            self._unpriced[saving.model[:200]] = None

    def count_provider(self, usage: Usage, *, policy: str) -> None:
        """Count what an upstream's answer took."""
        self._named(self._policies, policy, PolicyCounts).provider += usage

    def side(self, policy: str, side: Side) -> SideCounts:
        """Return what counts the hints of one side of a policy."""
        return self._named(self._policies, policy, PolicyCounts).sides.setdefault(side, SideCounts())

    def shown(self) -> dict[str, Any]:
        """Return all counters as the admin port shows them."""
        return {
            "startedAt": self._started_at,
            "instance": self.instance,
            "all": self._all.shown(),
            "unpricedModels": list(self._unpriced),
            "versions": {name: counts.shown() for name, counts in self._versions.items()},
            "tiers": {tier: {"hits": hits} for tier, hits in self._tiers.items()},
            "policies": {name: counts.shown() for name, counts in self._policies.items()},
        }

    def _version(self, name: str) -> VersionCounts:
        self._number += 1
        return self._named(self._versions, name, VersionCounts)

    def _named(self, known: dict[str, AnyCounts], name: str, make: type[AnyCounts]) -> AnyCounts:
        counts = known.get(name)
        if counts is None:
            if len(known) >= MAX_NAMES:
                del known[min(known, key=lambda one: known[one].seen)]
            counts = known[name] = make()
        counts.seen = self._number
        return counts
