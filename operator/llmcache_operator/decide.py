"""What an LLMCache's status is to say, and when to look again: a pure function of what was found."""

from dataclasses import dataclass

from llmcache_operator.observed import Observed, Trouble
from llmcache_operator.specs import COMPONENT_GATEWAY
from llmcache_operator.status import Condition, GatewaysStatus, PrefixStatus, Status, Warned
from llmcache_operator.work import Outcome

# Gateways notice a changed configuration on their own: nothing tells the operator when they have.
SPREADING_SECONDS = 1.0
# Kubernetes does tell when pods become ready; this is for what it tells of pods only, such as an image pull.
STARTING_SECONDS = 3.0


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


def decide(seen: Observed, previous: Status, now: str) -> Decision:
    """Return the status that describes a snapshot. `now` dates the conditions that change."""
    trouble = _gravest(seen)
    lasting = next((one for one in seen.troubles if one.lasting), None)
    progress = _progress(seen)
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
            last_transition_time=before.last_transition_time if same and before is not None else now,
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
    # kstatus reads these two as soon as they are there: they are, only while they hold.
    if lasting is not None:
        conditions.append(condition("Stalled", True, lasting.reason, lasting.message))
    elif progress.reason:
        conditions.append(condition("Reconciling", True, progress.reason, progress.message))

    status = Status(
        observed_generation=seen.generation,
        endpoint=seen.identity.endpoint,
        conditions=conditions,
        prefix=_prefix(seen, previous),
        replicas=seen.gateways.replicas if seen.gateways else 0,
        ready_replicas=seen.gateways.ready if seen.gateways else 0,
        selector=seen.identity.label_selector(COMPONENT_GATEWAY),
        warnings=[Warned(reason=warning.reason, message=warning.message) for warning in seen.warnings],
        gateways=GatewaysStatus(ready=seen.ready, on_current_config=seen.current),
    )
    again = trouble is not None or seen.waiting is not None
    return Decision(status, Outcome(backoff=True) if again else Outcome(after=progress.after))


def _gravest(seen: Observed) -> Trouble | None:
    if seen.troubles:
        return seen.troubles[0]
    gateways = seen.gateways
    if gateways is None or not seen.revision:
        return None
    if gateways.refused:
        return Trouble("PodsRefused", gateways.refused)
    if gateways.overdue:
        message = f"{gateways.ready} of {gateways.wanted} gateways ready, and no progress for ten minutes"
        return Trouble("GatewaysUnavailable", message)
    # While pods are replaced the old ones meet a configuration that was not made for them.
    if gateways.settled:
        return _told(seen)
    return None


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


def _progress(seen: Observed) -> _Progress:
    if seen.waiting is not None:
        return _Progress(seen.waiting.reason, seen.waiting.message)
    if seen.prefix is None:
        return _Progress()
    gateways, ready = seen.gateways, seen.ready
    if gateways is None:
        return _Progress("GatewaysStarting", "the gateways are being created", STARTING_SECONDS)
    if not gateways.settled:
        reason = "GatewaysRolling" if ready else "GatewaysStarting"
        return _Progress(reason, f"{gateways.ready} of {gateways.wanted} gateways ready", STARTING_SECONDS)
    if seen.redis_wanted and not (seen.redis and seen.redis.settled):
        return _Progress("RedisStarting", "the managed Redis is not ready", STARTING_SECONDS)
    if seen.current < ready:
        message = f"{seen.current} of {ready} gateways run the current configuration"
        return _Progress("ConfigurationSpreading", message, SPREADING_SECONDS)
    return _Progress()


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


def _prefix(seen: Observed, previous: Status) -> PrefixStatus | None:
    if seen.prefix is None:
        return previous.prefix
    name, version = seen.prefix
    active = previous.prefix.active if previous.prefix else None
    ready = seen.ready
    everywhere = ready > 0 and seen.current == ready
    nowhere = not seen.pods and seen.gateways is not None and seen.gateways.wanted == 0
    if (everywhere or nowhere) and seen.waiting is None:
        active = version
    return PrefixStatus(name=name, target=version, active=active)
