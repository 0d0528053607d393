"""A request that the express lane has read and can't answer goes on as what the lane made of it, and as itself."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from tests.gateway.conftest import ADMIN, StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.test_express import Client, body_of, connected, express, request

KEYS: list[str] = []


def noting(asked: Any, default_key: str) -> str:
    """Build the default key, and note that it was asked for."""
    KEYS.append(default_key)
    return default_key


async def learned(client: Client, *headers: str) -> None:
    """Have the lane know a head: it has had a hit."""
    for _ in range(2):
        await client.ask(request(body_of("hello"), *headers))


async def test_a_miss_of_the_lane_is_read_once(start_gateway: StartGateway, provider: Provider) -> None:
    cache = {"key": {"builder": f"{__name__}:noting"}}
    async with start_gateway(manifest(provider.base_url, cache=cache)) as gateway, connected(gateway) as client:
        await learned(client)
        KEYS.clear()
        assert (await client.ask(request(body_of("something else")))).headers["X-LLMCache"] == "MISS"
        assert len(KEYS) == 1
        assert (await client.ask(request(body_of("something else")))).headers["X-LLMCache"] == "HIT"
        assert await express(gateway) == 1


async def test_each_miss_of_a_known_head_goes_upstream_as_it_came(gateway: TestGateway, provider: Provider) -> None:
    bodies = [body_of("x" * length, cache={"ttl": 60}) for length in (1, 1000, 200_000)] + [body_of("one more")]
    async with connected(gateway) as client:
        await learned(client, "X-Request-Tag: a")
        for body in bodies:
            answer = await client.ask(request(body, "X-Request-Tag: a"))
            assert (answer.headers["X-LLMCache"], "; stored" in answer.headers["Cache-Status"]) == ("MISS", True)
            call = provider.calls[-1]
            assert call["body"] == {name: value for name, value in json.loads(body).items() if name != "cache"}
            assert call["headers"]["Content-Length"] == str(len(call["raw"]))
            assert call["headers"]["X-Request-Tag"] == "a"
        assert (await client.ask(request(bodies[0], "X-Request-Tag: a"))).headers["X-LLMCache"] == "HIT"


async def test_an_entry_that_has_gone_is_asked_for_anew_by_all_who_have_seen_it(
    gateway: TestGateway, provider: Provider
) -> None:
    asked = request(body_of("hello"))
    async with connected(gateway) as client, connected(gateway) as other, httpx.AsyncClient(headers=ADMIN) as admin:
        for _ in range(4):
            await client.ask(asked)
        for number in range(2, 5):
            await admin.post(f"{gateway.admin_url}/admin/v1/invalidate", json={"all": True})
            answers = await asyncio.gather(client.ask(asked), other.ask(asked))
            assert {answer.said for answer in answers} == {f"answer {number} to hello"}
            assert {answer.headers["X-LLMCache"] for answer in answers} <= {"MISS", "COALESCED", "HIT"}
            assert (await client.ask(asked)).headers["X-LLMCache"] == "HIT"
    assert len(provider.calls) == 4


async def test_a_hook_is_shown_the_headers_of_the_request_that_it_is_asked_of(
    start_gateway: StartGateway, provider: Provider, tmp_path: Path
) -> None:
    folder = tmp_path / "hooks"
    folder.mkdir()
    (folder / "hooks.py").write_text(
        "from llmcache_gateway.hooks import *\n"
        "async def pre_upstream(call):\n"
        "    return Changes(headers={'X-Length': call.headers['content-length']})\n"
    )
    config = manifest(provider.base_url, hooks={"configMapRef": {"name": "my-hooks"}, "deadline": "5s"})
    async with start_gateway(config, hooks=folder) as gateway, connected(gateway) as client:
        await learned(client)
        for body in (body_of("short"), body_of("a longer one")):
            await client.ask(request(body))
            assert provider.calls[-1]["headers"]["X-Length"] == str(len(body))


async def test_a_miss_that_waits_while_another_configuration_comes_is_read_anew(
    start_gateway: StartGateway, provider: Provider
) -> None:
    config = manifest(provider.base_url)
    async with start_gateway(config) as gateway, connected(gateway) as client:
        await learned(client)
        config["spec"]["prefix"]["version"] = "v2"
        gateway.rewrite(config)
        await client.send(request(body_of("something else")))
        gateway.running.reloader.check()
        told = (await client.answer()).headers
        version = told["X-LLMCache-Prefix"].rpartition(":")[2]
        assert told["X-LLMCache-Key"].split(":")[1] == version
        assert (await client.ask(request(body_of("something else")))).headers["X-LLMCache-Prefix"].endswith(":v2")
