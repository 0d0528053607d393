"""The cluster's programs: built from their pinned Go modules once, then kept in the cache folder."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .layout import ClusterError, cache_folder
from .locks import locked

GO_FOLDER = Path(__file__).parent / "go"
KUBERNETES_VERSION = "1.37.2"
CONTAINERD_VERSION = "2.4.2"
KEPT_BUILDS = 2
"""How many finished builds stay in the cache: today's, and the one of the branch beside it (700 MB each)."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program: the folder of its go.mod, its package, and the flags it alone needs."""

    module: str
    package: str
    flags: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    """Assignments for the linker's -X: without them Kubernetes calls itself v0.0.0."""

    @property
    def name(self) -> str:
        return self.module if self.package == "." else self.package.rsplit("/", 1)[-1]

    def command(self, target: Path) -> list[str]:
        linker = " ".join(["-s", "-w", *(f"-X {variable}" for variable in self.variables)])
        return ["go", "build", "-mod=readonly", "-trimpath", *self.flags, "-ldflags", linker, "-o", str(target),
                self.package]  # fmt: skip


def _kubernetes(name: str) -> Program:
    major, minor, _ = KUBERNETES_VERSION.split(".")
    version = "k8s.io/component-base/version"
    return Program("kubernetes", f"k8s.io/kubernetes/cmd/{name}", variables=(
        f"{version}.gitVersion=v{KUBERNETES_VERSION}", f"{version}.gitMajor={major}",
        f"{version}.gitMinor={minor}", f"{version}.gitTreeState=clean",
    ))  # fmt: skip


def _containerd(name: str) -> Program:
    module = "github.com/containerd/containerd/v2"
    # Snapshotters that nobody uses here.
    flags = ("-tags", "no_btrfs,no_devmapper,no_zfs")
    return Program("containerd", f"{module}/cmd/{name}", flags, (f"{module}/version.Version=v{CONTAINERD_VERSION}",))


def _cni(name: str) -> Program:
    return Program("containerd", f"github.com/containernetworking/plugins/plugins/{name}")


PROGRAMS = (
    Program("pause", "."),
    *map(_containerd, ("containerd", "containerd-shim-runc-v2", "ctr")),
    *map(_cni, ("ipam/host-local", "main/ptp", "main/loopback", "meta/portmap")),
    *map(_kubernetes, ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")),
    Program("coredns", "github.com/coredns/coredns"),
)


def binaries_key() -> str:
    """What decides whether a build can be reused: the pinned modules, our own source, the flags."""
    digest = hashlib.sha256()
    modules = {program.module for program in PROGRAMS}
    for path in sorted(path for path in GO_FOLDER.glob("*/*") if path.parent.name in modules):
        digest.update(f"{path.relative_to(GO_FOLDER)}\n".encode())
        digest.update(path.read_bytes())
    for program in PROGRAMS:
        digest.update(repr(program).encode())
    return digest.hexdigest()[:16]


def binaries_folder() -> Path:
    return cache_folder() / binaries_key() / "bin"


def are_built() -> bool:
    """Whether every program is in the cache. The folder gets its name only when the last one is there."""
    return binaries_folder().is_dir()


def ensure_binaries() -> Path:
    """The folder with every program, building what is not there: about 15 minutes on two cores the first time.

    Progress goes to stderr. An interrupted build goes on where it stopped; two builders wait for each other.
    ClusterError, with the compiler's words, when a program does not build.
    """
    folder = binaries_folder()
    if folder.is_dir():
        return folder
    with locked(cache_folder() / "build.lock"):
        if not folder.is_dir():
            _build_all(folder)
    return folder


def _build_all(folder: Path) -> None:
    require_go("the cluster's programs")
    partial = folder.with_name("bin.partial")
    partial.mkdir(parents=True, exist_ok=True)
    own_cache = cache_folder() / "go-build"
    environment = go_environment(own_cache)
    started = time.monotonic()
    for number, program in enumerate(PROGRAMS, start=1):
        label = f"[{number:2}/{len(PROGRAMS)}] {program.name}"
        if (partial / program.name).exists():
            _say(f"{label}: built before")
            continue
        with progress(label):
            build(program, partial, environment)
    partial.rename(folder)
    # Gigabytes that only the next version's first build would profit from.
    shutil.rmtree(own_cache, ignore_errors=True)
    prune((path.parent for path in cache_folder().glob("*/bin")), KEPT_BUILDS)
    _say(f"all {len(PROGRAMS)} programs are in {folder}, {time.monotonic() - started:.0f} s")


def go_environment(cache: Path) -> dict[str, str]:
    """What programs are built with; `cache` is Go's, unless the machine has one."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    environment.setdefault("GOCACHE", str(cache))
    return environment


def build(program: Program, folder: Path, environment: dict[str, str], modules: Path = GO_FOLDER) -> None:
    """Build one program into a folder; ClusterError with the compiler's words. `modules` holds its module's folder."""
    target = folder / f".{program.name}.unfinished"
    # nice: whoever builds usually goes on working at the same machine. setpriv: no build goes on without its builder.
    built = subprocess.run(
        ["setpriv", "--pdeathsig", "KILL", "nice", *program.command(target)],
        cwd=modules / program.module, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if built.returncode != 0:
        raise ClusterError(f"{program.name} ({program.package}) does not build:\n{built.stderr[-4000:]}")
    target.rename(folder / program.name)


def require_go(what: str) -> None:
    """ClusterError where there is no Go to build something with."""
    if shutil.which("go") is None:
        raise ClusterError(f"no go on PATH to build {what} with: get it from https://go.dev/dl")


def prune(builds: Iterable[Path], kept: int) -> None:
    """Delete the oldest of several builds' folders."""
    for folder in sorted(builds, key=lambda path: path.stat().st_mtime, reverse=True)[kept:]:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def progress(label: str) -> Iterator[None]:
    """Say what is being built, that it still is every half minute, and how long it took."""
    started = time.monotonic()
    done = threading.Event()

    def remind() -> None:
        while not done.wait(30):
            _say(f"{label}: {time.monotonic() - started:.0f} s ...")

    _say(f"{label}: building")
    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        done.set()
        reminder.join()
    _say(f"{label}: {time.monotonic() - started:.0f} s")


def _say(line: str) -> None:
    print(f"e2e.cluster: {line}", file=sys.stderr, flush=True)
