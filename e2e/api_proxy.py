"""Stands between a client and the API server: counts what is asked, and can be slow, throttle, or break off.

It speaks plain HTTP to the client, and passes its token on.
"""

import asyncio
import json
import ssl
import threading
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp
import yaml
from aiohttp import web

Fault = Literal["none", "slow", "throttles", "disconnects"]
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOP = frozenset({"connection", "transfer-encoding", "content-length", "host", "keep-alive", "content-encoding"})
_INTERNAL = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "message": "range is full"}
_THROTTLED = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 429, "message": "too many requests"}


class ApiProxy:
    """`fault` may change at any time. `requests` counts by method and path; each write calls `before_write`."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self.fault: Fault = "none"
        self.slow_seconds = 2.0
        self.retry_after = 3
        self.fails_for = ""
        """Writes to paths that this is a part of are answered with 500."""
        self.before_write: Callable[[], None] = lambda: None
        self.requests: Counter[tuple[str, str]] = Counter()
        self.kubeconfig = folder / "proxied"
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self._server: str = cluster["server"]
        self._tls = ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
        self._config: dict[str, Any] = config
        self._open: set[asyncio.Transport] = set()
        self._loop: asyncio.AbstractEventLoop

    def break_off(self) -> None:
        """Refuse all that comes, and cut what is open."""
        self.fault = "disconnects"
        self._loop.call_soon_threadsafe(self._cut)

    @property
    def total(self) -> int:
        """Requests so far."""
        return self.requests.total()

    @property
    def writes(self) -> int:
        """Writes so far, but for Leases."""
        every = self.requests.copy().items()
        return sum(count for (method, path), count in every if method in WRITES and "/leases" not in path)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve from a thread of its own."""
        started, stop = threading.Event(), asyncio.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(started, stop)))
        thread.start()
        try:
            started.wait(10)
            yield
        finally:
            self._loop.call_soon_threadsafe(stop.set)
            thread.join(20)

    def _cut(self) -> None:
        for transport in self._open:
            transport.abort()

    async def _serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self._config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        self.kubeconfig.write_text(json.dumps(self._config))
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as self._session:
            started.set()
            await stop.wait()
            self._cut()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        self.requests[request.method, request.path] += 1
        if self.fault == "disconnects" or transport is None:
            if transport is not None:
                transport.abort()
            return web.Response()
        if self.fault == "throttles":
            return web.json_response(_THROTTLED, status=429, headers={"Retry-After": str(self.retry_after)})
        if self.fault == "slow":
            await asyncio.sleep(self.slow_seconds)
        if request.method in WRITES:
            self.before_write()
            if self.fails_for and self.fails_for in request.path:
                return web.json_response(_INTERNAL, status=500)
        self._open.add(transport)
        try:
            return await self._forward(request)
        except (aiohttp.ClientError, ConnectionError):
            transport.abort()
            return web.Response()
        finally:
            self._open.discard(transport)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url, body = self._server + request.path_qs, await request.read()
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, timeout=timeout
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            given = web.StreamResponse(status=answer.status, headers=kept)
            if "Content-Encoding" in answer.headers:
                given.headers["Content-Encoding"] = answer.headers["Content-Encoding"]
            await given.prepare(request)
            async for chunk in answer.content.iter_any():
                await given.write(chunk)
            await given.write_eof()
            return given


@contextmanager
def running_proxy(kubeconfig: Path, folder: Path) -> Iterator[ApiProxy]:
    """Run a proxy for the API server of a kubeconfig; `kubeconfig` of the proxy is one that leads through it."""
    proxy = ApiProxy(kubeconfig, folder)
    with proxy.running():
        yield proxy
