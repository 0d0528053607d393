"""What a gateway tells of each prefix version: how it is counted, and what the admin port says."""

import asyncio
from typing import Any

import httpx
import pytest
from aiohttp import web

from llmcache_gateway.stats import BOUNDS, MAX_NAMES, Ended, Stats, column, upstream_failed
from tests.gateway.conftest import ADMIN, StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, completion
from tests.gateway.test_rollout import question, rollout, switch


@pytest.mark.parametrize(
    ("ended", "counted", "failed"),
    [
        (Ended("HIT", "ERROR", "memory", 200), "hits", False),
        (Ended("STALE", "ERROR", "stale-while-revalidate", 200), "stale", False),
        (Ended("COALESCED", "ERROR", "", 200), "coalesced", False),
        (Ended("BYPASS", "ERROR", "no-store", 200), "bypasses", False),
        (Ended("MISS", "ERROR", "", 200), "misses", False),
        (Ended("MISS", "ERROR", "truncated", 200), "misses", False),
        (Ended("MISS", "ERROR", "status", 400), "misses", False),
        (Ended("MISS", "ERROR", "status", 404), "misses", False),
        (Ended("MISS", "ERROR", "status", 429), "misses", False),
        (Ended("MISS", "ERROR", "client-gone", 0), "misses", False),
        (Ended("MISS", "ERROR", "status", 500), "misses", True),
        (Ended("MISS", "ERROR", "status", 503), "misses", True),
        (Ended("MISS", "ERROR", "status", 529), "misses", True),
        (Ended("MISS", "ERROR", "unterminated", 200), "misses", True),
        (Ended("MISS", "ERROR", "error", 200), "misses", True),
        (Ended("ERROR", "MISS", "upstream-unreachable", 502), "misses", True),
        (Ended("ERROR", "MISS", "upstream-timeout", 504), "misses", True),
        (Ended("ERROR", "COALESCED", "upstream-timeout", 504), "coalesced", True),
        (Ended("ERROR", "BYPASS", "upstream-unreachable", 502), "bypasses", True),
        (Ended("ERROR", "MISS", "internal", 500), "errors", False),
        (Ended("ERROR", "ERROR", "internal", 500), "errors", False),
        (Ended("ERROR", "ERROR", "only_if_cached", 504), "errors", False),
        (Ended("ERROR", "ERROR", "invalid_api_key", 401), "errors", False),
        (Ended("ERROR", "ERROR", "invalid_json", 400), "errors", False),
    ],
)
def test_each_request_is_counted_once_and_only_upstreams_fail(ended: Ended, counted: str, failed: bool) -> None:
    assert (column(ended), upstream_failed(ended)) == (counted, failed)


def test_buckets_are_cumulative_and_hold_good_answers_only() -> None:
    stats = Stats("i", 1.0)
    good, bad, refused = (
        Ended("MISS", "ERROR", "", 200),
        Ended("MISS", "ERROR", "", 500),
        Ended("MISS", "ERROR", "", 429),
    )
    for ended, seconds in ((good, 0.05), (good, 0.06), (good, 1e9), (bad, 0.01), (refused, 0.01), (good, None)):
        stats.count(ended, version="v1", policy="default", seconds=seconds)
    shown = stats.shown()["versions"]["v1"]
    assert shown["missLatency"]["le"] == [*BOUNDS, None]
    assert shown["missLatency"]["counts"] == [1] + [2] * (len(BOUNDS) - 1) + [3]
    assert shown["missLatency"]["sumSeconds"] == pytest.approx(1e9 + 0.11)
    assert (shown["requests"], shown["misses"], shown["missErrors"]) == (6, 6, 1)


def test_names_are_bounded_and_the_one_not_seen_for_longest_makes_room() -> None:
    stats, hit = Stats("i", 1.0), Ended("HIT", "ERROR", "memory", 200)
    for number in range(3 * MAX_NAMES):
        for name in (f"v{number}", "steady"):
            stats.count(hit, version=name, policy=name, seconds=None)
    shown = stats.shown()
    for kind in ("versions", "policies"):
        assert len(shown[kind]) == MAX_NAMES
        assert shown[kind]["steady"]["requests"] == 3 * MAX_NAMES
    assert shown["tiers"] == {"memory": {"hits": 6 * MAX_NAMES}}


