"""What people say by the annotation llmcache.dev/rollout."""

from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from llmcache_operator.rollout import stages
from llmcache_operator.rollout.state import State
from llmcache_operator.rollout.turn import Asked, Note, Seen, Step

ANNOTATION = "llmcache.dev/rollout"
VERBS = ("promote", "pause", "resume", "abort")


class Order(NamedTuple):
    """One of VERBS; `version` is the one that it is meant for, empty for whichever is on its way."""

    verb: str
    version: str = ""


def read(value: str) -> Order | None:
    """Return what an annotation says, `VERB` or `VERB@VERSION`; None for what can't be understood."""
    verb, _, version = value.strip().partition("@")
    return Order(verb, version) if verb in VERBS and not value.strip().endswith("@") else None


def too_early(value: str) -> bool:
    """Return whether what an annotation says, and nobody has looked at, is not for a rollout that only begins now.

    A bare verb was meant for what was on its way when it was written. One with a version waits for that version.
    """
    order = read(value)
    return order is None or not order.version


def steer(done: Step, asked: Asked, seen: Seen, now: datetime) -> None:
    """Do what the annotation says, once: the state remembers what it has looked at."""
    prefix, rollout = done.state
    said = seen.annotation
    order = read(said)
    if said == rollout.steered or (order is not None and order.version not in ("", prefix.target)):
        return
    done.state = State(prefix, replace(rollout, steered=said))
    if not said:
        return
    if order is None:
        what = f"{said!r} is not understood: write {', '.join(VERBS)}, alone or with @VERSION"
        done.notes.append(Note(True, "AnnotationRefused", what))
    elif not _obey(order.verb, done, asked, now):
        what = f"nothing to {order.verb}: {prefix.target} is {rollout.phase}"
        done.notes.append(Note(True, "AnnotationIgnored", what))


def _obey(verb: str, done: Step, asked: Asked, now: datetime) -> bool:
    """Carry out what a person says; False where it has no effect now."""
    prefix, rollout = done.state
    staged = rollout.phase in ("Warming", "Canary", "Paused")
    if verb == "promote" and staged:
        done.notes.append(Note(False, "PromotedByHand", f"{prefix.target} goes on from {rollout.percent}%"))
        stages.leave(done, "promoted by hand", asked, now)
    elif verb == "abort" and prefix.active is not None and (staged or rollout.phase == "Promoting"):
        stages.abort(done, "AbortedByHand", "the annotation says so", asked, now)
    elif verb == "pause" and staged and rollout.reason != "PausedByHand":
        stages.pause(done, "PausedByHand", "by the annotation, until it says resume, promote or abort")
    elif verb == "resume" and rollout.reason == "PausedByHand":
        phase = "Canary" if rollout.step else "Warming"
        resumed = replace(rollout, phase=phase, reason="", message=f"{rollout.percent}% on {prefix.target}", since=now)
        done.state = State(prefix, resumed)
        done.notes.append(Note(False, "RolloutResumed", resumed.message))
    else:
        return False
    return True
