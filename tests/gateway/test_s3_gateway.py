"""Gateways over S3: what is shared, and what befalls clients when the bucket is away, wrong or slow."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from llmcache_gateway.stores.breaker import FAILURES_TO_OPEN
from tests.gateway.conftest import ADMIN, StartGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.test_command_line import address, finish, serving, start, without_package
from tests.gateway.test_fail_open import ROUNDS, ask, circuits, comes_back, ready, settled, until
from tests.gateway.test_sdk import sdk
from tests.s3_server import KEY_ID, SECRET, S3Server, running_s3, settings, write_key
from tests.socket_proxy import Fault, Proxy, running_proxy


def config(provider: Provider, url: str, timeout: str = "2s", **store: Any) -> dict[str, Any]:
    bucket = settings(url)
    return manifest(provider.base_url, cache={"store": {"type": "s3", "timeout": timeout} | store}, s3=bucket)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    return write_key(tmp_path)


@pytest.fixture
async def proxy(s3: S3Server) -> AsyncIterator[Proxy]:
    async with running_proxy(s3.port) as proxy:
        yield proxy


def through(proxy: Proxy) -> str:
    return f"http://127.0.0.1:{proxy.port}"


@pytest.mark.parametrize("fault", ["refuses", "hangs", "slow", "cuts", "fails"])
async def test_a_bucket_that_gives_no_answers_is_soon_asked_no_more_and_comes_back(
    fault: Fault,
    start_gateway: StartGateway,
    provider: Provider,
    proxy: Proxy,
    secrets: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "llmcache_gateway.stores.circuit")
    started = start_gateway(config(provider, through(proxy), timeout="200ms"), secrets=secrets)
    async with started as gateway, sdk(gateway) as client:
        await until(lambda: ready(gateway))
        await ask(client, "known")
        await settled(gateway)
        proxy.fault = fault
        before = len(provider.calls)
        assert [await ask(client, "known") for _ in range(ROUNDS)] == ["MISS"] * ROUNDS
        assert len(provider.calls) - before == ROUNDS
        assert await gateway.metric("llmcache_lookup_seconds_count") <= 1 + FAILURES_TO_OPEN + 2
        assert (await circuits(gateway))["get"] in ("open", "half-open")
        assert await gateway.metric('llmcache_store_circuit_open{op="get",store="s3"}') == 1
        assert await ready(gateway)
        assert len([one for one in caplog.messages if "store s3 failed (get)" in one]) == 1, caplog.messages
        proxy.fault = "none"
        await comes_back(gateway, client, provider, "s3")


async def test_a_bucket_far_away_is_of_use_too_from_its_first_gateway_on(
    start_gateway: StartGateway, provider: Provider, proxy: Proxy, secrets: Path
) -> None:
    proxy.fault, proxy.slow_seconds = "slow", 0.2
    started = start_gateway(config(provider, through(proxy), timeout="5s"), secrets=secrets)
    async with started as gateway, sdk(gateway) as client:

        async def hits() -> bool:
            outcome = await ask(client, "known")
            await settled(gateway)
            return outcome == "HIT"

        await until(hits)


async def test_a_server_that_dies_in_the_middle_of_traffic_costs_no_answer_and_its_entries_are_there_again(
    start_gateway: StartGateway, provider: Provider, secrets: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with running_s3(folder=data) as server:
        port = server.port
        started = start_gateway(config(provider, server.url), secrets=secrets)
        async with started as gateway, sdk(gateway) as client:

            async def asks(number: int) -> None:
                for turn in range(10):
                    await ask(client, f"question {turn % 5}")
                    await ask(client, f"new {number} {turn}")

            asking = asyncio.gather(*(asks(number) for number in range(5)))
            await asyncio.sleep(0.1)
            server.process.kill()
            server.process.wait()
            await asking
            await ask(client, "after")
            with running_s3(port, data):
                await comes_back(gateway, client, provider, "s3")


async def test_wrong_credentials_are_said_at_start_and_cost_nothing_but_hits_until_they_are_mended(
    start_gateway: StartGateway, provider: Provider, s3: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started = start_gateway(config(provider, s3.url), secrets=write_key(tmp_path, "wrong"))
    async with started as gateway, sdk(gateway) as client:
        assert [await ask(client, "known") for _ in range(3)] == ["MISS"] * 3
        await until(lambda: ready(gateway))
        assert any("can't be used yet (s3: 403 Forbidden SignatureDoesNotMatch)" in one for one in caplog.messages)
        status = (await gateway.status())["store"]
        assert (status["healthy"], status["error"]) == (False, "s3: 403 Forbidden SignatureDoesNotMatch")
        write_key(tmp_path)
        await until(lambda: _is_healthy(gateway))
        await ask(client, "known")
        await settled(gateway)
        assert await ask(client, "known") == "HIT"


async def _is_healthy(gateway: Any) -> bool:
    return bool((await gateway.status())["store"]["healthy"])


@pytest.mark.parametrize("store", [{}, {"type": "tiered", "l2": {"type": "s3"}}], ids=["s3", "tiered"])
async def test_two_gateways_share_answers_and_an_invalidation_reaches_both(
    store: dict[str, Any], start_gateway: StartGateway, provider: Provider, s3: S3Server, secrets: Path
) -> None:
    manifest = config(provider, s3.url, **store)
    async with (
        start_gateway(manifest, secrets=secrets) as one,
        start_gateway(manifest, secrets=secrets) as other,
        sdk(one) as asks_one,
        sdk(other) as asks_other,
    ):
        assert await ask(asks_one, "shared") == "MISS"
        await settled(one)
        assert [await ask(asks_other, "shared") for _ in range(2)] == ["HIT"] * 2
        async with httpx.AsyncClient(headers=ADMIN) as admin:
            told = (await admin.post(f"{one.admin_url}/admin/v1/invalidate", json={"version": "v1"})).json()
        assert (told["state"], told["deleted"]) == ("done", 1)
        assert await ask(asks_one, "shared") == "MISS"
        await settled(one)
        async with asyncio.timeout(3):  # as docs/invalidation.md says
            while await other_has_the_old(asks_other, provider):  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.05)


async def other_has_the_old(client: Any, provider: Provider) -> bool:
    response = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "shared"}])
    return not response.choices[0].message.content.startswith("answer 2 ")


async def test_the_access_key_may_come_from_the_environment(provider: Provider, s3: S3Server, tmp_path: Path) -> None:
    manifest = config(provider, s3.url)
    del manifest["spec"]["s3"]["credential"]
    file = tmp_path / "llmcache.yaml"
    file.write_text(yaml.safe_dump(manifest))
    key = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    for expected in ("MISS", "HIT"):
        async with serving(file, **key) as (process, lines), httpx.AsyncClient() as client:
            url = f"{address(lines, 'gateway')}/v1/chat/completions"
            assert (await client.post(url, json=body)).headers["X-LLMCache"] == expected
            process.terminate()
            await asyncio.wait_for(process.wait(), 20)


async def test_without_the_client_a_gateway_starts_and_says_what_a_bucket_needs(
    provider: Provider, tmp_path: Path
) -> None:
    absent = without_package(tmp_path, "obstore")
    file = tmp_path / "llmcache.yaml"
    file.write_text(yaml.safe_dump(manifest(provider.base_url)))
    async with serving(file, PYTHONPATH=absent):
        pass
    file.write_text(yaml.safe_dump(config(provider, "http://127.0.0.1:9")))
    refused = await start("serve", "--config", str(file), "--secrets", str(write_key(tmp_path)), PYTHONPATH=absent)
    code, _, err = await finish(refused)
    assert code == 2
    assert "spec.cache.store: this store needs the package obstore" in err
    assert "llmcache-operator[gateway,s3]" in err
