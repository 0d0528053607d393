"""LLMCaches as the API server has them, in every situation that others judge: each status is what the operator decides.

Nothing of a status is written by hand: rollouts are lived through (`life.py`), and `decide` says what comes of it.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from llmcache_operator.crd import definition
from llmcache_operator.decide import decide
from llmcache_operator.observed import Observed, Pod, Report, Rollout, Trouble
from llmcache_operator.rollout.state import State
from llmcache_operator.specs import Identity
from llmcache_operator.status import Status, read_status
from tests.operator.life import CANARY, Life, counts, in_canary

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
PODS = (Pod("demo-a", "10.0.0.1", True), Pod("demo-b", "10.0.0.2", True))
MANUAL = {"canary": {"steps": [{"percent": 5}]}}


def llmcache(state: State, **observed: Any) -> dict[str, Any]:
    """Return an LLMCache whose gateways all run what they are to run, but for what `observed` says."""
    seen = Observed(
        identity=Identity("demo", "ai", "uid-1"),
        generation=2,
        state=state,
        gateways=Rollout(wanted=2, replicas=2, ready=2, settled=True),
        pods=PODS,
        revision="new",
        reports={pod.name: Report("new") for pod in PODS},
    )
    status = decide(replace(seen, **observed), Status(observed_generation=-1), NOW).status
    return _object(state.prefix.target, status.to_dict())


def _object(version: str, status: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "llmcache.dev/v1alpha1",
        "kind": "LLMCache",
        "metadata": {"name": "demo", "namespace": "ai", "uid": "uid-1", "generation": 2},
        "spec": {"upstreams": [{"name": "echo", "provider": "echo"}], "prefix": {"version": version}},
        "status": status,
    }


def _unseen() -> dict[str, Any]:
    schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return _object("v1", schema["properties"]["status"]["default"])


def _lagging() -> dict[str, Any]:
    healthy = llmcache(Life(CANARY).state)
    healthy["metadata"]["generation"] += 1
    return healthy


def _leaving() -> dict[str, Any]:
    healthy = llmcache(Life(CANARY).state)
    healthy["metadata"]["deletionTimestamp"] = "2026-11-26T12:00:00Z"
    return healthy


def _starting() -> dict[str, Any]:
    return llmcache(Life(CANARY).state, gateways=None, pods=(), reports={})


def _rolling() -> dict[str, Any]:
    return llmcache(Life(CANARY).state, gateways=Rollout(wanted=2, replicas=3, ready=2, settled=False))


def _troubled(trouble: Trouble, **observed: Any) -> dict[str, Any]:
    return llmcache(Life(CANARY).state, troubles=(trouble,), **observed)


def _failed() -> Life:
    return in_canary().serve(v2=counts(30, failed=30)).after(seconds=10)


def _promoted() -> Life:
    return Life({"retain": {"versions": 1, "duration": "1h"}}).bump("v2").look()


OVERDUE = Rollout(wanted=2, replicas=3, ready=1, settled=False, overdue=True)
MISSING = Trouble("SecretMissing", "Secret openai is not there")
SITUATIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "nobody has looked at it": _unseen,
    "spec was changed since the last look": _lagging,
    "its gateways are being made": _starting,
    "its gateways are replaced": _rolling,
    "its gateways make no progress": lambda: llmcache(Life(CANARY).state, gateways=OVERDUE),
    "an image was not to be had in time": lambda: _troubled(Trouble("ImagePullFailed", "no"), gateways=OVERDUE),
    "its managed Redis starts": lambda: llmcache(Life(CANARY).state, redis_wanted=True),
    "it serves": lambda: llmcache(Life(CANARY).state),
    "it is scaled to zero": lambda: llmcache(
        Life(CANARY).state, gateways=Rollout(wanted=0, replicas=0, ready=0, settled=True), pods=(), reports={}
    ),
    "a Secret is missing": lambda: _troubled(MISSING, waiting=MISSING, gateways=None, pods=(), reports={}),
    "the API server refuses a child": lambda: _troubled(Trouble("ApplyFailed", "forbidden", lasting=True)),
    "the store can't be reached": lambda: llmcache(
        Life(CANARY).state, reports={pod.name: Report("new", store_error="refused") for pod in PODS}
    ),
    "a version is warmed": lambda: llmcache(Life(CANARY | {"warm": {"topRequests": 5}}).bump("v2").state),
    "a version is a canary": lambda: llmcache(in_canary().state),
    "a canary that nobody waits for": lambda: llmcache(in_canary().state, wait_for_promotion=False),
    "a canary waits for requests": lambda: llmcache(in_canary().after(minutes=2).state),
    "a canary waits for a person": lambda: llmcache(in_canary(**MANUAL).after(seconds=10).state),
    "a canary was paused by hand": lambda: llmcache(in_canary().look(annotation="pause").state),
    "a warming was paused by hand": lambda: llmcache(
        Life(CANARY | {"warm": {"topRequests": 5}}).bump("v2").look(annotation="pause").state
    ),
    "a version is promoted": lambda: llmcache(Life({}).bump("v2").look(everywhere=False).state),
    "the former version is kept": lambda: llmcache(_promoted().state),
    "the former version is purged": lambda: llmcache(_promoted().after(hours=2).state),
    "a version was aborted": lambda: llmcache(_failed().state),
    "an aborted version is asked for again": lambda: llmcache(_failed().bump("v1").bump("v2").state),
    "Git says the old version again": lambda: llmcache(_failed().bump("v1").look().state),
    "it is being deleted": _leaving,
}


STEERED = ("abort", "pause", "promote")
EXPECTED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # situation: what kstatus says, what Argo CD shows, and the actions that it offers
    "nobody has looked at it": ("InProgress", "Progressing", ()),
    "spec was changed since the last look": ("InProgress", "Progressing", ()),
    "its gateways are being made": ("InProgress", "Progressing", ()),
    "its gateways are replaced": ("InProgress", "Progressing", ()),
    "its gateways make no progress": ("Failed", "Degraded", ()),
    "an image was not to be had in time": ("Failed", "Degraded", ()),
    "its managed Redis starts": ("InProgress", "Progressing", ()),
    "it serves": ("Current", "Healthy", ()),
    "it is scaled to zero": ("Current", "Healthy", ()),
    "a Secret is missing": ("InProgress", "Degraded", ()),
    "the API server refuses a child": ("Failed", "Degraded", ()),
    "the store can't be reached": ("Current", "Degraded", ()),
    "a version is warmed": ("InProgress", "Progressing", STEERED),
    "a version is a canary": ("InProgress", "Progressing", STEERED),
    "a canary that nobody waits for": ("Current", "Healthy", STEERED),
    "a canary waits for requests": ("InProgress", "Progressing", STEERED),
    "a canary waits for a person": ("InProgress", "Suspended", STEERED),
    "a canary was paused by hand": ("InProgress", "Suspended", ("abort", "promote", "resume")),
    "a warming was paused by hand": ("InProgress", "Suspended", ("abort", "promote", "resume")),
    "a version is promoted": ("InProgress", "Progressing", ("abort",)),
    "the former version is kept": ("Current", "Healthy", ()),
    "the former version is purged": ("Current", "Healthy", ()),
    "a version was aborted": ("Failed", "Degraded", ()),
    "an aborted version is asked for again": ("InProgress", "Progressing", ()),
    "Git says the old version again": ("Current", "Healthy", ()),
    "it is being deleted": ("Terminating", "Healthy", ()),  # Argo CD says Progressing before it asks the Lua
}


def state(of: dict[str, Any]) -> State | None:
    """Return what an LLMCache's status remembers of its rollout."""
    return read_status(of["status"]).state
