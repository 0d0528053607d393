"""What a review with hostile eyes found once about replicas that share a store, and about the admin port."""

import asyncio
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from tests.gateway.conftest import ADMIN, ADMIN_TOKEN, StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, completion
from tests.gateway.test_attacks import GOOD, outcomes
from tests.gateway.test_command_line import finish, start
from tests.redis_server import RedisServer


@pytest.mark.parametrize("failure", ["status", "silence"])
async def test_an_upstream_that_failed_late_was_stood_in_for_by_what_another_replica_had_taken_back(
    start_gateway: StartGateway, provider: Provider, redis_url: str, failure: str
) -> None:
    """A gateway without other traffic had not read the marks since it began to wait for the upstream."""
    stale = {"ttl": "1s", "staleIfError": "1h", "store": {"type": "tiered"}}
    config = manifest(provider.base_url, cache=stale, redis={"external": {"url": redis_url}}, timeout="2s")

    async def fail_late(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1.5 if failure == "status" else 3)
        return web.Response(status=500, text="{}")

    async with start_gateway(config) as gateway, start_gateway(config) as other:
        await outcomes(gateway, GOOD)
        await gateway.running.reloader.current.store.flush()
        await asyncio.sleep(1.1)
        provider.behave = fail_late
        asked = asyncio.create_task(gateway.post(GOOD))
        await asyncio.sleep(0.3)
        async with httpx.AsyncClient(headers=ADMIN) as client:
            await client.post(f"{other.admin_url}/admin/v1/invalidate", json={"all": True})
        assert (await asked).status_code == (500 if failure == "status" else 504)


async def test_an_idle_replica_told_of_entries_that_others_had_taken_back_as_if_they_were_served(
    start_gateway: StartGateway, provider: Provider, redis_url: str
) -> None:
    config = manifest(
        provider.base_url, cache={"store": {"type": "tiered"}}, redis={"external": {"url": redis_url}}, timeout="20s"
    )
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        begun.set()
        await go.wait()
        return await provider.chat(request, GOOD)

    async with (
        start_gateway(config) as gateway,
        start_gateway(config) as idle,
        httpx.AsyncClient(headers=ADMIN) as admin,
    ):
        await outcomes(idle, {**GOOD, "model": "other"})
        provider.behave = slow
        asked = asyncio.create_task(gateway.post(GOOD))
        await begun.wait()
        await admin.post(f"{gateway.admin_url}/admin/v1/invalidate", json={"all": True})
        go.set()  # and so an answer from before is written: nobody serves it
        key = (await asked).headers["X-LLMCache-Key"]
        await gateway.running.reloader.current.store.flush()
        await asyncio.sleep(1)
        at = f"{idle.admin_url}/admin/v1"
        assert (await admin.get(f"{at}/entries/{key}")).status_code == 404
        await asyncio.sleep(1)
        assert (await admin.get(f"{at}/entries")).json()["entries"] == []
        await asyncio.sleep(1)
        dry = (await admin.post(f"{at}/invalidate", json={"model": "gpt-4o", "dryRun": True})).json()
        await asyncio.sleep(1)
        explained = await admin.post(f"{at}/explain", json={"path": "/v1/chat/completions", "body": GOOD})
        assert (dry["matched"], explained.json()["decision"]["reason"]) == (0, "invalidated")


async def test_one_entry_of_an_older_schema_ended_listings_counts_and_reclaiming(
    start_gateway: StartGateway, provider: Provider, redis_url: str, redis_server: RedisServer
) -> None:
    config = manifest(provider.base_url, cache={"store": {"type": "redis"}}, redis={"external": {"url": redis_url}})
    async with start_gateway(config) as gateway, httpx.AsyncClient(headers=ADMIN) as admin:
        await outcomes(gateway, GOOD, {**GOOD, "seed": 1})
        await gateway.running.reloader.current.store.flush()
        at, older = f"{gateway.admin_url}/admin/v1", f"llmcache:tests/test:test:v1:anonymous:{'0' * 64}"
        redis_server.command("SET", older, "\x02 of an older schema")
        assert len((await admin.get(f"{at}/entries")).json()["entries"]) == 2
        redis_server.command("SET", older, "\x02 of an older schema")
        counted = (await admin.post(f"{at}/invalidate", json={"all": True, "dryRun": True})).json()
        redis_server.command("SET", older, "\x02 of an older schema")
        told = (await admin.post(f"{at}/invalidate", json={"all": True})).json()
        assert (counted["matched"], told["state"], told["deleted"]) == (2, "done", 2)
        assert await gateway.metric('llmcache_store_errors_total{op="read",store="redis"}') == 3


