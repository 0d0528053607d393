"""The rollout of a prefix version, as a pure function from one state to the next.

What gateways run follows from the stored state alone (`served`), and a step is taken only when they are seen to run it.
So the operator may end at any point: the next one finds the last state that was stored, and what it had not carried
out is carried out again.
"""

from datetime import datetime, timedelta
from typing import Final, Literal

from msgspec.structs import replace

from llmcache_gateway.config import PROGRESS_DEADLINE, Analysis, seconds
from llmcache_operator.rollout import evidence, keeping, stages, steer
from llmcache_operator.rollout.evidence import Verdict
from llmcache_operator.rollout.state import UNDER_WAY, Phase, Reason, RolloutStatus, State, served
from llmcache_operator.rollout.turn import Asked, Note, Purge, Seen, Start, Step, Stop

POLL = timedelta(seconds=5)
"""How often gateways are asked for their counters during a step."""

NO_GATEWAY: Final[Reason] = "NoGateway"
"""Why a purge waits: entries in a shared store are removed by a gateway, and none runs."""

WARMING_GRACE = timedelta(seconds=60)
"""How much longer than it may run a Job is waited for: its pod has to be made, and to end."""


def warming_key(state: State) -> str:
    """Return what names the warming that a state is in."""
    since = state.rollout.since
    return f"{state.prefix.target}@{since.isoformat() if since else ''}"


def wants_stats(state: State, now: datetime) -> bool:
    """Return whether gateways' counters are due to be looked at."""
    rollout = state.rollout
    if rollout.phase not in ("Canary", "Paused") or rollout.step == 0:
        return False
    return rollout.evidence is None or not timedelta() <= now - rollout.evidence.at < POLL


def step(before: State, asked: Asked, seen: Seen, now: datetime) -> Step:
    """Return what follows from a stored state, what spec asks for, and what was found."""
    done = Step(_timely(before, now))
    if asked.name != before.prefix.name:
        done.state = stages.first(asked, now, before.prefix)
    else:
        if asked.version != done.state.prefix.target:
            _retarget(done, asked, seen, now)
        else:
            steer.steer(done, asked, seen, now)
        if served(done.state) == served(before) and done.state.rollout.phase == before.rollout.phase:
            _proceed(done, asked, seen, now)
    state = done.state
    done.state = _rested(State(keeping.aged(state.prefix, asked.rollout.retain, now), state.rollout), seen, now)
    _add_duties(done, before, seen)
    return done


def goes_on(before: State, after: State) -> bool:
    """Return whether a new state is to be carried out at once, rather than when the clock or an event says so."""
    prefix, rollout = after
    if rollout.phase in ("Stable", "Retaining") and prefix.target == prefix.active and not prefix.purging:
        return False
    counted = replace(rollout, evidence=before.rollout.evidence, message=before.rollout.message)
    return State(prefix, counted) != before


def wake(state: State, now: datetime) -> float | None:
    """Return in how many seconds a state wants to be looked at again by the clock; None when it does not."""
    prefix, rollout = state
    if rollout.phase in UNDER_WAY and not rollout.reached:
        lasted = (now - rollout.since).total_seconds() if rollout.since is not None else 0.0
        return max(1.0, min(lasted / 3, POLL.total_seconds()))
    if rollout.phase == "Warming":
        return 2.0
    if rollout.phase in UNDER_WAY:
        return POLL.total_seconds()
    if prefix.purging and rollout.reason != NO_GATEWAY:
        return 2 * POLL.total_seconds()
    ends = [(kept.until - now).total_seconds() for kept in prefix.retained]
    return max(1.0, min(ends)) if ends else None


def _timely(state: State, now: datetime) -> State:
    """Return a state of which nothing has begun in the future: the clock was set back."""
    since = state.rollout.since
    return State(state.prefix, replace(state.rollout, since=now)) if since is not None and since > now else state


