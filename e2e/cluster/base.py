"""The base image that stands in for python:3.x-slim: Debian with Python, from this machine's own Debian mirror."""

import hashlib
import inspect
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .layout import ClusterError
from .namespaces import apart
from .preflight import CA_BUNDLE

PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
_DROPPED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/lib/apt/lists",
    "var/cache/apt",
)
RECIPE = """\
FROM scratch
ADD base.tar /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin LANG=C.UTF-8
# What this machine trusts: its way to the package index may lead through a private authority.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt
CMD ["python3"]
"""


@dataclass(frozen=True, slots=True)
class Source:
    """Where this machine gets Debian (or Ubuntu) from."""

    suite: str
    mirror: str
    components: tuple[str, ...]
    keyring: str | None


def base_key(source: Source) -> str:
    """What decides whether a base that was made before is still the one."""
    digest = hashlib.sha256(repr((source, PACKAGES, _DROPPED, RECIPE)).encode())
    digest.update(CA_BUNDLE.read_bytes())
    digest.update(inspect.getsource(_finish).encode())
    return digest.hexdigest()[:16]


def make_base(source: Source, folder: Path) -> Path:
    """Write `base.tar`, the base image's root file system, into `folder` (about a minute); its path."""
    root = folder / "root"
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    command.append(f"--components={','.join(source.components)}")
    if source.keyring:
        command.append(f"--keyring={source.keyring}")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    try:
        # Apart, because debootstrap mounts.
        _run(apart([*command, source.suite, str(root), source.mirror]))
        _finish(root)
        _run(
            [
                "tar",
                "--create",
                "--numeric-owner",
                "--directory",
                str(root),
                "--file",
                str(folder / "base.tar"),
                ".",
            ]
        )
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return folder / "base.tar"


def find_source(folder: Path = Path("/etc")) -> Source:
    """This machine's first Debian source of its own release, from the files that apt reads."""
    release = re.search(r"^VERSION_CODENAME=(\w+)", (folder / "os-release").read_text(), re.MULTILINE)
    suite = release.group(1) if release else ""
    files = [folder / "apt" / "sources.list", *sorted((folder / "apt" / "sources.list.d").glob("*"))]
    for file in filter(Path.is_file, files):
        text = file.read_text()
        found = _deb822(text, suite) if file.suffix == ".sources" else _one_line(text, suite)
        if found is not None:
            return found
    raise ClusterError(
        f"no base image: no source of suite {suite!r} with component main among {folder}/apt/sources.list*"
    )


def _deb822(text: str, suite: str) -> Source | None:
    for stanza in re.split(r"\n\s*\n", re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)):
        fields = {
            key.lower(): value.split() for key, value in re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.MULTILINE)
        }
        components = tuple(fields.get("components", ()))
        if suite in fields.get("suites", ()) and "main" in components and fields.get("uris"):
            keyring = next((path for path in fields.get("signed-by", ()) if path.startswith("/")), None)
            return Source(suite, fields["uris"][0], components, keyring)
    return None


def _one_line(text: str, suite: str) -> Source | None:
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)", line.strip())
        if match and match.group(3) == suite and "main" in match.group(4).split():
            keyring = re.search(r"signed-by=(/\S+)", match.group(1) or "")
            return Source(suite, match.group(2), tuple(match.group(4).split()), keyring and keyring.group(1))
    return None


def _finish(root: Path) -> None:
    """What makes it behave as the python image does: `python`, a pip that installs, and this machine's authorities."""
    for folder in _DROPPED:
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(parents=True)
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    shutil.copyfile(CA_BUNDLE, root / CA_BUNDLE.relative_to("/"))
    # apt's caches of package lists are 40 MB in every layer that installs something.
    no_caches = 'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";\n'
    (root / "etc/apt/apt.conf.d/docker-clean").write_text(no_caches)
    # The build's container brings its own.
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/hostname").unlink(missing_ok=True)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
