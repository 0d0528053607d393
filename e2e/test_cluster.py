"""The test cluster itself: what pods may rely on, and that nothing of it outlives its owner."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.cluster import ClusterError, ClusterInfo, build_base_image, cgroups, down, status, up
from e2e.cluster.layout import REPOSITORY, Layout, lock_file
from e2e.cluster.locks import holder
from e2e.target import Target

VICTIM = "llmcache-victim"

OBJECTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: probe}
data: {word: one}
---
apiVersion: v1
kind: Service
metadata: {name: probe}
spec: {selector: {app: probe}, ports: [{port: 80, targetPort: 8000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: probe, labels: {app: probe}}
spec:
  securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: probe
      image: IMAGE
      imagePullPolicy: IfNotPresent
      command: [python3, -u, -m, http.server, "8000", --directory, /config]
      securityContext:
        {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      readinessProbe: {httpGet: {path: /word, port: 8000}, periodSeconds: 1}
      volumeMounts: [{name: config, mountPath: /config}]
  volumes: [{name: config, configMap: {name: probe}}]
"""


@pytest.fixture(scope="module")
def probe(cluster: Target) -> Target:
    """The cluster with a restricted pod in it that serves its ConfigMap."""
    if cluster.info is None:
        pytest.skip("E2E_KUBECONFIG: another cluster's own workings are not ours to test")
    image = build_base_image()
    cluster.load(image)
    cluster.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    cluster.kubectl("apply", "-f", "-", given=OBJECTS.replace("IMAGE", image))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/probe", "--timeout=60s")
    return cluster


def test_a_restricted_pod_finds_itself_by_its_services_name(probe: Target) -> None:
    ask = "import urllib.request as r; print(r.urlopen('http://probe.default.svc/word', timeout=5).read().decode())"
    eventually(lambda: probe.kubectl("exec", "probe", "--", "python3", "-c", ask).strip() == "one")
    assert "GET /word" in probe.kubectl("logs", "probe")


def test_a_changed_config_map_reaches_the_running_pod(probe: Target) -> None:
    probe.kubectl("patch", "configmap", "probe", "-p", '{"data": {"word": "two"}}')
    eventually(lambda: probe.kubectl("exec", "probe", "--", "cat", "/config/word") == "two")


def test_a_pod_verifies_the_api_server_and_is_who_its_token_says(probe: Target) -> None:
    ask = """
import json, ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
context = ssl.create_default_context(cafile=folder + "ca.crt")
body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
request = urllib.request.Request(
    "https://kubernetes.default.svc/apis/authentication.k8s.io/v1/selfsubjectreviews", json.dumps(body).encode(),
    {"Authorization": "Bearer " + open(folder + "token").read(), "Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=5, context=context).read().decode())
"""
    answer = json.loads(probe.kubectl("exec", "probe", "--", "python3", "-c", ask))
    assert answer["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"


def test_a_running_cluster_is_found_rather_than_started_again(probe: Target) -> None:
    assert probe.info is not None
    assert up(probe.info.name) == probe.info


@pytest.mark.parametrize("victim", ["owner", "supervisor", "node"])
def test_nothing_outlives_a_killed(victim: str, probe: Target) -> None:
    """Killed with -9: the process that started it, the supervisor, or the first process inside."""
    program = f"import os, e2e.cluster as c; c.up({VICTIM!r}, owner_pid=os.getpid()); print(flush=True); input()"
    owner = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline(), "the cluster did not start"
        info = status(VICTIM).info
        assert info is not None
        assert remains(info) == {"processes", "link", "routes", "cgroups"}
        supervisor = holder(lock_file(VICTIM)) or 0
        namespaces = namespaces_of(info)
        os.kill({"owner": owner.pid, "supervisor": supervisor, "node": info.process}[victim], signal.SIGKILL)
        # Without a supervisor, empty cgroups wait for the next command; there is nothing else left for it to do.
        expected = {"cgroups"} if victim == "supervisor" else set()
        eventually(lambda: remains(info, namespaces) == expected)
        owner.kill()
    down(VICTIM, purge=True)
    assert remains(info, namespaces) == set()


def remains(info: ClusterInfo, namespaces: set[str] | None = None) -> set[str]:
    """What there is of a cluster on this machine."""
    namespaces = namespaces or namespaces_of(info)
    links = set()
    for link in Path("/proc").glob("[0-9]*/ns/*"):
        with contextlib.suppress(OSError):  # it ended while we looked, or is not ours to look into
            links.add(os.readlink(link))
    found = {
        "processes": not namespaces.isdisjoint(links),
        "mounts": str(info.logs.parent) in Path("/proc/self/mountinfo").read_text(),
        "link": f"{info.host_address}/" in output("ip", "-4", "address"),
        "routes": info.pod_cidr in output("ip", "-4", "route") or info.service_cidr in output("ip", "-4", "route"),
        "cgroups": cgroups.exist(Layout(info.name, 0).cgroup),
    }
    return {what for what, there in found.items() if there}


def namespaces_of(info: ClusterInfo) -> set[str]:
    folder = Path(f"/proc/{info.process}/ns")
    return {os.readlink(folder / name) for name in ("net", "mnt", "pid_for_children")}


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def eventually(holds: Callable[[], bool], timeout_seconds: float = 20) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            if holds():
                return
        except (OSError, ClusterError) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"still failing after {timeout_seconds:g} s") from error
        assert time.monotonic() < deadline, f"not within {timeout_seconds:g} s"
        time.sleep(0.2)