async def stats_of(gateway: TestGateway) -> Any:
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{gateway.admin_url}/admin/v1/stats")).status_code == 401
        return (await client.get(f"{gateway.admin_url}/admin/v1/stats", headers=ADMIN)).json()


def counts(version: dict[str, Any]) -> dict[str, int]:
    return {name: value for name, value in version.items() if isinstance(value, int) and value}


async def test_every_version_has_its_own_counters(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(rollout(provider.base_url)) as gateway:
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            for _ in range(4):  # the last of them on the express lane
                await client.post("/v1/chat/completions", json=question("x"))
        assert await gateway.metric("llmcache_express_total") > 0
        switch(gateway, rollout(provider.base_url, "v1", ("v2", 100)))
        await gateway.post(question("x"))
        await gateway.post(question("x", stream=True))
        await gateway.post(question("y"), headers={"Cache-Control": "no-store"})
        await gateway.post(b"{")
        shown = await stats_of(gateway)
        again = await stats_of(gateway)
    assert (shown["instance"], shown["startedAt"]) == (again["instance"], again["startedAt"])
    assert counts(shown["versions"]["v1"]) == {"requests": 6, "hits": 3, "misses": 1, "bypasses": 1, "errors": 1}
    assert counts(shown["versions"]["v2"]) == {"requests": 2, "hits": 1, "misses": 1}
    for version in ("v1", "v2"):
        latency = shown["versions"][version]["missLatency"]
        assert (latency["counts"][-1], latency["le"][-1]) == (1, None)
        assert latency["sumSeconds"] > 0
    assert shown["tiers"] == {"memory": {"hits": 4}}
    assert counts(shown["policies"]["default"])["requests"] == 7
    async with start_gateway(manifest(None)) as other:
        assert (await stats_of(other))["instance"] != shown["instance"]


async def test_what_an_upstream_does_wrong_is_an_error_of_the_misses(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        text = provider.calls[-1]["body"]["messages"][-1]["content"]
        if text.isdigit():
            return web.json_response({"error": {"message": "no"}}, status=int(text))
        if text == "silent":
            await asyncio.sleep(10)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices": []}\n\n')
        if text == "torn" and request.transport is not None:
            request.transport.abort()
        return response

    provider.behave = behave
    async with start_gateway(rollout(provider.base_url, timeout="2s")) as gateway:
        for text in ("500", "529", "400", "429", "silent"):
            await gateway.post(question(text))
        for text in ("torn", "short"):
            await gateway.post(question(text, stream=True))
        shown = (await stats_of(gateway))["versions"]["v1"]
    assert counts(shown) == {"requests": 7, "misses": 7, "missErrors": 5}
    assert shown["missLatency"]["counts"][-1] == 0


async def test_an_upstream_that_cannot_be_reached_is_one_too(start_gateway: StartGateway) -> None:
    async with start_gateway(rollout("http://127.0.0.1:9/v1")) as gateway:
        assert (await gateway.post(question("x"))).status_code == 502
        assert counts((await stats_of(gateway))["versions"]["v1"]) == {"requests": 1, "misses": 1, "missErrors": 1}


async def test_the_time_to_the_first_byte_is_measured_not_that_to_the_last(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b" ")
        await asyncio.sleep(1.5)
        await response.write(web.json_response(completion(1, "m", "late")).body or b"")  # type: ignore[arg-type]
        return response

    provider.behave = behave
    async with start_gateway(rollout(provider.base_url)) as gateway:
        assert (await gateway.post(question("x"))).status_code == 200
        latency = (await stats_of(gateway))["versions"]["v1"]["missLatency"]
    assert latency["counts"][-1] == 1
    assert 0 < latency["sumSeconds"] < 1.5
