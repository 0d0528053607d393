"""`make bench-operator`: many LLMCaches at once on a real API server, beside a kopf handler that does nothing.

Both are asked for the same, one after the other, and reach the API server through the same proxy, which counts. The
LLMCaches have no replicas: what is measured is the operator, not how fast a node starts pods. Only the ratios mean
anything: the absolute figures are this machine's, today's, and its neighbours'.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from e2e.api_proxy import ApiProxy, running_proxy
from e2e.cluster import ensure_binaries, missing, up
from e2e.cluster.cluster import down
from e2e.operators import ROOT, Kubectl, eventually, install_definition, manifest, running_operator

Done = Callable[[dict[str, Any]], bool]


class Figures(NamedTuple):
    """What one of them took."""

    seconds: float
    """From the first creation until the last was reconciled."""
    requests: float
    """API calls for each object until then."""
    writes: float
    steady: int
    """Writes of all in the steady time after."""
    mebibytes: float
    """Resident memory at the end."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.operator", description=__doc__)
    parser.add_argument("--objects", type=int, default=300, help="LLMCaches that are created at once")
    parser.add_argument("--steady", type=float, default=300, help="seconds in which nothing may be written")
    parser.add_argument("--cluster", default="llmcache-bench", help="name of the cluster, which is made and taken down")
    arguments = parser.parse_args()
    if lacking := missing():
        sys.exit("no cluster here, missing:\n" + "\n".join(lacking))
    ensure_binaries()
    info = up(arguments.cluster, owner_pid=os.getpid())
    try:
        kubectl = Kubectl(info.kubeconfig, "bench")
        kubectl("create", "namespace", "bench")
        install_definition(kubectl)
        bare = _measure(kubectl, _bare, _noted, arguments.objects, arguments.steady)
        ours = _measure(kubectl, _ours, _reconciled, arguments.objects, arguments.steady)
    finally:
        down(arguments.cluster)
    _print(bare, ours, arguments.objects, arguments.steady)


def _measure(
    kubectl: Kubectl, run: Callable[[ApiProxy, Path], Any], done: Done, objects: int, steady: float
) -> Figures:
    with tempfile.TemporaryDirectory(prefix="llmcache-bench-") as name:
        folder = Path(name)
        with running_proxy(kubectl.kubeconfig, folder) as proxy, run(proxy, folder) as process:
            before, began = (proxy.total, proxy.writes), time.monotonic()
            items = [manifest(f"bench-{number}") for number in range(objects)]
            kubectl("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": items})
            eventually(lambda: sum(map(done, kubectl.list("llmcaches"))) == objects, 600)
            seconds = time.monotonic() - began
            calls, writes = (proxy.total - before[0]) / objects, (proxy.writes - before[1]) / objects
            print(f"{run.__name__[1:]}: {objects} in {seconds:.1f} s", file=sys.stderr)
            # Kubernetes' own controllers have the last word: each Deployment's status makes for one more look.
            _until_silent(proxy)
            at_rest = proxy.writes
            time.sleep(steady)
            found = Figures(seconds, calls, writes, proxy.writes - at_rest, _resident(process.pid))
            kubectl("delete", "llmcaches", "--all", "--wait=false")
            eventually(lambda: not kubectl.list("llmcaches") and not kubectl.list("deployments"), 600)
            return found


@contextmanager
def _ours(proxy: ApiProxy, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with running_operator(proxy.kubeconfig, folder / "log", "--namespace", "bench", "--resync", "60") as operator:
        yield operator.process


@contextmanager
def _bare(proxy: ApiProxy, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = ["run", "--standalone", "--namespace=bench", "--quiet", str(ROOT / "bench" / "bare_kopf.py")]
    environment = os.environ | {"KUBECONFIG": str(proxy.kubeconfig)}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([f"{sys.prefix}/bin/kopf", *words], stderr=log, env=environment)
    try:
        watch = "/apis/llmcache.dev/v1alpha1/namespaces/bench/llmcaches"
        eventually(lambda: proxy.requests["GET", watch] >= 1, 30)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _reconciled(resource: dict[str, Any]) -> bool:
    return any((c["type"], c["status"]) == ("Ready", "True") for c in resource["status"].get("conditions", ()))


def _noted(resource: dict[str, Any]) -> bool:
    return "kopf.zalando.org/last-handled-configuration" in resource["metadata"].get("annotations", {})


def _until_silent(proxy: ApiProxy, seconds: float = 10) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        before = proxy.writes
        time.sleep(seconds)
        if proxy.writes == before:
            return


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _print(bare: Figures, ours: Figures, objects: int, steady: float) -> None:
    rows = [
        (f"time until {objects} are reconciled", "s", bare.seconds, ours.seconds),
        ("API calls for each", "", bare.requests, ours.requests),
        ("writes for each", "", bare.writes, ours.writes),
        ("resident memory (aim: at most 200 MiB)", "MiB", bare.mebibytes, ours.mebibytes),
    ]
    print(f"{'':40}{'bare kopf':>12}{'operator':>12}{'ratio':>8}")
    for name, unit, one, other in rows:
        print(f"{name:40}{one:>8.1f} {unit:3}{other:>8.1f} {unit:3}{other / one:>8.2f}")
    print(f"writes in {steady:.0f} steady seconds (aim: none): {bare.steady} and {ours.steady}")


if __name__ == "__main__":
    main()
