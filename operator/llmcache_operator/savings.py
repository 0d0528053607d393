"""What the gateways' counters say that the cache is worth, added up over their restarts: a pure function.

Totals and the marks that they were reached from are stored together, in the status, and only when the rounded figures
have changed: so nothing is lost or counted twice when the operator ends, and nothing is written while nothing changes.
What a gateway has counted since the last write goes with it when it ends.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, NamedTuple, Self

from msgspec import Meta, field

from llmcache_gateway.config import described
from llmcache_operator.status_part import StatusPart

REFRESH_SECONDS: Final = 120.0
"""The figures change with every request: how long they stay as they are, at least."""

CENTS_BELOW: Final = 100
"""Dollars from which on cents are left out, so that a busy cache is not written about for each of them."""

Count = Annotated[int, Meta(ge=0)]


class Served(StatusPart, frozen=True, kw_only=True):
    """What a gateway has counted since its process began."""

    asked: Annotated[Count, described("Requests that the cache was asked for.")] = 0
    hits: Annotated[Count, described("Those that it answered.")] = 0
    micro_usd: Annotated[Count, described("What the saved calls would have cost, in millionths of a dollar.")] = 0
    unpriced: Annotated[Count, described("Saved tokens whose price is not known.")] = 0

    def plus(self, other: "Served") -> Self:
        """Return the sum of two."""
        return type(self)(
            **{name: getattr(self, name) + getattr(other, name) for name in Served.__struct_fields__},
        )

    def since(self, other: "Served") -> Self:
        """Return what was added to `other`; nothing where it went backwards."""
        names = Served.__struct_fields__
        return type(self)(**{name: max(0, getattr(self, name) - getattr(other, name)) for name in names})


class Told(NamedTuple):
    """What a gateway says: its process by name, when that began, what it has counted since."""

    instance: str
    started_at: datetime
    served: Served


class Mark(StatusPart, frozen=True, kw_only=True):
    """How far a gateway had counted when it was last added up."""

    pod: Annotated[str, described("The gateway's pod.", max_length=253)]
    instance: Annotated[str, described("The process in it.", max_length=64)]
    served: Annotated[Served, described("What it had counted.")]


class CacheStatus(StatusPart, frozen=True, kw_only=True):
    """What the cache is worth, over all gateways and their restarts."""

    since: Annotated[datetime, described("When counting began.")]
    updated: Annotated[datetime, described("When the figures last changed.")]
    hit_ratio: Annotated[
        Annotated[str, Meta(max_length=16)] | None,
        described("Share of the requests that the cache was asked for which it answered, rounded."),
    ] = None
    saved_usd: Annotated[
        Annotated[str, Meta(max_length=32)] | None,
        described("USD that the saved calls would have cost, rounded; not there while no price is known."),
    ] = field(default=None, name="savedUSD")
    total: Annotated[Served, described("The same, not rounded.")] = field(default_factory=Served)
    marks: Annotated[
        list[Mark], described("How far each gateway had counted when it was last added up.", max_length=1000)
    ] = field(default_factory=list)


def due(previous: CacheStatus | None, now: datetime) -> bool:
    """Say whether it is time to look at the counters again."""
    return previous is None or abs((now - previous.updated).total_seconds()) >= REFRESH_SECONDS


def add_up(
    previous: CacheStatus | None, told: Mapping[str, Told], pods: Collection[str], now: datetime
) -> CacheStatus | None:
    """Return the figures with what gateways, by pod, have counted since; the former ones while they look the same.

    A process that was not there before has counted from zero. A pod of `pods` that could not be asked keeps its mark.
    """
    before = {mark.pod: mark for mark in previous.marks} if previous is not None else {}
    total = previous.total if previous is not None else Served()
    marks = [mark for pod, mark in before.items() if pod in pods and pod not in told]
    for pod, one in told.items():
        mark = before.get(pod)
        total = total.plus(one.served.since(mark.served if mark and mark.instance == one.instance else Served()))
        marks.append(Mark(pod=pod, instance=one.instance, served=one.served))
    shown = _shown(total)
    if not total.asked or (previous is not None and shown == (previous.hit_ratio, previous.saved_usd)):
        return previous
    since = previous.since if previous is not None else min(one.started_at for one in told.values())
    marks.sort(key=lambda mark: mark.pod)
    return CacheStatus(
        since=since.replace(microsecond=0),
        updated=now.replace(microsecond=0),
        hit_ratio=shown[0],
        saved_usd=shown[1],
        total=total,
        marks=marks,
    )


def read_served(counted: Mapping[str, Any]) -> Served:
    """Return what a gateway says of all its requests; KeyError, TypeError or ValueError where that is unusable."""
    hits = int(counted["hits"]) + int(counted["stale"])
    return Served(
        asked=max(0, hits + int(counted["coalesced"]) + int(counted["misses"])),
        hits=max(0, hits),
        micro_usd=max(0, round(float(counted["savedUSD"]) * 1e6)),
        unpriced=max(0, int(counted["savedTokens"]["unpriced"])),
    )


def _shown(total: Served) -> tuple[str | None, str | None]:
    ratio = f"{total.hits / total.asked:.2f}" if total.asked else None
    if not total.micro_usd and total.unpriced:
        return ratio, None
    dollars = total.micro_usd / 1e6
    return ratio, f"{dollars:.2f}" if dollars < CENTS_BELOW else f"{dollars:.0f}"
