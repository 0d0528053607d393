"""The session's cluster: started once, taken down when pytest ends, however it ends. And an operator for a module."""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e.cluster import build_base_image, build_image, build_redis_image, down, ensure_binaries, missing, up
from e2e.cluster.tools import ARGOCD
from e2e.operators import ROOT, Kubectl, Operator, install_definition, running_operator
from e2e.target import Target
from tests.tools import missing as none_to_be_had

CLUSTER_NAME = os.environ.get("E2E_CLUSTER", "llmcache-test")
"""Two runs at once on one machine need two names."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what tests run before the first of them: no test's timeout is meant for those twenty minutes."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if session.config.option.collectonly or sys.platform != "linux" or shutil.which("go") is None:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        if "cluster" in wanted and not os.environ.get("E2E_KUBECONFIG") and not missing():
            ensure_binaries()
            build_base_image()
        if "argocd_program" in wanted:
            ARGOCD.ensure()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Target]:
    """A real Kubernetes; skips where there can be none, and says what is missing. On CI that is a failure."""
    if kubeconfig := os.environ.get("E2E_KUBECONFIG"):
        yield Target(Path(kubeconfig).expanduser())
        return
    if lacking := missing():
        reason = "no cluster here, missing: " + "; ".join(lacking)
        none_to_be_had(reason)
    info = up(CLUSTER_NAME, owner_pid=os.getpid())
    yield Target(info.kubeconfig, info)
    down(CLUSTER_NAME)


@pytest.fixture(scope="session")
def argocd_program() -> Path:
    """Argo CD, all of whose components are one program."""
    if not ARGOCD.is_built:
        none_to_be_had("Argo CD is not built: run python -m e2e.cluster build")
    return ARGOCD.path


@pytest.fixture(scope="module")
def admin(cluster: Target) -> Iterator[Kubectl]:
    """A namespace of our own, with the CRD in place."""
    kubectl = Kubectl(cluster.kubeconfig, f"operator-{secrets.token_hex(3)}")
    install_definition(kubectl)
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


@pytest.fixture(scope="module")
def operator(
    admin: Kubectl, restricted: Path, cluster: Target, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """The operator as a process; at the end it stops on SIGTERM with 0 and has logged no error."""
    gateway = build_image("gateway/Dockerfile", "localhost/llmcache/gateway:e2e")
    redis = build_redis_image()
    for tag in (gateway, redis):
        cluster.load(tag)
    words = ["--namespace", admin.namespace, "--gateway-image", gateway, "--redis-image", redis]
    log = tmp_path_factory.mktemp("operator") / "log"
    with running_operator(restricted, log, *words, "--image-pull-policy", "IfNotPresent") as running:
        yield running
        code = running.stop(signal.SIGTERM)
    assert code == 0, log.read_text()
    bad = [line for line in log.read_text().splitlines() if json.loads(line)["level"] in {"error", "critical"}]
    assert bad == []
