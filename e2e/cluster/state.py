"""What a cluster's supervisor says about it, in one file; and what to clear away when it can say no more."""

import json
import os
import shutil
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from . import cgroups, network
from .components import IMAGES_FOLDER
from .layout import Layout, run_folder

KEPT = ("logs", "state.json", IMAGES_FOLDER)
"""What outlives a cluster in its folder: why it failed, and what the next one of its name starts with."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process by id and start time, which together are never given twice."""

    pid: int
    started: int

    @classmethod
    def find(cls, pid: int) -> "Process | None":
        """The process of this id; None where there is none or it is dead already."""
        try:
            # The name, in parentheses, may have spaces and parentheses of its own.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @property
    def is_alive(self) -> bool:
        return Process.find(self.pid) == self

    def children(self) -> list["Process"]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (process := Process.find(int(entry.name))) and process.parent() == self.pid:
                found.append(process)
        return found

    def parent(self) -> int:
        try:
            return int(Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return 0

    def kill(self, timeout_seconds: float = 10) -> None:
        """Kill it and wait until it is gone."""
        deadline = time.monotonic() + timeout_seconds
        while self.is_alive and time.monotonic() < deadline:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class State:
    """The contents of `state.json`. Phases: starting, ready, stopping, then failed (with a message) or down."""

    name: str
    phase: str
    message: str = ""
    slot: int = -1
    processes: tuple[Process, ...] = ()
    """The holder of the namespaces, then the first process inside."""

    @property
    def layout(self) -> Layout:
        return Layout(self.name, self.slot)

    def save(self) -> None:
        file = run_folder(self.name) / "state.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self)))
        draft.rename(file)

    @classmethod
    def load(cls, name: str) -> "State":
        """What was saved last; the phase is `down` where nothing ever was."""
        try:
            content = json.loads((run_folder(name) / "state.json").read_text())
        except FileNotFoundError:
            return cls(name, "down")
        processes = tuple(Process(**process) for process in content.pop("processes"))
        return cls(**content, processes=processes)


def clear(state: State) -> None:
    """Leave nothing of the cluster: no process, namespace, link, route or cgroup; of its files, `KEPT`.

    Only for the holder of the cluster's lock. Killing the first process inside ends all the others, and with them
    go mounts and namespaces.
    """
    for process in reversed(state.processes):
        process.kill()
    if state.slot >= 0:
        network.remove_link(state.layout.link_name)
    cgroups.remove(Layout(state.name, 0).cgroup)
    for path in run_folder(state.name).glob("*"):
        if path.name in KEPT:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
