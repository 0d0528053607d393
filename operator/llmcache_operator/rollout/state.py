"""What a rollout remembers. It is stored in the LLMCache's status, and nowhere else."""

from datetime import datetime
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, field

from llmcache_gateway.config import described
from llmcache_operator.status_part import StatusPart, Text, Version

Phase = Literal["Warming", "Canary", "Paused", "Promoting", "Retaining", "Purging", "Stable", "Aborted"]
Reason = Literal[
    "TooFewRequests",
    "UpstreamFails",
    "MissesFail",
    "MissesSlow",
    "GatewaysBehind",
    "StepNotReached",
    "WaitingForPromotion",
    "PausedByHand",
    "AbortedByHand",
    "NoGateway",
]
"""Why a phase is what it is; docs/rollouts.md tells of each."""

Happened = Literal["Promoted", "Superseded", "Aborted", "Purged"]
Count = Annotated[int, Meta(ge=0)]

MAX_HISTORY = 10
MAX_VERSIONS = 100
"""Most versions that are kept, and most that are purged: what is beyond is left to its TTL."""

MAX_ANNOTATION = 256
MAX_SHOWN = 20
UNDER_WAY = ("Warming", "Canary", "Paused", "Promoting")


class Retained(StatusPart, frozen=True, kw_only=True):
    """A former version whose entries are kept."""

    version: Annotated[Version, described("The version.")]
    until: Annotated[datetime, described("When its entries are purged.")]


class Purging(StatusPart, frozen=True, kw_only=True):
    """A version whose entries are being removed. No gateway runs it before they are."""

    version: Annotated[Version, described("The version.")]
    jobs: Annotated[
        list[Annotated[str, Meta(max_length=512)]],
        described("What gateways are still at, each as POD/ID of its invalidation.", max_length=1000),
    ] = field(default_factory=list)


class Past(StatusPart, frozen=True, kw_only=True):
    """Something that happened to a version."""

    version: Annotated[Version, described("The version.")]
    what: Annotated[Happened, described("What happened to it.")]
    at: Annotated[datetime, described("When.")]


class PrefixStatus(StatusPart, frozen=True, kw_only=True):
    """Which generation of entries is in use."""

    name: Annotated[str, described("First part of every stored key.", max_length=63)]
    target: Annotated[Version, described("The version that spec asks for.")]
    active: Annotated[
        Version | None,
        described("The version that every gateway runs, and that a rollout which is aborted goes back to."),
    ] = None
    retained: Annotated[
        list[Retained],
        described(
            "Former versions that are kept, the latest first: going back to one is instant.", max_length=MAX_VERSIONS
        ),
    ] = field(default_factory=list)
    purging: Annotated[
        list[Purging], described("Versions whose entries are being removed.", max_length=MAX_VERSIONS)
    ] = field(default_factory=list)
    history: Annotated[list[Past], described("What happened lately, the latest first.", max_length=MAX_HISTORY)] = (
        field(default_factory=list)
    )

    @property
    def retained_versions(self) -> list[str]:
        """The versions that are kept."""
        return [kept.version for kept in self.retained]

    @property
    def purging_versions(self) -> list[str]:
        """The versions that are on their way out."""
        return [leaving.version for leaving in self.purging]


class Counts(StatusPart, frozen=True, kw_only=True):
    """What gateways have counted for one version."""

    requests: Annotated[Count, described("Requests.")] = 0
    misses: Annotated[Count, described("Requests that were sent upstream.")] = 0
    failed: Annotated[Count, described("Those whose upstream failed.")] = 0
    within: Annotated[
        list[Count], described("Misses by the time until their first byte, cumulated over buckets.", max_length=64)
    ] = field(default_factory=list)


class Mark(StatusPart, frozen=True, kw_only=True):
    """Where one gateway's counters stood at the last look."""

    pod: Annotated[str, described("The gateway's pod.", max_length=253)]
    instance: Annotated[
        str, described("The process: another one counts from zero. Empty while none has answered.", max_length=64)
    ] = ""
    active: Annotated[Counts, described("Counters of the active version.")] = Counts()
    target: Annotated[Counts, described("Counters of the new version.")] = Counts()


class Evidence(StatusPart, frozen=True, kw_only=True):
    """What has been counted over all gateways since a step began."""

    at: Annotated[datetime, described("When the gateways were last asked.")]
    active: Annotated[Counts, described("The active version's.")] = Counts()
    target: Annotated[Counts, described("The new version's.")] = Counts()
    marks: Annotated[list[Mark], described("Where each gateway's counters stood.", max_length=1024)] = field(
        default_factory=list
    )


class RolloutStatus(StatusPart, frozen=True, kw_only=True):
    """How far the rollout of `prefix.target` is."""

    phase: Annotated[Phase, described("What is going on.")]
    reason: Annotated[str, described("Why, as one word for programs.", max_length=64)] = ""
    message: Annotated[Text, described("What it is about, for people.")] = ""
    step: Annotated[int, described("The canary step, from 1; 0 before the first.")] = 0
    steps: Annotated[int, described("How many steps there are.")] = 0
    percent: Annotated[int, described("Share of the requests that are given to the new version.")] = 0
    since: Annotated[datetime | None, described("When this phase or step began.")] = None
    reached: Annotated[bool, described("Whether every ready gateway has run this step.")] = False
    shown: Annotated[
        list[Annotated[str, Meta(max_length=512)]],
        described("What each step that is over has shown.", max_length=MAX_SHOWN),
    ] = field(default_factory=list)
    evidence: Annotated[Evidence | None, described("What was counted since.")] = None
    steered: Annotated[
        str, described("The annotation llmcache.dev/rollout that was last looked at.", max_length=MAX_ANNOTATION)
    ] = ""


class State(NamedTuple):
    """All that a rollout remembers."""

    prefix: PrefixStatus
    rollout: RolloutStatus

    @property
    def held_up(self) -> bool:
        """Whether the target can't begin before its former entries are removed."""
        return self.rollout.phase == "Purging" and self.prefix.target in self.prefix.purging_versions


class Served(NamedTuple):
    """What gateways are to run: one version, or the active one with a share for the next."""

    version: str
    next: str | None = None
    percent: int = 0


def served(state: State) -> Served:
    """Return what the gateways are to run. A version that is being purged is never among it."""
    prefix, rollout = state
    if prefix.active is None or rollout.phase == "Promoting":
        return Served(prefix.target)
    if rollout.phase in ("Warming", "Canary", "Paused"):
        return Served(prefix.active, prefix.target, rollout.percent)
    return Served(prefix.active)
