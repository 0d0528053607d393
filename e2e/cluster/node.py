"""The first process inside the cluster's namespaces: mounts, then every component in order, then watching them.

When it dies, however it dies, the kernel kills every process of its pid namespace, and with the last of them go
the mounts, the network namespace, its link and its routes. That is the cluster's whole teardown.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from . import components
from .api import FIRST_OBJECTS, Api, answers
from .layout import INSIDE, PROGRAMS, ClusterError, Layout
from .network import configure_inside
from .ociarchive import pause_archive
from .processes import ENVIRONMENT, Processes


def main() -> None:
    """Take one line of JSON from stdin (see `supervisor`); report phases on stdout, a line of JSON each."""
    order = json.loads(sys.stdin.readline())
    layout = Layout(order["name"], order["slot"])
    try:
        mount_all(Path(order["folder"]), Path(order["programs"]))
        configure_inside(layout)
        processes = Processes(INSIDE / "logs")
        start_all(layout, order["token"], processes)
        report("ready")
        processes.watch()
    except (ClusterError, OSError, subprocess.CalledProcessError) as error:
        report("failed", str(error))
        sys.exit(1)


def report(phase: str, message: str = "") -> None:
    print(json.dumps({"phase": phase, "message": message}), flush=True)


def start_all(layout: Layout, token: str, processes: Processes) -> None:
    """Start every component as soon as what it needs is there; return when pods can run."""
    api = Api.of(layout, token, INSIDE / "pki" / "ca.crt")
    processes.start(components.etcd())
    processes.start(components.containerd())
    processes.wait_until("etcd", lambda: _listens(("127.0.0.1", 2379)))
    processes.start(components.apiserver(layout))
    processes.wait_until("containerd", lambda: _listens(str(components.CONTAINERD_SOCKET)))
    load_pause_image()
    processes.wait_until("kube-apiserver", api.is_ready)
    processes.start(components.kubelet(layout))
    processes.start(components.controller_manager(layout))
    processes.start(components.scheduler())
    processes.start(components.proxy())
    for path, obj in FIRST_OBJECTS.items():
        api.apply(path, obj)
    processes.start(components.dns())
    processes.wait_until("node", lambda: api.node_is_ready(layout.node_name))
    default_account = "/api/v1/namespaces/default/serviceaccounts/default"
    processes.wait_until("default service account", lambda: api.exists(default_account))
    dns_ready = f"http://{layout.node_address}:{components.DNS_READY_PORT}/ready"
    processes.wait_until("coredns", lambda: answers(dns_ready))


def mount_all(folder: Path, programs: Path) -> None:
    """Give the cluster a /run, /tmp, /var/log and CNI state of its own, under the paths that programs fix."""
    # The kubelet hands volumes to containers by mount propagation, which ends at this namespace.
    _mount("--make-rshared", "/")
    _hold_kernel_tunables(folder / "sysctl")
    # Opened first: either folder may lie below what is covered next.
    sources = {INSIDE: os.open(folder, os.O_PATH), PROGRAMS: os.open(programs, os.O_PATH)}
    for covered in ("/run", "/tmp"):
        _mount("-t", "tmpfs", "tmpfs", covered)
    Path("/tmp").chmod(0o1777)
    for target, descriptor in sources.items():
        target.mkdir()
        _mount("--no-canonicalize", "--bind", f"/proc/self/fd/{descriptor}", str(target), descriptor=descriptor)
        os.close(descriptor)
    for target, source in {
        "/var/log": INSIDE / "logs" / "var",
        "/var/lib/cni": INSIDE / "cni",
        "/tmp/hostpath_pv": INSIDE / "volumes",
    }.items():
        source.mkdir(parents=True, exist_ok=True)
        Path(target).mkdir(parents=True, exist_ok=True)
        _mount("--bind", str(source), target)


def load_pause_image() -> None:
    """The image of every pod's first container, made of the one static program."""
    subprocess.run(
        [f"{PROGRAMS}/ctr", "--address", str(components.CONTAINERD_SOCKET), "--namespace", "k8s.io", "images",
         "import", "-"],
        input=pause_archive(PROGRAMS / "pause", components.PAUSE_IMAGE), env=ENVIRONMENT, capture_output=True,
        check=True,
    )  # fmt: skip


def _hold_kernel_tunables(folder: Path) -> None:
    """Cover what the kubelet would change for the whole machine with files that have the values it wants."""
    for number, (name, value) in enumerate(components.KERNEL_TUNABLES.items()):
        folder.mkdir(exist_ok=True)
        file = folder / str(number)
        file.write_text(f"{value}\n")
        target = Path("/proc/sys", name)
        if target.exists():
            _mount("--bind", str(file), str(target))


def _mount(*arguments: str, descriptor: int | None = None) -> None:
    inherited = () if descriptor is None else (descriptor,)
    done = subprocess.run(["mount", *arguments], pass_fds=inherited, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"mount {' '.join(arguments)}: {done.stderr.strip()}")


def _listens(address: str | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        return connection.connect_ex(address) == 0


if __name__ == "__main__":
    main()
