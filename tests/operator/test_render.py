"""What is rendered: golden files, valid for Kubernetes, and the promises that the objects make.

UPDATE_GOLDEN=1 writes the golden files anew.
"""

import copy
import os
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import CollectorRegistry

from llmcache_gateway.config import GatewayConfig, load_config
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.metrics import Metrics
from llmcache_operator import specs
from llmcache_operator.main import main
from llmcache_operator.manifests import read, read_file
from llmcache_operator.render import render

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
IMAGES = specs.Images("llmcache-gateway:test", "redis:test", "IfNotPresent")
VALUES = specs.Generated(
    admin_token="admin", tenant_key="tenant", redis_password="password", redis_admin_password="admin"
)
CASES = {
    "quickstart": EXAMPLES / "01-quickstart" / "llmcache.yaml",
    "redis": EXAMPLES / "02-redis" / "llmcache.yaml",
    "disk": EXAMPLES / "07-disk" / "llmcache.yaml",
    "kubernetes": EXAMPLES / "12-kubernetes" / "llmcache.yaml",
    "s3": EXAMPLES / "13-s3" / "llmcache.yaml",
    "cluster": EXAMPLES / "15-cluster" / "llmcache.yaml",
    "qdrant": EXAMPLES / "30-qdrant" / "llmcache.yaml",
    "openai": HERE / "manifests" / "openai.yaml",
    "hooks": HERE / "manifests" / "hooks.yaml",
    "persistent": HERE / "manifests" / "persistent.yaml",
    "surface": HERE / "manifests" / "surface.yaml",
}


