"""The cgroup that the cluster's pods are in, in every hierarchy of the machine."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def create(name: str) -> None:
    """Make the cgroup; the kubelet takes an existing one only."""
    for hierarchy in _hierarchies():
        folder = hierarchy / name
        folder.mkdir(exist_ok=True)
        # cgroup v1: a cpuset without processors takes no process.
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (folder / "cgroup.clone_children").exists() and (folder / file).exists():
                (folder / file).write_text((hierarchy / file).read_text())
    if _is_unified():
        for folder in (ROOT, ROOT / name):
            _delegate(folder)


def remove(name: str, timeout_seconds: float = 5) -> None:
    """Remove the cgroup with all below it, once the processes that were in it are gone."""
    deadline = time.monotonic() + timeout_seconds
    for hierarchy in _hierarchies():
        folder = hierarchy / name
        while folder.exists():
            # Innermost first. A dying process keeps its cgroup busy for some milliseconds.
            for path, _, _ in os.walk(folder, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
            if time.monotonic() > deadline:
                return
            if folder.exists():
                time.sleep(0.02)


def exist(name: str) -> bool:
    return any((hierarchy / name).exists() for hierarchy in _hierarchies())


def _delegate(folder: Path) -> None:
    for controller in (folder / "cgroup.controllers").read_text().split():
        # Not every controller can be delegated; the kubelet names the ones that it misses.
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _is_unified() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def _hierarchies() -> Iterator[Path]:
    if _is_unified():
        yield ROOT
        return
    for folder in sorted(ROOT.iterdir()):
        # `cpu` and `cpuacct` are often links to one hierarchy.
        if folder.is_dir() and not folder.is_symlink() and (folder / "cgroup.procs").exists():
            yield folder
