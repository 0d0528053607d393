"""Marks: what was invalidated is not served, whatever comes late, is lost, or was away."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from llmcache_gateway.entry import Entry
from llmcache_gateway.marks import Marks
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.stores import Store, TieredStore
from llmcache_gateway.stores.guarded import GuardedStore
from llmcache_gateway.stores.marks import MAX_MARKS
from tests.gateway.redis_stores import shared
from tests.gateway.test_store_contract import bucket, disk, memory
from tests.redis_server import RedisServer

KEY = "p:v1:red:" + "0" * 64


def an_entry(epoch: int, *tags: str) -> Entry:
    now = time.time()
    return Entry("json", "application/json", [b"{}"], "m", now, now + 60, now + 60, list(tags), epoch)


@pytest.fixture
async def replicas(redis_url: str) -> AsyncIterator[list[GuardedStore]]:
    """Two gateways' stores over one Redis."""
    made = [
        GuardedStore(
            TieredStore(memory(), shared(redis_url)),
            timeout_seconds=5.0,
            metrics=Metrics(CollectorRegistry()),
            clock=time.time,
        )
        for _ in range(2)
    ]
    for one in made:
        assert await one.get(KEY) is None
    yield made
    for one in made:
        await one.close()


async def put(store: GuardedStore, *tags: str, epoch: int | None = None) -> None:
    store.put_soon(KEY, an_entry(store.epoch if epoch is None else epoch, *tags))
    await store.flush()


@pytest.mark.parametrize(
    ("scope", "hit"),
    [
        ("all", True),
        ("version:v1", True),
        ("tenant:red", True),
        ("model:m", True),
        ("tag:a", True),
        (f"key:{KEY}", True),
        ("version:v2", False),
        ("tenant:blue", False),
        ("model:n", False),
        ("tag:b", False),
        ("key:other", False),
    ],
)
async def test_a_mark_meets_the_entries_of_its_scope_on_every_replica_within_a_second(
    replicas: list[GuardedStore], scope: str, hit: bool
) -> None:
    one, other = replicas
    await put(one, "a")
    assert await other.get(KEY) is not None
    await one.invalidate([scope])
    assert (await one.get(KEY) is None) is hit
    await asyncio.sleep(1.0)
    assert (other.get_now(KEY) is None) is True  # nobody asked for a second: it has to read the marks first
    assert (await other.get(KEY) is None) is hit


async def test_a_write_that_was_on_its_way_is_not_served_and_a_newer_one_is(replicas: list[GuardedStore]) -> None:
    one, other = replicas
    before = other.epoch
    await one.invalidate(["tag:a"])
    await put(other, "a", epoch=before)
    assert await one.get(KEY) is None
    await put(one, "a")
    found = await one.get(KEY)
    assert found is not None
    assert found.entry.epoch == one.epoch
    await asyncio.sleep(1.0)
    assert await other.get(KEY) == found._replace(tier="redis")  # its own copy was older


async def test_lost_marks_make_all_older_entries_misses(
    replicas: list[GuardedStore], redis_server: RedisServer
) -> None:
    one, other = replicas
    await put(one)
    assert redis_server.command("DEL", "llmcache:tests/one:@marks") == "1"
    await asyncio.sleep(1.0)
    assert await other.get(KEY) is None
    await put(other)
    await asyncio.sleep(1.0)
    assert await one.get(KEY) is not None


async def test_marks_older_than_those_seen_make_all_older_entries_misses(
    replicas: list[GuardedStore], redis_server: RedisServer
) -> None:
    one, other = replicas
    await put(one)
    await one.invalidate(["tag:a"])
    await asyncio.sleep(1.0)
    assert await other.get(KEY) is not None
    redis_server.command("ZREM", "llmcache:tests/one:@marks", "tag:a")  # as after a failover to a replica that lagged
    await asyncio.sleep(1.0)
    assert await other.get(KEY) is None


async def test_without_marks_nothing_is_served(replicas: list[GuardedStore], redis_server: RedisServer) -> None:
    one, _ = replicas
    await put(one)
    assert one.get_now(KEY) is not None
    redis_server.command("SET", "llmcache:tests/one:@marks", "no marks")
    await asyncio.sleep(1.0)
    assert one.get_now(KEY) is None
    assert await one.get(KEY) is None
    redis_server.command("DEL", "llmcache:tests/one:@marks")
    await asyncio.sleep(0.4)
    assert await one.get(KEY) is None  # a new floor: what was there before may have been invalidated
    await put(one)
    assert await one.get(KEY) is not None


@pytest.mark.parametrize("where", ["redis", "memory", "disk", "s3"])
async def test_marks_are_bounded_and_what_they_forget_is_not_served(
    where: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    make: dict[str, Callable[[], Store]] = {
        "redis": lambda: shared(request.getfixturevalue("redis_url")),
        "memory": memory,
        "disk": lambda: disk(tmp_path),
        "s3": lambda: bucket(request.getfixturevalue("s3").url),
    }
    store = make[where]()
    keeper = store.marks()
    first = await keeper.add(["tag:first"], 0)
    for part in range(21):
        await keeper.add([f"tag:{part}-{number}" for number in range(1000)], 0)
    floor, marks = await keeper.read(0)
    assert first <= floor
    assert len(marks) <= MAX_MARKS
    known = Marks()
    known.learn(floor, marks)
    assert known.admits(KEY, an_entry(known.newest, "20-7"))
    assert not known.admits(KEY, an_entry(known.newest - 1, "20-7"))
    assert not known.admits(KEY, an_entry(first - 1, "first"))
    await store.close()


async def test_marks_on_disk_outlive_a_restart_and_so_do_the_entries_that_they_leave(tmp_path: Path) -> None:
    for tag, kept in (("a", True), ("b", False)):
        store = GuardedStore(disk(tmp_path), timeout_seconds=5.0, metrics=Metrics(CollectorRegistry()), clock=time.time)
        await store.get(KEY)
        await put(store, "b")
        before = store.epoch
        await store.invalidate([f"tag:{tag}"])
        await store.close()
        again = GuardedStore(disk(tmp_path), timeout_seconds=5.0, metrics=Metrics(CollectorRegistry()), clock=time.time)
        assert (await again.get(KEY) is not None) is kept
        assert again.epoch > before
        await again.close()


async def test_a_scan_finds_all_keys_of_one_cache_and_no_others(redis_url: str) -> None:
    one, two = shared(redis_url, "llmcache:a/o*e:"), shared(redis_url, "llmcache:a/one:")
    for number in range(1200):
        await one.put(f"k{number}", an_entry(0))
    await two.put("other", an_entry(0))
    batches = [batch async for batch in one.scan()]
    assert {key for batch in batches for key in batch} == {f"k{number}" for number in range(1200)}
    assert max(map(len, batches)) <= 500
    await one.close()
    await two.close()
