"""What is read out of pods and Deployments."""

from typing import Any

import pytest

from llmcache_operator.observed import read_pods, read_rollout


def _pod(**container: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "demo-a"},
        "status": {
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": str(container.get("ready", False))}],
            "containerStatuses": [{"name": "gateway", "image": "gw:1", "ready": False, "restartCount": 0} | container],
        },
    }


CRASHED = {"terminated": {"exitCode": 2, "message": "config:\n no upstream\n", "reason": "Error"}}
TROUBLES: dict[str, tuple[dict[str, Any], str | None]] = {
    "a pod that is ready": (_pod(ready=True, state={"running": {}}), None),
    "a pod that was restarted once and is ready": (_pod(ready=True, restartCount=5, lastState=CRASHED), None),
    "a pod that is being created": (_pod(state={"waiting": {"reason": "ContainerCreating"}}), None),
    "a pull that fails": (_pod(state={"waiting": {"reason": "ErrImagePull"}}), "ImagePullFailed"),
    "a pull that waits for its next try": (_pod(state={"waiting": {"reason": "ImagePullBackOff"}}), "ImagePullFailed"),
    "an image that may not be pulled": (_pod(state={"waiting": {"reason": "ErrImageNeverPull"}}), "ImagePullFailed"),
    "a crash loop that waits": (
        _pod(restartCount=3, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=CRASHED),
        "GatewayCrashLooping",
    ),
    "a crash loop that tries again": (
        _pod(restartCount=3, state={"running": {}}, lastState=CRASHED),
        "GatewayCrashLooping",
    ),
    "the first crash": (_pod(restartCount=1, state={"running": {}}, lastState=CRASHED), None),
}


@pytest.mark.parametrize(("pod", "reason"), [pytest.param(*case, id=i) for i, case in TROUBLES.items()])
def test_the_trouble_of(pod: dict[str, Any], reason: str | None) -> None:
    (read,) = read_pods([pod], "gateway")
    assert (read.trouble.reason if read.trouble else None) == reason


def test_a_crash_loop_tells_its_last_words_on_one_line() -> None:
    (pod,) = read_pods([TROUBLES["a crash loop that waits"][0]], "gateway")
    assert pod.trouble is not None
    assert pod.trouble.message == "pod demo-a keeps ending with exit code 2: config: no upstream"


def test_both_messages_of_a_failing_pull_become_one() -> None:
    first, second = (TROUBLES[name][0] for name in ("a pull that fails", "a pull that waits for its next try"))
    assert read_pods([first], "gateway")[0].trouble == read_pods([second], "gateway")[0].trouble


def test_a_pod_on_its_way_out_is_not_counted() -> None:
    leaving = _pod(ready=True)
    leaving["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    assert read_pods([leaving], "gateway") == ()


def _deployment(generation: int, **status: Any) -> dict[str, Any]:
    return {"metadata": {"generation": generation}, "spec": {"replicas": 2}, "status": status}


ROLLOUTS = {
    "all pods are ready and current": (
        _deployment(2, observedGeneration=2, replicas=2, readyReplicas=2, updatedReplicas=2),
        True,
    ),
    "the change was not seen yet": (
        _deployment(3, observedGeneration=2, replicas=2, readyReplicas=2, updatedReplicas=2),
        False,
    ),
    "an old pod is still there": (
        _deployment(2, observedGeneration=2, replicas=3, readyReplicas=3, updatedReplicas=2),
        False,
    ),
    "one pod is not ready": (
        _deployment(2, observedGeneration=2, replicas=2, readyReplicas=1, updatedReplicas=2),
        False,
    ),
    "nothing is known": (_deployment(1), False),
}


@pytest.mark.parametrize(("live", "settled"), [pytest.param(*case, id=i) for i, case in ROLLOUTS.items()])
def test_a_deployment_is_settled_when(live: dict[str, Any], settled: bool) -> None:
    rollout = read_rollout(live)
    assert rollout is not None
    assert rollout.settled is settled


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        ({"observedGeneration": 2, "replicas": 0}, True),
        ({"observedGeneration": 1, "replicas": 0}, False),
        ({"observedGeneration": 2, "replicas": 1}, False),
        ({}, False),
    ],
)
def test_a_stateful_set_without_its_pod_is_told_of_once_kubernetes_has_tried(
    status: dict[str, Any], refused: bool
) -> None:
    metadata = {"name": "demo-redis", "generation": 2}
    rollout = read_rollout({"kind": "StatefulSet", "metadata": metadata, "spec": {"replicas": 1}, "status": status})
    assert rollout is not None
    told = "StatefulSet demo-redis can't make its pod; kubectl describe statefulset demo-redis says why"
    assert rollout.refused == (told if refused else "")


def test_a_deployment_that_is_not_there_is_none() -> None:
    assert read_rollout(None) is None