def _document(case: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(CASES[case].read_text())
    return document


def _children(document: dict[str, Any], uid: str | None = "1234") -> dict[tuple[str, str], dict[str, Any]]:
    manifest = read(document)
    identity = specs.Identity(manifest.metadata.name, manifest.metadata.namespace, uid)
    return {
        (child["kind"], child["metadata"]["name"]): child
        for child in specs.children(manifest, identity, IMAGES, VALUES)
    }


@pytest.mark.parametrize("case", CASES)
def test_rendering_is_as_recorded(case: str) -> None:
    rendered = render(CASES[case].read_text(), IMAGES)
    golden = HERE / "golden" / f"{case}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(rendered)
    assert rendered == golden.read_text(), "UPDATE_GOLDEN=1 writes it anew"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_accepts_every_object(case: str, version: str) -> None:
    for child in _children(_document(case)).values():
        if child["kind"] not in specs.OPTIONAL_KINDS:
            kubernetes_validate.validate(child, version, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_every_child_is_labelled_and_owned(case: str) -> None:
    for child in _children(_document(case)).values():
        labels, (owner,) = child["metadata"]["labels"], child["metadata"]["ownerReferences"]
        assert labels["app.kubernetes.io/managed-by"] == "llmcache-operator"
        assert labels["app.kubernetes.io/instance"] == _document(case)["metadata"]["name"]
        assert owner["uid"] == "1234"
        assert owner["controller"] is True


@pytest.mark.parametrize("case", CASES)
def test_the_mounted_configuration_has_the_revision_that_the_operator_waits_for(case: str) -> None:
    manifest = read(_document(case))
    identity = specs.Identity(manifest.metadata.name, manifest.metadata.namespace)
    children = _children(_document(case))
    mounted = load_config(children["ConfigMap", identity.gateway]["data"]["gateway.yaml"])
    assert isinstance(mounted, GatewayConfig)
    assert mounted.revision == specs.gateway_configuration(manifest, identity).revision


def test_no_pod_is_restarted_for_what_a_gateway_reloads() -> None:
    before = _document("redis")
    after = copy.deepcopy(before)
    after["spec"]["prefix"]["version"] = "v2"
    after["spec"]["cache"]["ttl"] = "5m"
    after["spec"]["tenancy"] = {"isolation": "Shared"}
    after["spec"]["upstreams"][0]["echo"]["delay"] = "0s"
    old, new = _children(before), _children(after)
    assert {name for name in old if old[name] != new[name]} == {("ConfigMap", "shared-gateway")}


def test_no_pod_is_restarted_for_what_is_around_it() -> None:
    before = _document("surface")
    after = copy.deepcopy(before)
    gateway = after["spec"]["gateway"]
    gateway["autoscaling"] = {"max": 20}
    gateway["replicas"] = 3
    for name in ("disruptionBudget", "networkPolicy", "service", "expose"):
        del gateway[name]
    del after["spec"]["monitoring"]
    key = ("Deployment", "surface")
    assert _children(before)[key] == _children(after)[key]


def test_a_pod_has_the_time_to_drain_before_it_is_killed() -> None:
    template = _children(_document("surface"))["Deployment", "surface"]["spec"]["template"]["spec"]
    (gateway,) = [container for container in template["containers"] if container["name"] == "gateway"]
    leave = int(gateway["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = int(gateway["args"][gateway["args"].index("--drain") + 1].removesuffix("s"))
    assert drain == 300
    assert template["terminationGracePeriodSeconds"] > leave + drain


def test_what_a_manifest_no_longer_asks_for_is_everything_that_it_could_have_asked_for() -> None:
    full, bare = _document("surface"), _document("quickstart")
    full["spec"] |= {"cache": {"store": {"type": "redis"}}, "redis": {"managed": {"persistence": {"size": "1Gi"}}}}
    bare["metadata"] = full["metadata"]
    manifest = read(bare)
    identity = specs.Identity(manifest.metadata.name, manifest.metadata.namespace)
    assert set(specs.former_children(manifest, identity)) == set(_children(full)) - set(_children(bare))
    assert specs.former_children(read(full), identity) == []


def test_an_autoscaled_deployment_says_nothing_of_its_replicas_but_in_the_beginning() -> None:
    key = ("Deployment", "surface")
    identity = specs.Identity("surface", "ai", "1234")
    document = _document("surface")
    assert "replicas" not in _children(document)[key]["spec"]
    assert specs.initial(read(document), identity) == {key: {"spec": {"replicas": 2}}}

    document["spec"]["gateway"]["replicas"] = 0
    assert _children(document)[key]["spec"]["replicas"] == 0
    assert ("HorizontalPodAutoscaler", "surface") not in _children(document)
    assert specs.initial(read(document), identity) == {}

    document["spec"]["gateway"] |= {"replicas": 1, "autoscaling": {"external": True}}
    assert "replicas" not in _children(document)[key]["spec"]
    assert ("HorizontalPodAutoscaler", "surface") not in _children(document)


@pytest.mark.parametrize("case", CASES)
def test_no_secret_value_stands_outside_a_secret(case: str) -> None:
    for (kind, _), child in _children(_document(case)).items():
        if kind != "Secret":
            text = yaml.safe_dump(child)
            assert not [value for value in ("#5e884", "password: password") if value in text]


def test_only_the_keys_that_are_named_are_mounted() -> None:
    volumes = _children(_document("openai"))["Deployment", "support-bot"]["spec"]["template"]["spec"]["volumes"]
    sources = next(volume["projected"]["sources"] for volume in volumes if volume["name"] == "secrets")
    assert {s["secret"]["name"]: [i["path"] for i in s["secret"]["items"]] for s in sources} == {
        "openai": ["openai/api-key", "openai/lab-key"],
        "redis.login": ["redis.login/password"],
        "support-bot-gateway": ["support-bot-gateway/admin-token", "support-bot-gateway/tenant-key"],
    }


def test_the_admin_port_is_in_no_service() -> None:
    for case in CASES:
        for (kind, _), child in _children(_document(case)).items():
            if kind == "Service":
                assert {port["port"] for port in child["spec"]["ports"]} <= {4000, 6379}


def test_the_longest_name_fits_into_the_label_that_a_stateful_set_makes_of_it() -> None:
    # With 50 characters Redis never started: "metadata.labels: Invalid value: …-redis-8684f56f4d: must be no more
    # than 63 bytes".
    document = _document("redis")
    document["metadata"]["name"] = "a" * 46
    assert max(len(f"{name}-8684f56f4d") for kind, name in _children(document) if kind == "StatefulSet") <= 63


def test_generated_values_are_kept_and_only_missing_ones_are_made() -> None:
    made = iter(["one", "two", "three", "four"])
    identity = specs.Identity("demo", "ai")
    first = specs.generated(None, None, lambda: next(made))
    assert first == specs.Generated("one", "two", "three", "four")
    manifest = read(_document("redis"))
    live = {(c["kind"], c["metadata"]["name"]): c for c in specs.children(manifest, identity, IMAGES, first)}
    again = specs.generated(live["Secret", "demo-gateway"], live["Secret", "demo-redis"], lambda: next(made))
    assert again == first


def test_a_credential_from_the_environment_is_refused_inside_a_cluster() -> None:
    document = _document("openai")
    document["spec"]["upstreams"][0]["credential"] = {"env": "OPENAI_API_KEY"}
    with pytest.raises(ConfigError, match=r"spec.upstreams\[0\].credential.env: has no effect"):
        read(document)


def test_every_error_of_every_document_is_reported() -> None:
    text = "---\n".join(
        f"apiVersion: llmcache.dev/v1alpha1\nkind: LLMCache\nmetadata: {{name: {name}}}\nspec: {{upstrems: []}}\n"
        for name in ("one", "two")
    )
    with pytest.raises(ConfigError) as caught:
        read_file(text)
    lines = [str(problem) for problem in caught.value.problems]
    assert [line for line in lines if line.startswith("one: spec.upstrems")]
    assert [line for line in lines if line.startswith("two: spec.prefix")]


def test_render_exits_with_2_and_a_line_for_each_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("apiVersion: llmcache.dev/v1alpha1\nkind: LLMCache\nmetadata: {name: x}\nspec: {prefix: {}}\n")
    with pytest.raises(SystemExit) as exited:
        main(["render", "-f", str(file)])
    assert exited.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{file}: spec.upstreams: required, but not set",
        f"{file}: spec.prefix.version: required, but not set",
    ]


def test_render_shows_what_a_manifest_says_and_a_terminal_obeys_none_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "apiVersion: llmcache.dev/v1alpha1\nkind: LLMCache\nmetadata: {name: x}\n"
        'spec: {"\\e[2J": 1, upstreams: [{name: main, provider: echo}], prefix: {version: v1}}\n'
    )
    with pytest.raises(SystemExit):
        main(["render", "-f", str(file)])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file}: spec.\\x1b[2J: unknown field; ")


def test_render_says_when_a_file_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["render", "-f", "/nowhere.yaml"])
    assert exited.value.code == 2
    assert "/nowhere.yaml can't be read: No such file or directory\n" in capsys.readouterr().err


def test_run_wants_to_be_told_where(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["run"])
    assert exited.value.code == 2
    assert "--namespace NS" in capsys.readouterr().err


@pytest.mark.parametrize("lease", ["operator", "/operator", "system/", "system/a/b"])
def test_run_wants_the_whole_name_of_a_lease(lease: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["run", "--all-namespaces", "--lease", lease])
    assert exited.value.code == 2
    assert f"expected NAMESPACE/NAME, not '{lease}'" in capsys.readouterr().err


def test_alerts_and_dashboard_ask_for_metrics_that_a_gateway_has() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    there = {metric.name for metric in registry.collect()}
    children = _children(_document("surface"))
    text = yaml.safe_dump([children["PrometheusRule", "surface"], children["ConfigMap", "surface-dashboard"]])
    asked = set(re.findall(r"\bllmcache_[a-z_]+", text))
    assert {re.sub(r"_(total|bucket)$", "", name) for name in asked} <= there
    assert len(asked) >= 10
