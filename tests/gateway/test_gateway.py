"""Ordinary requests: what is sent on, what is kept apart, what every answer says."""

import asyncio
import re
from typing import Any

import aiohttp
import httpx
import pytest

from tests.gateway.conftest import ADMIN, StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider
from tests.redis_server import free_port

GOOD = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


async def test_every_answer_says_what_the_cache_did(gateway: TestGateway) -> None:
    miss = await gateway.post(GOOD)
    key = miss.headers["X-LLMCache-Key"]
    assert re.fullmatch(r"test:v1:anonymous:[0-9a-f]{64}", key)
    assert miss.headers["Cache-Status"] == f'llmcache; fwd=miss; stored; key="{key}"'
    assert "Age" not in miss.headers
    hit = await gateway.post(GOOD)
    assert re.fullmatch(rf'llmcache; hit; ttl=3[56]\d\d; key="{key}"; detail="memory"', hit.headers["Cache-Status"])
    assert hit.headers["Age"] == "0"
    assert (hit.headers["X-LLMCache"], hit.headers["X-LLMCache-Prefix"]) == ("HIT", "test:v1")
    assert hit.content == miss.content


@pytest.mark.parametrize(
    ("change", "headers"),
    [
        ({"temperature": 0.5}, {}),
        ({"field_of_tomorrow": 1}, {}),
        ({"field_of_tomorrow": None}, {}),
        ({"model": "gpt-4o-mini"}, {}),
        ({"messages": [{"role": "user", "content": "hi "}]}, {}),
        ({}, {"OpenAI-Organization": "o"}),
        ({}, {"OpenAI-Project": "p"}),
        ({}, {"Authorization": "Bearer sk-1"}),
        ({}, {"api-key": "k"}),
        ({}, {"x-api-key": "k"}),
    ],
)
async def test_whatever_can_change_the_answer_makes_another_key(
    gateway: TestGateway, provider: Provider, change: dict[str, Any], headers: dict[str, str]
) -> None:
    await gateway.post(GOOD)
    assert (await gateway.post({**GOOD, **change}, headers=headers)).headers["X-LLMCache"] == "MISS"
    assert (await gateway.post(GOOD)).headers["X-LLMCache"] == "HIT"
    assert len(provider.calls) == 2


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"content":"hi","role":"user"}],"model":"gpt-4o"}',
        b' {"model" : "gpt-4\\u006f", "messages":[{"role":"user","content":"hi"}], "stream": false}\n',
        b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"user":"u","metadata":{"a":"b"}}',
    ],
)
async def test_what_cannot_change_the_answer_shares_the_entry(gateway: TestGateway, body: bytes) -> None:
    await gateway.post(GOOD)
    assert (await gateway.post(body)).headers["X-LLMCache"] == "HIT"


