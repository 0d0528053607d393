"""The memory store's own promises: both bounds are exact, and scans drive out nothing that is asked for again."""

import random
import time

import pytest

from bench.hit_ratio import SIZES, lru_ratio, store_ratio, with_scans, zipf
from llmcache_gateway.entry import Entry
from llmcache_gateway.stores import MemoryStore
from tests.gateway.conftest import StartGateway, manifest


def an_entry(size: int = 10, ttl: float = 60.0) -> Entry:
    now = time.time()
    return Entry("json", "application/json", [b"x" * size], "m", now, now + ttl / 2, now + ttl)


def memory(entries: int = 100, size: int = 10**6) -> MemoryStore:
    return MemoryStore(max_entries=entries, max_bytes=size, clock=time.time)


@pytest.mark.parametrize("size", SIZES)
async def test_scans_cost_fewer_hits_than_they_would_cost_lru(size: int) -> None:
    trace = list(with_scans(zipf()))
    ours, lru = await store_ratio(trace, size), lru_ratio(trace, size)
    assert ours > lru + 0.05, f"hit ratio {ours:.3f}, LRU {lru:.3f}"


@pytest.mark.parametrize("size", SIZES)
async def test_without_scans_it_hits_as_often_as_lru_would(size: int) -> None:
    ours, lru = await store_ratio(zipf(), size), lru_ratio(zipf(), size)
    assert ours > lru, f"hit ratio {ours:.3f}, LRU {lru:.3f}"


async def test_what_is_asked_for_again_outlives_what_was_asked_for_once() -> None:
    store = memory(entries=20)
    await store.put("hot", an_entry())
    for number in range(500):
        assert store.get_now("hot") is not None
        await store.put(f"once{number}", an_entry())
        assert store.entries <= 20


async def test_what_nobody_asks_for_any_more_leaves_in_the_end() -> None:
    store = memory(entries=20)
    await store.put("old", an_entry())
    for _ in range(10):
        store.get_now("old")
    for number in range(1000):
        await store.put(f"k{number}", an_entry())
        store.get_now(f"k{number}")
        store.get_now(f"k{number}")
    assert store.get_now("old") is None


async def test_an_entry_that_comes_back_soon_after_it_left_is_kept_in_the_main_queue() -> None:
    store = memory(entries=20)
    for number in range(22):
        await store.put(f"k{number}", an_entry())
    assert store.get_now("k0") is None
    await store.put("k0", an_entry())
    for number in range(100, 130):
        await store.put(f"k{number}", an_entry())
    assert store.get_now("k0") is not None


@pytest.mark.parametrize("seed", range(5))
async def test_both_bounds_hold_after_every_step_and_everything_is_counted_back(seed: int) -> None:
    chance = random.Random(seed)
    store = memory(entries=15, size=20_000)
    for _ in range(3000):
        key = f"k{chance.randrange(60)}"
        match chance.randrange(4):
            case 0:
                await store.delete(key)
            case 1:
                store.get_now(key)
            case _:
                await store.put(key, an_entry(size=chance.choice([10, 500, 4000, 19_000])))
                assert store.get_now(key) is not None
        assert store.entries <= 15
        assert store.bytes <= 20_000
    for number in range(60):
        await store.delete(f"k{number}")
    assert (store.entries, store.bytes) == (0, 0)


async def test_an_entry_larger_than_the_store_drives_nothing_out() -> None:
    store = memory(size=5_000)
    await store.put("small", an_entry())
    await store.put("large", an_entry(size=6_000))
    assert not store.fits("large", an_entry(size=6_000))
    assert await store.get("small") is not None
    assert await store.get("large") is None


async def test_metrics_show_what_is_held_and_what_left(start_gateway: StartGateway) -> None:
    config = manifest(None, cache={"store": {"type": "memory", "l1": {"entries": 3}}})
    async with start_gateway(config) as gateway:
        for number in range(5):
            await gateway.post({"model": "m", "messages": [{"role": "user", "content": str(number)}]})
        await gateway.running.reloader.current.store.flush()
        assert await gateway.metric('llmcache_entries{tier="memory"}') == 3
        assert await gateway.metric('llmcache_bytes{tier="memory"}') > 0
        assert await gateway.metric('llmcache_evictions_total{tier="memory"}') == 2
