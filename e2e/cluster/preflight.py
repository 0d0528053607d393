"""What this machine lacks to run the cluster, and the one command that gets it."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .binaries import are_built
from .layout import cache_folder

PACKAGES: dict[str, tuple[str, ...]] = {
    "buildah": ("buildah",),
    "ca-certificates": (),
    "conntrack": ("conntrack",),
    "debootstrap": ("debootstrap",),
    "etcd-server": ("etcd",),
    "iproute2": ("ip",),
    "mount": ("mount",),
    "nftables": ("nft",),
    "openssl": ("openssl",),
    "runc": ("runc",),
    "util-linux": ("unshare", "nsenter", "setpriv", "setsid"),
}
"""The Debian packages that the cluster is made of, with the commands it uses of each."""

GO_MINIMUM = (1, 26, 6)
"""The newest `go` line among the three go.mod files."""

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


def missing() -> list[str]:
    """Everything that keeps the cluster from running here, each with its remedy; empty when it can run."""
    if sys.platform != "linux":
        return [f"Linux: this is {sys.platform}; set E2E_KUBECONFIG to the kubeconfig of any cluster"]
    add_system_folders_to_path()
    return [*_missing_privileges(), *_missing_packages(), *_missing_go()]


def add_system_folders_to_path() -> None:
    """Debian keeps ip, runc and nft in /usr/sbin, which is not on every user's PATH."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin"):
        if folder not in folders:
            folders.append(folder)
    os.environ["PATH"] = os.pathsep.join(folders)


def _missing_privileges() -> list[str]:
    if os.geteuid() != 0:
        return ["root: the cluster makes namespaces, mounts and cgroups; run it with: sudo -E env PATH=$PATH ..."]
    found = []
    if not _may_unshare():
        found.append("namespaces: unshare is not permitted here; in a container, run it with: --privileged")
    if not os.access("/sys/fs/cgroup", os.W_OK):
        found.append("cgroups: /sys/fs/cgroup is not writable; in a container, run it with: --privileged")
    if not re.search(r"\toverlay$", Path("/proc/filesystems").read_text(), re.MULTILINE):
        found.append("overlay file system: get it with: modprobe overlay")
    elif not _may_overlay(cache_folder()):
        found.append(f"images can't be unpacked in {cache_folder()}: set LLMCACHE_CACHE to a folder on ext4 or xfs")
    return found


def _may_unshare() -> bool:
    if shutil.which("unshare") is None:
        return True  # reported as a missing package
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _may_overlay(folder: Path) -> bool:
    """Whether the folder's file system can be an overlay's upper one; a container's root, an overlay itself, can't."""
    if shutil.which("unshare") is None:
        return True  # reported as a missing package
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as probe:
        parts = {part: Path(probe, part) for part in ("lower", "upper", "work", "merged")}
        for part in parts.values():
            part.mkdir()
        options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
        command = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, str(parts["merged"])]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _missing_packages() -> list[str]:
    lacking = {
        package: [command for command in commands if shutil.which(command) is None]
        for package, commands in PACKAGES.items()
    }
    lacking = {package: commands for package, commands in lacking.items() if commands}
    if not CA_BUNDLE.exists():
        lacking["ca-certificates"] = [str(CA_BUNDLE)]
    if not lacking:
        return []
    commands = ", ".join(command for group in lacking.values() for command in group)
    return [f"{commands}: get with: apt-get install -y --no-install-recommends {' '.join(lacking)}"]


def _missing_go() -> list[str]:
    if are_built():
        return []
    wanted = ".".join(map(str, GO_MINIMUM))
    if shutil.which("go") is None:
        return [f"go {wanted} or later, to build Kubernetes once: get it from https://go.dev/dl and put it on PATH"]
    version = subprocess.run(["go", "version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", version)
    if match is None or tuple(int(part or 0) for part in match.groups()) < GO_MINIMUM:
        return [f"go {wanted} or later, to build Kubernetes once; this is: {version.strip()}. See https://go.dev/dl"]
    return []
