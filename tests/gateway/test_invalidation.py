"""Invalidation by every selector, over real gateways, a real Redis and a provider that may be slow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web

from tests.gateway.conftest import ADMIN, StartGateway, TestGateway, manifest
from tests.gateway.examples import question
from tests.gateway.provider import Provider
from tests.redis_server import RedisServer

RED, BLUE = {"Authorization": "Bearer sk-red"}, {"Authorization": "Bearer sk-blue"}


def tiered(provider: Provider, redis_url: str, name: str = "test") -> dict[str, Any]:
    made = manifest(
        provider.base_url, cache={"store": {"type": "tiered"}}, redis={"external": {"url": redis_url}}, timeout="30s"
    )
    made["metadata"]["name"] = name
    return made


@pytest.fixture
async def three(start_gateway: StartGateway, provider: Provider, redis_url: str) -> AsyncIterator[list[TestGateway]]:
    async with AsyncExitStack() as stack:
        config = tiered(provider, redis_url)
        yield [await stack.enter_async_context(start_gateway(config)) for _ in range(3)]


async def ask(gateway: TestGateway, text: str = "Hi", model: str = "m", **headers: str) -> httpx.Response:
    response = await gateway.post(question(text) | {"model": model}, headers=RED | headers)
    assert response.status_code == 200
    return response


async def outcome(gateway: TestGateway, text: str = "Hi", model: str = "m", **headers: str) -> str:
    return (await ask(gateway, text, model, **headers)).headers["X-LLMCache"]


async def admin(gateway: TestGateway, method: str, path: str, body: Any = None) -> httpx.Response:
    async with httpx.AsyncClient(timeout=20) as client:
        return await client.request(method, gateway.admin_url + path, json=body, headers=ADMIN)


async def invalidate(gateway: TestGateway, **selector: Any) -> dict[str, Any]:
    response = await admin(gateway, "POST", "/admin/v1/invalidate", selector)
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


async def fill(gateways: list[TestGateway]) -> httpx.Response:
    """Let every gateway hold in its memory what the first has asked for; return its answer."""
    first = await ask(gateways[0], **{"X-LLMCache-Tags": "faq"})
    await ask(gateways[0], "other", "n")
    await gateways[0].running.reloader.current.store.flush()
    for gateway in gateways:
        assert [await outcome(gateway), await outcome(gateway, "other", "n")] == ["HIT", "HIT"]
    return first


@pytest.mark.parametrize(
    ("selector", "meets_other"),
    [
        ("keys", False),
        ("request", False),
        ("tags", False),
        ("model", False),
        ("tenant", True),
        ("version", True),
        ("all", True),
    ],
)
async def test_every_selector_meets_its_entries_on_all_replicas_and_no_others(
    three: list[TestGateway], selector: str, meets_other: bool
) -> None:
    key = (await fill(three)).headers["X-LLMCache-Key"]
    request = {"path": "/v1/chat/completions", "body": question(), "headers": RED}
    values = {"keys": [key], "request": request, "tags": ["faq"], "model": "m", "all": True}
    values |= {"tenant": key.split(":")[2], "version": "v1"}
    matched = 2 if meets_other else 1
    told = await invalidate(three[1], **{selector: values[selector]}, dryRun=True)
    assert told == {"dryRun": True, "matched": matched, "deleted": 0}
    assert await outcome(three[1]) == "HIT"
    told = await invalidate(three[1], **{selector: values[selector]})
    assert (told["state"], told["matched"], told["deleted"]) == ("done", matched, matched)
    assert (await admin(three[1], "GET", f"/admin/v1/invalidations/{told['id']}")).json() == told
    await asyncio.sleep(1.0)
    assert await outcome(three[2]) == "MISS"
    assert await outcome(three[0], "other", "n") == ("MISS" if meets_other else "HIT")
    await three[2].running.reloader.current.store.flush()
    assert await outcome(three[0]) == "HIT"  # what was asked for since is served again


async def test_an_answer_on_its_way_during_an_invalidation_is_never_served(
    three: list[TestGateway], provider: Provider
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        begun.set()
        await go.wait()
        return await provider.chat(request, provider.calls[0]["body"])

    await outcome(three[0], "before")
    provider.calls.clear()
    provider.behave = slow
    asked = asyncio.create_task(ask(three[0]))
    await begun.wait()
    await invalidate(three[1], all=True)
    go.set()
    assert (await asked).headers["X-LLMCache"] == "MISS"
    await three[0].running.reloader.current.store.flush()
    provider.behave = None
    assert [await outcome(three[1]), await outcome(three[2])][0] == "MISS"
    await asyncio.sleep(1.0)
    old = (await asked).json()["choices"][0]["message"]["content"]
    for gateway in three:
        assert (await ask(gateway)).json()["choices"][0]["message"]["content"] != old


async def test_a_gateway_that_starts_later_and_sdk_traffic_see_nothing_old(
    three: list[TestGateway], start_gateway: StartGateway, provider: Provider, redis_url: str
) -> None:
    await fill(three)
    await invalidate(three[0], tags=["faq"])
    async with start_gateway(tiered(provider, redis_url)) as late:
        client = openai.AsyncOpenAI(base_url=f"{late.url}/v1", api_key="sk-red", max_retries=0)
        calls = len(provider.calls)
        answer = await client.chat.completions.with_raw_response.create(
            model="m", messages=[{"role": "user", "content": "Hi"}]
        )
        assert len(provider.calls) == calls + 1
        assert answer.headers["X-LLMCache"] == "MISS"
        await client.close()
        assert await outcome(late, "other", "n") == "HIT"


async def test_a_replica_cut_from_redis_serves_nothing_old_neither_then_nor_later(
    three: list[TestGateway], start_gateway: StartGateway, provider: Provider, redis_server: RedisServer
) -> None:
    cut = asyncio.Event()
    pipes: set[asyncio.StreamWriter] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", redis_server.port)
        pipes.update((writer, there[1]))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    if not cut.is_set():  # silence, not a reset: the worst case
                        sink.write(data)
            except ConnectionError:
                pass
            finally:
                sink.close()

        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    server = await asyncio.start_server(pipe, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with start_gateway(tiered(provider, f"redis://127.0.0.1:{port}/0")) as away:
        await fill([three[0], away])
        cut.set()
        told = await invalidate(three[0], tags=["faq"])
        assert told["deleted"] == 1
        await asyncio.sleep(1.0)
        assert await outcome(away) == "MISS"
        cut.clear()
        for writer in pipes:
            writer.close()
        await asyncio.sleep(0.6)
        assert await outcome(away, "new") == "MISS"
        assert await outcome(away, "other", "n") == "HIT"
    server.close()


async def test_two_caches_in_one_redis_leave_each_other_alone_and_no_command_blocks_redis(
    start_gateway: StartGateway, provider: Provider, redis_url: str, redis_server: RedisServer
) -> None:
    redis_server.command("CONFIG", "RESETSTAT")
    redis_server.command("SET", "of-somebody-else", "x")
    async with (
        start_gateway(tiered(provider, redis_url, "one")) as one,
        start_gateway(tiered(provider, redis_url, "two")) as two,
    ):
        await fill([one])
        await fill([two])
        assert (await admin(one, "POST", "/cache/flushall")).json() == {"status": "success"}
        assert [await outcome(one), await outcome(two)] == ["MISS", "HIT"]
        assert redis_server.command("GET", "of-somebody-else") == "x"
        key = (await ask(two)).headers["X-LLMCache-Key"]
        assert (await admin(two, "POST", "/cache/delete", {"keys": [key]})).json() == {"status": "success"}
        assert await outcome(two) == "MISS"
        assert (await admin(two, "GET", "/cache/ping")).json()["status"] == "healthy"
    used = redis_server.command("INFO", "commandstats").lower()
    assert "cmdstat_scan" in used
    assert "flush" not in used
    assert "cmdstat_keys" not in used


async def test_the_request_may_name_its_tenant(gateway: TestGateway) -> None:
    tenant = (await ask(gateway)).headers["X-LLMCache-Key"].split(":")[2]
    await gateway.post(question(), headers=BLUE)
    request = {"path": "/v1/chat/completions", "body": question(), "tenant": tenant}
    assert (await invalidate(gateway, request=request))["deleted"] == 1
    assert await outcome(gateway) == "MISS"
    assert (await gateway.post(question(), headers=BLUE)).headers["X-LLMCache"] == "HIT"


async def test_every_input_of_an_embeddings_request_is_met(gateway: TestGateway) -> None:
    body = {"model": "e", "input": ["a", "b"]}
    request = {"path": "/v1/embeddings", "body": body, "headers": RED}
    assert (await invalidate(gateway, request=request, dryRun=True))["matched"] == 0

    key = (await ask(gateway, "a secret thing", **{"X-LLMCache-Tags": "faq"})).headers["X-LLMCache-Key"]
    listed = await admin(gateway, "GET", "/admin/v1/entries")
    assert "secret" not in listed.text
    (entry,) = listed.json()["entries"]
    assert (entry["key"], entry["tags"], entry["model"]) == (key, ["faq"], "m")
    assert (await admin(gateway, "GET", f"/admin/v1/entries/{key}")).json() == entry
    assert (await admin(gateway, "DELETE", f"/admin/v1/entries/{key}")).json()["deleted"] == 1
    assert (await admin(gateway, "GET", f"/admin/v1/entries/{key}")).status_code == 404
    assert await outcome(gateway, "a secret thing") == "MISS"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], "body"),
        ({}, "body"),
        ({"tags": ["a"], "model": "m"}, "body"),
        ({"tag": ["a"]}, "tag"),
        ({"all": False}, "all"),
        ({"all": True, "dryRun": "no"}, "dryRun"),
        ({"tags": "a"}, "tags"),
        ({"tags": []}, "tags"),
        ({"tags": ["a b"]}, "tags[0]"),
        ({"keys": ["*"]}, "keys[0]"),
        ({"model": ""}, "model"),
        ({"tenant": "a:b"}, "tenant"),
        ({"version": 1}, "version"),
        ({"request": {"path": "/v1/files", "body": {}}}, "request"),
        ({"request": {"path": "v1", "body": {}}}, "request.path"),
        ({"request": {"path": "/v1/chat/completions", "body": "x"}}, "request.body"),
        ({"request": {"path": "/v1/chat/completions", "body": {"model": 5}}}, "request"),
        ({"request": {"path": "/v1/chat/completions", "body": {}, "headers": []}}, "request.headers"),
        ({"request": {"url": "x"}}, "request.url"),
    ],
)
async def test_what_selects_nothing_sensible_is_refused_and_changes_nothing(
    gateway: TestGateway, body: Any, param: str
) -> None:
    await ask(gateway)
    response = await admin(gateway, "POST", "/admin/v1/invalidate", body)
    assert (response.status_code, response.json()["param"]) == (400, param), response.text
    assert await outcome(gateway) == "HIT"


async def test_without_the_admin_token_nothing_is_invalidated(gateway: TestGateway) -> None:
    await ask(gateway)
    async with httpx.AsyncClient() as client:
        for path in ("/admin/v1/invalidate", "/cache/flushall"):
            assert (await client.post(gateway.admin_url + path, json={"all": True})).status_code == 401
    assert await outcome(gateway) == "HIT"


async def test_an_invalidation_that_cannot_be_kept_says_so(
    start_gateway: StartGateway, provider: Provider, redis_server: RedisServer, redis_url: str
) -> None:
    async with start_gateway(tiered(provider, redis_url)) as gateway:
        await fill([gateway])
        redis_server.command("SET", "llmcache:tests/test:@marks", "no marks")
        response = await admin(gateway, "POST", "/admin/v1/invalidate", {"all": True})
        assert response.status_code == 503
        redis_server.command("DEL", "llmcache:tests/test:@marks")
