"""The CRD in the chart: the generated file, byte for byte, and nothing of it lost on the way through a template."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.chart.conftest import CHART, Manifest, Render, Values

NAME = "llmcaches.llmcache.dev.yaml"


def crd(manifests: list[Manifest]) -> Manifest:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == "CustomResourceDefinition"]
    return found


def test_the_charts_copy_is_the_generated_file(root: Path) -> None:
    generated = (root / "crds" / NAME).read_bytes()
    assert (CHART / "files" / NAME).read_bytes() == generated, "run make generate"


def test_what_is_rendered_is_the_definition_with_metadata_added(render: Render) -> None:
    source, rendered = yaml.safe_load((CHART / "files" / NAME).read_text()), crd(render())
    assert rendered["spec"] == source["spec"]
    assert rendered["metadata"]["name"] == source["metadata"]["name"]
    for key in ("labels", "annotations"):
        assert source["metadata"].get(key, {}).items() <= rendered["metadata"][key].items()


@pytest.mark.parametrize(
    ("crds", "expected"),
    [
        ({}, "keep"),
        ({"keep": False}, None),
    ],
)
def test_it_stays_on_uninstall_unless_told_otherwise(crds: Values, expected: str | None, render: Render) -> None:
    annotations = crd(render({"crds": crds}))["metadata"].get("annotations", {})
    assert annotations.get("helm.sh/resource-policy") == expected


def test_it_takes_annotations_beside_the_common_ones(render: Render) -> None:
    values = {"commonAnnotations": {"owner": "ml"}, "crds": {"annotations": {"argocd.argoproj.io/sync-wave": "-1"}}}
    annotations = crd(render(values))["metadata"]["annotations"]
    expected = {"owner": "ml", "argocd.argoproj.io/sync-wave": "-1", "helm.sh/resource-policy": "keep"}
    assert expected.items() <= annotations.items()
