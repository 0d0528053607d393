"""The servers that are measured, each one process with one worker on the loopback."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from tests.redis_server import free_port

MANIFEST = """
apiVersion: llmcache.dev/v1alpha1
kind: LLMCache
metadata: {name: bench}
spec:
  upstreams: [UPSTREAM]
  prefix: {version: v1}
"""
ECHO = "{name: echo, provider: echo}"

NGINX = """
{user}daemon off;
worker_processes 1;
error_log stderr crit;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/temp;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_body_buffer_size 64k;
  proxy_cache_path {folder}/cache keys_zone=bench:10m;
  upstream origin {{ server {origin}; keepalive 32; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / {{
      proxy_pass http://origin;
      proxy_cache bench;
      proxy_cache_methods POST;
      proxy_cache_key "$request_uri|$request_body";
      add_header X-Cache $upstream_cache_status;
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Server:
    url: str
    process: int
    hit: tuple[str, str] | None = None
    """The header that tells an answer from the cache; None where there is no cache."""

    admin: str | None = None
    """Where a gateway's metrics are."""

    def counted(self) -> tuple[int, int]:
        """Return the requests that the server has counted, and how many of them were hits."""
        if self.admin is None:
            return 0, 0
        lines = httpx.get(f"{self.admin}/metrics", timeout=10).text.splitlines()
        counts = [(line, int(float(line.split()[-1]))) for line in lines if line.startswith("llmcache_requests_total{")]
        return sum(count for _, count in counts), sum(count for line, count in counts if 'outcome="HIT"' in line)

    def cpu_seconds(self) -> float:
        """Return the processor time of the process and its children until now."""
        children = Path(f"/proc/{self.process}/task/{self.process}/children").read_text().split()
        return _cpu_seconds(self.process) + sum(_cpu_seconds(int(child)) for child in children)


@contextmanager
def gateway(folder: Path, upstream: str = ECHO, more: str = "", log_level: str = "warning") -> Iterator[Server]:
    """The gateway with a memory store, in front of the echo, unless told otherwise."""
    port, admin_port = free_port(), free_port()
    manifest = folder / f"llmcache-{port}.yaml"
    manifest.write_text(MANIFEST.replace("UPSTREAM", upstream) + more)
    command = [sys.executable, "-m", "llmcache_gateway.main", "serve", "--config", str(manifest)]
    command += ["--port", str(port), "--admin-port", str(admin_port), "--log-level", log_level]
    with _running(command, port) as server:
        yield replace(server, hit=("X-LLMCache", "HIT"), admin=f"http://127.0.0.1:{admin_port}")


@contextmanager
def bare_aiohttp(origin: Server | None = None) -> Iterator[Server]:
    """The least that aiohttp can do: read the body and answer, or ask an origin for the answer."""
    port = free_port()
    asked = [] if origin is None else [origin.url]
    with _running([sys.executable, "-m", "bench.bare", str(port), *asked], port) as server:
        yield server


@contextmanager
def nginx(folder: Path, origin: Server) -> Iterator[Server]:
    """nginx with one worker and proxy_cache, keyed on the request's body as the gateway is."""
    port = free_port()
    config = folder / "nginx.conf"
    # Started by root, nginx would give its worker to a user who may not write to our folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    config.write_text(NGINX.format(user=user, folder=folder, port=port, origin=origin.url.removeprefix("http://")))
    with _running(["/usr/sbin/nginx", "-e", "stderr", "-c", str(config), "-p", str(folder)], port) as server:
        yield replace(server, hit=("X-Cache", "HIT"))


@contextmanager
def _running(command: list[str], port: int) -> Iterator[Server]:
    quiet = subprocess.DEVNULL if "info" in command else None  # a line for each request
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=quiet)
    try:
        _wait(process, port)
        yield Server(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 60  # on a busy machine, Python alone takes seconds to begin
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=1)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not begin to listen on port {port}")


def _cpu_seconds(process: int) -> float:
    # Nanoseconds on a processor, by thread: finer than the clock ticks of /proc/PID/stat, of which a miss takes a part.
    threads = Path(f"/proc/{process}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
