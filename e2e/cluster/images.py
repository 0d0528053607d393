"""The project's images: built from the real Dockerfiles with buildah, kept in the cache, loaded into a cluster."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import base
from .cluster import running
from .components import CTR
from .layout import REPOSITORY, ClusterError, cache_folder
from .locks import locked
from .namespaces import apart
from .ociarchive import OciFolder, full_name
from .preflight import add_system_folders_to_path

BASE_TAG = "localhost/python:3.11"
REDIS_TAG = "localhost/redis:7.0"
REDIS_DOCKERFILE = Path(__file__).parent / "images" / "redis.Dockerfile"
_BUILDS_KEPT = 20
"""After how many builds buildah's intermediate layers are dropped: they speed up the next build, and grow for ever."""


def build_image(
    dockerfile: Path | str,
    tag: str,
    *,
    build_args: Mapping[str, str] | None = None,
    context: Path = REPOSITORY,
) -> str:
    """Build a Dockerfile on the base image, unless nothing that it copies has changed; returns the tag.

    `BASE` is given to the build, `build_args` are added. What COPY and ADD name decides whether anything changed.
    The result is kept in the cache for every cluster's `load_image`. ClusterError, with the build's last lines,
    when it fails.
    """
    file = context / dockerfile
    if not file.is_file():
        raise ClusterError(f"no image {tag}: there is no {file}")
    with _store() as store:
        store.need_base()
        arguments = {"BASE": BASE_TAG, **(build_args or {})}
        inputs = _digest_of_inputs(file, context, {**arguments, "base": store.base_key})
        if not store.has(tag, inputs):
            store.build(file, tag, arguments, context, inputs)
    return tag


def build_redis_image() -> str:
    """The Redis that pods run, from Debian's package; returns its tag."""
    return build_image(REDIS_DOCKERFILE, REDIS_TAG, context=REDIS_DOCKERFILE.parent)


def build_base_image() -> str:
    """The stand-in for the registry's python image; about a minute the first time. Returns its tag."""
    with _store() as store:
        store.need_base()
    return BASE_TAG


