"""Lookups that wait at the same time share one round trip."""

import asyncio
import re
import time
from typing import Any

import pytest
import redis.asyncio

from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import StoreError
from llmcache_gateway.stores.together import MAX_NAMES, MAX_TRIPS, Together
from tests.gateway.redis_stores import shared
from tests.redis_server import RedisServer


def an_entry(text: str) -> Entry:
    now = time.time()
    return Entry("json", "application/json", [text.encode()], "m", now, now + 60, now + 60)


def reads(server: RedisServer) -> int:
    """Return how often the server has read from a socket."""
    found = re.search(r"total_reads_processed:(\d+)", server.command("INFO", "stats"))
    assert found is not None
    return int(found[1])


def looked_up(server: RedisServer) -> int:
    found = re.search(r"cmdstat_get:calls=(\d+)", server.command("INFO", "commandstats"))
    return int(found[1]) if found is not None else 0


async def test_many_lookups_cost_few_round_trips_and_each_gets_its_own_answer(
    redis_server: RedisServer, redis_url: str
) -> None:
    store = shared(redis_url, "t:", timeout_seconds=5.0)
    for number in range(200):
        await store.put(f"k{number}", an_entry(f"answer {number}"))
    before, lookups = reads(redis_server), looked_up(redis_server)
    found = await asyncio.gather(*(store.get(f"k{number}") for number in range(400)))
    for number, one in enumerate(found):
        assert (one.entry.blocks if one else None) == ([f"answer {number}".encode()] if number < 200 else None)
    assert looked_up(redis_server) - lookups == 400
    # A pipeline may arrive in more than one piece, a connection is greeted first, and redis-cli reads itself.
    assert reads(redis_server) - before <= 40
    await store.close()


async def test_a_value_of_another_kind_fails_its_own_lookup_only(redis_url: str) -> None:
    store = shared(redis_url, "t:", timeout_seconds=5.0)
    await store.put("good", an_entry("good"))
    client: Any = redis.asyncio.Redis.from_url(redis_url)
    await client.rpush("t:list", "x")
    good, bad = await asyncio.gather(store.get("good"), store.get("list"), return_exceptions=True)
    assert not isinstance(good, BaseException)
    assert good is not None
    assert isinstance(bad, StoreError)
    await client.aclose()
    await store.close()


async def test_who_gives_up_takes_nothing_from_the_others_and_what_waits_goes_together() -> None:
    batches: list[list[str]] = []
    go = asyncio.Event()

    async def fetch(names: list[str]) -> list[Any]:
        batches.append(names)
        await go.wait()
        return [name.upper() for name in names]

    together = Together(fetch)
    first = [asyncio.create_task(together.get("a")), asyncio.create_task(together.get("b"))]
    await asyncio.sleep(0.01)
    second = [asyncio.create_task(together.get(f"c{number}")) for number in range(MAX_NAMES + 1)]
    await asyncio.sleep(0.01)
    first[0].cancel()
    second[0].cancel()
    under_way = len(batches)
    assert under_way <= MAX_TRIPS
    go.set()
    assert await first[1] == "B"
    assert await asyncio.gather(*second[1:]) == [f"C{number}" for number in range(1, MAX_NAMES + 1)]
    assert max(map(len, batches)) <= MAX_NAMES
    assert len(batches) <= MAX_TRIPS + 2
    await together.close()


async def test_who_asks_again_as_the_last_trips_end_is_not_forgotten() -> None:
    go = asyncio.Event()

    async def fetch(names: list[str]) -> list[Any]:
        await go.wait()
        return names

    together = Together(fetch)

    async def first_of_two() -> Any:
        await together.get("a")
        return await together.get("again")

    asking = [asyncio.create_task(first_of_two())]
    await asyncio.sleep(0.01)
    asking.append(asyncio.create_task(together.get("b")))  # by the second trip, which ends as the first does
    await asyncio.sleep(0.01)
    go.set()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*asking) == ["again", "b"]


async def test_what_a_trip_raises_all_its_lookups_are_given() -> None:
    async def fetch(names: list[str]) -> list[Any]:
        raise StoreError("away")

    together = Together(fetch)
    results = await asyncio.gather(*(together.get(name) for name in "abc"), return_exceptions=True)
    assert [str(one) for one in results] == ["away"] * 3
    with pytest.raises(StoreError):
        await together.get("d")
