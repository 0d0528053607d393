"""The chart's values: refused where they are wrong, and described where they are right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from charts import readme
from tests.chart.conftest import CHART, Manifest, Values

REFUSED: list[tuple[Values, str]] = [
    ({"replica": 1}, "replica"),
    ({"image": {"name": "x"}}, "name"),
    ({"crds": {"install": True}}, "install"),
    ({"defaults": {"gatewayImage": {"pullPolicy": "Always"}}}, "pullPolicy"),
    ({"metrics": {"serviceMonitor": {"renderMode": "sometimes"}}}, "renderMode"),
    ({"replicas": 2}, "replicas"),
    ({"replicaCount": "1"}, "replicaCount"),
    ({"replicaCount": 6}, "replicaCount"),
    ({"watchNamespaces": "ai"}, "watchNamespaces"),
    ({"watchNamespaces": ["AI"]}, "watchNamespaces"),
    ({"watchNamespaces": ["ai", "ai"]}, "watchNamespaces"),
    ({"image": {"digest": "abc"}}, "digest"),
    ({"image": {"tag": "a b"}}, "tag"),
    ({"defaults": {"redisImage": {"tag": "", "digest": ""}}}, "redisImage"),
    ({"logLevel": "trace"}, "logLevel"),
    ({"podDisruptionBudget": {"minAvailable": "half"}}, "minAvailable"),
    ({"commonLabels": {"team": 1}}, "team"),
    ({"resources": {"request": {}}}, "request"),
]


@pytest.mark.parametrize(("values", "named"), REFUSED)
def test_a_wrong_value_is_refused_by_its_name(values: Values, named: str, chart: helm_python.Chart) -> None:
    with pytest.raises(helm_python.HelmValuesError, match=named):
        chart.validate_schema(chart.merge_values(values))


def test_a_parent_chart_may_hand_down_globals_and_switch_it(chart: helm_python.Chart) -> None:
    chart.validate_schema(chart.merge_values({"global": {"registry": "corp"}, "enabled": True}))


def documented(schema: Manifest, definitions: Manifest, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every property that the schema names."""
    for part in [schema, *schema.get("allOf", [])]:
        resolved = definitions[part["$ref"].rsplit("/", 1)[-1]] if "$ref" in part else part
        for name, child in resolved.get("properties", {}).items():
            yield (*path, name)
            yield from documented(child, definitions, (*path, name))


def keys(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(values, dict):
        for name, child in values.items():
            yield (*path, name)
            yield from keys(child, (*path, name))


def test_schema_and_values_name_the_same_keys(chart: helm_python.Chart) -> None:
    schema = chart.schema
    assert schema is not None
    in_schema = set(documented(schema, schema["definitions"]))
    in_values = set(keys(yaml.safe_load((CHART / "values.yaml").read_text())))
    only_for_parents = {("global",), ("enabled",)}
    free_form = {path for path in in_values if path[0] in ("podSecurityContext", "securityContext") and len(path) > 1}
    free_form |= {path for path in in_values if path[0] == "resources" and len(path) > 2}
    assert in_values - free_form <= in_schema
    assert in_schema - only_for_parents - {("resources", "claims")} <= in_values


def test_the_table_of_values_in_the_readme_is_fresh() -> None:
    current = (CHART / "README.md").read_text()
    assert current == readme.with_table(current, (CHART / "values.yaml").read_text()), "run python charts/readme.py"


def test_a_key_that_nobody_describes_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"values\.yaml: a\.c has no"):
        list(readme.rows("a:\n  # -- Described.\n  b: 1\n  c: 2\n"))


def test_a_description_runs_over_lines_and_covers_what_is_below() -> None:
    text = "# prose\n# -- First\n# second.\na:\n  b: {c: 1}\n\n# -- List.\nd: []\n"
    assert list(readme.rows(text)) == [("a", '{"b": {"c": 1}}', "First second."), ("d", "[]", "List.")]


def test_the_chart_and_the_project_have_one_version(root: Path, chart: helm_python.Chart) -> None:
    project = (root / "pyproject.toml").read_text()
    metadata = chart.metadata
    assert f'\nversion = "{metadata["appVersion"]}"\n' in project
    images = {
        image["name"]: image["image"] for image in yaml.safe_load(metadata["annotations"]["artifacthub.io/images"])
    }
    assert images == {
        "operator": f"ghcr.io/llmcache/operator:{metadata['appVersion']}",
        "gateway": f"ghcr.io/llmcache/gateway:{metadata['appVersion']}",
    }
