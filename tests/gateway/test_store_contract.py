"""One contract for every store, against real servers."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from llmcache_gateway.config import S3
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import BadEntryError, StoreError
from llmcache_gateway.stores import DiskStore, MemoryStore, S3Access, Store, TieredStore
from llmcache_gateway.stores.s3 import S3Store
from llmcache_gateway.stores.s3_bucket import Bucket
from tests.gateway.conftest import VALUES
from tests.gateway.redis_stores import KINDS, running, shared
from tests.redis_server import free_port
from tests.s3_server import BUCKET, KEY_ID, SECRET

Outside = tuple[Store, Callable[[bytes], object]]


def an_entry(text: str = "answer", ttl: float = 60.0, size: int = 0) -> Entry:
    now = time.time()
    return Entry("json", "application/json", [text.encode() + b"x" * size], "m", now, now + ttl / 2, now + ttl)


def memory(entries: int = 10_000, size: int = 64 * 2**20) -> MemoryStore:
    return MemoryStore(max_entries=entries, max_bytes=size, clock=time.time)


def disk(folder: Path) -> DiskStore:
    return DiskStore(file=folder / "entries.sqlite", max_bytes=64 * 2**20, clock=time.time, values=VALUES)


def bucket(url: str, owner: str = "tests/one", secret: str = SECRET, **more: Any) -> S3Store:
    config = S3(**{"bucket": BUCKET, "endpoint": url} | more)
    access = S3Access(config, key_id=KEY_ID, secret=secret)
    return S3Store(Bucket(access), prefix="llmcache", owner=owner, clock=time.time, values=VALUES)


@pytest.fixture(params=["memory", "disk", "tiered", "tiered over disk", "s3", "tiered over s3", *KINDS])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    kind = request.param
    made: Store
    if kind == "memory":
        made = memory()
    elif kind == "disk":
        made = disk(tmp_path)
    elif kind == "tiered over disk":
        made = TieredStore(memory(), disk(tmp_path))
    elif kind in ("s3", "tiered over s3"):
        made = bucket(request.getfixturevalue("s3").url)
        if kind == "tiered over s3":
            made = TieredStore(memory(), made)
    else:
        redis = running("redis" if kind == "tiered" else kind, request)
        made = shared(redis.external, secrets=redis.secrets)
        if kind == "tiered":
            made = TieredStore(memory(), made)
    yield made
    await made.close()


async def test_an_entry_comes_back_as_it_was_put(store: Store) -> None:
    now = time.time()
    blocks = [b"data: \xff\x00", b""]
    entry = Entry(
        "sse", "text/event-stream; charset=utf-8", blocks, "m\ud7ff", now, now + 30, now + 60, ["a", "b:1"], 17
    )
    await store.put("k:1", entry)
    found = await store.get("k:1")
    assert found is not None
    assert found.entry == entry


async def test_what_is_at_hand_is_what_a_lookup_gives(store: Store) -> None:
    assert store.get_now("k") is None
    await store.put("k", an_entry())
    at_hand = store.get_now("k")
    assert (at_hand is None) == (store.name in {"disk", "redis", "s3"})
    assert at_hand is None or at_hand == await store.get("k")


async def test_a_key_that_was_never_put_is_not_there(store: Store) -> None:
    assert await store.get("nothing") is None
    assert await store.delete("nothing") is False


async def test_a_second_put_replaces_the_first(store: Store) -> None:
    await store.put("k", an_entry("one"))
    await store.put("k", an_entry("two"))
    found = await store.get("k")
    assert found is not None
    assert found.entry.blocks == [b"two"]


async def test_an_entry_is_gone_when_its_time_is_up(store: Store) -> None:
    await store.put("k", an_entry(ttl=0.05))
    await asyncio.sleep(0.1)
    assert await store.get("k") is None


async def test_an_entry_that_is_over_already_is_not_kept(store: Store) -> None:
    await store.put("k", an_entry(ttl=-1))
    assert await store.get("k") is None


async def test_a_deleted_entry_is_gone(store: Store) -> None:
    await store.put("k", an_entry())
    assert await store.delete("k") is True
    assert await store.get("k") is None


async def test_a_stale_entry_is_given_out_until_it_is_over(store: Store) -> None:
    now = time.time()
    await store.put("k", Entry("json", "application/json", [b"old"], "m", now - 20, now - 10, now + 60))
    found = await store.get("k")
    assert found is not None
    assert found.entry.freshness(time.time()) < 0


async def test_a_large_answer_comes_back_whole(store: Store) -> None:
    entry = an_entry(size=9 * 2**20)
    assert store.fits("k", entry)
    await store.put("k", entry)
    found = await store.get("k")
    assert found is not None
    assert found.entry == entry


@pytest.mark.parametrize("key", ["a:b::c", ":", " ", "schlüssel:日本:🙂", "new\nline", "%s*?[a]'\";--", "k" * 5000])
async def test_any_text_is_a_key(store: Store, key: str) -> None:
    await store.put(key, an_entry("right"))
    await store.put(key + "x", an_entry("other"))
    found = await store.get(key)
    assert found is not None
    assert found.entry.blocks == [b"right"]
    assert await store.delete(key) is True
    assert await store.get(key) is None
    assert await store.get(key + "x") is not None


async def test_a_scan_gives_every_key_in_bounded_batches(store: Store) -> None:
    digest = "0" * 61
    keys = {f"p:v1:red:{digest}{number:03}" for number in range(600)} | {"other", "a:b::c", "schlüssel", "k" * 3000}
    for key in keys:
        await store.put(key, an_entry())
    batches = [batch async for batch in store.scan()]
    assert {key for batch in batches for key in batch} == keys
    assert max(map(len, batches)) <= 500


async def test_many_at_once_each_find_their_own(store: Store) -> None:
    async def one(number: int) -> None:
        await store.put(f"k{number}", an_entry(f"answer {number}"))
        await store.put("common", an_entry(f"answer {number}"))
        found = await store.get(f"k{number}")
        assert found is not None
        assert found.entry.blocks == [b"answer %d" % number]
        common = await store.get("common")
        assert common is not None
        assert common.entry.blocks[0].startswith(b"answer ")

    await asyncio.gather(*(one(number) for number in range(50)))


async def test_marks_are_read_as_they_were_made_and_only_the_newer_ones(store: Store) -> None:
    keeper = store.marks()
    first = await keeper.add(["tag:a", "key:b"], 0)
    floor, marks = await keeper.read(0)
    assert floor <= first
    assert {scope: epoch for scope, epoch in marks.items() if scope != "all"} == {"tag:a": first, "key:b": first}
    second = await keeper.add(["tag:c"], first)
    assert second > first
    assert await keeper.read(first) == (floor, {"tag:c": second})
    # An epoch that this store never gave: it has lost marks, and says so by a new floor.
    if keeper.shared:
        assert (await keeper.read(second + 10))[0] > second + 10
    assert await keeper.add(["all"], second) > second


async def test_a_store_that_works_answers_ping(store: Store) -> None:
    await store.ping()


async def test_two_caches_in_one_redis_do_not_see_each_other(redis_url: str) -> None:
    one, two = shared(redis_url, "llmcache:a/one:"), shared(redis_url, "llmcache:b/one:")
    await one.put("k", an_entry())
    assert await two.get("k") is None
    assert await two.delete("k") is False
    assert await one.get("k") is not None
    await one.close()
    await two.close()


async def test_redis_itself_forgets_an_entry_at_its_end(redis_url: str) -> None:
    store = shared(redis_url)
    await store.put("k", an_entry(ttl=60))
    client: Any = redis.asyncio.Redis.from_url(redis_url)
    assert 59_000 <= await client.pttl("llmcache:tests/one:k") <= 60_000
    await client.aclose()
    await store.close()


@pytest.fixture(params=["disk", "redis", "s3"])
async def outside(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Outside]:
    """A store outside the process, and a way into it that is not the store's own."""
    if request.param == "disk":
        file = sqlite3.connect(tmp_path / "entries.sqlite", isolation_level=None)
        disk_store = disk(tmp_path)
        await disk_store.ping()  # makes the tables
        yield disk_store, lambda value: file.execute("UPDATE entries SET value = ?", (value,))
        file.close()
        await disk_store.close()
        return
    if request.param == "s3":
        server = request.getfixturevalue("s3")
        in_bucket = bucket(server.url)
        await in_bucket.put("k", an_entry())
        (object_file,) = server.files()
        head = object_file.read_bytes()[: 4 + len("k")]  # a key that the object's name does not tell
        yield in_bucket, lambda value: object_file.write_bytes(head + value)
        await in_bucket.close()
        return
    redis_url = request.getfixturevalue("redis_url")
    store = shared(redis_url)
    client = redis.Redis.from_url(redis_url)
    yield store, lambda value: client.set("llmcache:tests/one:k", value)
    client.close()
    await store.close()


