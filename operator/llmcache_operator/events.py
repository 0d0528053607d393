"""Events: one for each turn for the worse or the better, told to the people who watch the LLMCache."""

from typing import NamedTuple

from llmcache_gateway.config import API_VERSION
from llmcache_operator.rollout.state import Past
from llmcache_operator.rollout.turn import Note
from llmcache_operator.specs import FIELD_MANAGER, Identity, Object
from llmcache_operator.status import Status


class Turn(NamedTuple):
    """Something worth an Event."""

    warning: bool
    reason: str
    note: str


def turns(previous: Status, status: Status) -> list[Turn]:
    """Return what has taken a turn between two statuses. The same trouble is told once, however long it lasts."""
    found = []
    before, after = previous.condition("Degraded"), status.condition("Degraded")
    was = before.reason if before is not None and before.status == "True" else None
    now = after.reason if after is not None and after.status == "True" else None
    if after is not None and now is not None and now != was:
        found.append(Turn(True, now, after.message))
    if was is not None and now is None:
        found.append(Turn(False, "Recovered", f"{was} is over"))
    found += _exact_only(previous, status)
    told = {warning.message for warning in previous.warnings}
    found += [Turn(True, one.reason, one.message) for one in status.warnings if one.message not in told]
    active = status.prefix.active if status.prefix else None
    if active is not None and active != (previous.prefix.active if previous.prefix else None):
        found.append(Turn(False, "PrefixActivated", f"every gateway runs prefix version {active}"))
    return found


def _exact_only(previous: Status, status: Status) -> list[Turn]:
    """Return that policies have begun to serve equal requests only, others than before, or have ended to."""
    before, after = (one.condition("SemanticExactOnly") for one in (previous, status))
    if after is not None and (before is None or before.message != after.message):
        return [Turn(True, after.type, after.message)]
    if before is not None and after is None:
        return [Turn(False, "SemanticRecovered", "questions that mean the same share answers again in every policy")]
    return []


def told(note: Note) -> Turn:
    """Return what a rollout has to tell."""
    return Turn(note.warning, note.reason, note.text)


def happened(previous: Status, status: Status) -> list[Past]:
    """Return what has happened to prefix versions between two statuses."""
    if status.prefix is None:
        return []
    known = previous.prefix.history if previous.prefix is not None else []
    return [past for past in status.prefix.history if past not in known]


def event(turn: Turn, identity: Identity, instance: str, now: str, unique: str) -> Object:
    """Return an Event about an LLMCache; `instance` names the operator's process, `now` is RFC 3339 in microseconds."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{identity.name}.{unique}", "namespace": identity.namespace},
        "eventTime": now,
        "type": "Warning" if turn.warning else "Normal",
        "reason": turn.reason,
        "action": "Reconcile",
        "note": turn.note[:1024],
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": "LLMCache",
            "name": identity.name,
            "namespace": identity.namespace,
            "uid": identity.uid,
        },
        "reportingController": f"llmcache.dev/{FIELD_MANAGER}",
        "reportingInstance": instance,
    }
