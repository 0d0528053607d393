"""The cluster that the end-to-end tests run on: this repository's own, or any that E2E_KUBECONFIG names."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import ClusterError, ClusterInfo, export_image, load_image


@dataclass(frozen=True, slots=True)
class Target:
    """A kubeconfig, and what is known of the cluster when it is our own (`info`)."""

    kubeconfig: Path
    info: ClusterInfo | None = None

    def kubectl(self, *arguments: str, given: str | None = None, timeout_seconds: float = 120) -> str:
        """What kubectl prints; ClusterError with its complaint when it fails."""
        beside = Path(sys.executable).with_name("kubectl")
        program = str(beside) if beside.exists() else shutil.which("kubectl") or "kubectl"
        done = subprocess.run(
            [program, "--kubeconfig", str(self.kubeconfig), *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if done.returncode != 0:
            raise ClusterError(f"kubectl {shlex.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def load(self, tag: str) -> None:
        """Make an image that was built here available to pods.

        Elsewhere by the command in E2E_LOAD_IMAGE, in which {archive} stands for the image's archive, for example
        `kind load image-archive {archive}`; where that is not set, the cluster is taken to have the image.
        """
        if self.info:
            load_image(self.info.name, tag)
        elif command := os.environ.get("E2E_LOAD_IMAGE"):
            with tempfile.TemporaryDirectory() as folder:
                archive = export_image(tag, Path(folder, "image.tar"))
                subprocess.run(shlex.split(command.format(archive=archive)), check=True)


def image_values(tag: str) -> dict[str, str]:
    """An image's tag as the chart's values name it."""
    name, _, version = tag.rpartition(":")
    registry, _, repository = name.partition("/")
    return {"registry": registry, "repository": repository, "tag": version}
