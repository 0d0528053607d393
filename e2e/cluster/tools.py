"""Programs that tests run beside the cluster: each is built from its pinned Go module once per machine, and kept."""

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .binaries import GO_FOLDER, KEPT_BUILDS, Program, build, go_environment, progress, prune, require_go
from .layout import cache_folder
from .locks import locked


@dataclass(frozen=True, slots=True)
class Tool:
    """One such program; `modules` holds its module's folder."""

    title: str
    program: Program
    modules: Path = GO_FOLDER
    files: tuple[str, ...] = ()
    """Folders of its module that it needs at run time, beside the program."""

    @property
    def path(self) -> Path:
        """Where it is, once it is built. What decides is the pinned modules, our own source, and the flags."""
        digest = hashlib.sha256(repr(self.program).encode())
        for source in sorted((self.modules / self.program.module).iterdir()):
            digest.update(source.read_bytes())
        return self._cache / digest.hexdigest()[:16] / self.program.name

    @property
    def is_built(self) -> bool:
        """Whether it is in the cache: the program gets its name when all else is there."""
        return self.path.is_file()

    def ensure(self) -> Path:
        """Return where it is, building it when it is not there; ClusterError with the compiler's words."""
        path = self.path
        with locked(self._cache / "build.lock"):
            if path.is_file():
                return path
            require_go(self.title)
            path.parent.mkdir(parents=True, exist_ok=True)
            environment = go_environment(self._cache / "go-build")
            with progress(self.title):
                if self.files:
                    self._copy_files(path.parent, environment)
                build(self.program, path.parent, environment, self.modules)
            shutil.rmtree(self._cache / "go-build", ignore_errors=True)
            prune(self._cache.glob("*/"), KEPT_BUILDS)
        return path

    @property
    def _cache(self) -> Path:
        return cache_folder().with_name(self.program.module)

    def _copy_files(self, target: Path, environment: dict[str, str]) -> None:
        listed = subprocess.run(
            ["go", "list", "-mod=readonly", "-json=Module", self.program.package],
            cwd=self.modules / self.program.module, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        module = Path(json.loads(listed.stdout)["Module"]["Dir"])
        for source in (path for folder in self.files for path in (module / folder).rglob("*") if path.is_file()):
            copy = target / source.relative_to(module)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())


ARGOCD = Tool(
    "Argo CD",
    Program("argocd", "github.com/argoproj/argo-cd/v3/cmd"),
    files=("manifests/crds", "manifests/base/config"),
)
