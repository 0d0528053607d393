"""Up, down, status: the cluster as its users see it."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import supervisor
from .api import Api
from .binaries import ensure_binaries
from .layout import DEFAULT_NAME, REPOSITORY, ClusterError, lock_file, run_folder
from .locks import holder, try_lock
from .preflight import missing
from .state import Process, State, clear


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """A running cluster: how to reach it, and where it is."""

    name: str
    kubeconfig: Path
    node_address: str
    host_address: str
    """This machine as pods reach it; inside, also called host.llmcache.internal."""
    pod_cidr: str
    service_cidr: str
    netns: Path
    """For `nsenter --net=`. Rarely needed: pods and Services are routed from this machine."""
    process: int
    """The process that holds the namespaces."""
    logs: Path

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` in the cluster's mounts and network."""
        return ["nsenter", "--target", str(self.process), "--mount", "--net", "--", *command]


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """`phase` is starting, ready, stopping, failed or down; `info` is there when it is ready."""

    phase: str
    message: str = ""
    info: ClusterInfo | None = None


def up(name: str = DEFAULT_NAME, *, owner_pid: int | None = None, timeout_seconds: float = 120) -> ClusterInfo:
    """A running cluster of this name: the one that is up already, or a new one, after clearing what a killed one left.

    With `owner_pid` a new cluster goes down when that process dies, however it dies; without, it stays until
    `down`. When this call fails or its process dies half way, nothing is left. ClusterError says what failed.
    """
    if lacking := missing():
        raise ClusterError("no cluster here, missing:\n" + "\n".join(f"  {line}" for line in lacking))
    ensure_binaries()
    deadline = time.monotonic() + timeout_seconds
    while (lock := try_lock(lock_file(name))) is None:
        if (found := status(name)).info:
            return found.info
        if found.phase == "failed":
            down(name)
        if time.monotonic() > deadline:
            raise ClusterError(f"cluster {name!r} is {found.phase} for {timeout_seconds:g} s; see {_logs(name)}")
        time.sleep(0.05)
    try:
        _spawn(name, lock, owner_pid)
        return _await_ready(name, deadline)
    except BaseException:
        down(name)
        raise


def down(name: str = DEFAULT_NAME, *, purge: bool = False, timeout_seconds: float = 30) -> None:
    """No cluster of this name any more, nor anything that a killed one left behind. Safe to repeat.

    Its logs and the images that were loaded stay in its folder for the next `up`, unless `purge`.
    """
    deadline = time.monotonic() + timeout_seconds
    asked = 0.0
    while (lock := try_lock(lock_file(name))) is None:
        now = time.monotonic()
        process = Process.find(holder(lock_file(name)) or 0)
        if process and now > deadline:
            process.kill()
        elif process and now > asked + 5:
            os.kill(process.pid, signal.SIGTERM)
            asked = now
        if now > deadline + 10:
            raise ClusterError(f"cluster {name!r} does not stop: process {process} holds {lock_file(name)}")
        time.sleep(0.02)
    try:
        state = State.load(name)
        if state.phase not in ("down", "failed"):
            clear(state)
            State(name, "down").save()
        if purge:
            shutil.rmtree(run_folder(name), ignore_errors=True)
    finally:
        os.close(lock)


def status(name: str = DEFAULT_NAME) -> ClusterStatus:
    """How the cluster is; asks its API server, so that `ready` means that it answers."""
    state = State.load(name)
    if (lock := try_lock(lock_file(name))) is not None:
        os.close(lock)
        if state.phase in ("down", "failed"):
            return ClusterStatus(state.phase, state.message)
        return ClusterStatus("failed", f"its supervisor was killed while it was {state.phase}")
    if state.phase != "ready":
        return ClusterStatus(state.phase, state.message)
    info = _info(state)
    token = (run_folder(name) / "etc" / "tokens.csv").read_text().partition(",")[0]
    if not Api.of(state.layout, token, run_folder(name) / "pki" / "ca.crt").is_ready():
        return ClusterStatus("failed", f"its API server does not answer at {state.layout.api_server}")
    return ClusterStatus("ready", info=info)


def running(name: str) -> ClusterInfo:
    """The running cluster of this name; ClusterError where there is none."""
    found = status(name)
    if found.info is None:
        raise ClusterError(f"cluster {name!r} is {found.phase}; start it with: python -m e2e.cluster up --name {name}")
    return found.info


def _spawn(name: str, lock: int, owner_pid: int | None) -> None:
    """Start the supervisor and hand it the lock."""
    try:
        log = supervisor.prepare(name)
        owner = os.getpid() if owner_pid is None else owner_pid
        with log.open("wb") as output:
            subprocess.run(
                supervisor.command(name, lock, owner, bound=owner_pid is not None),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(lock,), cwd="/",
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=True,
            )  # fmt: skip
    finally:
        # The supervisor's copy keeps the lock.
        os.close(lock)


def _await_ready(name: str, deadline: float) -> ClusterInfo:
    while (state := State.load(name)).phase != "ready":
        if (lock := try_lock(lock_file(name))) is not None:
            os.close(lock)
            message = State.load(name).message or "its supervisor died"
            raise ClusterError(f"cluster {name!r} did not start: {message}\nlogs: {_logs(name)}")
        if time.monotonic() > deadline:
            raise ClusterError(f"cluster {name!r} is not ready in time; logs: {_logs(name)}")
        time.sleep(0.03)
    return _info(state)


def _info(state: State) -> ClusterInfo:
    layout, process = state.layout, state.processes[0].pid
    return ClusterInfo(
        name=state.name,
        kubeconfig=run_folder(state.name) / "kubeconfig",
        node_address=layout.node_address,
        host_address=layout.host_address,
        pod_cidr=layout.pod_cidr,
        service_cidr=layout.service_cidr,
        netns=Path(f"/proc/{process}/ns/net"),
        process=process,
        logs=_logs(state.name),
    )


def _logs(name: str) -> Path:
    return run_folder(name) / "logs"