async def test_headers_of_a_front_with_names_of_its_own_split_what_is_shared_warmed_or_kept(
    start_gateway: StartGateway, provider: Provider, tmp_path: Path
) -> None:
    """They go no further than the gateway, and the secret changes: neither may be part of a key."""
    secret = tmp_path / "front" / "proof"
    secret.parent.mkdir()
    secret.write_text("one-secret")
    front = {"name": "X-Team", "proof": "X-From", "secretRef": {"name": "front", "key": "proof"}}
    shares = {"name": "faq", "match": {"models": ["faq"]}, "tenancy": {"isolation": "Shared"}}
    config = manifest(provider.base_url, tenancy={"isolation": "Header", "header": front}, policies=[shares])
    config["spec"]["upstreams"][0]["credential"] = {"env": "KEY"}
    red, blue = ({"X-Team": team, "X-From": "one-secret"} for team in ("red", "blue"))
    filling = {"X-LLMCache-Admin": ADMIN_TOKEN, "X-LLMCache-Tenant": "front-red"}
    async with start_gateway(config, secrets=tmp_path, environment={"KEY": "own"}) as gateway:
        assert await outcomes(gateway, {**GOOD, "model": "faq"}, headers=red) == ["MISS"]
        assert await outcomes(gateway, {**GOOD, "model": "faq"}, headers=blue) == ["HIT"]
        assert await outcomes(gateway, GOOD, headers=filling) == ["MISS"]
        assert await outcomes(gateway, GOOD, headers=red) == ["HIT"]
        async with httpx.AsyncClient(headers=ADMIN) as admin:
            asked = {"path": "/v1/chat/completions", "headers": red, "body": GOOD}
            explained = (await admin.post(f"{gateway.admin_url}/admin/v1/explain", json=asked)).json()
        assert explained["decision"]["outcome"] == "HIT"
        of_headers = explained["ingredients"]["headers"]
        assert of_headers == {"counted": {}, "ignored": {"x-team": "of this gateway", "x-from": "of this gateway"}}
        secret.write_text("another-secret")
        assert gateway.running.reloader.check()
        assert await outcomes(gateway, GOOD, headers=red | {"X-From": "another-secret"}) == ["HIT"]
        assert await outcomes(gateway, GOOD, headers=blue | {"X-From": "another-secret"}) == ["MISS"]


@pytest.mark.parametrize(
    "number", ["0.1000000000000000055511151231257827", "1e400", "123456789012345678901234567890.5"]
)
async def test_a_request_with_a_long_number_could_not_be_taken_back(
    gateway: TestGateway, provider: Provider, number: str
) -> None:
    """It was read as another number: nothing was matched, and nobody told."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(completion(1, "gpt-4o", "yes"))

    provider.behave = answer
    body = f'{{"model": "gpt-4o", "messages": [], "x": {number}}}'
    assert await outcomes(gateway, body.encode(), body.encode()) == ["MISS", "HIT"]
    asked = f'{{"path": "/v1/chat/completions", "body": {body}}}'
    async with httpx.AsyncClient(headers=ADMIN) as admin:
        at = f"{gateway.admin_url}/admin/v1"
        explained = (await admin.post(f"{at}/explain", content=asked)).json()
        told = (await admin.post(f"{at}/invalidate", content=f'{{"request": {asked}}}')).json()
    assert (explained["decision"]["outcome"], told["deleted"]) == ("HIT", 1)
    assert await outcomes(gateway, body.encode()) == ["MISS"]


@pytest.mark.parametrize(
    ("value", "more"), [(b"\xff", b""), ("é".encode(), b""), (b"plain", b',"x":"\\ud800"')], ids=["bytes", "é", "half"]
)
async def test_one_clients_odd_request_kept_everybody_from_what_is_asked_most(
    start_gateway: StartGateway, value: bytes, more: bytes
) -> None:
    """The list was an error, or one that `warm` could not read or ask: no rollout was warmed any more."""
    odd = b'{"model":"m","messages":[{"role":"user","content":"odd"}]%b}' % more
    async with start_gateway(manifest(None)) as gateway, httpx.AsyncClient(headers=ADMIN) as admin:
        for _ in range(2):
            answer = await gateway.post(odd, headers=httpx.Headers([(b"X-Mine", value)]))
            assert answer.status_code == 200
            await gateway.post(GOOD)
        requests = (await admin.get(f"{gateway.admin_url}/admin/v1/hot")).json()["requests"]
        assert [one["body"] for one in requests] == [GOOD]
        hot = ["--from-hot", gateway.admin_url]
        warm = await start("warm", "--url", gateway.url, *hot, LLMCACHE_ADMIN_TOKEN=ADMIN_TOKEN)
        assert (await finish(warm))[0] == 0


async def test_a_call_from_before_an_invalidation_was_joined_after_a_reload_had_begun_another_store(
    gateway: TestGateway, provider: Provider
) -> None:
    """The epochs of two stores can't be compared: that of the new one began at nothing."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def first_waits(request: web.Request) -> web.StreamResponse:
        begun.set()
        if len(provider.calls) == 1:
            await go.wait()
        return await provider.chat(request, GOOD)

    provider.behave = first_waits
    before = asyncio.create_task(gateway.post(GOOD))
    await begun.wait()
    async with httpx.AsyncClient(headers=ADMIN) as admin:
        await admin.post(f"{gateway.admin_url}/admin/v1/invalidate", json={"all": True})
    gateway.rewrite(manifest(provider.base_url, cache={"store": {"l1": {"entries": 10}}}))
    assert gateway.running.reloader.check()
    after = asyncio.create_task(gateway.post(GOOD))
    await asyncio.sleep(0.3)
    go.set()
    assert (await after).headers["X-LLMCache"] == "MISS"
    assert (await before).headers["X-LLMCache"] == "MISS"
    assert len(provider.calls) == 2
