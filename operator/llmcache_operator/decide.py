"""What an LLMCache's status is to say, and when to look again: a pure function of what was found."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from llmcache_operator.observed import HintNote, Observed, Trouble
from llmcache_operator.rollout.machine import wake
from llmcache_operator.rollout.state import UNDER_WAY, State
from llmcache_operator.savings import add_up
from llmcache_operator.specs import COMPONENT_GATEWAY
from llmcache_operator.status import Condition, GatewaysStatus, RedisChange, RedisState, Status, Warned
from llmcache_operator.work import Outcome

# Gateways notice a changed configuration on their own: nothing tells the operator when they have.
SPREADING_SECONDS = 1.0
# Kubernetes does tell when pods become ready; this is for what it tells of pods only, such as an image pull.
STARTING_SECONDS = 3.0
# What has lasted for long is not looked at as often: a third more is all that is added to it.
SELDOM_SECONDS = 30.0

MAX_NAMED = 3
"""Most models, or policies, that a condition names."""

_ROLLOUT = {
    "Warming": "PrefixWarming",
    "Canary": "PrefixCanary",
    "Paused": "PrefixPaused",
    "Promoting": "PrefixPromoting",
    "Purging": "PrefixPurging",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """The status to write, and when to look again."""

    status: Status
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Progress:
    """What is still on its way, or nothing: then `reason` is empty."""

    reason: str = ""
    message: str = ""
    after: float | None = None
    goes_on: bool = False
    """It is a rollout that nobody waits for: the resource counts as reconciled meanwhile."""


def decide(seen: Observed, previous: Status, now: datetime) -> Decision:
    """Return the status that describes a snapshot. `now` dates the conditions that change."""
    aborted = _aborted(seen)
    trouble = _gravest(seen) or aborted
    lasting = next((one for one in (*seen.troubles, _overdue(seen), aborted) if one is not None and one.lasting), None)
    progress = _progress(seen, previous, now)
    ready = _ready(seen, trouble, progress)

    def condition(kind: str, status: bool, reason: str, message: str = "") -> Condition:
        value = "True" if status else "False"
        before = previous.condition(kind)
        same = before is not None and before.status == value
        return Condition(
            type=kind,  # type: ignore[arg-type]
            status=value,  # type: ignore[arg-type]
            reason=reason,
            message=message[:1024],
            last_transition_time=before.last_transition_time
            if same and before is not None
            else f"{now:%Y-%m-%dT%H:%M:%SZ}",
            observed_generation=seen.generation,
        )

    conditions = [condition("Ready", *ready)]
    if lasting is not None:
        conditions.append(condition("Progressing", False, lasting.reason, lasting.message))
    else:
        conditions.append(condition("Progressing", bool(progress.reason), progress.reason or "Done", progress.message))
    if trouble is not None:
        conditions.append(condition("Degraded", True, trouble.reason, trouble.message))
    else:
        conditions.append(condition("Degraded", False, "AsExpected"))
    if seen.state is not None:
        conditions.append(condition("Promoted", *_promoted(seen.state)))
    # kstatus reads these two as soon as they are there: they are, only while they hold.
    if lasting is not None:
        conditions.append(condition("Stalled", True, lasting.reason, lasting.message))
    elif progress.reason and not progress.goes_on:
        conditions.append(condition("Reconciling", True, progress.reason, progress.message))

    for kind, notes in (
        ("HintsIneffective", {one for report in seen.reports.values() for one in report.ineffective}),
        ("HintsRefused", {one for report in seen.reports.values() for one in report.refused}),
    ):
        if notes:
            conditions.append(condition(kind, True, *_hints(notes)))

    exact_only = {policy for report in seen.reports.values() for policy in report.exact_only}
    before = previous.condition("SemanticExactOnly")
    if exact_only:
        conditions.append(condition("SemanticExactOnly", True, "FalseHits", _exact_only(exact_only)))
    elif before is not None and seen.ready and not seen.reports:
        conditions.append(before)  # nobody could be asked: that says nothing of an end

    status = Status(
        observed_generation=seen.generation,
        endpoint=seen.identity.endpoint,
        conditions=conditions,
        prefix=seen.state.prefix if seen.state else None,
        rollout=seen.state.rollout if seen.state else None,
        replicas=seen.gateways.replicas if seen.gateways else 0,
        ready_replicas=seen.gateways.ready if seen.gateways else 0,
        selector=seen.identity.label_selector(COMPONENT_GATEWAY),
        redis=_redis(seen, previous, now),
        warnings=[Warned(reason=warning.reason, message=warning.message) for warning in seen.warnings],
        cache=add_up(previous.cache, seen.told, {pod.name for pod in seen.pods}, now),
        gateways=GatewaysStatus(ready=seen.ready, on_current_config=seen.current),
    )
    return Decision(status, _outcome(seen, trouble if trouble is not aborted else None, progress, now))


def _hints(notes: Collection[HintNote]) -> tuple[str, str]:
    """Return reason and message of a condition about hints; the same for the same models, whichever gateways say so."""
    ordered = sorted(notes)
    told = [f"{one.model} of upstream {one.upstream}: {one.message}" for one in ordered[:MAX_NAMED]]
    more = [f"and {len(ordered) - MAX_NAMED} more"] if len(ordered) > MAX_NAMED else []
    return ordered[0].reason, "; ".join([*told, *more])


def _exact_only(policies: Collection[str]) -> str:
    """Return the message of the condition; the same for the same policies, whichever gateways say so."""
    ordered = sorted(policies)
    named = ", ".join(ordered[:MAX_NAMED]) + (f" and {len(ordered) - MAX_NAMED} more" if ordered[MAX_NAMED:] else "")
    return f"hits by meaning were wrong too often, so equal requests only are served from the cache; policy: {named}"


def _redis(seen: Observed, previous: Status, now: datetime) -> RedisState | None:
    if not seen.revision:
        return previous.redis  # a spec that can't be understood changes nothing
    if not seen.redis_wanted:
        return None
    before, turned = previous.redis or RedisState(), seen.redis_turned
    change = before.last_change
    if turned.restarts or turned.set_live:
        change = RedisChange(
            how="Restart" if turned.restarts else "Live",
            message=(turned.restarts or turned.set_live)[:1024],
            time=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        )
    return RedisState(
        ready=seen.redis is not None and seen.redis.ready > 0,
        memory=turned.memory or before.memory,
        maxmemory_policy=turned.policy or before.maxmemory_policy,
        last_change=change,
    )


def _gravest(seen: Observed) -> Trouble | None:
    if seen.troubles:
        return seen.troubles[0]
    gateways = seen.gateways
    if gateways is None or not seen.revision:
        return None
    if gateways.refused:
        return Trouble("PodsRefused", gateways.refused)
    overdue = _overdue(seen)
    if overdue is not None:
        return overdue
    if seen.redis is not None and seen.redis.refused:
        return Trouble("PodsRefused", seen.redis.refused)
    # While pods are replaced the old ones meet a configuration that was not made for them.
    if gateways.settled:
        return _told(seen)
    return None


def _overdue(seen: Observed) -> Trouble | None:
    """Return the trouble of gateways that Kubernetes itself waits for no longer; it may have a reason of its own."""
    gateways = seen.gateways
    if gateways is None or not gateways.overdue or not seen.revision:
        return None
    why = seen.troubles[0].message if seen.troubles else gateways.refused
    message = f"{gateways.ready} of {gateways.wanted} gateways ready, and no progress within the Deployment's deadline"
    return Trouble("GatewaysUnavailable", f"{message}: {why}" if why else message, lasting=True)


def _told(seen: Observed) -> Trouble | None:
    """Return the trouble that the gateways themselves tell of."""
    for name, report in sorted(seen.reports.items()):
        if report.config_error and report.revision != seen.revision:
            return Trouble("ConfigurationRefused", f"pod {name} goes on with its last one: {report.config_error}")
    if seen.redis_wanted and not (seen.redis and seen.redis.settled):
        return None  # it is on its way
    failing = [report.store_error for report in seen.reports.values() if report.store_error]
    if failing:
        message = f"{len(failing)} of {seen.ready} gateways can't use their store and go upstream: {failing[0]}"
        return Trouble("StoreUnavailable", message)
    return None


def _progress(seen: Observed, previous: Status, now: datetime) -> _Progress:
    if seen.waiting is not None:
        return _Progress(seen.waiting.reason, seen.waiting.message)
    if not seen.revision:
        return _Progress()
    gateways, ready, starting = seen.gateways, seen.ready, _again(STARTING_SECONDS, previous, now)
    if gateways is None:
        return _Progress("GatewaysStarting", "the gateways are being created", starting)
    if not gateways.settled:
        reason = "GatewaysRolling" if ready else "GatewaysStarting"
        return _Progress(reason, f"{gateways.ready} of {gateways.wanted} gateways ready", starting)
    if seen.redis_wanted and not (seen.redis and seen.redis.settled):
        return _Progress("RedisStarting", "the managed Redis is not ready", starting)
    if seen.current < ready:
        message = f"{seen.current} of {ready} gateways run the current configuration"
        return _Progress("ConfigurationSpreading", message, _again(SPREADING_SECONDS, previous, now))
    if seen.state is not None and (seen.state.rollout.phase in UNDER_WAY or seen.state.held_up):
        rollout, after = seen.state.rollout, wake(seen.state, now)
        return _Progress(_ROLLOUT[rollout.phase], rollout.message, after, not seen.wait_for_promotion)
    return _Progress()


def _again(first: float, previous: Status, now: datetime) -> float:
    """Return in how many seconds to look again at what is on its way: the longer it has been, the later."""
    before = previous.condition("Progressing")
    if before is None or before.status != "True":
        return first
    lasted = (now - datetime.fromisoformat(before.last_transition_time)).total_seconds()
    return max(first, min(lasted / 3, SELDOM_SECONDS))


def _ready(seen: Observed, trouble: Trouble | None, progress: _Progress) -> tuple[bool, str, str]:
    ready = seen.ready
    if ready:
        wanted = seen.gateways.wanted if seen.gateways else ready
        also = f"; {trouble.message}" if trouble else ""
        return True, "Serving", f"{ready} of {wanted} gateways ready{also}"
    if trouble is not None:
        return False, trouble.reason, trouble.message
    if seen.gateways is not None and seen.gateways.wanted == 0 and seen.gateways.settled:
        # As with a Deployment of none: it is what was asked for.
        return True, "ScaledToZero", "no gateways are asked for, so nothing answers: spec.gateway.replicas is 0"
    return False, progress.reason or "GatewaysStarting", progress.message or "no gateway is ready"


def _aborted(seen: Observed) -> Trouble | None:
    """Return the trouble of an aborted rollout: it lasts until spec asks for another version, or the old one."""
    if seen.state is None or seen.state.rollout.phase != "Aborted":
        return None
    return Trouble("RolloutAborted", seen.state.rollout.message, lasting=True)


def _promoted(state: State) -> tuple[bool, str, str]:
    prefix, rollout = state
    if prefix.active == prefix.target:
        return True, "Promoted", f"every gateway runs {prefix.active}"
    return False, rollout.reason or rollout.phase, rollout.message


def _outcome(seen: Observed, trouble: Trouble | None, progress: _Progress, now: datetime) -> Outcome:
    if trouble is not None or seen.waiting is not None:
        return Outcome(backoff=True)
    if seen.changed:
        return Outcome(after=0.0)
    due = [progress.after, wake(seen.state, now) if seen.state is not None and seen.revision else None]
    return Outcome(after=min((after for after in due if after is not None), default=None))