def _rested(state: State, seen: Seen, now: datetime) -> State:
    """Return a state without a rollout under way as what it then is: something is kept, or purged, or neither."""
    prefix, rollout = state
    if rollout.phase in UNDER_WAY or rollout.phase == "Aborted":
        return state
    phase: Phase = "Stable"
    reason: Reason | Literal[""] = ""
    message = ""
    if prefix.purging and not seen.removable:
        phase, reason = "Purging", NO_GATEWAY
        message = f"the entries of {', '.join(prefix.purging_versions)} are removed once a gateway runs"
    elif prefix.purging:
        phase, message = "Purging", f"the entries of {', '.join(prefix.purging_versions)} are being removed"
    elif prefix.retained:
        phase, message = "Retaining", f"{', '.join(prefix.retained_versions)} can be gone back to"
    message = message[:1024]
    if (phase, reason, message) == (rollout.phase, rollout.reason, rollout.message):
        return state
    return State(prefix, _at_rest(phase, message, rollout, now, reason))


def _at_rest(
    phase: Phase, message: str, before: RolloutStatus, now: datetime | None, reason: Reason | Literal[""] = ""
) -> RolloutStatus:
    return RolloutStatus(
        phase=phase, reason=reason, message=message, since=now, shown=before.shown, steered=before.steered
    )


def _retarget(done: Step, asked: Asked, seen: Seen, now: datetime) -> None:
    prefix, rollout = done.state
    retain = asked.rollout.retain
    if rollout.phase in UNDER_WAY:
        prefix = keeping.abandoned(prefix, "Superseded", retain, now)
        done.notes.append(Note(False, "RolloutSuperseded", f"{asked.version} is asked for in place of {prefix.target}"))
    prefix = replace(prefix, target=asked.version)
    steered = seen.annotation if steer.too_early(seen.annotation) else rollout.steered
    if steered and steered != rollout.steered:
        done.notes.append(
            Note(True, "AnnotationIgnored", f"{steered} is not for {asked.version}: add @{asked.version}")
        )
    done.state = State(prefix, RolloutStatus(phase="Stable", steered=steered))
    if prefix.active != prefix.target:
        stages.begin(done, asked, now)


def _proceed(done: Step, asked: Asked, seen: Seen, now: datetime) -> None:
    prefix, rollout = done.state
    if rollout.phase == "Promoting":
        if seen.everywhere:
            prefix = keeping.activated(prefix, asked.rollout.retain, now)
            done.state = State(prefix, _at_rest("Stable", "", rollout, None))
    elif rollout.phase in ("Warming", "Canary", "Paused"):
        if _edited(rollout, asked):
            stages.enter(done, _counterpart(rollout, asked), asked, now)
            if rollout.reason == "PausedByHand" and done.state.rollout.phase == "Canary":
                stages.pause(done, "PausedByHand", "by the annotation, until it says resume, promote or abort")
        elif rollout.step == 0:
            _warm(done, asked, seen, now)
        else:
            _canary(done, asked, seen, now)
    elif rollout.phase != "Aborted" and prefix.active != prefix.target:
        stages.begin(done, asked, now)


def _edited(rollout: RolloutStatus, asked: Asked) -> bool:
    """Return whether the stage that a rollout is in is no longer what spec says it to be."""
    if rollout.step == 0:
        return asked.rollout.warm is None
    steps = [step.percent for step in asked.steps]
    return len(steps) != rollout.steps or steps[rollout.step - 1] != rollout.percent


def _counterpart(rollout: RolloutStatus, asked: Asked) -> int:
    """Return the stage of changed steps that does not give the new version less than it has, where there is one."""
    higher = [at for at, step in enumerate(asked.steps, 1) if step.percent >= rollout.percent]
    return higher[0] if higher else max(1, len(asked.steps))


