"""kubectl, and an operator that runs as a process beside the cluster."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
RESOURCES = "/apis/llmcache.dev/v1alpha1/llmcaches"
ECHO = {"name": "echo", "provider": "echo"}


@dataclass(frozen=True)
class Kubectl:
    """kubectl for one cluster and one namespace."""

    kubeconfig: Path
    namespace: str

    def run(self, *words: str, stdin: Any = None) -> subprocess.CompletedProcess[str]:
        command = [f"{sys.prefix}/bin/kubectl", f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}"]
        documents = stdin if isinstance(stdin, list) else [stdin]
        text = yaml.safe_dump_all(documents) if stdin is not None else None
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
        assert found is not None or re.search("NotFound|doesn't have a resource type", done.stderr), done.stderr
        return found

    def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self("get", kind, "-o", "json", "-l", selector))["items"]
        return items

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        status = (self.get("llmcache", name) or {}).get("status", {})
        found = [c for c in status.get("conditions", ()) if c["type"] == kind]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")

    def reaches(self, name: str, kind: str, state: tuple[str, str], seconds: float = 100) -> None:
        """Wait until a condition has a status and a reason; a failure shows what the resource and its pods say."""

        def instead() -> str:
            status = (self.get("llmcache", name) or {}).get("status")
            pods = self.list("pods", f"app.kubernetes.io/instance={name}")
            return f"{kind} of {name} is not {state} but: {status}\npods: {[pod['status'] for pod in pods]}"

        eventually(lambda: self.condition(name, kind) == state, seconds, instead)


def eventually(holds: Callable[[], Any], seconds: float = 60, instead: Callable[[], str] = str) -> Any:
    """Wait until something holds, and return it; `instead` is asked at the end what holds in its place."""
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {value!r} {instead()}"
        time.sleep(0.1)
    return value


def manifest(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "llmcache.dev/v1alpha1",
        "kind": "LLMCache",
        "metadata": {"name": name},
        "spec": {"upstreams": [ECHO], "prefix": {"version": "v1"}, "gateway": {"replicas": 0}} | spec,
    }


def install_definition(kubectl: Kubectl) -> None:
    """Bring the CustomResourceDefinition in, and return when the API server takes LLMCaches."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds" / "llmcaches.llmcache.dev.yaml"))
    # kubectl wait gives up on a definition that has no conditions yet.
    ready = ("wait", "--for=condition=Established", "crd/llmcaches.llmcache.dev", "--timeout=30s")
    eventually(lambda: kubectl.run(*ready).returncode == 0)
    # For a moment after that it answers watches with 429: its storage is initializing.
    eventually(lambda: kubectl.run("get", "--raw", f"{RESOURCES}?watch=1&timeoutSeconds=1").returncode == 0)


@dataclass(frozen=True)
class Operator:
    """A running operator."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]

    def stop(self, number: signal.Signals) -> int:
        """Send a signal, and return the exit code that comes of it."""
        self.process.send_signal(number)
        return self.process.wait(60)

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


@contextmanager
def running_operator(kubeconfig: Path, log: Path, *words: str) -> Iterator[Operator]:
    """Run an operator that looks at everything each second; it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [f"{sys.prefix}/bin/llmcache-operator", "run", "--resync", "1", "--health-port", str(port), *words]
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, env=os.environ | {"KUBECONFIG": str(kubeconfig)})
        running = Operator(port, log, process)
        try:
            eventually(lambda: running.answers("/readyz") or process.poll() is not None, 60)
            assert process.poll() is None, log.read_text()
            yield running
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(15)
