"""The servers that are measured, each one process with one worker on the loopback."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

HANDLER = """
import asyncio, sys
from aiohttp import web
try:
    import uvloop
except ImportError:
    uvloop = asyncio

ANSWER = sys.stdin.buffer.read()

async def handle(request):
    await request.read()
    headers = {"Content-Type": "application/json", "Cache-Control": "max-age=3600"}
    return web.Response(body=ANSWER, headers=headers)

async def main():
    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    await asyncio.Event().wait()

uvloop.run(main())
"""

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
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Server:
    url: str
    process: int

    def cpu_seconds(self) -> float:
        """Return the processor time of the process and its children until now."""
        children = Path(f"/proc/{self.process}/task/{self.process}/children").read_text().split()
        return _cpu_seconds(self.process) + sum(_cpu_seconds(int(child)) for child in children)


@contextmanager
def gateway(folder: Path, upstream: str = ECHO, more: str = "", log_level: str = "warning") -> Iterator[Server]:
    """The gateway with a memory store, in front of the echo, unless told otherwise."""
    port = free_port()
    manifest = folder / f"llmcache-{port}.yaml"
    manifest.write_text(MANIFEST.replace("UPSTREAM", upstream) + more)
    command = [sys.executable, "-m", "llmcache_gateway.main", "serve", "--config", str(manifest)]
    command += ["--port", str(port), "--admin-port", str(free_port()), "--log-level", log_level]
    with _running(command, port) as server:
        yield server


@contextmanager
def bare_aiohttp(folder: Path) -> Iterator[Server]:
    """The least that aiohttp can do: read the body, answer with bytes of the size of the gateway's answer."""
    port = free_port()
    script = folder / "handler.py"
    script.write_text(textwrap.dedent(HANDLER))
    with _running([sys.executable, str(script), str(port)], port, stdin=b"{" + b" " * 800 + b"}") as server:
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
        yield server


@contextmanager
def _running(command: list[str], port: int, stdin: bytes = b"") -> Iterator[Server]:
    quiet = subprocess.DEVNULL if "info" in command else None  # a line for each request
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=quiet)
    try:
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        _wait(process, port)
        yield Server(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=1)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not begin to listen on port {port}")


def _cpu_seconds(process: int) -> float:
    # The fields after the name, which may hold spaces: user and system time are the 14th and 15th of all (proc(5)).
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
