"""The operator's role, held against the operator's code: enough for what it does, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from llmcache_operator.kube import _PATHS as SERVED
from tests.chart.conftest import Manifest, Render

Right = tuple[str, str, str]
"""Group, resource, verb."""

APPLIED = {"get", "create", "patch"}  # server-side apply patches what is there and creates what is not


def operator_rights(manifests: list[Manifest]) -> set[Right]:
    (role,) = [
        manifest
        for manifest in manifests
        if manifest["kind"] == "ClusterRole" and manifest["metadata"]["name"] == "llmcache-operator"
    ]
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def place(kind: str) -> tuple[str, str]:
    """Return group and plural of a kind, as the operator addresses it."""
    path, plural = SERVED[kind]
    parts = path.strip("/").split("/")
    return (parts[1] if parts[0] == "apis" else "", plural)


def rendered_kinds(root: Path) -> Iterator[str]:
    for file in sorted((root / "tests" / "operator" / "golden").glob("*.yaml")):
        for child in yaml.safe_load_all(file.read_text()):
            yield child["kind"]


@pytest.fixture(scope="module")
def rights(render: Render) -> set[Right]:
    return operator_rights(render())


def test_every_kind_that_it_renders_may_be_applied(root: Path, rights: set[Right]) -> None:
    kinds = set(rendered_kinds(root))
    assert {"Deployment", "StatefulSet", "Secret"} <= kinds
    for kind in kinds:
        assert {(*place(kind), verb) for verb in APPLIED} <= rights


def test_it_may_touch_nothing_that_it_has_no_path_for(rights: set[Right]) -> None:
    places = {place(kind) for kind in SERVED}
    assert {(group, resource.partition("/")[0]) for group, resource, _ in rights} == places


def test_it_reads_the_resource_and_writes_its_status_only(rights: set[Right]) -> None:
    assert {verb for _, resource, verb in rights if resource == "llmcaches"} == {"get", "list", "watch"}
    assert {verb for _, resource, verb in rights if resource == "llmcaches/status"} == {"patch"}


def test_it_cannot_list_secrets(rights: set[Right]) -> None:
    assert {verb for _, resource, verb in rights if resource == "secrets"} == {"get", "create", "patch", "delete"}
