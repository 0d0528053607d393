"""The requests asked most: what is kept, who sees it, and that it can be asked again."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from multidict import CIMultiDict

from llmcache_gateway.freshness import Controls
from llmcache_gateway.hot import Asked, HotRequests, asked
from tests.gateway.conftest import ADMIN, ADMIN_TOKEN, StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.test_command_line import finish, start

RED, BLUE = {"Authorization": "Bearer sk-red"}, {"Authorization": "Bearer sk-blue"}


def question(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


async def hot(gateway: TestGateway, query: str = "", headers: dict[str, str] = ADMIN) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(f"{gateway.admin_url}/admin/v1/hot{query}", headers=headers)


async def texts(gateway: TestGateway, query: str = "") -> list[tuple[str, int]]:
    found = (await hot(gateway, query)).json()["requests"]
    return [(one["body"]["messages"][0]["content"], one["count"]) for one in found]


async def test_what_is_asked_most_comes_first_hits_and_misses_alike(gateway: TestGateway) -> None:
    for text, times in (("twice", 2), ("often", 6), ("once", 1)):
        for _ in range(times):
            await gateway.post(question(text), headers=RED)
    assert await texts(gateway) == [("often", 6), ("twice", 2)]
    assert await texts(gateway, "?limit=1") == [("often", 6)]


async def test_hits_of_the_express_lane_count(gateway: TestGateway) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, headers=RED) as client:
        for _ in range(8):
            await client.post("/v1/chat/completions", json=question("again"))
    assert await gateway.metric("llmcache_express_total") > 0
    assert await texts(gateway) == [("again", 8)]


async def test_it_needs_the_admin_token_and_a_limit_that_is_a_number(gateway: TestGateway) -> None:
    assert (await hot(gateway, headers={})).status_code == 401
    answer = await hot(gateway, "?limit=many")
    assert (answer.status_code, answer.json()) == (400, {"error": "limit must be a number of requests, not 'many'"})


async def test_it_can_be_turned_off(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(manifest(provider.base_url, cache={"hot": {"requests": 0}})) as gateway:
        for _ in range(3):
            await gateway.post(question("x"), headers=RED)
        answer = await hot(gateway)
    assert (answer.status_code, answer.json()) == (404, {"error": "spec.cache.hot.requests is 0: no requests are kept"})


async def test_failed_and_refused_requests_are_not_counted(gateway: TestGateway, provider: Provider) -> None:
    from aiohttp import web

    async def fail(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no"}}, status=500)

    provider.behave = fail
    for _ in range(3):
        await gateway.post(question("x"), headers=RED)
        await gateway.post(question("y"), headers=RED | {"Cache-Control": "only-if-cached"})
    assert await texts(gateway) == []


async def test_a_new_version_is_warmed_with_what_the_old_one_was_asked(
    gateway: TestGateway, provider: Provider, tmp_path: Path
) -> None:
    headers = RED | {"X-LLMCache-Namespace": "n", "OpenAI-Beta": "b"}
    for text in ("one", "two"):
        for _ in range(3):
            await gateway.post(question(text), headers=headers)
    await gateway.post(question("seldom"), headers=RED)
    changed = manifest(provider.base_url)
    changed["spec"]["prefix"]["version"] = "v2"
    gateway.rewrite(changed)
    while (await gateway.status())["prefix"]["version"] != "v2":  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    arguments = ["warm", "--url", gateway.url, "--from-hot", gateway.admin_url]
    environment = {"LLMCACHE_ADMIN_TOKEN": ADMIN_TOKEN, "LLMCACHE_API_KEY": "sk-red"}
    code, out, _ = await finish(await start(*arguments, **environment))
    assert (code, out) == (0, "2 stored, 0 already there, 0 failed\n")
    for text in ("one", "two"):
        assert (await gateway.post(question(text), headers=headers)).headers["X-LLMCache"] == "HIT"


async def test_another_gateway_is_warmed_with_one_tenants_requests(
    gateway: TestGateway, start_gateway: StartGateway, provider: Provider
) -> None:
    for headers in (RED, BLUE):
        for _ in range(2):
            await gateway.post(question("hello"), headers=headers)
    for _ in range(2):
        await gateway.post(question("blue only"), headers=BLUE)
    async with start_gateway(manifest(provider.base_url)) as other:
        arguments = ["warm", "--url", other.url, "--from-hot", gateway.admin_url]
        environment = {"LLMCACHE_ADMIN_TOKEN": ADMIN_TOKEN, "LLMCACHE_API_KEY": "sk-red"}
        code, _, err = await finish(await start(*arguments, **environment))
        assert code == 2
        assert "has requests of several tenants: choose one with --tenant, of " in err
        found = (await hot(gateway)).json()["requests"]
        blue = next(one["tenant"] for one in found if one["body"]["messages"][0]["content"] == "blue only")
        red = next(one["tenant"] for one in found if one["tenant"] != blue)
        code, out, err = await finish(await start(*arguments, "--tenant", red, "--top", "5", **environment))
        assert (code, out) == (0, "1 stored, 0 already there, 0 failed\n")
        assert (await other.post(question("hello"), headers=RED)).headers["X-LLMCache"] == "HIT"
        assert (await other.post(question("hello"), headers=BLUE)).headers["X-LLMCache"] == "MISS"


async def test_a_wrong_token_is_said(gateway: TestGateway) -> None:
    arguments = ["warm", "--url", gateway.url, "--from-hot", gateway.admin_url]
    code, _, err = await finish(await start(*arguments, LLMCACHE_ADMIN_TOKEN="wrong"))
    assert code == 2
    assert "/admin/v1/hot: status 401" in err


def test_memory_is_bounded_and_room_is_made_for_what_comes_more_often() -> None:
    found = HotRequests(100, max_bytes=10_000)

    def ask(name: int) -> None:
        key = f"p:v:t:{name}"
        if found.count(key):
            found.keep(key, Asked("t", "m", "/", {}, b"x" * 999))

    for name in range(50):
        ask(name)
        ask(name)
    assert found.bytes <= 10_000
    for _ in range(20):
        ask(777)
    assert [counter.count for _, counter in found.top(1)] == [20]
    for name in range(10_000, 30_000):
        ask(name)
    assert found.bytes <= 10_000
    assert found.bytes == sum(one.weight for one, _ in found.top(100))


def test_what_is_too_large_or_cannot_be_asked_again_is_offered_once() -> None:
    found = HotRequests(10)
    for name, one in (("big", Asked("t", "m", "/", {}, b"x" * 200_000)), ("odd", None)):
        offered = 0
        for _ in range(10):
            if found.count(f"p:v:t:{name}"):
                offered += 1
                found.keep(f"p:v:t:{name}", one)
        assert offered == 1
    assert (found.bytes, found.top(10)) == (0, [])


@pytest.mark.parametrize(
    ("target", "headers"), [("/v1/x?api-key=1", {}), ("/v1/x", {"X-My-Token": "1"}), ("/v1/x", {"X-Session": "1"})]
)
def test_a_request_that_may_hold_a_secret_is_not_kept(target: str, headers: dict[str, str]) -> None:
    assert ask_of(target, headers) is None


def test_credentials_and_the_fronts_proof_are_not_kept() -> None:
    one = ask_of("/v1/x", {"Authorization": "Bearer k", "X-Team": "red", "OpenAI-Beta": "b"}, dropped=("X-Team",))
    assert one is not None
    assert one.headers == {"openai-beta": "b"}


def ask_of(target: str, headers: dict[str, str], dropped: tuple[str, ...] = ()) -> Asked | None:
    return asked(
        target=target,
        body=b"{}",
        headers=CIMultiDict(headers),
        controls=Controls(),
        tenant="t",
        model="m",
        dropped=dropped,
        digest="d",
    )
