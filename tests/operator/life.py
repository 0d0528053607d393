"""One LLMCache in the life of its prefix versions, as the rollout machine sees it, with a clock of its own."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from llmcache_gateway.config import Rollout
from llmcache_operator.rollout import keeping
from llmcache_operator.rollout.evidence import Stats
from llmcache_operator.rollout.machine import step, wants_stats
from llmcache_operator.rollout.stages import first
from llmcache_operator.rollout.state import Counts, State
from llmcache_operator.rollout.turn import Action, Asked, Seen

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
PODS = frozenset({"a", "b"})
LE = (1.0, 10.0, float("inf"))
CANARY: dict[str, Any] = {
    "strategy": "Canary",
    "canary": {"steps": [{"percent": 5, "pause": "1m"}, {"percent": 50, "pause": "1m"}]},
    "analysis": {"minRequests": 20},
    "progressDeadline": "10m",
    "retain": {"versions": 1, "duration": "1h"},
}


def counts(requests: int, failed: int = 0, slow: int = 0) -> Counts:
    """As many misses as requests; `slow` of them take up to ten seconds."""
    return Counts(requests=requests, misses=requests, failed=failed, within=[requests - slow, requests, requests])


@dataclass
class Life:
    """One LLMCache, its gateways as they are seen, and a clock."""

    rollout: dict[str, Any]
    version: str = "v1"
    now: datetime = NOON
    seen: Seen = field(default_factory=lambda: Seen(everywhere=True, settled=True, pods=PODS, ready=PODS))
    counted: dict[str, Counts] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    state: State = field(init=False)

    def __post_init__(self) -> None:
        self.state = first(self.asked, self.now)
        self.look()
        assert self.state.prefix.active == "v1"
        self.notes.clear()

    @property
    def asked(self) -> Asked:
        return Asked("demo", self.version, msgspec.convert(self.rollout, Rollout))

    def look(self, times: int = 1, **seen: Any) -> "Life":
        """Reconcile a number of times; `seen` is what changes about the gateways."""
        self.seen = replace(self.seen, **seen)
        for _ in range(times):
            stats = {"a": Stats("one", dict(self.counted), LE), "b": Stats("two", {}, LE)}
            asked = wants_stats(self.state, self.now)
            done = step(self.state, self.asked, replace(self.seen, stats=stats if asked else {}), self.now)
            self.state, self.actions = done.state, done.actions
            self.notes += [note.reason for note in done.notes]
        return self

    def after(self, **delta: float) -> "Life":
        self.now += timedelta(**delta)
        return self.look()

    def serve(self, **counted: Counts) -> "Life":
        self.counted |= counted
        return self

    def bump(self, version: str) -> "Life":
        self.version = version
        return self.look()

    def purge(self) -> "Life":
        """Remove the entries of everything that is on its way out."""
        prefix = self.state.prefix
        for version in prefix.purging_versions:
            prefix = keeping.purged(prefix, version, [], self.now)
        self.state = State(prefix, self.state.rollout)
        return self.look()

    @property
    def at(self) -> tuple[str, int]:
        return self.state.rollout.phase, self.state.rollout.step


def in_canary(**rollout: Any) -> Life:
    """v2 at 5 %, known to every gateway."""
    life = Life(CANARY | rollout).bump("v2").look()
    assert (life.at, life.state.rollout.reached) == (("Canary", 1), True)
    return life