async def test_shared_isolation_lets_all_clients_share(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(manifest(provider.base_url, tenancy={"isolation": "Shared"})) as gateway:
        await gateway.post(GOOD, headers={"Authorization": "Bearer one"})
        hit = await gateway.post(GOOD, headers={"Authorization": "Bearer two"})
    assert hit.headers["X-LLMCache"] == "HIT"


async def test_a_credential_stands_in_no_key_log_or_answer(
    gateway: TestGateway, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    response = await gateway.post(GOOD, headers={"Authorization": "Bearer sk-very-secret"})
    seen = f"{response.headers} {caplog.text} {capfd.readouterr()} {await gateway.status()}"
    assert "very-secret" not in seen
    assert "anonymous" not in response.headers["X-LLMCache-Key"]


async def test_disabled_sends_everything_upstream(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(manifest(provider.base_url, cache={"mode": "Disabled"})) as gateway:
        for _ in range(2):
            response = await gateway.post(GOOD)
            assert response.headers["Cache-Status"] == 'llmcache; fwd=bypass; detail="disabled"'
    assert len(provider.calls) == 2


async def test_requests_that_must_not_meet_the_cache_say_why(gateway: TestGateway, provider: Provider) -> None:
    for _ in range(2):
        response = await gateway.post({**GOOD, "store": True})
        assert response.headers["Cache-Status"] == 'llmcache; fwd=bypass; detail="stateful"'
    assert len(provider.calls) == 2


async def test_unknown_paths_pass_through_byte_for_byte(gateway: TestGateway, provider: Provider) -> None:
    payload = bytes(range(256)) * 5000
    async with httpx.AsyncClient() as client:
        response = await client.post(
            f"{gateway.url}/v1/files/a%2Fb?x=%20y&x=2",
            content=payload,
            headers={
                "X-Custom": "1",
                "Authorization": "Bearer sk",
                "X-LLMCache-TTL": "5",
                "Connection": "x-hop",
                "x-hop": "1",
            },
        )
    assert response.json()["n"] == 1
    assert response.headers["x-provider"] == "yes"
    assert response.headers["Cache-Status"] == 'llmcache; fwd=bypass; detail="unknown-path"'
    call = provider.calls[0]
    assert call["path"] == "/v1/files/a%2Fb?x=%20y&x=2"
    assert call["raw"] == payload
    assert call["headers"]["X-Custom"] == "1"
    assert call["headers"]["Authorization"] == "Bearer sk"
    assert "X-LLMCache-TTL" not in call["headers"]
    assert "x-hop" not in call["headers"]


@pytest.mark.parametrize("sent", [None, "br", "identity"])
async def test_an_answer_that_passes_through_is_in_no_encoding_that_the_client_did_not_ask_for(
    sent: str | None, gateway: TestGateway, provider: Provider
) -> None:
    async with aiohttp.ClientSession() as client:
        headers = {} if sent is None else {"Accept-Encoding": sent}
        async with client.get(
            f"{gateway.url}/v1/models", headers=headers, skip_auto_headers=["Accept-Encoding"]
        ) as one:
            assert one.status == 200
    assert provider.calls[0]["headers"].get("Accept-Encoding") == sent


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"])
async def test_every_method_passes_through(gateway: TestGateway, provider: Provider, method: str) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.request(method, f"{gateway.url}/v1/models")
    assert response.status_code == 200
    assert response.headers["X-LLMCache"] == "BYPASS"
    assert provider.calls[0]["method"] == method


async def test_the_first_upstream_that_serves_the_model_gets_the_request(
    start_gateway: StartGateway, provider: Provider
) -> None:
    config = manifest(provider.base_url)
    config["spec"]["upstreams"][0]["models"] = ["gpt-*"]
    config["spec"]["upstreams"].append({"name": "rest", "provider": "echo", "models": ["*"]})
    async with start_gateway(config) as gateway:
        first = await gateway.post(GOOD)
        second = await gateway.post({**GOOD, "model": "other"})
    assert first.json()["choices"][0]["message"]["content"].startswith("answer 1")
    assert second.json()["choices"][0]["message"]["content"] == "echo: hi"


async def test_without_a_credential_configured_the_clients_own_stays_here(
    start_gateway: StartGateway, provider: Provider
) -> None:
    config = manifest(provider.base_url)
    del config["spec"]["upstreams"][0]["credential"]
    async with start_gateway(config) as gateway:
        await gateway.post(GOOD, headers={"Authorization": "Bearer sk", "api-key": "k", "x-api-key": "k"})
    sent = provider.calls[0]["headers"]
    assert not {"Authorization", "api-key", "x-api-key"} & set(sent)


async def test_admin_port_shows_health_and_metrics_to_all_and_the_rest_to_the_token(gateway: TestGateway) -> None:
    await gateway.post(GOOD)
    await gateway.post(GOOD)
    async with httpx.AsyncClient(base_url=gateway.admin_url) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": ADMIN["Authorization"] + "x"}):
            assert (await client.get("/admin/v1/status", headers=headers)).status_code == 401
            assert (await client.get("/admin/v1/nothing", headers=headers)).status_code == 401
        status = (await client.get("/admin/v1/status", headers=ADMIN)).json()
    assert status["prefix"] == {"name": "test", "version": "v1", "next": None}
    assert status["revision"] == gateway.running.reloader.current.config.revision
    closed = {"get": "closed", "put": "closed"}
    assert status["store"] == {"type": "memory", "healthy": True, "error": None, "circuits": closed}
    assert await gateway.metric('llmcache_hits_total{tier="memory"}') == 1
    assert await gateway.metric('llmcache_misses_total{reason="miss"}') == 1
    labels = 'dialect="openai-chat",model="gpt-4o",outcome="HIT",policy="default",version="v1"'
    assert await gateway.metric(f"llmcache_requests_total{{{labels}}}") == 1


async def test_admin_port_names_its_routes_to_who_asks_for_another(gateway: TestGateway) -> None:
    async with httpx.AsyncClient(base_url=gateway.admin_url, headers=ADMIN) as client:
        for method, path, status in (("GET", "/admin/v1/entry", 404), ("GET", "/admin/v1/explain", 405)):
            answer = await client.request(method, path)
            assert answer.status_code == status
            error = answer.json()["error"]
            assert error.startswith(f"there is no {method} {path} here; known are ")
            assert "GET /admin/v1/entries/{key}" in error
            assert "POST /admin/v1/explain" in error
            assert "HEAD" not in error


async def test_a_gateway_is_ready_once_its_store_is_connected_or_has_kept_it_waiting(
    start_gateway: StartGateway, redis_url: str
) -> None:
    async def readiness(url: str) -> list[int]:
        config = manifest(None, cache={"store": {"type": "redis"}}, redis={"external": {"url": url}})
        seen: list[int] = []
        async with start_gateway(config) as gateway, httpx.AsyncClient() as client:
            while not seen or seen[-1] != 200:
                seen.append((await client.get(f"{gateway.admin_url}/readyz")).status_code)
                await asyncio.sleep(0.1)
        return seen

    assert len(await readiness(redis_url)) <= 5
    assert 503 in await readiness(f"redis://127.0.0.1:{free_port()}/0")


async def test_the_public_port_knows_nothing_of_the_admin_api(gateway: TestGateway, provider: Provider) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        for path in ("/metrics", "/healthz", "/admin/v1/status"):
            assert (await client.get(path, headers=ADMIN)).status_code == 404
    assert not provider.calls
