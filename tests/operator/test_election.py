"""An operator and its Lease, over real sockets: the API server is a stand-in that knows one Lease."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client

from llmcache_operator.election import Election
from llmcache_operator.errors import LeaseLost
from llmcache_operator.kube import Kube
from llmcache_operator.lease import Timing

KEY = ("system", "operator")
QUICK = Timing(duration=1.5, renew_deadline=1.0, retry=0.05)


class _ApiServer:
    """Keeps a Lease as an API server does: a write that was not read before is refused."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.answers = 200
        self.writes = 0

    @property
    def holder(self) -> str:
        return self.lease["spec"]["holderIdentity"] if self.lease else ""

    def keep(self, lease: dict[str, Any]) -> dict[str, Any]:
        self.writes += 1
        self.lease = lease | {"metadata": lease["metadata"] | {"resourceVersion": str(self.writes)}}
        return self.lease

    async def handle(self, request: web.Request) -> web.Response:
        if self.answers == 0:
            await asyncio.sleep(60)
        if self.answers != 200:
            return web.json_response({"message": "leases are forbidden"}, status=self.answers)
        if request.method == "GET":
            missing = self.lease is None
            return web.json_response(self.lease or {"message": "not found"}, status=404 if missing else 200)
        sent = await request.json()
        there = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if sent["metadata"].get("resourceVersion") != there:
            return web.json_response({"message": "the object has been modified"}, status=409)
        return web.json_response(self.keep(sent))


@asynccontextmanager
async def _served(api_server: _ApiServer) -> AsyncIterator[Kube]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api_server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = client.Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        async with client.ApiClient(configuration) as api:
            yield Kube(api)
    finally:
        await runner.cleanup()


def _candidate(kube: Kube, name: str) -> Election:
    return Election(kube, KEY, name, clock=time.monotonic, wall=lambda: datetime.now(UTC), timing=QUICK)


async def _won(candidate: Election, seconds: float = 10) -> bool:
    async with asyncio.timeout(seconds):
        return await candidate.won(asyncio.Event())


async def test_one_of_two_leads_until_it_lets_go() -> None:
    api_server = _ApiServer()
    async with _served(api_server) as kube:
        one, other = _candidate(kube, "one"), _candidate(kube, "other")
        assert await _won(one)
        waiting = asyncio.create_task(_won(other))
        holding = asyncio.create_task(one.hold())
        await asyncio.sleep(2 * QUICK.duration)
        assert (one.leading, other.leading, waiting.done()) == (True, False, False)
        holding.cancel()
        await one.release()
        assert await waiting
        assert (one.leading, other.leading, api_server.holder) == (False, True, "other")


async def test_one_that_cannot_renew_leads_no_longer_and_says_so() -> None:
    api_server = _ApiServer()
    async with _served(api_server) as kube:
        one = _candidate(kube, "one")
        assert await _won(one)
        api_server.answers = 0
        with pytest.raises(LeaseLost, match="could not be renewed in time"):
            async with asyncio.timeout(10):
                await one.hold()
        assert not one.leading


async def test_one_whose_lease_somebody_has_taken_ends() -> None:
    api_server = _ApiServer()
    async with _served(api_server) as kube:
        one = _candidate(kube, "one")
        assert await _won(one)
        assert api_server.lease is not None
        api_server.keep(api_server.lease | {"spec": api_server.lease["spec"] | {"holderIdentity": "other"}})
        with pytest.raises(LeaseLost, match="other has taken the Lease system/operator"):
            async with asyncio.timeout(10):
                await one.hold()
        await one.release()
        assert api_server.holder == "other"


async def test_of_two_that_come_at_once_one_is_refused() -> None:
    async with _served(_ApiServer()) as kube:
        pair = [_candidate(kube, name) for name in ("one", "other")]
        tasks = [asyncio.create_task(_won(candidate)) for candidate in pair]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert sum(candidate.leading for candidate in pair) == 1
        for task in tasks:
            task.cancel()


async def test_one_that_may_not_have_the_lease_tells_why_instead_of_standing_by_in_silence() -> None:
    api_server = _ApiServer()
    api_server.answers = 403
    async with _served(api_server) as kube:
        one = _candidate(kube, "one")
        waiting = asyncio.create_task(_won(one))
        while not one.trouble:  # noqa: ASYNC110 (nothing tells when it is there)
            await asyncio.sleep(0.01)
        assert "the Lease system/operator can't be had" in one.trouble
        assert "leases are forbidden" in one.trouble
        api_server.answers = 200
        assert await waiting
        assert one.trouble == ""


async def test_a_process_that_is_to_stop_waits_no_longer() -> None:
    api_server = _ApiServer()
    async with _served(api_server) as kube:
        assert await _won(_candidate(kube, "one"))
        stopped = asyncio.Event()
        waiting = asyncio.create_task(_candidate(kube, "other").won(stopped))
        await asyncio.sleep(0.2)
        stopped.set()
        async with asyncio.timeout(5):
            assert await waiting is False
