"""Images in the OCI layout: one folder of shared layers, read and streamed; and the pause image, made from scratch."""

import hashlib
import io
import json
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_NAME = "org.opencontainers.image.ref.name"
_MARKER = b'{"imageLayoutVersion":"1.0.0"}'


@dataclass(frozen=True, slots=True)
class OciFolder:
    """A folder in the OCI layout, as `buildah push oci:` writes it; images share the layers that are the same."""

    folder: Path

    def manifest(self, tag: str) -> dict[str, Any] | None:
        """The index entry of the image, or None where there is none of that tag."""
        for entry in self._entries():
            if entry.get("annotations", {}).get(_NAME) == tag:
                return entry
        return None

    def blobs(self, manifest: dict[str, Any]) -> list[dict[str, Any]]:
        """The descriptors of all that an image consists of, the manifest itself last."""
        content = json.loads(self.path(manifest).read_bytes())
        return [content["config"], *content["layers"], manifest]

    def path(self, descriptor: dict[str, Any]) -> Path:
        algorithm, _, digest = str(descriptor["digest"]).partition(":")
        return self.folder / "blobs" / algorithm / digest

    def stream(self, tag: str, name: str, present: Collection[str], target: IO[bytes]) -> None:
        """Write the image as a tar archive called `name`, without the blobs whose digests are `present`."""
        manifest = self.manifest(tag)
        if manifest is None:
            raise KeyError(tag)
        with tarfile.open(fileobj=target, mode="w|", bufsize=1 << 20) as archive:
            _add(archive, "oci-layout", _MARKER)
            _add(archive, "index.json", _index(manifest, name))
            for descriptor in self.blobs(manifest):
                if descriptor["digest"] not in present:
                    archive.add(self.path(descriptor), f"blobs/{descriptor['digest'].replace(':', '/')}")

    def prune(self) -> None:
        """Delete the blobs that no tagged image uses any more."""
        tagged = [entry for entry in self._entries() if _NAME in entry.get("annotations", {})]
        used = {descriptor["digest"] for entry in tagged for descriptor in self.blobs(entry)}
        if len(tagged) < len(list(self._entries())):
            index = {"schemaVersion": 2, "manifests": tagged}
            (self.folder / "index.json").write_text(json.dumps(index))
        for path in (self.folder / "blobs" / "sha256").iterdir():
            if f"sha256:{path.name}" not in used:
                path.unlink()

    def _entries(self) -> Iterator[dict[str, Any]]:
        try:
            index = json.loads((self.folder / "index.json").read_bytes())
        except FileNotFoundError:
            return
        yield from index["manifests"]


def pause_archive(program: Path, name: str) -> bytes:
    """An archive of an image with one static program as its only file."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        _add(archive, "pause", program.read_bytes(), mode=0o755)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": _architecture(program),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    blobs = [(_LAYER, layer.getvalue()), (_CONFIG, json.dumps(config).encode())]
    layer_entry, config_entry = (_descriptor(media_type, content) for media_type, content in blobs)
    manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config_entry, "layers": [layer_entry]}
    blobs.append((_MANIFEST, json.dumps(manifest).encode()))
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        _add(archive, "oci-layout", _MARKER)
        _add(archive, "index.json", _index(_descriptor(*blobs[-1]), name))
        for media_type, content in blobs:
            _add(archive, f"blobs/{_descriptor(media_type, content)['digest'].replace(':', '/')}", content)
    return whole.getvalue()


def full_name(tag: str) -> str:
    """The name under which a pod's `image: TAG` is looked up: Docker's rules, as every runtime has them."""
    path, colon, version = tag.rpartition(":")
    if not colon or "/" in version:
        path, version = tag, "latest"
    first, slash, _ = path.partition("/")
    if not slash:
        path = f"docker.io/library/{path}"
    elif first != "localhost" and "." not in first and ":" not in first:
        path = f"docker.io/{path}"
    return f"{path}:{version}"


def _architecture(program: Path) -> str:
    """Go's name for the machine that an ELF file is for."""
    machine = int.from_bytes(program.read_bytes()[18:20], "little")
    return {0x3E: "amd64", 0xB7: "arm64"}[machine]


def _index(manifest: dict[str, Any], name: str) -> bytes:
    annotations = {"io.containerd.image.name": name, _NAME: name.rpartition(":")[2]}
    entry = {**{key: manifest[key] for key in ("mediaType", "digest", "size")}, "annotations": annotations}
    return json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}).encode()


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {
        "mediaType": media_type,
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "size": len(content),
    }


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
