"""Redis in a cluster: one that the operator runs, and one of somebody else's that several LLMCaches share."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from e2e.cluster import build_redis_image
from e2e.operators import Kubectl, Operator, eventually, manifest

pytestmark = pytest.mark.timeout(300)


def _managed(name: str, **managed: Any) -> dict[str, Any]:
    return manifest(name, cache={"store": {"type": "redis"}}, redis={"managed": {"memory": "64Mi"} | managed})


def _redis(kubectl: Kubectl, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (kubectl.get("llmcache", name) or {}).get("status", {}).get("redis", {})
    return found


def _ask(kubectl: Kubectl, name: str, *words: str) -> str:
    # The password of the gateways' user is in the pod's environment.
    return kubectl("exec", f"{name}-redis-0", "--", "redis-cli", "--user", "llmcache", *words).strip()


def _pod(kubectl: Kubectl, name: str) -> str:
    pod = kubectl.get("pod", f"{name}-redis-0")
    ready = {c["type"]: c["status"] for c in (pod or {}).get("status", {}).get("conditions", ())}.get("Ready")
    return str(pod["metadata"]["uid"]) if pod and ready == "True" and "deletionTimestamp" not in pod["metadata"] else ""


def _reasons(kubectl: Kubectl, name: str) -> list[str]:
    return [event["reason"] for event in kubectl.list("events") if event["involvedObject"]["name"] == name]


@pytest.fixture(scope="module")
def kept(admin: Kubectl, operator: Operator) -> Kubectl:
    """An LLMCache whose Redis keeps its entries, settled."""
    admin.apply(_managed("kept", persistence={"size": "128Mi"}))
    eventually(lambda: _redis(admin, "kept").get("memory") == "64Mi", 90)
    return admin


def test_memory_and_policy_change_in_the_running_redis(kept: Kubectl) -> None:
    pod = _pod(kept, "kept")
    asked = _managed("kept", memory="60Mi", maxmemoryPolicy="volatile-lfu", persistence={"size": "128Mi"})
    kept.apply(asked)
    eventually(lambda: _redis(kept, "kept").get("maxmemoryPolicy") == "volatile-lfu")
    status = _redis(kept, "kept")
    assert (status["ready"], status["memory"], status["lastChange"]["how"]) == (True, "60Mi", "Live")
    assert status["lastChange"]["message"] == (
        "set without a restart: maxmemory from 64Mi to 60Mi, maxmemory-policy from allkeys-lru to volatile-lfu"
    )
    memory = _ask(kept, "kept", "INFO", "memory")
    assert f"maxmemory:{60 * 2**20}" in memory
    assert "maxmemory_policy:volatile-lfu" in memory
    assert _pod(kept, "kept") == pod
    assert "RedisReconfigured" in _reasons(kept, "kept")


def test_what_somebody_sets_by_hand_is_put_back(kept: Kubectl) -> None:
    secret = kept("get", "secret", "kept-redis", "-o", 'go-template={{index .data "admin-password" | base64decode}}')
    words = ("--user", "llmcache-operator", "--pass", secret, "CONFIG", "SET", "maxmemory", "1mb")
    kept("exec", "kept-redis-0", "--", "redis-cli", "--no-auth-warning", *words)
    eventually(lambda: f"maxmemory:{60 * 2**20}" in _ask(kept, "kept", "INFO", "memory"))


def test_entries_outlive_the_pod(kept: Kubectl) -> None:
    pod = _pod(kept, "kept")
    _ask(kept, "kept", "SET", "kept", "value")
    kept("delete", "pod", "kept-redis-0")
    eventually(lambda: _pod(kept, "kept") not in ("", pod), 90)
    assert _ask(kept, "kept", "GET", "kept") == "value"


def test_more_memory_than_the_pod_has_room_for_restarts_it_and_says_so(kept: Kubectl) -> None:
    pod = _pod(kept, "kept")
    kept.apply(_managed("kept", memory="100Mi", maxmemoryPolicy="volatile-lfu", persistence={"size": "128Mi"}))
    eventually(lambda: _redis(kept, "kept").get("memory") == "100Mi", 90)
    change = _redis(kept, "kept")["lastChange"]
    assert (change["how"], change["message"]) == ("Restart", "its pod's memory limit goes from 96Mi to 192Mi")
    assert _pod(kept, "kept") not in ("", pod)
    assert _ask(kept, "kept", "GET", "kept") == "value"
    assert "RedisRestarting" in _reasons(kept, "kept")


def test_a_volume_that_can_not_shrink_says_what_to_do(kept: Kubectl) -> None:
    kept.apply(_managed("kept", memory="100Mi", persistence={"size": "100Mi"}))
    kept.reaches("kept", "Stalled", ("True", "VolumeImmutable"))
    assert "a volume can't shrink from 128Mi to 100Mi" in kept("get", "llmc", "kept", "-o", "json")
    # All the rest goes on.
    eventually(lambda: _redis(kept, "kept").get("maxmemoryPolicy") == "allkeys-lru")
    kept.apply(_managed("kept", memory="100Mi", persistence={"size": "128Mi"}))
    kept.reaches("kept", "Stalled", ("", ""))


CHILDREN = [f"{kind}/kept-redis" for kind in ("configmap", "service", "networkpolicy", "statefulset", "secret")]


@pytest.mark.parametrize("child", CHILDREN)
def test_a_deleted_part_of_redis_comes_back_with_the_entries(child: str, kept: Kubectl) -> None:
    before = (kept.get(*child.split("/")) or {})["metadata"]["uid"]
    kept("delete", child)
    eventually(lambda: (kept.get(*child.split("/")) or {}).get("metadata", {}).get("uid") not in (None, before), 60)
    eventually(lambda: _pod(kept, "kept") and _redis(kept, "kept").get("ready"), 90)
    assert kept.get("persistentvolumeclaim", "kept-redis")


def test_an_image_that_can_not_be_pulled_is_told_of_and_another_recovers(admin: Kubectl, operator: Operator) -> None:
    admin.apply(_managed("pulled", image="registry.invalid/redis:none"))
    admin.reaches("pulled", "Degraded", ("True", "ImagePullFailed"))
    assert "ImagePullFailed" in _reasons(admin, "pulled")
    admin.apply(_managed("pulled"))
    eventually(lambda: _redis(admin, "pulled").get("ready"), 90)
    admin.reaches("pulled", "Degraded", ("False", "AsExpected"))


def test_without_persistence_the_volume_goes(kept: Kubectl) -> None:
    kept.apply(_managed("kept", memory="100Mi"))
    eventually(lambda: kept.get("persistentvolumeclaim", "kept-redis") is None, 120)
    kept.reaches("kept", "Ready", ("True", "ScaledToZero"))
    kept("delete", "llmc", "kept", "pulled")


# A Redis of somebody else's, with a password, in the same namespace.
OWN = {"app": "own-redis"}


@pytest.fixture(scope="module")
def own(admin: Kubectl, operator: Operator) -> Iterator[Kubectl]:
    container = {
        "name": "redis",
        "image": build_redis_image(),
        "imagePullPolicy": "IfNotPresent",
        "command": ["redis-server", "--requirepass", "right", "--save", ""],
        "readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 1},
        "resources": {"limits": {"memory": "64Mi"}},
    }
    admin.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "own-redis", "labels": OWN},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "own-redis"},
            "spec": {"selector": OWN, "ports": [{"port": 6379}]},
        },
    )
    admin("wait", "pod/own-redis", "--for=condition=Ready", "--timeout=60s")
    yield admin
    admin("delete", "llmc,pod", "--all", "--wait=false")


def _external(kubectl: Kubectl, name: str, **spec: Any) -> dict[str, Any]:
    external = {
        "url": f"redis://own-redis.{kubectl.namespace}.svc:6379/0",
        "credential": {"secretRef": {"name": "own-redis", "key": "password"}},
    }
    small = {"replicas": 1, "resources": {"limits": {"memory": "256Mi"}}}
    store = {"store": {"type": "redis", "timeout": "1s"}}
    return manifest(name, cache=store, redis={"external": external}, gateway=small, **spec)


def _password(kubectl: Kubectl, password: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own-redis"}}
    kubectl.apply(secret | {"stringData": {"password": password}})


def test_a_wrong_password_is_a_condition_and_the_right_one_recovers_without_a_restart(own: Kubectl) -> None:
    _password(own, "wrong")
    own.apply(_external(own, "first"))
    own.reaches("first", "Degraded", ("True", "StoreUnavailable"))
    assert own.condition("first", "Ready") == ("True", "Serving"), "the provider is reachable all the same"
    assert "StoreUnavailable" in _reasons(own, "first")
    assert "invalid username-password pair" in own("get", "llmc", "first", "-o", "json")
    before = {pod["metadata"]["name"] for pod in own.list("pods")}
    _password(own, "right")
    own.reaches("first", "Degraded", ("False", "AsExpected"), 120)
    eventually(lambda: "Recovered" in _reasons(own, "first"))
    assert {pod["metadata"]["name"] for pod in own.list("pods")} == before


def _settled(kubectl: Kubectl, name: str) -> bool:
    return [kubectl.condition(name, kind)[0] for kind in ("Degraded", "Progressing")] == ["False", "False"]


def _said(kubectl: Kubectl, name: str) -> str:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "the same for both"}]})
    code = (
        "import sys,urllib.request as u;"
        f"r=u.urlopen(u.Request('http://{name}.{kubectl.namespace}.svc:4000/v1/chat/completions',"
        f"data={body!r}.encode(),headers={{'Content-Type':'application/json'}}));"
        "print(r.headers['X-LLMCache'])"
    )
    return kubectl("exec", "deployment/first", "--", "python", "-c", code).strip()


def test_several_share_a_redis_and_never_an_entry(own: Kubectl) -> None:
    _password(own, "right")
    shared = {"prefix": {"name": "shared", "version": "v1"}, "tenancy": {"isolation": "Shared"}}
    for name in ("first", "second"):
        own.apply(_external(own, name, **shared))
    for name in ("first", "second"):
        own("wait", f"llmcache/{name}", "--for=condition=Ready", "--timeout=90s")
        eventually(partial(_settled, own, name), 60)
    assert [_said(own, "first"), _said(own, "first")] == ["MISS", "HIT"]
    assert [_said(own, "second"), _said(own, "second")] == ["MISS", "HIT"]
    words = ("redis-cli", "--no-auth-warning", "-a", "right", "--scan")
    keys = own("exec", "own-redis", "--", *words).split()
    places = {":".join(key.split(":")[:2]) for key in keys}  # entries, marks and shared calls alike
    assert places == {f"llmcache:{own.namespace}/{name}" for name in ("first", "second")}, keys
    # What one takes back, the other keeps.
    own("patch", "llmc", "first", "--type=merge", "-p", '{"spec": {"prefix": {"version": "v2"}}}')
    eventually(lambda: (own.get("llmcache", "first") or {})["status"]["prefix"]["active"] == "v2", 60)
    assert [_said(own, "first"), _said(own, "second")] == ["MISS", "HIT"]
