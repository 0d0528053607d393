"""The first process inside the cluster's namespaces: mounts, then every component in order, then watching them.

When it dies, however it dies, the kernel kills every process of its pid namespace, and with the last of them go
the mounts, the network namespace, its link and its routes. That is the cluster's whole teardown.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from . import components, imagestore
from .api import FIRST_OBJECTS, Api, answers
from .layout import INSIDE, PROGRAMS, ClusterError, Layout
from .network import configure_inside
from .processes import Processes
from .volumes import provide_volumes


def main() -> None:
    """Take one line of JSON from stdin (see `supervisor`); report phases on stdout, a line of JSON each."""
    order = json.loads(sys.stdin.readline())
    layout = Layout(order["name"], order["slot"])
    try:
        mount_all(Path(order["folder"]), Path(order["programs"]))
        configure_inside(layout)
        processes = Processes(INSIDE / "logs")
        api = Api.of(layout, order["token"], INSIDE / "pki" / "ca.crt")
        start_all(layout, api, processes)
        threading.Thread(target=provide_volumes, args=(api, layout, INSIDE / "volumes"), daemon=True).start()
        report("ready")
        processes.watch()
    except (ClusterError, OSError, subprocess.SubprocessError) as error:
        report("failed", str(error))
        sys.exit(1)


def report(phase: str, message: str = "") -> None:
    print(json.dumps({"phase": phase, "message": message}), flush=True)


def start_all(layout: Layout, api: Api, processes: Processes) -> None:
    """Start every component as soon as what it needs is there; return when pods can run."""
    processes.start(components.etcd())
    imagestore.reset(processes)
    processes.start(components.containerd())
    processes.wait_until("etcd", lambda: _listens("127.0.0.1", 2379))
    processes.start(components.apiserver(layout))
    processes.wait_until("containerd", imagestore.is_listening)
    imagestore.load_pause_image()
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
    """Give the cluster a /run, /var/log and CNI state of its own, under the paths that programs fix."""
    # The kubelet hands volumes to containers by mount propagation, which ends at this namespace.
    _mount("--make-rshared", "/")
    _hold_kernel_tunables(folder / "sysctl")
    # Opened first: either folder may lie below what is covered next.
    sources = {INSIDE: os.open(folder, os.O_PATH), PROGRAMS: os.open(programs, os.O_PATH)}
    _mount("-t", "tmpfs", "tmpfs", "/run")
    for target, descriptor in sources.items():
        target.mkdir()
        _mount("--no-canonicalize", "--bind", f"/proc/self/fd/{descriptor}", str(target), descriptor=descriptor)
        os.close(descriptor)
    for path, source in {"/var/log": INSIDE / "logs" / "var", "/var/lib/cni": INSIDE / "cni"}.items():
        source.mkdir(parents=True, exist_ok=True)
        Path(path).mkdir(parents=True, exist_ok=True)
        _mount("--bind", str(source), path)


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


def _listens(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        return connection.connect_ex((host, port)) == 0


if __name__ == "__main__":
    main()
