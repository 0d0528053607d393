"""The operator against a real API server, with the rights that docs/operator.md lists and no others.

The operator is a process beside the cluster here; as a pod from the chart it is in test_quickstart.py.
"""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import build_image, build_redis_image
from e2e.target import Target

ROOT = Path(__file__).parents[1]
ECHO = {"name": "echo", "provider": "echo"}
OPENAI = {"name": "openai", "provider": "openai", "baseURL": "https://api.openai.com/v1"}


@dataclass(frozen=True)
class Kubectl:
    """kubectl for one cluster and one namespace."""

    kubeconfig: Path
    namespace: str

    def run(self, *words: str, stdin: Any = None) -> subprocess.CompletedProcess[str]:
        command = [f"{sys.prefix}/bin/kubectl", f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}"]
        text = yaml.safe_dump(stdin) if stdin is not None else None
        return subprocess.run([*command, *words], input=text, capture_output=True, text=True, timeout=60, check=False)

    def __call__(self, *words: str, stdin: Any = None) -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        for one in objects:
            self("apply", "-f", "-", stdin=one)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        done = self.run("get", kind, name, "-o", "json")
        found: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
        assert found is not None or "NotFound" in done.stderr, done.stderr
        return found

    def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self("get", kind, "-o", "json", "-l", selector))["items"]
        return items

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        status = (self.get("llmcache", name) or {}).get("status", {})
        found = [c for c in status.get("conditions", ()) if c["type"] == kind]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")


