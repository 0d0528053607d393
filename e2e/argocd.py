"""Argo CD itself, beside the cluster: its repository server and its controller, on a Git repository of this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster.layout import REPOSITORY
from e2e.operators import Kubectl
from e2e.target import Target
from tests.redis_server import free_port, running_redis, wait_for_port

EXAMPLE = REPOSITORY / "examples" / "16-gitops"
NAMESPACE = "argocd"
# Argo CD calls it by name; kubectl has all of it.
KUSTOMIZE = """#!/bin/sh
case "$1" in
  version) echo v5.7.1 ;;
  build) shift; exec {kubectl} kustomize "$@" ;;
esac
"""


class Repository:
    """A Git repository on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=A Person", "-c", "user.email=person@example.com", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *who, *words], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        """Commit all that is there; return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def revert(self) -> str:
        """Take the last commit back; return the commit that does."""
        self.git("revert", "--no-edit", "HEAD")
        return self.git("rev-parse", "HEAD")


@dataclass(frozen=True)
class ArgoCD:
    """A running Argo CD; `server` is the cluster as its Applications name it."""

    kubectl: Kubectl
    server: str
    logs: Path

    def application(self, name: str) -> dict[str, Any]:
        return self.kubectl.get("application.argoproj.io", name) or {}

    def follow(self, manifest: dict[str, Any]) -> None:
        """Apply an Application, to this cluster."""
        manifest["spec"]["destination"] = manifest["spec"]["destination"] | {"server": self.server}
        self.kubectl("apply", "-f", "-", stdin=manifest)

    def refresh(self, name: str) -> None:
        """Look at Git now, as a webhook would have it."""
        annotation = "argocd.argoproj.io/refresh=normal"
        self.kubectl("annotate", "--overwrite", "application.argoproj.io", name, annotation)

    def seen(self) -> str:
        """Return the last words of its logs: for messages of tests that fail."""
        return "\n".join(f"{log.name}: {log.read_text()[-3000:]}" for log in sorted(self.logs.glob("*.log")))


@contextmanager
def running_argocd(program: Path, cluster: Target, folder: Path) -> Iterator[ArgoCD]:
    """Install Argo CD's kinds and settings, ours among them, and run it; all of it goes at the end."""
    kubectl = Kubectl(cluster.kubeconfig, NAMESPACE)
    manifests = program.parent / "manifests"
    crds = [str(manifests / "crds" / f"{kind}-crd.yaml") for kind in ("application", "appproject")]
    # First, because it fails where there is an Argo CD already, which must not be touched.
    kubectl("create", "namespace", NAMESPACE)
    with ExitStack() as stack:
        stack.callback(_remove, kubectl, crds)
        for crd in crds:
            kubectl("apply", "--server-side", "-f", crd)
        kubectl("apply", "-k", str(manifests / "base" / "config"))
        server = _settings(kubectl)
        ports = {name: free_port() for name in ("repo-server", "repo-metrics", "metrics")}
        redis = stack.enter_context(running_redis())
        run = _Programs(program, folder, cluster.kubeconfig, stack)
        repo_server = run(
            "argocd-repo-server", "--address=127.0.0.1", f"--port={ports['repo-server']}", "--disable-tls",
            "--metrics-address=127.0.0.1", f"--metrics-port={ports['repo-metrics']}", f"--redis={redis.host}",
            # Tests commit faster than people.
            "--revision-cache-expiration=1s",
        )  # fmt: skip
        wait_for_port(ports["repo-server"], repo_server)
        run(
            "argocd-application-controller", f"--kubeconfig={cluster.kubeconfig}", f"--namespace={NAMESPACE}",
            f"--metrics-port={ports['metrics']}", f"--redis={redis.host}", "--repo-server-plaintext",
            f"--repo-server=127.0.0.1:{ports['repo-server']}", "--app-resync=10", "--app-resync-jitter=0",
        )  # fmt: skip
        yield ArgoCD(kubectl, server, folder)


def _settings(kubectl: Kubectl) -> str:
    """Say what Argo CD is to know: of LLMCaches, by our own patch, and of this cluster; return its address."""
    kubectl("patch", "configmap", "argocd-cm", "--patch-file", str(EXAMPLE / "argocd" / "argocd-cm.yaml"))
    kubectl("patch", "secret", "argocd-secret", "-p", json.dumps({"stringData": {"server.secretkey": "for-tests"}}))
    kubectl("create", "serviceaccount", "argocd")
    kubectl("create", "clusterrolebinding", "argocd", "--clusterrole=cluster-admin", "--serviceaccount=argocd:argocd")
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    cluster = config["clusters"][0]["cluster"]
    access = {
        "bearerToken": kubectl("create", "token", "argocd", "--duration=6h").strip(),
        "tlsClientConfig": {"caData": cluster["certificate-authority-data"]},
    }
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "this-cluster", "labels": {"argocd.argoproj.io/secret-type": "cluster"}},
            "stringData": {"name": "this-cluster", "server": cluster["server"], "config": json.dumps(access)},
        },
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AppProject",
            "metadata": {"name": "default"},
            "spec": {
                "sourceRepos": ["*"],
                "destinations": [{"namespace": "*", "server": "*"}],
                "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
            },
        },
    )
    server: str = cluster["server"]
    return server


def _remove(kubectl: Kubectl, crds: list[str]) -> None:
    kubectl.run("delete", "clusterrolebinding", "argocd", "--ignore-not-found")
    for crd in crds:
        kubectl.run("delete", "-f", crd, "--ignore-not-found", "--wait=false")
    kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")


class _Programs:
    """Argo CD's components, which are one program by several names; each ends with the stack."""

    def __init__(self, program: Path, folder: Path, kubeconfig: Path, stack: ExitStack) -> None:
        self._program, self._folder, self._stack = program, folder, stack
        beside = folder / "bin"
        beside.mkdir()
        kustomize = beside / "kustomize"
        kubectl = Path(sys.executable).with_name("kubectl")
        kustomize.write_text(KUSTOMIZE.format(kubectl=kubectl))
        kustomize.chmod(0o755)
        self._environment = os.environ | {
            "PATH": f"{beside}:{os.environ['PATH']}",
            "HOME": str(folder),
            "KUBECONFIG": str(kubeconfig),
            "ARGOCD_GPG_ENABLED": "false",
        }

    def __call__(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self._folder / f"{name}.log").open("wb"))
        environment = self._environment | {"ARGOCD_BINARY_NAME": name}
        process = subprocess.Popen([self._program, *words], stdout=log, stderr=log, env=environment)
        self._stack.callback(_end, process)
        return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def settings_command(program: Path, command: str, file: Path, *more: str) -> str:
    """Return what Argo CD says of an object by the settings that we ship: health, list-actions, run-action."""
    settings = ["--argocd-cm-path", str(EXAMPLE / "argocd" / "argocd-cm.yaml")]
    words = ["admin", "settings", "resource-overrides", command, str(file), *more, *settings]
    environment = os.environ | {"ARGOCD_BINARY_NAME": "argocd", "ARGOCD_GPG_ENABLED": "false"}
    done = subprocess.run([program, *words], capture_output=True, text=True, env=environment, timeout=60, check=True)
    return done.stdout
