"""A real Redis for tests: started on a free port of the loopback, stopped at the end."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from tests.tools import missing, require_tool


@dataclass(frozen=True)
class RedisServer:
    port: int
    process: subprocess.Popen[bytes]
    client_options: tuple[str, ...] = ()
    """What redis-cli needs beside the port: TLS, a user."""

    secrets: Path | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.host}/0"

    @property
    def external(self) -> dict[str, Any]:
        """How a manifest's `redis.external` names it."""
        return {"url": self.url}

    @property
    def servers(self) -> "list[RedisServer]":
        return [self]

    @property
    def primaries(self) -> "list[RedisServer]":
        return [self]

    def command(self, *words: str) -> str:
        done = subprocess.run(
            ["redis-cli", "-e", *self.client_options, "-p", str(self.port), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return done.stdout.strip()

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running_redis(
    *options: str,
    program: str | None = None,
    first: Sequence[str] = (),
    tls: bool = False,
    client_options: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[RedisServer]:
    """Run a Redis; with `tls` it speaks nothing else, and `options` bring the certificate.

    `environment` is added to that of the tests. `first` are the words that must come before all options, such as a
    configuration file.
    """
    port = free_port()
    folder = tempfile.mkdtemp(prefix="llmcache-redis-")
    ports = ["--tls-port", str(port), "--port", "0"] if tls else ["--port", str(port)]
    command = [program or system_redis(), *first, *ports, "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.DEVNULL, env=None if environment is None else os.environ | environment
    )
    server = RedisServer(port, process, client_options)
    try:
        wait_for_port(port, process)
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)


def system_redis() -> str:
    """Return the path of the system's redis-server, which is not that of a package in the environment."""
    return require_tool("redis-server", without=Path(sys.prefix) / "bin")


def packaged_server(package: str, name: str) -> str:
    """Return the path of a server that a Python package ships; a skip, or a failure on CI, where there is none."""
    try:
        found = [file.locate() for file in files(package) or () if file.name == name and package in file.parts]
    except PackageNotFoundError:
        found = []
    if not found:
        missing(f"{package} is not installed, which has no {name} for this machine or Python: run make install")
    return str(found[0])


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when a process takes connections; OSError when it ends before, or does not within ten seconds."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.02)


def until_says(server: RedisServer, wanted: str, *words: str, times: int = 1) -> None:
    """Return when a command's answer has a text in it, so many times."""
    deadline = time.monotonic() + 20
    while (answer := server.command(*words)).count(wanted) < times:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{' '.join(words)} does not say {wanted} but: {answer}")
        time.sleep(0.05)
