"""The operator's role: the list that docs/operator.md has and its end-to-end test runs with, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from tests.chart.conftest import Manifest, Render

Right = tuple[str, str, str]
"""Group, resource, verb."""


def rights_of(rules: Iterable[Manifest]) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.fixture(scope="module")
def rights(render: Render) -> set[Right]:
    roles = {manifest["metadata"]["name"]: manifest for manifest in render() if manifest["kind"] == "ClusterRole"}
    return rights_of(roles["llmcache-operator"]["rules"])


def test_the_role_is_the_list_of_the_operators_page(root: Path, rights: set[Right]) -> None:
    page = (root / "docs" / "operator.md").read_text()
    (block,) = re.findall(r"```yaml\n(rules:.*?)```", page, re.DOTALL)
    assert rights == rights_of(yaml.safe_load(block)["rules"])


def test_it_reads_the_resource_and_writes_its_status_only(rights: set[Right]) -> None:
    assert {verb for _, resource, verb in rights if resource == "llmcaches"} == {"get", "list", "watch"}
    assert {verb for _, resource, verb in rights if resource == "llmcaches/status"} == {"patch"}


def test_it_may_write_one_lease_in_its_own_namespace_and_no_other(render: Render) -> None:
    roles = [manifest for manifest in render({"namespaceOverride": "ai"}) if manifest["kind"] == "Role"]
    (role,) = roles
    assert role["metadata"]["namespace"] == "ai"
    named = [rule for rule in role["rules"] if rule["verbs"] != ["create"]]
    assert [rule["resourceNames"] for rule in named] == [["llmcache-operator"]]
    assert rights_of(role["rules"]) == {("coordination.k8s.io", "leases", verb) for verb in ("get", "update", "create")}


def test_no_rule_has_a_wildcard(render: Render) -> None:
    for manifest in render():
        for rule in manifest.get("rules", ()) if manifest["kind"] in {"Role", "ClusterRole"} else ():
            assert not [word for words in rule.values() for word in words if "*" in word]


def test_it_cannot_list_secrets(rights: set[Right]) -> None:
    assert {verb for _, resource, verb in rights if resource == "secrets"}.isdisjoint({"list", "watch", "update"})
