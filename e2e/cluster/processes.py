"""The components as processes: started with a log each, watched, and waited for."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .components import Component
from .layout import PROGRAMS, ClusterError

# The caller's environment stays out: a proxy set in it would come between the components.
ENVIRONMENT = {
    "PATH": f"{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
}


@dataclass(slots=True)
class Processes:
    """The running components. This process is their pid namespace's first, so it inherits every orphan too."""

    logs: Path
    running: dict[int, tuple[Component, subprocess.Popen[bytes]]] = field(default_factory=dict)

    def start(self, component: Component) -> None:
        with self._log(component).open("wb") as log:
            process = subprocess.Popen(
                component.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd="/",
                env=ENVIRONMENT, start_new_session=True,
            )  # fmt: skip
        self.running[process.pid] = (component, process)

    def wait_until(self, what: str, ready: Callable[[], bool], timeout_seconds: float = 60) -> None:
        """Poll until `ready`; ClusterError when a component exits meanwhile or the time is over."""
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            self._reap(os.WNOHANG)
            if time.monotonic() > deadline:
                raise ClusterError(f"{what}: not ready after {timeout_seconds:g} s")
            time.sleep(0.03)

    def stop(self, component: Component) -> None:
        """Kill it and collect it."""
        for pid, (found, process) in list(self.running.items()):
            if found == component:
                del self.running[pid]
                process.kill()
                process.wait()

    def watch(self) -> None:
        """Collect what exits, for ever; ClusterError when a component does."""
        while True:
            self._reap(0)

    def _reap(self, flags: int) -> None:
        # WNOWAIT: a component's exit status is for its Popen to collect.
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | flags):
            if found.si_pid not in self.running:
                os.waitpid(found.si_pid, 0)
                continue
            component, process = self.running.pop(found.si_pid)
            raise ClusterError(f"{component.name} exited with {process.wait()}: {self._last_words(component)}")

    def _last_words(self, component: Component) -> str:
        lines = self._log(component).read_text(errors="replace").splitlines()
        return "\n".join(lines[-8:]) or "it wrote nothing"

    def _log(self, component: Component) -> Path:
        return self.logs / f"{component.name}.log"
