"""The Git repository of examples/16-gitops: it builds, and its parts fit each other."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import helm_python
import jsonschema
import pytest
import yaml

from llmcache_gateway.config import LLMCache, load_config
from llmcache_operator import argocd
from tests.programs import flux_definitions

EXAMPLE = Path(__file__).parents[2] / "examples" / "16-gitops"
STAGES = {"staging": "prompt-v2", "production": "prompt-v1"}


def build(folder: str) -> list[dict[str, Any]]:
    command = [f"{sys.prefix}/bin/kubectl", "kustomize", str(EXAMPLE / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def read(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLE / file).read_text()))


@pytest.mark.parametrize(("stage", "version"), STAGES.items())
def test_a_stage_is_an_llmcache_of_its_version_and_what_it_is_warmed_from(stage: str, version: str) -> None:
    faq, cache = build(f"caches/{stage}")
    manifest = load_config(yaml.safe_dump(cache))
    assert isinstance(manifest, LLMCache)
    assert manifest.spec.prefix.version == version
    warm = manifest.spec.rollout.warm
    assert warm is not None
    assert warm.requests_from is not None
    assert warm.requests_from.config_map_ref.name == faq["metadata"]["name"]
    assert warm.requests_from.config_map_ref.key in faq["data"]


def test_argo_cd_applies_the_llmcache_after_what_it_is_warmed_from() -> None:
    wave = "argocd.argoproj.io/sync-wave"
    faq, cache = (int(one["metadata"]["annotations"][wave]) for one in build("caches/production"))
    assert faq < cache
    (operator,), (caches,) = read("argocd/operator.yaml"), read("argocd/caches.yaml")
    assert int(operator["metadata"]["annotations"][wave]) < int(caches["metadata"]["annotations"][wave])


def test_every_path_that_argo_cd_and_flux_follow_is_there() -> None:
    (caches,), flux = read("argocd/caches.yaml"), read("flux/llmcache.yaml")
    for path in (caches["spec"]["source"]["path"], *(one["spec"]["path"] for one in flux)):
        assert build(path)


def test_flux_waits_for_a_rollout_and_for_the_operator_first() -> None:
    operator, caches = read("flux/llmcache.yaml")
    assert caches["spec"]["dependsOn"] == [{"name": operator["metadata"]["name"]}]
    assert operator["spec"]["wait"] is caches["spec"]["wait"] is True


def _closed(schema: Any) -> Any:
    """Return a CustomResourceDefinition's schema in which a field that it does not know is an error."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


def test_flux_knows_every_field() -> None:
    schemas = {}
    for file in flux_definitions():
        spec = yaml.safe_load(file.read_text())["spec"]
        for version in spec["versions"]:
            name = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
            schemas[name] = _closed(version["schema"]["openAPIV3Schema"])
            schemas[name]["properties"]["metadata"] = {"type": "object"}
    for one in (*read("flux/llmcache.yaml"), *read("flux/operator/release.yaml")):
        jsonschema.validate(one, schemas[one["apiVersion"], one["kind"]])
    unknown = read("flux/llmcache.yaml")[1]
    unknown["spec"]["waits"] = True
    with pytest.raises(jsonschema.ValidationError, match="'waits' was unexpected"):
        jsonschema.validate(unknown, schemas[unknown["apiVersion"], unknown["kind"]])


def test_the_chart_takes_the_values_and_its_crd_comes_first() -> None:
    (application,) = read("argocd/operator.yaml")
    (release,) = (one for one in build("flux/operator") if one["kind"] == "HelmRelease")
    chart = helm_python.Chart.load(EXAMPLE.parents[1] / "charts" / "llmcache")
    # What the chart does not know is refused by its schema.
    assert chart.render(release["spec"]["values"], name="llmcache", namespace="llmcache-system")
    values = application["spec"]["source"]["helm"]["valuesObject"]
    files = chart.render(values, name="llmcache", namespace="llmcache-system")
    crd = yaml.safe_load(files["llmcache/templates/crds/llmcaches.yaml"])
    assert crd["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"] == "-1"


def test_the_config_map_is_what_the_command_prints() -> None:
    done = subprocess.run(
        [f"{sys.prefix}/bin/llmcache-operator", "argocd"], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == (EXAMPLE / "argocd" / "argocd-cm.yaml").read_text() == argocd.config_map_yaml()