def _eventually(holds: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {value!r}"
        time.sleep(0.1)
    return value


def _manifest(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "llmcache.dev/v1alpha1",
        "kind": "LLMCache",
        "metadata": {"name": name},
        "spec": {"upstreams": [ECHO], "prefix": {"version": "v1"}, "gateway": {"replicas": 0}} | spec,
    }


def _with_redis(name: str) -> dict[str, Any]:
    return _manifest(name, cache={"store": {"type": "tiered"}}, redis={"managed": {"memory": "64Mi"}})


@pytest.fixture(scope="module")
def admin(cluster: Target) -> Iterator[Kubectl]:
    """A namespace of our own, with the CRD in place."""
    kubectl = Kubectl(cluster.kubeconfig, f"operator-{secrets.token_hex(3)}")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds" / "llmcaches.llmcache.dev.yaml"))
    kubectl("wait", "--for=condition=Established", "crd/llmcaches.llmcache.dev", "--timeout=30s")
    kubectl("create", "namespace", kubectl.namespace)
    yield kubectl
    kubectl("delete", "namespace", kubectl.namespace, "--wait=false")


@pytest.fixture(scope="module")
def restricted(admin: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig with the rights that docs/operator.md lists, in one namespace."""
    (block,) = re.findall(r"```yaml\n(rules:.*?)```", (ROOT / "docs" / "operator.md").read_text(), re.DOTALL)
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "operator"}}
    admin.apply(role | yaml.safe_load(block))
    admin("create", "serviceaccount", "operator")
    admin("create", "rolebinding", "operator", "--role=operator", f"--serviceaccount={admin.namespace}:operator")
    token = admin("create", "token", "operator", "--duration=1h").strip()
    config = json.loads(admin("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"][0]["user"] = {"token": token}
    path = tmp_path_factory.mktemp("operator") / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


@dataclass(frozen=True)
class Operator:
    """A running operator."""

    port: int
    log: Path

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def total(self, prefix: str) -> float:
        return sum(value for name, value in self.metrics().items() if name.startswith(prefix))

    def answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="module")
def operator(
    admin: Kubectl, restricted: Path, cluster: Target, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """The operator as a process; at the end it stops on SIGTERM with 0 and has logged no error."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    log = tmp_path_factory.mktemp("operator") / "log"
    gateway = build_image("gateway/Dockerfile", "localhost/llmcache/gateway:e2e")
    redis = build_redis_image()
    for tag in (gateway, redis):
        cluster.load(tag)
    command = [f"{sys.prefix}/bin/llmcache-operator", "run", "--namespace", admin.namespace, "--resync", "1"]
    command += ["--gateway-image", gateway, "--redis-image", redis, "--image-pull-policy", "IfNotPresent"]
    environment = os.environ | {"KUBECONFIG": str(restricted)}
    with log.open("w") as file:
        process = subprocess.Popen([*command, "--health-port", str(port)], stderr=file, env=environment)
        running = Operator(port, log)
        try:
            _eventually(lambda: running.answers("/readyz") or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(15)
    assert code == 0, log.read_text()
    bad = [line for line in log.read_text().splitlines() if json.loads(line)["level"] in {"error", "critical"}]
    assert bad == []


REFUSED = {
    "an unknown provider": (
        _manifest("x", upstreams=[{"name": "x", "provider": "nobody"}]),
        'Unsupported value: "nobody": supported values: "openai", ',
    ),
    "no address": (
        _manifest("x", upstreams=[{"name": "x", "provider": "openai"}]),
        "spec.upstreams[0].baseURL: Invalid value: baseURL is required for this provider",
    ),
    "two credentials": (
        _manifest("x", upstreams=[OPENAI | {"credential": {"env": "A", "passthrough": True}}]),
        "set exactly one of secretRef, env, file or passthrough: true",
    ),
    "a duration in words": (
        _manifest("x", cache={"ttl": "an hour"}),
        "spec.cache.ttl: Invalid value: expected a duration, such as 60s, 1h30m, 7d",
    ),
    "no time at all": (
        _manifest("x", cache={"ttl": "0s"}),
        "spec.cache.ttl: Invalid value: ttl must be longer than zero; to cache nothing set mode: Disabled",
    ),
    "a store without its Redis": (
        _manifest("x", cache={"store": {"type": "tiered"}}),
        "spec.redis: Invalid value: this store type needs a Redis: set spec.redis, such as redis: {managed: {}}",
    ),
    "a Redis that nothing uses": (
        _manifest("x", redis={"managed": {}}),
        "remove spec.redis, or set cache.store: {type: tiered}",
    ),
    "a Redis that is neither": (
        _manifest("x", cache={"store": {"type": "redis"}}, redis={}),
        "spec.redis: Invalid value: set exactly one of managed or external",
    ),
    "memory in bytes": (
        _manifest("x", cache={"store": {"type": "redis"}}, redis={"managed": {"memory": "1000"}}),
        "memory must be a whole number of Mi, Gi or Ti, such as 256Mi",
    ),
    "a misspelt field": (_manifest("x", upstrems=[]), 'unknown field "spec.upstrems"'),
    "no prefix version": (_manifest("x", prefix={}), "spec.prefix.version: Required value"),
    "a name that is too long": (_manifest("x" * 47), "the name may have 46 characters at most"),
    "a name that begins with a digit": (_manifest("1x"), "the name must begin with a letter"),
}


@pytest.mark.parametrize(("manifest", "message"), [pytest.param(*case, id=i) for i, case in REFUSED.items()])
def test_a_bad_manifest_is_refused_with_what_to_write_instead(
    manifest: dict[str, Any], message: str, admin: Kubectl
) -> None:
    done = admin.run("create", "--dry-run=server", "-f", "-", stdin=manifest)
    assert done.returncode != 0
    # The value is shown before the message, in one of several ways from version to version.
    said = re.sub(r"Invalid value: (\"(\\.|[^\"\\])*\"|\{.*?\}|[0-9]+|null): ", "Invalid value: ", done.stderr)
    assert message in said


def test_nobody_has_looked_at_a_new_resource_and_its_status_says_so(admin: Kubectl) -> None:
    admin.apply(_manifest("unseen"))
    resource = admin.get("llmcache", "unseen")
    assert resource is not None
    assert resource["status"] == {"observedGeneration": -1}
    cache = resource["spec"]["cache"]
    assert (cache["mode"], cache["ttl"], cache["store"]) == ("Enabled", "1h", {"type": "memory", "timeout": "50ms"})
    admin("delete", "llmc", "unseen")


CHILDREN = [
    "deployment/all", "service/all", "poddisruptionbudget/all", "configmap/all-gateway", "secret/all-gateway",
    "statefulset/all-redis", "service/all-redis", "configmap/all-redis", "secret/all-redis",
]  # fmt: skip


@pytest.fixture(scope="module")
def complete(admin: Kubectl, operator: Operator) -> Kubectl:
    """An LLMCache with everything, settled."""
    admin.apply(_with_redis("all"))
    _eventually(lambda: admin.condition("all", "Ready") == ("True", "ScaledToZero"), 60)
    return admin


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_appears_owned_by_its_resource(child: str, complete: Kubectl) -> None:
    owner, found = complete.get("llmcache", "all"), complete.get(*child.split("/"))
    assert owner is not None
    assert found is not None
    (reference,) = found["metadata"]["ownerReferences"]
    assert reference["uid"] == owner["metadata"]["uid"]
    assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "llmcache-operator"


def test_kubectl_get_shows_the_state(complete: Kubectl) -> None:
    header, row = complete("get", "llmc", "all").splitlines()
    assert header.split() == ["NAME", "READY", "ACTIVE", "TARGET", "CANARY", "REPLICAS", "AGE"]
    assert row.split()[:5] == ["all", "True", "v1", "v1", "0"]
    assert f"http://all.{complete.namespace}.svc:4000" in complete("get", "llmcache", "all", "-o", "wide")


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_that_is_deleted_comes_back(child: str, complete: Kubectl) -> None:
    before = complete.get(*child.split("/"))
    assert before is not None
    complete("delete", child, "--wait=false")

    def back() -> bool:
        after = complete.get(*child.split("/"))
        return after is not None and after["metadata"]["uid"] != before["metadata"]["uid"]

    _eventually(back)


EDITS = {
    "deployment/all": {"spec": {"replicas": 3}},
    "service/all": {"spec": {"selector": {"app.kubernetes.io/instance": "somebody"}}},
    "configmap/all-gateway": {"data": {"gateway.yaml": "nonsense"}},
    "statefulset/all-redis": {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}},
    "poddisruptionbudget/all": {"spec": {"maxUnavailable": 2}},
    "secret/all-gateway": {"metadata": {"labels": {"app.kubernetes.io/part-of": "other"}}},
}


@pytest.mark.parametrize("child", EDITS)
def test_an_edit_by_hand_is_put_back(child: str, complete: Kubectl) -> None:
    before = complete.get(*child.split("/"))
    assert before is not None
    complete("patch", child, "--type=merge", "-p", json.dumps(EDITS[child]))

    def restored() -> bool:
        after = complete.get(*child.split("/"))
        assert after is not None
        same = [after.get(part) == before.get(part) for part in ("spec", "data")]
        return all(same) and after["metadata"]["labels"] == before["metadata"]["labels"]

    _eventually(restored)


def test_what_others_add_stays(complete: Kubectl) -> None:
    complete("annotate", "deployment/all", "team=search")
    time.sleep(3)
    deployment = complete.get("deployment", "all")
    assert deployment is not None
    assert deployment["metadata"]["annotations"]["team"] == "search"


def test_nothing_is_written_while_nothing_changes(complete: Kubectl, operator: Operator) -> None:
    def versions() -> dict[str, str]:
        every = [complete.get(*child.split("/")) or {} for child in [*CHILDREN, "llmcache/all"]]
        return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in every}

    def at_rest() -> bool:
        # Kubernetes' own controllers write statuses too, and have to be done with what came before.
        earlier = versions()
        time.sleep(2)
        return versions() == earlier

    _eventually(at_rest, 60)
    before, writes = versions(), operator.total("llmcache_operator_applies_total")
    turns = operator.total("llmcache_operator_reconciles_total")
    time.sleep(6)
    assert operator.total("llmcache_operator_reconciles_total") >= turns + 3
    assert operator.total("llmcache_operator_applies_total") == writes
    assert versions() == before


def test_a_new_version_changes_the_configuration_and_no_pod(complete: Kubectl) -> None:
    def generation() -> Any:
        return (complete.get("deployment", "all") or {})["metadata"]["generation"]

    before = generation()
    complete("patch", "llmc", "all", "--type=merge", "-p", '{"spec": {"prefix": {"version": "v2"}}}')
    moved = {"name": "all", "active": "v2", "target": "v2"}
    _eventually(lambda: (complete.get("llmcache", "all") or {})["status"]["prefix"] == moved)
    assert "version: v2" in (complete.get("configmap", "all-gateway") or {})["data"]["gateway.yaml"]
    assert generation() == before


def test_kubectl_scale_works(complete: Kubectl) -> None:
    complete("scale", "llmc/all", "--replicas=1")
    _eventually(lambda: (complete.get("deployment", "all") or {})["spec"]["replicas"] == 1)
    complete("scale", "llmc/all", "--replicas=0")
    # A pod that was about to start takes its time to end.
    _eventually(lambda: complete.condition("all", "Ready") == ("True", "ScaledToZero"), 60)


def test_a_missing_secret_is_told_once_and_recovery_needs_no_help(admin: Kubectl, operator: Operator) -> None:
    credential = {"secretRef": {"name": "late", "key": "api-key"}}
    admin.apply(_manifest("late", upstreams=[OPENAI | {"credential": credential}]))
    _eventually(lambda: admin.condition("late", "Degraded") == ("True", "SecretMissing"))
    assert admin.condition("late", "Ready") == ("False", "SecretMissing")
    assert admin.condition("late", "Reconciling") == ("True", "SecretMissing")
    assert admin.get("deployment", "late") is None

    admin("create", "secret", "generic", "late", "--from-literal=other=1")
    _eventually(lambda: "no key api-key" in admin("get", "llmc", "late", "-o", "wide"))

    admin("patch", "secret", "late", "--type=merge", "-p", '{"stringData": {"api-key": "sk-hidden"}}')
    _eventually(lambda: admin.condition("late", "Degraded") == ("False", "AsExpected"))
    _eventually(lambda: admin.condition("late", "Ready") == ("True", "ScaledToZero"))
    assert admin.condition("late", "Reconciling") == ("", "")
    about = [event for event in admin.list("events") if event["involvedObject"]["kind"] == "LLMCache"]
    noted = [event["reason"] for event in about if event["involvedObject"]["name"] == "late"]
    assert sorted(noted) == ["PrefixActivated", "Recovered", "SecretMissing"]
    assert "sk-hidden" not in admin("get", "llmc,cm,deploy,events", "-o", "yaml") + operator.log.read_text()


def test_a_spec_that_only_python_refuses_stalls_and_leaves_what_runs(admin: Kubectl, operator: Operator) -> None:
    admin.apply(_manifest("odd"))
    _eventually(lambda: admin.condition("odd", "Ready") == ("True", "ScaledToZero"))
    admin.apply(_manifest("odd", upstreams=[OPENAI | {"credential": {"env": "OPENAI_API_KEY"}}]))
    _eventually(lambda: admin.condition("odd", "Stalled") == ("True", "InvalidSpec"))
    assert "provider: echo" in (admin.get("configmap", "odd-gateway") or {})["data"]["gateway.yaml"]
    admin.apply(_manifest("odd"))
    _eventually(lambda: admin.condition("odd", "Stalled") == ("", ""))


def test_an_object_of_somebody_else_is_never_taken(admin: Kubectl, operator: Operator) -> None:
    admin("create", "service", "clusterip", "taken", "--tcp=80")
    admin.apply(_manifest("taken"))
    _eventually(lambda: admin.condition("taken", "Stalled") == ("True", "NameTaken"))
    assert (admin.get("service", "taken") or {})["spec"]["ports"][0]["port"] == 80
    admin("delete", "service", "taken")
    _eventually(lambda: admin.condition("taken", "Ready") == ("True", "ScaledToZero"))


def test_a_redis_that_is_no_longer_asked_for_goes(admin: Kubectl, operator: Operator) -> None:
    admin.apply(_with_redis("less"))
    _eventually(lambda: admin.get("statefulset", "less-redis"))
    bare = _manifest("less")
    bare["spec"]["cache"] = {"store": {"type": "memory"}}
    admin.apply(bare)
    kinds = ("statefulset", "service", "configmap", "secret")
    _eventually(lambda: not [kind for kind in kinds if admin.get(kind, "less-redis")])
    assert admin.get("deployment", "less")


def test_an_api_server_that_refuses_a_child_stalls_the_resource(admin: Kubectl, operator: Operator) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    admin.apply(quota | {"spec": {"hard": {"count/poddisruptionbudgets.policy": "0"}}})
    _eventually(lambda: (admin.get("resourcequota", "none") or {}).get("status", {}).get("hard"))
    admin.apply(_manifest("refused"))
    _eventually(lambda: admin.condition("refused", "Stalled") == ("True", "ApplyFailed"))
    assert admin.get("deployment", "refused"), "one refusal must not hold up the rest"
    admin("delete", "resourcequota", "none")
    _eventually(lambda: admin.condition("refused", "Stalled") == ("", ""), 60)


def test_a_resource_made_anew_under_its_old_name_settles(admin: Kubectl, operator: Operator) -> None:
    admin.apply(_manifest("again"))
    _eventually(lambda: admin.condition("again", "Ready") == ("True", "ScaledToZero"))
    first = (admin.get("llmcache", "again") or {})["metadata"]["uid"]
    admin("delete", "llmc", "again", "--wait=true")
    admin.apply(_manifest("again"))

    def ours() -> bool:
        deployment = admin.get("deployment", "again")
        return deployment is not None and deployment["metadata"]["ownerReferences"][0]["uid"] != first

    _eventually(ours, 60)
    _eventually(lambda: admin.condition("again", "Ready") == ("True", "ScaledToZero"), 60)


def test_the_operator_writes_nothing_on_the_resource_but_its_status(complete: Kubectl) -> None:
    resource = complete.get("llmcache", "all")
    assert resource is not None
    assert "finalizers" not in resource["metadata"]
    shown = json.loads(complete("get", "llmc", "all", "-o", "json", "--show-managed-fields"))["metadata"]
    fields = [entry for entry in shown["managedFields"] if entry["manager"] == "llmcache-operator"]
    assert [(entry["subresource"], list(entry["fieldsV1"])) for entry in fields] == [("status", ["f:status"])]


def test_deleting_the_resource_deletes_everything(complete: Kubectl) -> None:
    complete("delete", "llmc", "all")
    _eventually(lambda: not [child for child in CHILDREN if complete.get(*child.split("/"))], 60)