def _warm(done: Step, asked: Asked, seen: Seen, now: datetime) -> None:
    prefix, rollout = done.state
    warm, warmed = asked.rollout.warm, seen.warmed
    if warm is None:
        return
    if seen.everywhere and not rollout.reached:
        rollout = replace(rollout, reached=True)
    message = f"warming {prefix.target}" + (f": {warmed.text}" if warmed.text else "")
    held = rollout.reason == "PausedByHand"
    done.state = State(prefix, rollout if held else replace(rollout, message=message[:1024]))
    if held:
        return
    if warmed.state == "done":
        done.notes.append(Note(False, "WarmingFinished", f"{prefix.target}: {warmed.text}"))
    elif (
        warmed.state == "failed"
        or now - (rollout.since or now) > timedelta(seconds=seconds(warm.timeout)) + WARMING_GRACE
    ):
        why = warmed.text or f"not done within {warm.timeout}"
        done.notes.append(Note(True, "WarmingFailed", f"{prefix.target} goes on with what is warm: {why}"))
    else:
        return
    stages.leave(done, warmed.text or f"not done within {warm.timeout}", asked, now)


def _canary(done: Step, asked: Asked, seen: Seen, now: datetime) -> None:
    prefix, rollout = done.state
    versions, since = (prefix.active or "", prefix.target), rollout.since or now
    patience = timedelta(seconds=seconds(asked.rollout.progress_deadline or PROGRESS_DEADLINE))
    held = rollout.reason == "PausedByHand"
    if rollout.evidence is None:
        begun = evidence.begin(seen.pods, seen.ready, seen.stats, versions, now) if seen.everywhere else None
        if begun is not None:
            done.state = State(prefix, replace(rollout, reached=True, evidence=begun, since=now))
        elif not held and now - since > patience:
            stages.abort(done, "StepNotReached", "not every gateway could be seen to run it", asked, now)
        return
    if not wants_stats(done.state, now):
        return
    gathered = evidence.absorb(rollout.evidence, seen.pods, seen.stats, versions, now)
    le = next((stats.le for stats in seen.stats.values()), ())
    verdict = evidence.judge(gathered, asked.rollout.analysis or Analysis(), le)
    done.state = State(prefix, replace(rollout, evidence=gathered))
    if verdict.abort is not None:
        stages.abort(done, verdict.abort, verdict.text, asked, now)
    elif not held:
        _weigh(done, asked, seen, verdict, patience, now)


def _weigh(done: Step, asked: Asked, seen: Seen, verdict: Verdict, patience: timedelta, now: datetime) -> None:
    """Go on, go on waiting, or give up, by what the evidence says and how long the step has lasted."""
    prefix, rollout = done.state
    pause = asked.steps[rollout.step - 1].pause
    ends = (rollout.since or now) + timedelta(seconds=seconds(pause)) if pause is not None else None
    if ends is None:
        stages.pause(done, "WaitingForPromotion", f"until a person promotes; {verdict.text}")
    elif now < ends:
        message = f"{rollout.percent}% on {prefix.target}, {verdict.text}, until {ends:%H:%M:%S} UTC"
        done.state = State(prefix, replace(rollout, phase="Canary", reason="", message=message[:1024]))
    elif verdict.wait is None and seen.everywhere:
        stages.leave(done, verdict.text, asked, now)
    elif now - ends > patience:
        stages.abort(done, verdict.wait or "StepNotReached", f"no progress: {verdict.text}", asked, now)
    else:
        stages.pause(done, verdict.wait or "GatewaysBehind", f"until there is more to go by: {verdict.text}")


def _add_duties(done: Step, before: State, seen: Seen) -> None:
    after = done.state
    was_warming = before.rollout.step == 0 and before.rollout.phase in ("Warming", "Paused")
    if was_warming:
        same = after.rollout.step == 0 and after.rollout.phase in ("Warming", "Paused")
        if not same or after.prefix.target != before.prefix.target:
            done.actions.append(Stop(warming_key(before)))
        elif seen.everywhere and seen.ready and seen.warmed.state == "absent" and after.rollout.phase == "Warming":
            done.actions.append(Start(before.prefix.target, warming_key(before)))
    if seen.settled and seen.removable:
        mine = served(before)
        free = [leaving for leaving in before.prefix.purging if leaving.version not in (mine.version, mine.next)]
        done.actions += [Purge(leaving) for leaving in free]
