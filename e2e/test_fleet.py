"""A hundred LLMCaches at once: made, left alone, changed and deleted under load."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.operators import Kubectl, Operator, eventually, manifest, running_operator

pytestmark = pytest.mark.timeout(400)

NAMES = [f"one-of-many-{number}" for number in range(100)]
RESYNC = 15
PARTS = "deployments,services,configmaps,secrets,poddisruptionbudgets"


@pytest.fixture(scope="module")
def many(admin: Kubectl, restricted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    log = tmp_path_factory.mktemp("fleet") / "log"
    words = ("--namespace", admin.namespace, "--resync", str(RESYNC))
    with running_operator(restricted, log, *words) as running:
        _create(admin, NAMES)
        eventually(lambda: _settled(admin, "v1") == set(NAMES), 240)
        yield running
        bad = [line for line in log.read_text().splitlines() if json.loads(line)["level"] in {"error", "critical"}]
        assert bad == []


def _create(kubectl: Kubectl, names: list[str]) -> None:
    kubectl("create", "-f", "-", stdin=list(map(manifest, names)))


def _settled(kubectl: Kubectl, version: str) -> set[str]:
    """Names of those that are as they are asked to be, with that prefix version in force."""
    found = set()
    for resource in kubectl.list("llmcaches"):
        status, metadata = resource["status"], resource["metadata"]
        conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
        if (
            status["observedGeneration"] == metadata["generation"]
            and status["prefix"].get("active") == version
            and (conditions["Ready"], conditions["Progressing"]) == ("True", "False")
        ):
            found.add(metadata["name"])
    return found


def test_nothing_is_written_over_several_looks_at_all_of_them(admin: Kubectl, many: Operator) -> None:
    def writes() -> float:
        return many.total("llmcache_operator_applies_total")

    def at_rest() -> bool:
        before = writes()
        time.sleep(5)
        return writes() == before

    eventually(at_rest, 60)
    before, turns = writes(), many.total("llmcache_operator_reconciles_total")
    eventually(lambda: many.total("llmcache_operator_reconciles_total") >= turns + 2 * len(NAMES), 6 * RESYNC)
    assert writes() == before


def test_some_are_deleted_while_others_are_made_and_changed(admin: Kubectl, many: Operator) -> None:
    gone, kept = NAMES[:50], NAMES[50:]
    new = [f"{name}-new" for name in gone]
    admin("delete", "llmc", "--wait=false", *gone)
    _create(admin, new)
    admin("patch", "llmc", "--type=merge", "-p", '{"spec": {"prefix": {"version": "v2"}}}', *kept)
    admin("delete", "llmc", "--wait=false", *kept[:10], *new[:10])
    eventually(lambda: _settled(admin, "v2") == set(kept[10:]) and _settled(admin, "v1") == set(new[10:]), 180)

    def instances() -> set[str]:
        every = admin.list(PARTS, "app.kubernetes.io/managed-by=llmcache-operator")
        return {one["metadata"]["labels"]["app.kubernetes.io/instance"] for one in every}

    eventually(lambda: instances() == set(kept[10:]) | set(new[10:]), 120)
