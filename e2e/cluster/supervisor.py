"""The process behind a running cluster: starts it in namespaces of its own, and takes it down when its owner dies.

It holds the cluster's lock for as long as it lives. When it is killed itself, the kernel kills the cluster with it.
"""

import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from . import cgroups, components, network, pki
from .binaries import binaries_folder
from .layout import REPOSITORY, ClusterError, Layout, run_folder
from .namespaces import apart
from .preflight import add_system_folders_to_path
from .state import Process, State, clear


def command(name: str, lock: int, owner: int, *, bound: bool) -> list[str]:
    """How to start a supervisor that inherits the lock, detached from its caller's session.

    The owner's death ends the cluster: always while it starts, afterwards where it is `bound` to the owner.
    """
    module = f"{__package__}.supervisor"
    return ["setsid", "--fork", sys.executable, "-m", module, name, str(lock), str(owner), str(int(bound))]


def main() -> None:
    name, lock, owner, bound = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1"
    os.set_inheritable(lock, False)
    os.truncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    add_system_folders_to_path()
    os.umask(0o022)
    state = State(name, "starting")
    ending = State(name, "down")
    with _stop_signals() as stop:
        try:
            owner_descriptor = os.pidfd_open(owner)
            node, state = _start_node(state)
            message = _wait_for_the_end(state, node, stop, owner_descriptor, bound)
            if message:
                ending = replace(ending, phase="failed", message=message)
        except ProcessLookupError:
            ending = replace(ending, phase="failed", message=f"its owner, process {owner}, is no more")
        except (ClusterError, OSError) as error:
            ending = replace(ending, phase="failed", message=str(error))
        finally:
            # Saved before: were this process killed in what follows, the next one knows what to clear.
            state = replace(State.load(name), phase="stopping")
            state.save()
            clear(state)
            ending.save()


def _start_node(state: State) -> tuple[subprocess.Popen[bytes], State]:
    """Make the namespaces, link them, write every file and start the first process inside."""
    folder = run_folder(state.name)
    cgroups.create(Layout(state.name, 0).cgroup)
    with (folder / "logs" / "node.log").open("wb") as log:
        node = subprocess.Popen(
            apart([sys.executable, "-m", f"{__package__}.node"], network=True),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd="/",
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
    holder = _namespace_holder(node)
    state = replace(state, processes=(holder, *holder.children()))
    state.save()
    layout = network.connect(state.name, node.pid)
    state = replace(state, slot=layout.slot)
    state.save()
    token = _write_files(folder, layout)
    order = {"name": state.name, "slot": layout.slot, "folder": str(folder), "token": token,
             "programs": str(binaries_folder())}  # fmt: skip
    assert node.stdin is not None
    node.stdin.write(json.dumps(order).encode() + b"\n")
    node.stdin.flush()
    return node, state


def _namespace_holder(node: subprocess.Popen[bytes]) -> Process:
    """Wait until the child has its namespaces and its own first child: two execs and one fork away."""
    ours = os.readlink("/proc/self/ns/net")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and node.poll() is None:
        process = Process.find(node.pid)
        if process and os.readlink(f"/proc/{node.pid}/ns/net") != ours and process.children():
            return process
        time.sleep(0.005)
    log = run_folder(sys.argv[1]) / "logs" / "node.log"
    raise ClusterError(f"no namespaces for the cluster: {log.read_text(errors='replace').strip()}")


def _write_files(folder: Path, layout: Layout) -> str:
    """Certificates, configuration and the administrator's kubeconfig; returns the administrator's token."""
    pki.issue(folder / "pki", layout)
    tokens = pki.new_tokens()
    authority = (folder / "pki" / "ca.crt").read_bytes()
    files = components.configuration(layout, tokens, authority)
    files["tokens.csv"] = pki.token_file(layout, tokens)
    for name, text in files.items():
        path = folder / "etc" / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text)
    kubeconfig = folder / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(components.kubeconfig(layout, tokens["admin"], authority))
    return tokens["admin"]


def _wait_for_the_end(state: State, node: subprocess.Popen[bytes], stop: socket.socket, owner: int, bound: bool) -> str:
    """Follow the node's phases until a signal, the owner's death or the node's; what went wrong, if anything did."""
    assert node.stdout is not None
    with selectors.DefaultSelector() as events:
        events.register(stop, selectors.EVENT_READ)
        events.register(owner, selectors.EVENT_READ)
        events.register(node.stdout, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.fileobj is not node.stdout:
                    return ""
                line = node.stdout.readline()
                if not line:
                    return "the node's first process was killed"
                said = json.loads(line)
                if said["phase"] == "failed":
                    return str(said["message"])
                replace(state, phase=said["phase"]).save()
                if not bound:
                    events.unregister(owner)


@contextmanager
def _stop_signals() -> Iterator[socket.socket]:
    """A socket that becomes readable on SIGTERM, SIGINT and SIGHUP, which do nothing else."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    with reader, writer:
        yield reader
        signal.set_wakeup_fd(-1)


def prepare(name: str) -> Path:
    """Clear what the last run left and make the log folder; for the lock's holder. Returns the supervisor's log."""
    state = State.load(name)
    clear(state)
    logs = run_folder(name) / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    (logs / "var").mkdir(parents=True)
    State(name, "starting").save()
    return logs / "supervisor.log"


if __name__ == "__main__":
    main()