async def is_refused_once(store: Store) -> None:
    """See that what is stored is an error of the value, not of the store, and is gone after that."""
    with pytest.raises(BadEntryError):
        await store.get("k")
    assert await store.delete("k") is False
    assert await store.get("k") is None


@pytest.mark.parametrize("value", [b"", b"garbage", b"\x02rest", b"\x03\x00garbage"])
async def test_a_value_that_is_no_entry_is_an_error_once_and_then_gone(outside: Outside, value: bytes) -> None:
    store, spoil = outside
    await store.put("k", an_entry())
    spoil(value)
    await is_refused_once(store)


@pytest.mark.parametrize("size", [0, 10_000], ids=["plain", "compressed"])
async def test_a_value_cut_off_anywhere_is_an_error_once_and_then_gone(outside: Outside, size: int) -> None:
    store, spoil = outside
    entry = an_entry(size=size)
    value = VALUES.to_bytes("k", entry)
    for length in range(len(value)):
        await store.put("k", entry)
        spoil(value[:length])
        await is_refused_once(store)


@pytest.mark.parametrize("size", [0, 10_000], ids=["plain", "compressed"])
async def test_a_value_with_a_flipped_bit_is_an_error_once_and_then_gone(outside: Outside, size: int) -> None:
    store, spoil = outside
    entry = an_entry(size=size)
    value = VALUES.to_bytes("k", entry)
    for at in range(len(value)):
        await store.put("k", entry)
        spoil(value[:at] + bytes([value[at] ^ 1 << at % 8]) + value[at + 1 :])
        await is_refused_once(store)


