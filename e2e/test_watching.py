"""An operator that never looks at everything again: what it puts back, it has been told of by its watches."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.operators import Kubectl, Operator, eventually, manifest, running_operator
from e2e.test_surface import NOWHERE

pytestmark = pytest.mark.timeout(300)

GATEWAY = {
    "replicas": 1,
    "podTemplate": NOWHERE,
    "autoscaling": {"max": 3},
    "networkPolicy": {"clients": [{"podSelector": {}}]},
    "expose": {"ingress": {"className": "nginx", "host": "llm.example.com"}},
}
EDITS = {
    "deployment/watched": {"metadata": {"labels": {"app.kubernetes.io/part-of": "other"}}},
    "service/watched": {"spec": {"selector": {"app.kubernetes.io/instance": "somebody"}}},
    "configmap/watched-gateway": {"data": {"gateway.yaml": "nonsense"}},
    "poddisruptionbudget/watched": {"metadata": {"labels": {"app.kubernetes.io/instance": "other"}}},
    "horizontalpodautoscaler/watched": {"spec": {"maxReplicas": 9}},
    "networkpolicy/watched": {"spec": {"ingress": []}},
    "ingress/watched": {"spec": {"ingressClassName": "other"}},
}


@pytest.fixture(scope="module")
def watching(admin: Kubectl, restricted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    log = tmp_path_factory.mktemp("watching") / "log"
    with running_operator(restricted, log, "--namespace", admin.namespace, "--resync", "3600") as running:
        admin.apply(manifest("watched", gateway=GATEWAY))
        eventually(lambda: all(admin.get(*child.split("/")) for child in EDITS))
        yield running


@pytest.mark.parametrize("child", EDITS)
def test_an_edit_by_hand_is_put_back(child: str, admin: Kubectl, watching: Operator) -> None:
    before = admin.get(*child.split("/")) or {}
    admin("patch", child, "--type=merge", "-p", json.dumps(EDITS[child]))

    def restored() -> bool:
        after = admin.get(*child.split("/")) or {}
        same = [after.get(part) == before.get(part) for part in ("spec", "data")]
        return all(same) and after["metadata"]["labels"] == before["metadata"]["labels"]

    eventually(restored)


@pytest.mark.parametrize("child", EDITS)
def test_a_child_that_is_deleted_comes_back(child: str, admin: Kubectl, watching: Operator) -> None:
    before = admin.get(*child.split("/")) or {}
    admin("delete", child)

    def back() -> bool:
        after = admin.get(*child.split("/"))
        return after is not None and after["metadata"]["uid"] != before["metadata"]["uid"]

    eventually(back)


def test_a_status_that_somebody_edits_is_put_back(admin: Kubectl, watching: Operator) -> None:
    admin("patch", "llmc", "watched", "--subresource=status", "--type=merge", "-p", '{"status": {"endpoint": "other"}}')
    eventually(lambda: (admin.get("llmc", "watched") or {})["status"]["endpoint"] != "other")


def test_what_it_writes_itself_makes_it_look_no_more_often(admin: Kubectl, watching: Operator) -> None:
    admin("delete", "llmc", "watched")
    eventually(lambda: not [child for child in EDITS if admin.get(*child.split("/"))])
    before = watching.total("llmcache_operator_reconciles_total")
    # It has no pods, so that nothing else than its children's being made is there to be looked at.
    admin.apply(manifest("alone"))
    admin.reaches("alone", "Ready", ("True", "ScaledToZero"))
    # The first makes the children, the second sees that Kubernetes has; a slow one may see that in two parts.
    assert watching.total("llmcache_operator_reconciles_total") - before <= 4
