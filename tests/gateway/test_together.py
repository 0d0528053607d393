"""Lookups that wait at the same time share one round trip."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import BadEntryError, StoreError
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


def calls(server: RedisServer, command: str) -> int:
    found = re.search(rf"cmdstat_{command}:calls=(\d+)", server.command("INFO", "commandstats"))
    return int(found[1]) if found is not None else 0


async def test_many_lookups_cost_few_round_trips_and_each_gets_its_own_answer(
    redis_server: RedisServer, redis_url: str
) -> None:
    store = shared(redis_url, "t:")
    for number in range(200):
        await store.put(f"k{number}", an_entry(f"answer {number}"))
    before, lookups = reads(redis_server), calls(redis_server, "mget")
    found = await asyncio.gather(*(store.get(f"k{number}") for number in range(400)))
    for number, one in enumerate(found):
        assert (one.entry.blocks if one else None) == ([f"answer {number}".encode()] if number < 200 else None)
    assert calls(redis_server, "mget") - lookups <= 400 / MAX_NAMES + MAX_TRIPS
    # What is sent may arrive in more than one piece, a connection is greeted first, and redis-cli reads itself.
    assert reads(redis_server) - before <= 40
    await store.close()


async def test_a_user_who_may_not_look_up_many_at_once_does_one_by_one(
    redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.command("ACL", "SETUSER", "older", "on", ">secret", "~t:*", "+@all", "-mget")
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "password").write_text("secret")
    credential = {"username": "older", "secretRef": {"name": "redis", "key": "password"}}
    url = f"redis://127.0.0.1:{redis_server.port}"
    store = shared({"url": url, "credential": credential}, "t:", secrets=tmp_path)
    redis_server.command("FLUSHALL")
    await store.put("k1", an_entry("answer"))
    before = calls(redis_server, "get")
    for _ in range(2):
        found = await asyncio.gather(*(store.get(f"k{number}") for number in range(3)))
        assert [one is not None for one in found] == [False, True, False]
    assert calls(redis_server, "get") - before == 6
    assert ["+mget" in record.message for record in caplog.records] == [True]  # told once
    await store.close()


async def test_a_value_of_another_kind_takes_nothing_from_the_lookups_that_go_with_it(redis_url: str) -> None:
    store = shared(redis_url, "t:")
    await store.put("good", an_entry("good"))
    client: Any = redis.asyncio.Redis.from_url(redis_url)
    await client.rpush("t:list", "x")
    good, bad = await asyncio.gather(store.get("good"), store.get("list"))
    assert good is not None
    assert bad is None
    await store.put("list", an_entry("in its place"))
    assert await store.get("list") is not None
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


async def test_what_fails_to_be_read_fails_its_own_lookup_only() -> None:
    async def fetch(names: list[str]) -> list[Any]:
        return [ValueError(name) if name == "failed" else name for name in names]

    def read(value: Any) -> Any:
        if isinstance(value, Exception) or value == "bad":
            raise BadEntryError(str(value))
        return value.upper()

    together = Together(fetch)
    results = await asyncio.gather(
        *(together.ask(name, read) for name in ("good", "bad", "failed")), return_exceptions=True
    )
    assert [str(one) for one in results] == ["GOOD", "bad", "failed"]


async def test_what_a_trip_raises_all_its_lookups_are_given() -> None:
    async def fetch(names: list[str]) -> list[Any]:
        raise StoreError("away")

    together = Together(fetch)
    results = await asyncio.gather(*(together.get(name) for name in "abc"), return_exceptions=True)
    assert [str(one) for one in results] == ["away"] * 3
    with pytest.raises(StoreError):
        await together.get("d")
