"""Cached contents of gateways that share a Redis: one of each, whoever makes it, and whoever dies."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import StartGateway, TestGateway
from tests.gateway.contents.clients import (
    CLIENT,
    EVENTS,
    GEMINI,
    ask,
    asked,
    config,
    make_one,
    until,
)
from tests.gateway.providers.google import GoogleProvider
from tests.gateway.test_replicas import Replica, replicas
from tests.redis_server import RedisServer
from tests.socket_proxy import running_proxy


def sharing(google: GoogleProvider, redis_url: str, store: str = "redis", **more: Any) -> dict[str, Any]:
    cache = {"store": {"type": store}}
    return config(google, cache=cache, redis={"external": {"url": redis_url}}, timeout="60s", **more)


@pytest.fixture
async def two(
    start_gateway: StartGateway, google: GoogleProvider, redis_url: str
) -> AsyncIterator[tuple[TestGateway, TestGateway]]:
    shared = sharing(google, redis_url)
    async with start_gateway(shared) as one, start_gateway(shared) as other:
        yield one, other


async def ask_replica(replica: Replica, words: str) -> None:
    answer = await replica.client.post(f"{replica.url}{GEMINI}:generateContent", json=asked(words), headers=CLIENT)
    assert answer.status_code == 200, answer.text


async def until_used(replica: Replica, google: GoogleProvider, who: str) -> str:
    """Ask until a request of a replica's uses a content; return its name."""
    async with asyncio.timeout(60):
        for number in range(10_000):
            await ask_replica(replica, f"{who} {number}")
            used = google.using()[-1]
            if used is not None:
                return used
            await asyncio.sleep(0.02)
    raise AssertionError


@pytest.mark.parametrize("store", ["redis", "tiered"])
async def test_two_gateways_that_race_make_one_and_both_use_it(
    start_gateway: StartGateway, google: GoogleProvider, redis_url: str, store: str
) -> None:
    google.make.clear()
    shared = sharing(google, redis_url, store)
    async with start_gateway(shared) as one, start_gateway(shared) as other:
        await asyncio.gather(*(ask(gateway, asked(f"{n}")) for n, gateway in enumerate([one, other] * 10)))
        await until(lambda: google.asked_to_make)
        google.make.set()
        await until(lambda: google.made)
        for gateway in (one, other):
            numbers = iter(range(10_000))
            async with asyncio.timeout(60):
                while google.using()[-1] is None or not await gateway.metric("llmcache_cached_contents"):
                    await ask(gateway, asked(f"{gateway.url} {next(numbers)}"))
                    await asyncio.sleep(0.02)
        made = [await gateway.metric(f'{EVENTS}{{event="made",upstream="main"}}') for gateway in (one, other)]
    assert sorted(made) == [0, 1]
    assert (len(google.made), google.asked_to_make) == (1, 1)
    assert google.deleted == google.made, "once, by the last that ended"


async def test_a_gateway_that_ends_leaves_the_content_to_the_other_which_deletes_it_in_the_end(
    start_gateway: StartGateway, google: GoogleProvider, redis_url: str
) -> None:
    shared = sharing(google, redis_url)
    async with AsyncExitStack() as stays:
        other = await stays.enter_async_context(start_gateway(shared))
        async with start_gateway(shared) as one:
            name = await make_one(one, google)
            numbers = iter(range(10_000))
            async with asyncio.timeout(60):
                while not await other.metric("llmcache_cached_contents"):
                    await ask(other, asked(f"other {next(numbers)}"))
        assert google.deleted == []
        await ask(other, asked("still"))
        assert google.using()[-1] == name
    assert google.deleted == [name]


async def test_a_gateway_that_is_told_to_keep_none_shows_none_though_another_uses_it(
    two: tuple[TestGateway, TestGateway], google: GoogleProvider, redis_url: str
) -> None:
    one, other = two
    name = await make_one(one, google)
    numbers = iter(range(10_000))
    async with asyncio.timeout(60):
        while not await other.metric("llmcache_cached_contents"):
            await ask(other, asked(f"other {next(numbers)}"))
    off = sharing(google, redis_url)
    del off["spec"]["hints"]["cachedContents"]
    one.rewrite(off)
    assert one.running.reloader.check()
    async with asyncio.timeout(60):
        while await one.metric("llmcache_cached_contents"):  # noqa: ASYNC110 (only asking tells)
            await asyncio.sleep(0.05)
    await ask(other, asked("still"))
    assert (google.using()[-1], google.deleted) == (name, [])


async def test_a_gateway_that_is_killed_takes_no_content_along(
    tmp_path: Path, google: GoogleProvider, redis_url: str
) -> None:
    async with replicas(tmp_path, sharing(google, redis_url)) as (one, other):
        name = await until_used(one, google, "one")
        one.process.send_signal(signal.SIGKILL)
        await one.process.wait()
        assert await until_used(other, google, "other") == name
        assert len(google.made) == 1
        other.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(other.process.wait(), 60) == 0
    # Whoever was killed may be there still, as far as the other knows: then its ttl ends it.
    assert google.deleted in ([], [name])


async def test_a_gateway_that_is_killed_while_it_makes_one_is_replaced_by_the_other(
    tmp_path: Path, google: GoogleProvider, redis_url: str
) -> None:
    google.make.clear()
    async with replicas(tmp_path, sharing(google, redis_url)) as (one, other):
        for number in range(3):
            await ask_replica(one, f"one {number}")
        await until(lambda: google.asked_to_make == 1)
        one.process.send_signal(signal.SIGKILL)
        await one.process.wait()
        google.make.set()
        name = await until_used(other, google, "other")
        assert name == google.made[-1]
        assert google.asked_to_make == 2


@pytest.mark.parametrize("fault", ["refuses", "hangs"])
async def test_without_redis_none_is_made_and_those_that_are_known_are_used(
    start_gateway: StartGateway,
    google: GoogleProvider,
    redis_server: RedisServer,
    redis_url: str,
    fault: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running_proxy(redis_server.port) as proxy, start_gateway(sharing(google, proxy.url)) as gateway:
        name = await make_one(gateway, google)
        proxy.fault = fault
        for number in range(5):
            await ask(gateway, asked(f"away {number}"))
            assert google.using()[-1] == name
            await ask(gateway, asked(f"another {number}", system="Another. " * 4000))
        await until(lambda: "no cached content is made while it can't be noted" in caplog.text)
        proxy.fault = "none"
    assert len(google.made) == 1


async def test_a_content_that_another_gateway_has_forgotten_is_no_longer_used(
    two: tuple[TestGateway, TestGateway], google: GoogleProvider
) -> None:
    one, other = two
    await make_one(one, google)
    numbers = iter(range(10_000))
    async with asyncio.timeout(60):
        while not await other.metric("llmcache_cached_contents"):
            await ask(other, asked(f"other {next(numbers)}"))
    google.refusing = (403, "CachedContent not found (or permission denied)")
    await ask(one, asked("refused"))
    google.refusing = None
    async with asyncio.timeout(60):
        while await other.metric("llmcache_cached_contents"):  # noqa: ASYNC110 (only asking tells)
            await asyncio.sleep(0.1)
    await ask(other, asked("afterwards"))
    assert google.using()[-1] is None
