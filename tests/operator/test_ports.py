"""The operator's own port, and what it asks of the gateways' admin port, over real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web

from llmcache_operator import gateways, health
from llmcache_operator.errors import GatewayUnreachable
from llmcache_operator.metrics import Metrics
from llmcache_operator.observed import Report


async def _get(app: web.Application, path: str) -> httpx.Response:
    runner = await health.start(app, 0)
    # Port 0 becomes another one for each address family.
    port = next(address[1] for address in runner.addresses if address[0] == "0.0.0.0")
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(f"http://127.0.0.1:{port}{path}")
    finally:
        await runner.cleanup()


async def test_a_probe_says_what_is_wrong() -> None:
    app = health.application(lambda: "the work queue has died", lambda: "", Metrics().registry)
    answer = await _get(app, "/healthz")
    assert (answer.status_code, answer.text) == (503, "the work queue has died\n")
    app = health.application(lambda: "the work queue has died", lambda: "", Metrics().registry)
    assert (await _get(app, "/readyz")).status_code == 200


async def test_metrics_have_their_names() -> None:
    metrics = Metrics()
    metrics.reconciles.labels("ok").inc()
    metrics.applies.labels("Deployment", "ok").inc()
    metrics.watch_depth(lambda: 3)
    metrics.watch_leading(lambda: True)
    text = (await _get(health.application(str, str, metrics.registry), "/metrics")).text
    for line in (
        'llmcache_operator_reconciles_total{result="ok"} 1.0',
        'llmcache_operator_applies_total{kind="Deployment",result="ok"} 1.0',
        "llmcache_operator_queue_depth 3.0",
        "llmcache_operator_leading 1.0",
        "llmcache_operator_reconcile_seconds_count 0.0",
    ):
        assert line in text


class _Admin:
    """An admin port on an address of its own, which answers with what it is told to."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = {"revision": "abc"}
        self.asked: list[tuple[str, str | None]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, request.headers.get("Authorization")))
        return web.json_response(self.body, status=self.status)


ADDRESS = "127.77.0.1"


@pytest.fixture
async def admin() -> AsyncIterator[_Admin]:
    served = _Admin()
    app = web.Application()
    app.router.add_get("/admin/v1/status", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, ADDRESS, gateways.ADMIN_PORT).start()
    yield served
    await runner.cleanup()


async def _report() -> Report:
    async with gateways.http_client() as http:
        return await gateways.Gateways(http).report(ADDRESS, "token")


async def test_a_gateway_is_asked_with_the_admin_token(admin: _Admin) -> None:
    assert await _report() == Report("abc")
    assert admin.asked == [("/admin/v1/status", "Bearer token")]


async def test_a_gateway_tells_what_ails_it(admin: _Admin) -> None:
    admin.body = {"revision": "abc", "configError": "bad", "store": {"healthy": False, "error": "refused"}}
    assert await _report() == Report("abc", config_error="bad", store_error="refused")


@pytest.mark.parametrize("body", [{}, [], None, {"revision": "abc", "store": "x"}])
async def test_an_answer_that_can_not_be_used_counts_as_none(body: Any, admin: _Admin) -> None:
    admin.body = body
    with pytest.raises(GatewayUnreachable):
        await _report()


async def test_a_refusal_counts_as_no_answer(admin: _Admin) -> None:
    admin.status = 401
    with pytest.raises(GatewayUnreachable, match="401"):
        await _report()


async def test_a_gateway_that_is_not_there_counts_as_no_answer() -> None:
    with pytest.raises(GatewayUnreachable):
        await _report()
