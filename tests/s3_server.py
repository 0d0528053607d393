"""A real S3 server for tests, started on a port of the loopback."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.programs import S3_SERVER, built
from tests.redis_server import free_port, wait_for_port

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
    program = built(S3_SERVER)
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="llmcache-s3-") as temporary:
        data = folder or Path(temporary)
        (data / BUCKET).mkdir(exist_ok=True)
        environment = os.environ | {"ROOT_ACCESS_KEY": KEY_ID, "ROOT_SECRET_KEY": SECRET}
        command = [program, "--port", f"127.0.0.1:{port}", "--quiet", "--keep-alive"]
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
