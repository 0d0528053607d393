"""When something is written, and when nothing is."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmcache_operator import specs
from llmcache_operator.compare import holds
from llmcache_operator.manifests import read
from llmcache_operator.plan import plan, stamped

EXAMPLE = Path(__file__).parents[2] / "examples" / "02-redis" / "llmcache.yaml"
IDENTITY = specs.Identity("shared", "default", "uid-1")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def _desired() -> list[specs.Object]:
    manifest = read(yaml.safe_load(EXAMPLE.read_text()))
    return specs.children(manifest, IDENTITY, specs.Images("gw", "redis"), specs.Generated("a", "b", "c", "d"))


def _live() -> dict[specs.Key, specs.Object | None]:
    """Return the children as an API server gives them back: with defaults filled in and quantities rewritten."""
    live: dict[specs.Key, specs.Object | None] = {}
    for child in copy.deepcopy([stamped(child) for child in _desired()]):
        child["metadata"] |= {"uid": "u", "resourceVersion": "1", "generation": 1}
        child.setdefault("status", {})
        if child["kind"] == "Deployment":
            pod = child["spec"]["template"]["spec"]
            pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst"}
            pod["containers"][0]["resources"]["requests"]["cpu"] = "0.25"
            pod["containers"].append({"name": "sidecar", "image": "mesh"})
            for volume in pod["volumes"]:
                if "configMap" in volume:
                    volume["configMap"]["defaultMode"] = 420
        live[child["kind"], child["metadata"]["name"]] = child
    return live


DEPLOYMENT, SERVICE = ("Deployment", "shared"), ("Service", "shared")


def _container(live: dict[specs.Key, Any]) -> dict[str, Any]:
    container: dict[str, Any] = live[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]
    return container


def test_nothing_is_written_when_nothing_changed() -> None:
    made = plan(_desired(), _live(), [], "uid-1")
    assert (made.apply, made.delete, made.taken, made.leaving) == ([], [], [], [])


def test_everything_is_written_into_an_empty_namespace() -> None:
    nothing: dict[specs.Key, specs.Object | None] = dict.fromkeys(_live())
    assert len(plan(_desired(), nothing, [], "uid-1").apply) == len(_desired())


def _edits() -> dict[str, Any]:
    return {
        "an image": lambda live: _container(live).update(image="other"),
        "an argument": lambda live: _container(live)["args"].append("--debug"),
        "a limit": lambda live: _container(live)["resources"]["limits"].update(memory="1Ki"),
        "a probe": lambda live: _container(live)["readinessProbe"]["httpGet"].update(path="/"),
        "the replicas": lambda live: live[DEPLOYMENT]["spec"].update(replicas=7),
        "a volume that is gone": lambda live: live[DEPLOYMENT]["spec"]["template"]["spec"]["volumes"].pop(),
        "a label": lambda live: live[DEPLOYMENT]["metadata"]["labels"].pop("app.kubernetes.io/part-of"),
        "our hash": lambda live: live[DEPLOYMENT]["metadata"]["annotations"].clear(),
    }


@pytest.mark.parametrize("edit", [pytest.param(edit, id=name) for name, edit in _edits().items()])
def test_an_edit_by_hand_is_undone(edit: Any) -> None:
    live = _live()
    edit(live)
    assert [child["kind"] for child in plan(_desired(), live, [], "uid-1").apply] == ["Deployment"]


def test_a_field_that_is_no_longer_asked_for_is_given_up() -> None:
    desired = _desired()
    del desired[-1]["spec"]["template"]["spec"]["containers"][0]["lifecycle"]
    assert [child["kind"] for child in plan(desired, _live(), [], "uid-1").apply] == ["Deployment"]


def _managed(live: dict[specs.Key, Any], manager: str) -> dict[specs.Key, Any]:
    live[DEPLOYMENT]["metadata"]["managedFields"] = [
        {"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {}}}}
    ]
    return live


def _without_replicas() -> list[specs.Object]:
    desired = _desired()
    del desired[-1]["spec"]["replicas"]
    return desired


BEGINNING: dict[specs.Key, specs.Object] = {DEPLOYMENT: {"spec": {"replicas": 2}}}


def test_an_autoscaled_deployment_begins_with_a_number() -> None:
    nothing: dict[specs.Key, specs.Object | None] = dict.fromkeys(_live())
    made = plan(_without_replicas(), nothing, [], "uid-1", BEGINNING)
    assert made.apply[-1]["spec"]["replicas"] == 2
    assert made.hand_over == {}


def test_the_number_of_gateways_is_handed_over_before_it_is_given_up() -> None:
    # A field that its only owner no longer applies is removed, and the API server fills in 1: eight gateways became
    # one when autoscaling was turned on.
    live: dict[specs.Key, Any] = _managed(_live(), "llmcache-operator")
    live[DEPLOYMENT]["spec"]["replicas"] = 8
    made = plan(_without_replicas(), live, [], "uid-1", BEGINNING)
    assert made.hand_over[DEPLOYMENT]["spec"] == {"replicas": 8}
    assert [child["kind"] for child in made.apply] == ["Deployment"]


def test_what_an_autoscaler_has_set_is_left_alone() -> None:
    live: dict[specs.Key, Any] = _managed(_live(), "somebody")
    live[DEPLOYMENT]["spec"]["replicas"] = 8
    made = plan(_without_replicas(), live, [], "uid-1", BEGINNING)
    assert made.hand_over == {}
    assert "replicas" not in made.apply[0]["spec"]


def test_an_object_of_somebody_else_is_left_alone() -> None:
    live: dict[specs.Key, Any] = _live()
    live[SERVICE]["metadata"]["ownerReferences"] = []
    made = plan(_desired(), live, [], "uid-1")
    assert (made.apply, made.taken) == ([], [SERVICE])


def test_a_child_of_the_former_llmcache_of_that_name_is_waited_for() -> None:
    made = plan(_desired(), _live(), [], "uid-2")
    identity = specs.Identity("shared", "default", "uid-2")
    manifest = read(yaml.safe_load(EXAMPLE.read_text()))
    desired = specs.children(manifest, identity, specs.Images("gw", "redis"), specs.Generated("a", "b", "c", "d"))
    made = plan(desired, _live(), [], "uid-2")
    assert (made.apply, made.taken) == ([], [])
    assert SERVICE in made.leaving


def test_a_child_that_is_being_deleted_is_waited_for() -> None:
    live: dict[specs.Key, Any] = _live()
    live[SERVICE]["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    assert plan(_desired(), live, [], "uid-1").leaving == [SERVICE]


def test_what_is_no_longer_asked_for_is_deleted_only_if_it_is_ours() -> None:
    live: dict[specs.Key, Any] = _live()
    former = [("StatefulSet", "shared-redis"), ("Service", "shared-redis"), ("Secret", "shared-redis")]
    live["Service", "shared-redis"]["metadata"]["ownerReferences"] = []
    live["Secret", "shared-redis"] = None
    gone = plan([], live, former, "uid-1").delete
    assert [(child["kind"], child["metadata"]["name"]) for child in gone] == [("StatefulSet", "shared-redis")]


@given(JSON)
def test_everything_holds_itself(value: Any) -> None:
    assert holds(value, value)


@given(st.dictionaries(st.text(max_size=3), JSON), st.dictionaries(st.text(max_size=3), JSON))
def test_an_object_with_more_fields_holds_the_one_with_fewer(fewer: dict[str, Any], more: dict[str, Any]) -> None:
    assert holds(more | fewer, fewer)


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(), min_size=1))
def test_an_object_that_lost_a_value_holds_no_longer(value: dict[str, int]) -> None:
    name = next(iter(value))
    assert not holds({key: number for key, number in value.items() if key != name}, value)
    assert not holds(value | {name: value[name] + 1}, value)


def test_what_the_api_server_leaves_out_is_no_drift() -> None:
    assert holds({"volumeMounts": [{"mountPath": "/a"}]}, {"volumeMounts": [{"mountPath": "/a", "readOnly": False}]})
    assert holds({"env": [{"name": "A"}]}, {"env": [{"name": "A", "value": ""}]})
    # Nobody may take this away unseen: the default is true.
    assert not holds({}, {"automountServiceAccountToken": False})


def test_ports_without_a_name_are_told_apart() -> None:
    ports = [{"containerPort": 80}, {"containerPort": 81}]
    assert holds({"ports": ports}, {"ports": ports})
    assert not holds({"ports": [ports[0], {"containerPort": 82}]}, {"ports": ports})


@pytest.mark.parametrize(("live", "desired", "same"), [
    ("500m", "0.5", True), ("1Gi", "1024Mi", True), ("1", "1000m", True), ("384Mi", "384Mi", True), (1, "1", True),
    ("1G", "1Gi", False), ("250m", "0.5", False), ("lots", "1", False),
])  # fmt: skip
def test_quantities_are_compared_by_value(live: Any, desired: str, same: bool) -> None:
    assert holds({"limits": {"cpu": live}}, {"limits": {"cpu": desired}}) is same