def load_image(name: str, tag: str) -> None:
    """Put a built image into the cluster, so that a pod's `image: TAG` finds it; nothing to do when it has it.

    Only layers that the cluster lacks are sent. Pods need `imagePullPolicy: IfNotPresent` or `Never`.
    """
    images = _oci_folder()
    manifest = images.manifest(tag)
    if manifest is None:
        raise ClusterError(f"image {tag} was not built; build it with: python -m e2e.cluster build-image --tag {tag}")
    ctr = running(name).inside(CTR)
    loaded = {tuple(line.split()[:3:2]) for line in _run([*ctr, "images", "list"]).splitlines()}
    if (full_name(tag), manifest["digest"]) in loaded:
        return
    present = set(_run([*ctr, "content", "list", "--quiet"]).split())
    with subprocess.Popen([*ctr, "images", "import", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as importer:  # fmt: skip
        assert importer.stdin is not None
        assert importer.stderr is not None
        with contextlib.suppress(BrokenPipeError), importer.stdin:
            images.stream(tag, full_name(tag), present, importer.stdin)
        complaint = importer.stderr.read().decode(errors="replace")
    if importer.returncode != 0:
        raise ClusterError(f"image {tag} was not loaded into {name!r}: {complaint.strip()}")


def export_image(tag: str, file: Path) -> Path:
    """Write a built image as an OCI archive, for the load command of another cluster (kind, k3d); its path."""
    images = _oci_folder()
    if images.manifest(tag) is None:
        raise ClusterError(f"image {tag} was not built")
    with file.open("wb") as target:
        images.stream(tag, full_name(tag), (), target)
    return file


class _Store:
    """buildah's storage and the folder of built images. One process at a time uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = base.find_source()
        self.base_key = base.base_key(self.source)
        own = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay", "TMPDIR": str(folder / "tmp")}
        self.environment = {**os.environ, **own}
        (folder / "tmp").mkdir(exist_ok=True)

    def need_base(self) -> None:
        if self.has(BASE_TAG, self.base_key):
            return
        tar = self.folder / f"base-{self.base_key}" / "base.tar"
        if not tar.exists():
            _say(f"{BASE_TAG}: making it of Debian {self.source.suite} (about a minute)")
            draft = Path(tempfile.mkdtemp(dir=self.folder / "tmp"))
            draft.chmod(0o755)
            base.make_base(self.source, draft)
            for old in self.folder.glob("base-*"):
                shutil.rmtree(old)
            draft.rename(tar.parent)
        (tar.parent / "Dockerfile").write_text(base.RECIPE)
        self.build(tar.parent / "Dockerfile", BASE_TAG, {}, tar.parent, self.base_key)

    def has(self, tag: str, inputs: str) -> bool:
        return self._records().get(tag) == inputs and _oci_folder().manifest(tag) is not None

    def build(self, file: Path, tag: str, arguments: Mapping[str, str], context: Path, inputs: str) -> None:
        started = time.monotonic()
        _say(f"{tag}: building {file.relative_to(REPOSITORY) if file.is_relative_to(REPOSITORY) else file.name}")
        given = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        build = ["bud", "--layers", "--pull-never", "--format=oci", f"--file={file}", f"--tag={tag}", *given]
        self._buildah(tag, [*build, str(context)])
        # zstd: quicker to pack than gzip, and above all quicker to unpack in the cluster.
        push = ["push", "--compression-format=zstd", tag, f"oci:{_oci_folder().folder}:{tag}"]
        self._buildah(tag, push)
        records = {**self._records(), tag: inputs}
        (self.folder / "built.json").write_text(json.dumps(records, indent=2))
        self._prune()
        _say(f"{tag}: {time.monotonic() - started:.0f} s")

    def _buildah(self, tag: str, arguments: Sequence[str]) -> None:
        storage = [f"--root={self.folder}/storage", f"--runroot={self.folder}/storage-run"]
        done = subprocess.run(
            apart(["buildah", *storage, *arguments]),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ClusterError(f"image {tag} does not build:\n{(done.stdout + done.stderr)[-4000:]}")

    def _prune(self) -> None:
        """Drop what earlier builds left: blobs without a tag at once, buildah's layers every so many builds."""
        _oci_folder().prune()
        counter = self.folder / "builds-since-pruning"
        builds = int(counter.read_text()) + 1 if counter.exists() else 1
        if builds >= _BUILDS_KEPT:
            builds = 0
            for command in (["rm", "--all"], ["rmi", "--prune", "--force"]):
                self._buildah("", command)
        counter.write_text(str(builds))

    def _records(self) -> dict[str, str]:
        try:
            records: dict[str, str] = json.loads((self.folder / "built.json").read_text())
        except FileNotFoundError:
            return {}
        return records


@contextlib.contextmanager
def _store() -> Iterator[_Store]:
    add_system_folders_to_path()
    folder = cache_folder() / "images"
    with locked(folder / "lock"):
        # Nobody else is here: what a killed build noted as mounted is not.
        for leftover in ("tmp", "storage-run"):
            shutil.rmtree(folder / leftover, ignore_errors=True)
        yield _Store(folder)


def _oci_folder() -> OciFolder:
    return OciFolder(cache_folder() / "images" / "oci")


def _digest_of_inputs(file: Path, context: Path, arguments: Mapping[str, str]) -> str:
    """A digest of the Dockerfile, the arguments and every file that its COPY and ADD lines name."""
    digest = hashlib.sha256(json.dumps(dict(arguments), sort_keys=True).encode())
    ignore = context / ".dockerignore"
    named = [file, *([ignore] if ignore.exists() else []), *copied_files(file.read_text(), context)]
    for path in named:
        for entry in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if entry.is_file() and "__pycache__" not in entry.parts and ".git" not in entry.parts:
                digest.update(f"{entry.relative_to(context)} {entry.stat().st_mode:o}\n".encode())
                digest.update(hashlib.sha256(entry.read_bytes()).digest())
    return digest.hexdigest()


def copied_files(text: str, context: Path) -> Iterator[Path]:
    """The files and folders of the context that a Dockerfile's COPY and ADD lines name; all of it, when in doubt."""
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split()
        if not words or words[0].upper() not in ("COPY", "ADD"):
            continue
        if any(word.startswith("--from=") for word in words):
            continue
        sources = re.sub(r'[\[\]",]', " ", " ".join(word for word in words[1:] if not word.startswith("--"))).split()
        for source in sources[:-1]:
            # A name with a variable in it: take everything.
            pattern = "." if "$" in source else source.strip("/") or "."
            yield from sorted(context.glob(pattern)) if pattern != "." else [context]


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def _say(line: str) -> None:
    print(f"e2e.cluster: {line}", file=sys.stderr, flush=True)
