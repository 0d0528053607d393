"""Who leads: decisions about a Lease, by the conventions of Kubernetes' own controllers. Pure, and free of wall clocks.

A candidate never compares a time in the Lease with its own clock. It notes when it first saw the Lease as it is, by
its own monotonic clock; a holder that has not renewed for the Lease's length since then is gone. The holder, in turn,
stops well before that: `renew_deadline` after it began the last renewal that succeeded.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from llmcache_operator.specs import Object


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things take, in seconds. The defaults are those of Kubernetes' own controllers."""

    duration: float = 15.0
    """A holder that has not renewed for that long may be replaced."""
    renew_deadline: float = 10.0
    """A holder that can't renew for that long leads no longer. Shorter than the duration, or two would lead."""
    retry: float = 2.0


class Move(Enum):
    """What a candidate does about a Lease."""

    CREATE = "create"
    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"


class Sighting(NamedTuple):
    """The Lease's spec as it was last seen, and when it was first seen so, by the candidate's monotonic clock."""

    spec: Object
    since: float


def sighted(lease: Object | None, before: Sighting | None, now: float) -> Sighting | None:
    """Return what is known of a Lease after it was read."""
    if lease is None:
        return None
    spec = lease.get("spec") or {}
    return before if before is not None and before.spec == spec else Sighting(spec, now)


def move(seen: Sighting | None, me: str, timing: Timing, now: float) -> Move:
    """Return what to do about a Lease that was just read; None where there is none."""
    if seen is None:
        return Move.CREATE
    holder = seen.spec.get("holderIdentity")
    if holder == me:
        return Move.RENEW
    length = max(timing.duration, float(seen.spec.get("leaseDurationSeconds") or 0))
    if not holder or now - seen.since >= length:
        return Move.TAKE
    return Move.WAIT


def written(lease: Object | None, key: tuple[str, str], me: str, timing: Timing, stamp: str) -> Object:
    """Return the Lease as its holder writes it. `key` is namespace and name, `stamp` RFC 3339 in microseconds.

    It carries the resource version that was read, so that of two candidates that write at once one is refused.
    """
    spec = (lease or {}).get("spec") or {}
    mine = spec.get("holderIdentity") == me
    changes = int(spec.get("leaseTransitions") or 0)
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": lease["metadata"] if lease is not None else {"namespace": key[0], "name": key[1]},
        "spec": {
            "holderIdentity": me,
            "leaseDurationSeconds": round(timing.duration),
            "acquireTime": spec.get("acquireTime", stamp) if mine else stamp,
            "renewTime": stamp,
            "leaseTransitions": changes if mine or lease is None else changes + 1,
        },
    }


def released(lease: Object, stamp: str) -> Object:
    """Return a Lease that nobody holds, so that the next candidate need not wait."""
    spec = lease["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": stamp}
    return lease | {"spec": spec}
