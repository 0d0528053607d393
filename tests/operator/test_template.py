"""Overrides of the gateways' pods: merged as Kubernetes merges, refused where they would make something untrue."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_operator.specs import refusals
from llmcache_operator.specs.template import malformed, merged

POD: dict[str, Any] = {
    "automountServiceAccountToken": False,
    "securityContext": {"runAsUser": 10001, "fsGroup": 10001},
    "containers": [
        {"name": "gateway", "image": "gw", "args": ["serve"], "env": [{"name": "A", "value": "1"}]},
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
    "tolerations": [{"key": "a"}],
}
NAMES = st.sampled_from("abc")
PODS = st.fixed_dictionaries(
    {},
    optional={
        "nodeSelector": st.dictionaries(NAMES, st.text(max_size=2)),
        "tolerations": st.lists(st.fixed_dictionaries({"key": NAMES}), max_size=2),
        "volumes": st.dictionaries(NAMES, st.integers(), max_size=3).map(
            lambda sizes: [{"name": name, "size": size} for name, size in sizes.items()]
        ),
    },
)


def test_containers_are_merged_by_name() -> None:
    patch: dict[str, Any] = {
        "containers": [
            {"name": "sidecar", "image": "mesh"},
            {"name": "gateway", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}]},
        ]
    }
    gateway, sidecar = merged(POD, patch)["containers"]
    assert gateway == POD["containers"][0] | {"env": patch["containers"][1]["env"]}
    assert sidecar == patch["containers"][0]


def test_objects_are_merged_lists_without_a_key_replaced_and_null_removes() -> None:
    result = merged(
        POD, {"securityContext": {"runAsUser": None}, "tolerations": [{"key": "b"}], "nodeSelector": {"a": "b"}}
    )
    assert result["securityContext"] == {"fsGroup": 10001}
    assert result["tolerations"] == [{"key": "b"}]
    assert result["nodeSelector"] == {"a": "b"}


def test_directives_delete_and_replace() -> None:
    patch: dict[str, Any] = {
        "volumes": [{"name": "tmp", "$patch": "delete"}],
        "securityContext": {"$patch": "replace", "runAsUser": 1},
    }
    result = merged(POD, patch)
    assert result["volumes"] == []
    assert result["securityContext"] == {"runAsUser": 1}


@given(PODS)
def test_an_empty_patch_changes_nothing(pod: dict[str, Any]) -> None:
    assert merged(pod, {}) == pod


@given(PODS, PODS)
def test_a_patch_that_was_merged_changes_nothing_the_second_time(pod: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merged(pod, patch)
    assert merged(once, patch) == once


@given(PODS, PODS)
def test_what_the_patch_does_not_name_stays(pod: dict[str, Any], patch: dict[str, Any]) -> None:
    result = merged(pod, patch)
    assert {name: result[name] for name in pod if name not in patch} == {
        name: value for name, value in pod.items() if name not in patch
    }
    patched = {volume["name"] for volume in patch.get("volumes", ())}
    untouched = [volume for volume in pod.get("volumes", ()) if volume["name"] not in patched]
    assert [volume for volume in result.get("volumes", ()) if volume["name"] not in patched] == untouched


MALFORMED = {
    "a list without keys": ({"containers": [{"image": "x"}]}, ".containers"),
    "no list": ({"volumes": {"name": "x"}}, ".volumes"),
    "no objects": ({"containers": [{"name": "x", "env": ["A=1"]}]}, ".containers[0].env"),
    "a directive of kubectl's own": ({"$setElementOrder/containers": []}, ".$setElementOrder/containers"),
    "an unknown directive": ({"affinity": {"$patch": "merge"}}, ".affinity.$patch"),
}


@pytest.mark.parametrize(("patch", "path"), [pytest.param(*case, id=name) for name, case in MALFORMED.items()])
def test_what_can_not_be_merged_is_refused_with_its_path(patch: dict[str, Any], path: str) -> None:
    assert [refusal.path for refusal in malformed(patch, "")] == [path]
    assert [refusal.path for refusal in refusals(patch)] == [path]


def _gateway(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "gateway", **fields}]}


def _sidecar(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "sidecar", "image": "x", **fields}]}


REFUSED = {
    "the node's network": {"hostNetwork": True},
    "the node's processes": {"hostPID": True},
    "its own grace period": {"terminationGracePeriodSeconds": 5},
    "another image": _gateway(image="x"),
    "other resources": _gateway(resources={}),
    "other arguments": _gateway(args=["serve"]),
    "another port": _gateway(ports=[{"containerPort": 4002}]),
    "another probe": _gateway(readinessProbe=None),
    "no gateway": _gateway(**{"$patch": "delete"}),
    "a volume of ours": {"volumes": [{"name": "secrets", "emptyDir": {}}]},
    "a mount over the configuration": _gateway(volumeMounts=[{"name": "x", "mountPath": "/etc/llmcache"}]),
    "a mount inside the Secrets": _gateway(volumeMounts=[{"name": "x", "mountPath": "/etc/llmcache/secrets/a"}]),
    "a sidecar on the admin port": _sidecar(ports=[{"containerPort": 4001}]),
    "a sidecar with the Secrets": _sidecar(volumeMounts=[{"name": "secrets", "mountPath": "/x"}]),
    "a container before it with the Secrets": {
        "initContainers": [{"name": "a", "volumeMounts": [{"name": "secrets", "mountPath": "/x"}]}]
    },
}


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in REFUSED.items()])
def test_what_would_make_a_setting_untrue_is_refused(spec: dict[str, Any]) -> None:
    assert len(list(refusals(spec))) == 1


ACCEPTED = {
    "nothing": {},
    "where it runs": {"nodeSelector": {"a": "b"}, "affinity": {}, "tolerations": []},
    "the node's network refused": {"hostNetwork": False},
    "environment and volumes": _gateway(
        env=[{"name": "A", "value": "1"}], volumeMounts=[{"name": "ca", "mountPath": "/etc/ca"}]
    ),
    "a sidecar": _sidecar(ports=[{"containerPort": 15000}], resources={"limits": {"memory": "1Gi"}}),
    "a service account": {"serviceAccountName": "mesh", "automountServiceAccountToken": True},
}


@pytest.mark.parametrize("spec", [pytest.param(spec, id=name) for name, spec in ACCEPTED.items()])
def test_what_harms_nobody_is_accepted(spec: dict[str, Any]) -> None:
    assert list(refusals(spec)) == []
