"""What goes into one turn of the rollout machine, and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from llmcache_gateway.config import CanaryStep, Rollout
from llmcache_operator.rollout.evidence import Stats
from llmcache_operator.rollout.state import Purging, State


class Asked(NamedTuple):
    """What spec asks for."""

    name: str
    version: str
    rollout: Rollout

    @property
    def steps(self) -> list[CanaryStep]:
        """The canary's steps; none with strategy Immediate."""
        return self.rollout.canary.steps if self.rollout.canary is not None else []


class Warmed(NamedTuple):
    """What became of a warming so far."""

    state: Literal["absent", "running", "done", "failed"]
    text: str = ""


NOT_WARMED = Warmed("absent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was found of the gateways."""

    everywhere: bool
    """Every ready gateway runs what the stored state serves, and there is one; or none is wanted."""
    settled: bool = False
    """So does every other pod, so that none can come back with anything else."""
    removable: bool = True
    """Whether entries can be removed now: there is a gateway to do it, or what a gateway stores goes with it."""
    pods: frozenset[str] = frozenset()
    ready: frozenset[str] = frozenset()
    stats: Mapping[str, Stats] = field(default_factory=dict)
    """Counters by pod, of those that were asked."""
    warmed: Warmed = NOT_WARMED
    annotation: str = ""


class Start(NamedTuple):
    """Warm a version: a Job of this key is to be there."""

    version: str
    key: str


class Stop(NamedTuple):
    """No Job of this key is to be there any more."""

    key: str


class Purge(NamedTuple):
    """Remove a version's entries, or see how far gateways are with that."""

    leaving: Purging


class Note(NamedTuple):
    """Something that people who watch are told once."""

    warning: bool
    reason: str
    text: str


Action = Start | Stop | Purge


@dataclass(slots=True)
class Step:
    """The next state, what is to be carried out, and what there is to tell.

    Actions are only ever about what the stored state said: none is lost, or done for nothing, when the next one is not
    stored.
    """

    state: State
    actions: list[Action] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
