"""containerd's folder from run to run: the images stay, the containers of the last run go.

Unpacking the images again would be most of the time from `up` to the first pod.
"""

import shutil
import socket
import subprocess

from . import components
from .components import CTR, IMAGES_FOLDER
from .layout import INSIDE, PROGRAMS, ClusterError
from .ociarchive import pause_archive
from .processes import ENVIRONMENT, Processes


def reset(processes: Processes) -> None:
    """Make the folder as if nothing but images had ever been in it; empty, where that does not work."""
    folder = INSIDE / IMAGES_FOLDER
    if not folder.exists():
        return
    bare = components.bare_containerd()
    try:
        processes.start(bare)
        processes.wait_until("containerd", is_listening, timeout_seconds=10)
        _remove_containers()
        _remove_superseded_images()
    except (ClusterError, subprocess.SubprocessError):
        processes.stop(bare)
        shutil.rmtree(folder, ignore_errors=True)
    processes.stop(bare)
    components.CONTAINERD_SOCKET.unlink(missing_ok=True)
    for leftover in (
        "io.containerd.grpc.v1.cri",
        "io.containerd.runtime.v2.task",
        "io.containerd.sandbox.controller",
    ):
        for path in folder.glob(f"{leftover}*"):
            shutil.rmtree(path, ignore_errors=True)


def load_pause_image() -> None:
    """The image of every pod's first container, made of the one static program."""
    ctr("images", "import", "-", given=pause_archive(PROGRAMS / "pause", components.PAUSE_IMAGE))


def is_listening() -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return connection.connect_ex(str(components.CONTAINERD_SOCKET)) == 0


def ctr(*arguments: str, given: bytes | None = None) -> str:
    """Run containerd's own client; subprocess.SubprocessError when it fails."""
    done = subprocess.run([*CTR, *arguments], input=given, env=ENVIRONMENT, capture_output=True, check=True, timeout=30)
    return done.stdout.decode()


def _remove_containers() -> None:
    """Every container with its writable layer, and every sandbox: the cluster that knew them is gone."""
    for kind in ("containers", "sandboxes"):
        listed = [line.split()[0] for line in ctr(kind, "list").splitlines()[1:] if line.strip()]
        if listed:
            ctr(kind, "remove", *listed)
    for line in ctr("snapshots", "list").splitlines()[1:]:
        key, *_, kind = line.split()
        if kind == "Active":
            ctr("snapshots", "remove", key)


def _remove_superseded_images() -> None:
    """Kubernetes notes each image under its digest too, which keeps it when its tag has long gone to another."""
    images = [line.split()[:3:2] for line in ctr("images", "list").splitlines()[1:]]
    tagged = {digest for name, digest in images if not name.startswith("sha256:")}
    superseded = [name for name, digest in images if digest not in tagged]
    if superseded:
        ctr("images", "remove", "--sync", *superseded)