async def test_the_value_of_another_key_is_no_answer(outside: Outside) -> None:
    store, spoil = outside
    await store.put("k", an_entry())
    spoil(VALUES.to_bytes("other", an_entry()))
    await is_refused_once(store)


async def test_a_redis_key_of_another_kind_is_an_error_once_and_then_gone(redis_url: str) -> None:
    store = shared(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.rpush("llmcache:tests/one:k", "not", "a", "string")
        await is_refused_once(store)
    await store.close()


async def test_a_redis_that_is_not_there_is_a_store_error() -> None:
    store = shared(f"redis://127.0.0.1:{free_port()}/0")
    for call in (store.get("k"), store.put("k", an_entry()), store.delete("k"), store.ping()):
        with pytest.raises(StoreError, match="redis: "):
            await call
    await store.close()


async def test_tiered_finds_in_l1_what_l2_had_and_ends_it_at_the_same_time(redis_url: str) -> None:
    l1, l2 = memory(), shared(redis_url)
    entry = an_entry()
    await l2.put("k", entry)
    store = TieredStore(l1, l2)
    tiers = []
    for _ in range(2):
        found = await store.get("k")
        assert found is not None
        assert found.entry.kept_until == entry.kept_until
        tiers.append(found.tier)
    assert tiers == ["redis", "memory"]
    await store.close()
