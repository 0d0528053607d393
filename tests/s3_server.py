"""A real S3 server for tests: built once per machine from its pinned Go module, started on a port of the loopback.

`python -m tests.s3_server` builds it: about two minutes on two cores the first time.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster.binaries import Program, build, go_environment
from e2e.cluster.layout import ClusterError, cache_folder
from e2e.cluster.locks import locked
from tests.redis_server import free_port, wait_for_port
from tests.tools import missing

MODULES = Path(__file__).parent
SERVER = Program("s3server", "github.com/versity/versitygw/cmd/versitygw")
BUCKET = "llmcache-tests"
KEY_ID, SECRET = "tests", "secret-of-the-tests"


@dataclass(frozen=True)
class S3Server:
    port: int
    process: subprocess.Popen[bytes]
    folder: Path
    """Where its buckets are folders, and objects files."""

    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def objects(self) -> Path:
        return self.folder / BUCKET

    def files(self, pattern: str = "**/*") -> list[Path]:
        return [path for path in self.objects.glob(pattern) if path.is_file()]

    def clear(self) -> None:
        shutil.rmtree(self.objects)
        self.objects.mkdir()


@contextmanager
def running_s3(port: int = 0, folder: Path | None = None, certificate: Path | None = None) -> Iterator[S3Server]:
    """Run a server with one bucket, empty unless `folder` is that of one that ran before.

    With `certificate`, a file with its key too, it speaks TLS.
    """
    program = _program()
    if not program.is_file():
        missing(f"the S3 server is not built: run {Path(sys.executable).name} -m tests.s3_server")
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="llmcache-s3-") as temporary:
        data = folder or Path(temporary)
        (data / BUCKET).mkdir(exist_ok=True)
        environment = os.environ | {"ROOT_ACCESS_KEY": KEY_ID, "ROOT_SECRET_KEY": SECRET}
        command = [str(program), "--port", f"127.0.0.1:{port}", "--quiet", "--keep-alive"]
        if certificate is not None:
            command += ["--cert", str(certificate), "--key", str(certificate)]
        command += ["posix", str(data)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        try:
            wait_for_port(port, process)
            yield S3Server(port, process, data, "http" if certificate is None else "https")
        finally:
            process.kill()
            process.wait()


def settings(url: str, **more: Any) -> dict[str, Any]:
    """Return a manifest's `spec.s3` for a server; its access key is what `write_key` writes."""
    return {
        "bucket": BUCKET,
        "endpoint": url,
        "credential": {
            "accessKeyId": {"name": "s3", "key": "access-key-id"},
            "secretAccessKey": {"name": "s3", "key": "secret-access-key"},
        },
    } | more


def write_key(folder: Path, secret: str = SECRET) -> Path:
    """Write the access key as the Secret `s3`; return the folder of Secrets."""
    (folder / "s3").mkdir(exist_ok=True)
    (folder / "s3" / "access-key-id").write_text(KEY_ID)
    (folder / "s3" / "secret-access-key").write_text(secret)
    return folder


def _program() -> Path:
    digest = hashlib.sha256(repr(SERVER).encode())
    for name in ("go.mod", "go.sum"):
        digest.update((MODULES / SERVER.module / name).read_bytes())
    return _cache() / digest.hexdigest()[:16] / SERVER.name


def _cache() -> Path:
    return cache_folder().with_name("s3server")


def _build() -> None:
    program = _program()
    with locked(_cache() / "build.lock"):
        if program.is_file():
            return
        if shutil.which("go") is None:
            raise ClusterError("no go on PATH to build the S3 server with: get it from https://go.dev/dl")
        print("building the S3 server (once per machine, 2 minutes)", file=sys.stderr, flush=True)  # noqa: T201
        program.parent.mkdir(parents=True, exist_ok=True)
        own_cache = _cache() / "go-build"
        build(SERVER, program.parent, go_environment(own_cache), MODULES)
        shutil.rmtree(own_cache, ignore_errors=True)


if __name__ == "__main__":
    try:
        _build()
    except ClusterError as error:
        sys.exit(f"tests.s3_server: {error}")
