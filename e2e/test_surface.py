"""What stands around the gateways, on a real API server, with Kubernetes' own controllers at work."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from e2e.operators import ECHO, Kubectl, Operator, eventually, manifest
from llmcache_gateway.config.deployment import PodField

pytestmark = pytest.mark.timeout(300)

EXAMPLE = Path(__file__).parents[1] / "examples" / "12-kubernetes" / "llmcache.yaml"
NOWHERE = {"spec": {"nodeSelector": {"example.com/there": "no"}}}
"""Pods that no node takes: how many there are to be can be changed at no cost."""
BUILT_IN = ["horizontalpodautoscaler/around", "networkpolicy/around", "ingress/around", "poddisruptionbudget/around"]
OPTIONAL = {
    "servicemonitor/around": ("monitoring.coreos.com", "servicemonitors", "ServiceMonitor"),
    "prometheusrule/around": ("monitoring.coreos.com", "prometheusrules", "PrometheusRule"),
    "httproute/around": ("gateway.networking.k8s.io", "httproutes", "HTTPRoute"),
}


def _definition(group: str, plural: str, kind: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            # A group below k8s.io wants to know who reviewed it.
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


@pytest.fixture(scope="module")
def lacking(admin: Kubectl) -> Iterator[list[tuple[str, str, str]]]:
    """The kinds that the cluster lacks; those that a test installs are taken away again."""
    kinds = [one for one in OPTIONAL.values() if admin.get("crd", f"{one[1]}.{one[0]}") is None]
    yield kinds
    for group, plural, _ in kinds:
        admin("delete", "crd", f"{plural}.{group}", "--ignore-not-found")


@pytest.fixture(scope="module")
def around(admin: Kubectl, operator: Operator, lacking: list[tuple[str, str, str]]) -> Kubectl:
    """The example, settled."""
    admin.apply(yaml.safe_load(EXAMPLE.read_text()))
    admin.reaches("around", "Ready", ("True", "Serving"))
    return admin


def _warnings(kubectl: Kubectl, name: str) -> list[str]:
    status = (kubectl.get("llmcache", name) or {}).get("status", {})
    return [warning["message"] for warning in status.get("warnings", ())]


def _scaling(kubectl: Kubectl, name: str) -> Callable[[], int]:
    return lambda: int((kubectl.get("deployment", name) or {})["spec"]["replicas"])


@pytest.mark.parametrize("child", BUILT_IN)
def test_a_child_comes_back_when_it_is_deleted(child: str, around: Kubectl) -> None:
    before = around.get(*child.split("/"))
    assert before is not None
    around("delete", child)

    def back() -> bool:
        after = around.get(*child.split("/"))
        return after is not None and after["metadata"]["uid"] != before["metadata"]["uid"]

    eventually(back)


EDITS = {
    "horizontalpodautoscaler/around": {"spec": {"maxReplicas": 9}},
    "networkpolicy/around": {"spec": {"ingress": []}},
    "ingress/around": {"metadata": {"annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "on"}}},
    "poddisruptionbudget/around": {"spec": {"maxUnavailable": "100%"}},
    "service/around": {"metadata": {"annotations": {"example.com/team": "other"}}},
}


@pytest.mark.parametrize("child", EDITS)
def test_an_edit_by_hand_is_put_back(child: str, around: Kubectl) -> None:
    def asked() -> Any:
        found = around.get(*child.split("/")) or {}
        return found.get("spec"), found["metadata"]["annotations"]

    before = asked()
    around("patch", child, "--type=merge", "-p", json.dumps(EDITS[child]))
    eventually(lambda: asked() == before)


def test_kinds_that_the_cluster_lacks_are_warnings_until_they_are_there(
    around: Kubectl, lacking: list[tuple[str, str, str]]
) -> None:
    told = [message.partition(":")[0] for message in _warnings(around, "around")]
    assert sorted(told) == sorted(f"the cluster has no kind {kind}" for _, _, kind in lacking)
    assert around.condition("around", "Degraded") == ("False", "AsExpected")
    noted = [event for event in around.list("events") if event["reason"] == "KindMissing"]
    assert len(noted) == len(lacking)

    for group, plural, kind in lacking:
        around.apply(_definition(group, plural, kind))
    for child in OPTIONAL:
        found = eventually(partial(around.get, *child.split("/")))
        assert found["metadata"]["ownerReferences"][0]["kind"] == "LLMCache"
    eventually(lambda: _warnings(around, "around") == [])
    around("delete", "servicemonitor/around")
    eventually(lambda: around.get("servicemonitor", "around"))


def test_nothing_is_written_while_nothing_changes(around: Kubectl, operator: Operator) -> None:
    # What the API server writes otherwise (1024Mi, an empty value) must not be taken for drift.
    around.reaches("around", "Reconciling", ("", ""))
    turns = operator.total("llmcache_operator_reconciles_total")
    eventually(lambda: operator.total("llmcache_operator_reconciles_total") >= turns + 3)
    writes = operator.total("llmcache_operator_applies_total")
    turns = operator.total("llmcache_operator_reconciles_total")
    eventually(lambda: operator.total("llmcache_operator_reconciles_total") >= turns + 6)
    assert operator.total("llmcache_operator_applies_total") == writes


def test_what_is_switched_off_goes(around: Kubectl) -> None:
    bare = yaml.safe_load(EXAMPLE.read_text())
    bare["spec"]["gateway"] = {"replicas": 0}
    del bare["spec"]["monitoring"]
    around("replace", "-f", "-", stdin=bare)
    children = [child for child in (*BUILT_IN, *OPTIONAL, "configmap/around-dashboard") if "budget" not in child]
    eventually(lambda: not [child for child in children if around.get(*child.split("/"))], 30)
    assert (around.get("service", "around") or {})["metadata"]["annotations"].keys() == {"llmcache.dev/applied"}


def test_an_autoscaler_and_the_operator_never_fight(admin: Kubectl, operator: Operator) -> None:
    scaled = manifest("scaled", gateway={"replicas": 3, "podTemplate": NOWHERE})
    admin.apply(scaled)
    replicas = _scaling(admin, "scaled")
    eventually(lambda: admin.get("deployment", "scaled") and replicas() == 3)

    # Turned on, and the number stays: a field that its only owner gives up would have become 1.
    scaled["spec"]["gateway"]["autoscaling"] = {"max": 6}
    admin.apply(scaled)
    eventually(lambda: admin.get("horizontalpodautoscaler", "scaled"))
    assert replicas() == 3

    # The autoscaler sets the number, and an apply of ours leaves it alone.
    admin("scale", "llmc/scaled", "--replicas=4")
    eventually(lambda: replicas() == 4, 60)
    scaled["spec"]["gateway"] |= {"replicas": 4, "drain": "90s"}
    admin.apply(scaled)
    eventually(lambda: "90s" in json.dumps(admin.get("deployment", "scaled")))
    assert replicas() == 4
    shown = json.loads(admin("get", "deployment", "scaled", "-o", "json", "--show-managed-fields"))
    owners = {
        entry["manager"]
        for entry in shown["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }
    assert owners
    assert "llmcache-operator" not in owners

    # Turned off, and it is spec's again.
    del scaled["spec"]["gateway"]["autoscaling"]
    scaled["spec"]["gateway"]["replicas"] = 2
    admin.apply(scaled)
    eventually(lambda: replicas() == 2)
    eventually(lambda: admin.get("horizontalpodautoscaler", "scaled") is None)
    admin("delete", "llmc", "scaled")


def test_an_external_autoscaler_is_left_alone(admin: Kubectl, operator: Operator) -> None:
    admin.apply(manifest("keda", gateway={"replicas": 1, "autoscaling": {"external": True}, "podTemplate": NOWHERE}))
    eventually(lambda: admin.get("deployment", "keda"))
    admin("scale", "deployment/keda", "--replicas=5")
    time.sleep(4)
    assert _scaling(admin, "keda")() == 5
    eventually(lambda: (admin.get("llmcache", "keda") or {})["status"]["replicas"] == 5)
    assert admin.get("horizontalpodautoscaler", "keda") is None
    admin("delete", "llmc", "keda")


def test_a_pod_template_that_can_not_be_is_told_and_mended(admin: Kubectl, operator: Operator) -> None:
    def with_spec(**spec: Any) -> None:
        admin.apply(manifest("odd-pods", gateway={"replicas": 0, "podTemplate": {"spec": spec}}))

    with_spec(hostNetwork=True)
    admin.reaches("odd-pods", "Stalled", ("True", "InvalidSpec"))
    assert "spec.gateway.podTemplate.spec.hostNetwork" in admin("get", "llmc", "odd-pods", "-o", "yaml")
    with_spec(dnsConfig={"nameserver": "10.0.0.1"})
    admin.reaches("odd-pods", "Stalled", ("True", "ApplyFailed"))
    assert "dnsConfig.nameserver" in admin("get", "llmc", "odd-pods", "-o", "yaml")
    with_spec(nodeSelector={"a": "b"})
    admin.reaches("odd-pods", "Stalled", ("", ""))
    assert (admin.get("deployment", "odd-pods") or {})["spec"]["template"]["spec"]["nodeSelector"] == {"a": "b"}


def test_every_field_of_a_pod_template_can_be_overridden(admin: Kubectl) -> None:
    api = json.loads(admin("get", "--raw", "/openapi/v3/api/v1"))
    served = set(api["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"])
    # Another cluster may be older, and lack some.
    assert served <= {*get_args(PodField), "ephemeralContainers"}


REFUSED = {
    "fewer at most than at least": (
        {"replicas": 4, "autoscaling": {"max": 3}},
        "autoscaling.max must be at least replicas",
    ),
    "an autoscaler without a most": ({"autoscaling": {}}, "set max; or external: true"),
    "CPU that is not requested": ({"autoscaling": {"max": 4}, "resources": {}}, "set resources.requests.cpu"),
    "a day to drain": ({"drain": "1d"}, "drain must be between 1s and 1h"),
    "a client that is nobody": ({"networkPolicy": {"clients": [{}]}}, "or ipBlock alone"),
    "a label of ours": (
        {"podTemplate": {"metadata": {"labels": {"app.kubernetes.io/name": "x"}}}},
        "labels below app.kubernetes.io/ are the operator's",
    ),
    "a field of a pod that is none": (
        {"podTemplate": {"spec": {"nodeSelektor": {"a": "b"}}}},
        'unknown field "spec.gateway.podTemplate.spec.nodeSelektor"',
    ),
    "a label that is none": ({"podTemplate": {"metadata": {"labels": {"team": "a b"}}}}, "expected a label's value"),
}


@pytest.mark.parametrize(("gateway", "message"), [pytest.param(*case, id=name) for name, case in REFUSED.items()])
def test_a_contradiction_is_refused_with_what_to_write_instead(
    gateway: dict[str, Any], message: str, admin: Kubectl
) -> None:
    refused = manifest("x", upstreams=[ECHO], gateway=gateway)
    done = admin.run("create", "--dry-run=server", "-f", "-", stdin=refused)
    assert done.returncode != 0
    assert message in done.stderr
