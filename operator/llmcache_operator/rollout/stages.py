"""The moves of a rollout, from one stage to another. Which one is made, and when, is machine.py's business."""

from datetime import datetime

from msgspec.structs import replace

from llmcache_operator.rollout import keeping
from llmcache_operator.rollout.state import MAX_SHOWN, PrefixStatus, Reason, RolloutStatus, State
from llmcache_operator.rollout.turn import Asked, Note, Step


def first(asked: Asked, now: datetime, before: PrefixStatus | None = None) -> State:
    """Return the state of an LLMCache that nobody has looked at: its version is in use at once.

    Under another prefix name nothing of what was there can be met, or purged by its version: it expires.
    """
    history = before.history if before is not None else []
    prefix = PrefixStatus(name=asked.name, target=asked.version, history=history)
    return promoting(State(prefix, RolloutStatus(phase="Stable")), 0, now)


def begin(done: Step, asked: Asked, now: datetime) -> None:
    """Begin the rollout of the target, unless its former entries have to be removed first."""
    prefix = done.state.prefix
    if prefix.target in prefix.purging_versions:
        return
    if prefix.active is None:
        done.state = promoting(done.state, 0, now)
    elif prefix.target in prefix.retained_versions:
        done.notes.append(Note(False, "RolledBack", f"back from {prefix.active} to {prefix.target}, which was kept"))
        done.state = promoting(done.state, len(asked.steps), now)
    else:
        done.notes.append(Note(False, "RolloutStarted", f"from {prefix.active} to {prefix.target}"))
        enter(done, 0, asked, now)


def enter(done: Step, number: int, asked: Asked, now: datetime) -> None:
    """Begin a stage: 0 is warming, then come the canary's steps, and then the promotion."""
    target, steps = done.state.prefix.target, asked.steps
    if number == 0 and asked.rollout.warm is None:
        number = 1
    if number > len(steps):
        done.state = promoting(done.state, len(steps), now)
        return
    percent = steps[number - 1].percent if number else 0
    message = f"{percent}% on {target}, once every gateway knows" if number else f"warming {target}"
    if number:
        done.notes.append(Note(False, "CanaryStep", f"step {number} of {len(steps)}: {percent}% on {target}"))
    fresh = RolloutStatus(
        phase="Canary" if number else "Warming",
        message=message,
        step=number,
        steps=len(steps),
        percent=percent,
        since=now,
        shown=done.state.rollout.shown,
        steered=done.state.rollout.steered,
    )
    done.state = State(done.state.prefix, fresh)


def leave(done: Step, shown: str, asked: Asked, now: datetime) -> None:
    """End a stage for the next one; `shown` is what it has shown."""
    prefix, rollout = done.state
    text = f"{rollout.percent}%: {shown}"[:512]
    done.state = State(prefix, replace(rollout, shown=[*rollout.shown, text][-MAX_SHOWN:]))
    enter(done, rollout.step + 1, asked, now)


def promoting(state: State, steps: int, now: datetime) -> State:
    """Return the state in which every request is given to the target."""
    message = f"every request to {state.prefix.target}, once every gateway knows"
    fresh = RolloutStatus(
        phase="Promoting",
        message=message,
        step=steps,
        steps=steps,
        percent=100,
        since=now,
        shown=state.rollout.shown,
        steered=state.rollout.steered,
    )
    return State(state.prefix, fresh)


def abort(done: Step, reason: Reason, why: str, asked: Asked, now: datetime) -> None:
    """Give the target up: every request is given to the active version, and spec stays as it is."""
    prefix, rollout = done.state
    message = f"{prefix.target} was aborted at {rollout.percent}%: {why}. Every request is given to {prefix.active}"
    prefix = keeping.abandoned(prefix, "Aborted", asked.rollout.retain, now)
    fresh = RolloutStatus(
        phase="Aborted",
        reason=reason,
        message=message[:1024],
        step=rollout.step,
        steps=rollout.steps,
        since=now,
        shown=rollout.shown,
        steered=rollout.steered,
    )
    done.state = State(prefix, fresh)


def pause(done: Step, reason: Reason, why: str) -> None:
    """Stay at this stage until the reason for it is gone."""
    prefix, rollout = done.state
    message = f"{rollout.percent}% on {prefix.target}; paused {why}"[:1024]
    if rollout.reason != reason:
        done.notes.append(Note(False, "RolloutPaused", message))
    done.state = State(prefix, replace(rollout, phase="Paused", reason=reason, message=message))
