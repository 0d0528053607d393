"""The chart on a real cluster: the real images, installed, upgraded and uninstalled by Helm, with the chart's rights.

It has a cluster of its own, since the CRD belongs to the release and can't be there before. Every namespace enforces
the restricted Pod Security Standard.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helm_python
import httpx
import pytest

from e2e.cluster.cluster import down, up
from e2e.cluster.images import build_image, load_image
from e2e.cluster.layout import ClusterError
from tests.tools import missing

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "llmcache"
QUICKSTART = ROOT / "examples" / "01-quickstart" / "llmcache.yaml"
CLUSTER = f"{os.environ.get('E2E_CLUSTER', 'llmcache')}-chart"
SYSTEM = "llmcache-system"
QUESTION = {"model": "any", "messages": [{"role": "user", "content": "What is in the chart?"}]}

Kubectl = Callable[..., str]


def image(program: str) -> dict[str, str]:
    return {"registry": "localhost", "repository": f"llmcache/{program}", "tag": "e2e"}


VALUES: dict[str, Any] = {"image": image("operator"), "defaults": {"gatewayImage": image("gateway")}}


@pytest.fixture(scope="module")
def kubeconfig() -> Iterator[Path]:
    """A fresh cluster that has both images."""
    if os.environ.get("E2E_KUBECONFIG"):
        pytest.skip("installs the CRD by Helm, so it needs a cluster that has none: unset E2E_KUBECONFIG")
    try:
        tags = [
            build_image(f"{program}/Dockerfile", f"localhost/llmcache/{program}:e2e")
            for program in ("gateway", "operator")
        ]
        cluster = up(CLUSTER, owner_pid=os.getpid())
    except ClusterError as error:
        missing(f"no cluster: {error}")
    try:
        for tag in tags:
            load_image(CLUSTER, tag)
        yield cluster.kubeconfig
    finally:
        down(CLUSTER)


@pytest.fixture(scope="module")
def kubectl(kubeconfig: Path) -> Kubectl:
    def run(*words: str) -> str:
        command = [f"{sys.prefix}/bin/kubectl", f"--kubeconfig={kubeconfig}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    for namespace in (SYSTEM, "ai", "chat"):
        run("create", "namespace", namespace)
        run("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    return run


@pytest.fixture(scope="module")
def helm(kubeconfig: Path, kubectl: Kubectl) -> helm_python.Config:
    return helm_python.Config(kubeconfig_path=kubeconfig, namespace=SYSTEM)


@pytest.fixture(scope="module")
def release(helm: helm_python.Config, kubectl: Kubectl) -> str:
    """The chart, installed with its default values but for the images; returns once the operator is ready."""
    try:
        helm.install(CHART, "llmcache", VALUES, wait="watcher", timeout=60)
    except helm_python.HelmError as error:
        pytest.fail(f"{error}\n{kubectl('logs', '-n', SYSTEM, 'deployment/llmcache-operator', '--tail=50')}")
    return "llmcache"


def ask(kubectl: Kubectl, namespace: str) -> httpx.Response:
    address = kubectl("get", "service", "quickstart", "-n", namespace, "-o", "jsonpath={.spec.clusterIP}")
    with httpx.Client(trust_env=False, timeout=10) as client:
        return client.post(f"http://{address}:4000/v1/chat/completions", json=QUESTION)


def start_quickstart(kubectl: Kubectl, namespace: str) -> None:
    kubectl("apply", "-n", namespace, "-f", str(QUICKSTART))
    kubectl("wait", "-n", namespace, "llmcache/quickstart", "--for=condition=Ready", "--timeout=60s")


def test_the_operator_is_ready_and_the_charts_own_test_says_so(release: str, helm: helm_python.Config) -> None:
    tested = helm.test(release, timeout=60, logs=True)
    assert tested["release"]["status"] == "deployed"


def test_the_quickstart_becomes_ready_and_caches(release: str, kubectl: Kubectl) -> None:
    start_quickstart(kubectl, "ai")
    first, second = ask(kubectl, "ai"), ask(kubectl, "ai")
    assert [first.headers["X-LLMCache"], second.headers["X-LLMCache"]] == ["MISS", "HIT"]
    assert second.content == first.content


def test_the_operator_meets_no_refusal(release: str, kubectl: Kubectl) -> None:
    log = kubectl("logs", "-n", SYSTEM, "deployment/llmcache-operator")
    assert "looking after LLMCaches in all namespaces" in log
    assert "forbidden" not in log.lower()


def test_the_operators_pod_has_nothing_that_it_does_not_need(release: str, kubectl: Kubectl) -> None:
    look = "import os; from importlib.util import find_spec; print(os.getuid(), find_spec('pip'), "
    look += "os.access('/opt/llmcache', os.W_OK), os.access('/tmp', os.W_OK))"
    seen = kubectl("exec", "-n", SYSTEM, "deployment/llmcache-operator", "--", "python3", "-c", look)
    assert seen.split() == ["10001", "None", "False", "True"]


def test_the_gateways_image_has_no_kubernetes_client(release: str, kubectl: Kubectl) -> None:
    look = "from importlib.util import find_spec; "
    look += "print(*[name for name in ('kopf', 'kubernetes', 'llmcache_operator') if find_spec(name)])"
    assert kubectl("exec", "-n", "ai", "deployment/quickstart", "--", "python3", "-c", look).split() == []


def test_an_upgrade_to_one_namespace_takes_the_rights_to_the_others_away(
    release: str, helm: helm_python.Config, kubectl: Kubectl
) -> None:
    helm.upgrade(CHART, release, {**VALUES, "watchNamespaces": ["chat"]}, wait="watcher", timeout=60)
    start_quickstart(kubectl, "chat")
    assert ask(kubectl, "chat").headers["X-LLMCache"] == "MISS"
    assert not kubectl("get", "clusterrolebindings", "-l", "app.kubernetes.io/instance=llmcache", "-o", "name").split()
    account = f"--as=system:serviceaccount:{SYSTEM}:llmcache-operator"
    rules = json.loads(kubectl("get", "clusterroles", "-l", "app.kubernetes.io/instance=llmcache", "-o", "json"))[
        "items"
    ]
    assert {role["metadata"]["name"] for role in rules} == {"llmcache-view", "llmcache-edit"}
    assert kubectl("auth", "can-i", "list", "llmcaches", "-n", "chat", account).strip() == "yes"
    # Nobody looks after the other namespace any more, and its gateway goes on all the same.
    assert ask(kubectl, "ai").headers["X-LLMCache"] == "HIT"


def test_a_rollback_gives_the_rights_back(release: str, helm: helm_python.Config, kubectl: Kubectl) -> None:
    helm.rollback(release, version=1, wait="watcher", timeout=60)
    bindings = kubectl("get", "clusterrolebindings", "-l", "app.kubernetes.io/instance=llmcache", "-o", "name")
    assert bindings.split() == ["clusterrolebinding.rbac.authorization.k8s.io/llmcache-operator"]
    change = '{"spec": {"prefix": {"version": "after-rollback"}}}'
    kubectl("patch", "-n", "ai", "llmcache/quickstart", "--type=merge", "-p", change)
    moved = "--for=jsonpath={.status.prefix.active}=after-rollback"
    kubectl("wait", "-n", "ai", "llmcache/quickstart", moved, "--timeout=60s")
    assert ask(kubectl, "ai").headers["X-LLMCache"] == "MISS"


def test_of_two_operators_one_stands_by_and_takes_over(
    release: str, helm: helm_python.Config, kubectl: Kubectl
) -> None:
    values = {**VALUES, "replicaCount": 2, "podDisruptionBudget": {"enabled": True}}
    helm.upgrade(CHART, release, values, wait="watcher", timeout=120)

    def holder() -> str:
        found = kubectl("get", "lease", "llmcache-operator", "-n", SYSTEM, "-o", "jsonpath={.spec.holderIdentity}")
        return found.partition("_")[0]

    def pods() -> set[str]:
        selector = "app.kubernetes.io/component=operator"
        return set(kubectl("get", "pods", "-n", SYSTEM, "-l", selector, "-o", "name").split())

    wait_until(lambda: len(pods()) == 2 and f"pod/{holder()}" in pods())
    first = holder()
    kubectl("delete", "pod", first, "-n", SYSTEM, "--grace-period=0", "--force")
    wait_until(lambda: holder() not in ("", first))
    change = '{"spec": {"prefix": {"version": "after-takeover"}}}'
    kubectl("patch", "-n", "ai", "llmcache/quickstart", "--type=merge", "-p", change)
    moved = "--for=jsonpath={.status.prefix.active}=after-takeover"
    kubectl("wait", "-n", "ai", "llmcache/quickstart", moved, "--timeout=60s")
    tested = helm.test(release, timeout=60, logs=True)
    assert tested["release"]["status"] == "deployed"


def test_a_wrong_value_stops_an_upgrade(release: str, helm: helm_python.Config) -> None:
    with pytest.raises(helm_python.HelmError, match="'replica' not allowed"):
        helm.upgrade(CHART, release, {**VALUES, "replica": 2})


def test_uninstall_leaves_the_crd_the_caches_and_their_gateways(
    release: str, helm: helm_python.Config, kubectl: Kubectl
) -> None:
    ask(kubectl, "ai")
    helm.uninstall(release, wait="watcher", timeout=60)
    left = kubectl("get", "all,serviceaccount,role,rolebinding", "-A", "-l", "helm.sh/chart", "-o", "name")
    assert left.split() == []
    assert "llmcaches.llmcache.dev" in kubectl("get", "crd", "-o", "name")
    assert ask(kubectl, "ai").headers["X-LLMCache"] == "HIT"

    helm.install(CHART, release, VALUES, wait="watcher", timeout=60)
    kubectl("delete", "-n", "ai", "llmcache/quickstart")
    wait_until(lambda: not kubectl("get", "pod,service,secret", "-n", "ai", "-o", "name").split())
    helm.uninstall(release, wait="watcher", timeout=60)


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.5)
