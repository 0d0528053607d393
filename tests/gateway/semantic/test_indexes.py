"""One contract for every index, against real servers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import numpy as np
import pytest

from llmcache_gateway.config import ExternalRedis
from llmcache_gateway.errors import StoreError
from llmcache_gateway.semantic.indexes.base import Index, Point, Vector
from llmcache_gateway.semantic.indexes.in_process import InProcessIndex
from llmcache_gateway.semantic.indexes.partition import GRAPH_FROM, Partition
from llmcache_gateway.semantic.indexes.qdrant_access import QdrantAccess, open_qdrant
from llmcache_gateway.semantic.indexes.redis_search import RedisSearchIndex
from llmcache_gateway.stores import RedisAccess, Store, connect
from llmcache_gateway.stores.vectors import VectorKeeper
from tests.gateway.redis_stores import KINDS, running, shared
from tests.gateway.test_store_contract import disk, memory
from tests.qdrant_server import running_qdrant
from tests.redis_search import running_search
from tests.redis_server import RedisServer

DIMENSIONS = 32
LONG_SECONDS = 30.0

StartIndex = Callable[..., Index]


def vector(seed: int) -> Vector:
    """Return a vector of length 1, almost at right angles to those of other seeds."""
    made = np.random.default_rng(seed).normal(size=DIMENSIONS).astype(np.float32)
    unit: Vector = made / np.linalg.norm(made)
    return unit


def near(seed: int, distance: float = 0.1) -> Vector:
    """Return a vector close to that of a seed."""
    made = vector(seed) + distance * vector(seed + 100_000)
    unit: Vector = made / np.linalg.norm(made)
    return unit


def point(seed: int, *, scope: str = "s", ttl: float = 60.0, tenant: str = "red", key: str | None = None) -> Point:
    key = key or f"p:v1:{tenant}:{seed:064x}"
    return Point(key, scope, f"question {seed}", vector(seed), time.time() + ttl)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LONG_SECONDS):
        while not await holds():  # noqa: ASYNC110 (only asking tells)
            await asyncio.sleep(0.02)


def in_process(
    keeper: VectorKeeper, *, model: str = "m", max_points: int = 100, max_of_tenant: int = 100
) -> InProcessIndex:
    return InProcessIndex(
        keeper,
        model=model,
        max_points=max_points,
        max_of_tenant=max_of_tenant,
        clock=time.time,
    )


@pytest.fixture(scope="module")
def search() -> Iterator[RedisServer]:
    with running_search() as server:
        yield server


def searching(server: RedisServer, *, max_points: int, max_of_tenant: int) -> RedisSearchIndex:
    link = connect(RedisAccess(ExternalRedis(url=server.url)), timeout_seconds=5.0)
    return RedisSearchIndex(
        link,
        namespace="llmcache:tests/one:",
        model="m",
        max_points=max_points,
        max_of_tenant=max_of_tenant,
        clock=time.time,
    )


SHARED = [*(f"in {kind}" for kind in KINDS), "redisSearch", "qdrant"]


@pytest.fixture(params=["in memory", "on disk", *SHARED])
async def start_index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StartIndex]:
    """Starts an index; each call is another replica's."""
    if request.param == "qdrant":
        async with running_qdrant() as qdrant, AsyncExitStack() as stack:

            def in_qdrant(max_points: int = 100, max_of_tenant: int = 100) -> Index:
                index = open_qdrant(
                    QdrantAccess(qdrant.url),
                    namespace="llmcache:tests/one:",
                    model="m",
                    max_points=max_points,
                    max_of_tenant=max_of_tenant,
                    clock=time.time,
                )
                stack.push_async_callback(index.close)
                index.begin()
                return index

            yield in_qdrant
        return
    kind = request.param.removeprefix("in ")
    opened: list[Index | Store] = []
    redis = running(kind, request) if kind in KINDS else None
    search: RedisServer | None = request.getfixturevalue("search") if kind == "redisSearch" else None
    if search is not None:
        search.command("FLUSHALL")

    def open_store() -> Store:
        if redis is not None:
            return shared(redis.external, secrets=redis.secrets)
        return disk(tmp_path) if kind == "on disk" else memory()

    def start(max_points: int = 100, max_of_tenant: int = 100) -> Index:
        if search is not None:
            found = searching(search, max_points=max_points, max_of_tenant=max_of_tenant)
            opened.append(found)
            return found
        store = open_store()
        index = in_process(store.vectors(), max_points=max_points, max_of_tenant=max_of_tenant)
        opened.extend((index, store))
        index.begin()
        return index

    yield start
    for one in opened:
        await one.close()


async def test_the_nearest_of_a_scope_come_first_and_with_their_cosine(start_index: StartIndex) -> None:
    index = start_index()
    for seed in range(5):
        await index.add(point(seed))
    asked = near(3)
    first, second = (await index.nearest("s", asked, 2))[:2]
    assert (first.key, first.text) == (point(3).key, "question 3")
    assert first.similarity == pytest.approx(float(asked @ vector(3)), abs=0.002)
    assert second.similarity < first.similarity


async def test_no_more_are_found_than_are_asked_for_or_there(start_index: StartIndex) -> None:
    index = start_index()
    assert await index.nearest("s", vector(1), 4) == []
    for seed in range(3):
        await index.add(point(seed))
    assert len(await index.nearest("s", vector(1), 2)) == 2
    assert len(await index.nearest("s", vector(1), 9)) == 3


async def test_another_scope_is_never_looked_into(start_index: StartIndex) -> None:
    index = start_index()
    await index.add(point(1, scope="other"))
    assert await index.nearest("s", vector(1), 4) == []


async def test_a_second_vector_under_a_key_takes_the_place_of_the_first(start_index: StartIndex) -> None:
    index = start_index()
    await index.add(point(1, key=point(1).key))
    await index.add(point(2, key=point(1).key, scope="t"))
    assert await index.nearest("s", vector(1), 4) == []
    (found,) = await index.nearest("t", vector(2), 4)
    assert (found.key, found.text) == (point(1).key, "question 2")


async def test_a_question_that_is_over_is_not_found(start_index: StartIndex) -> None:
    index = start_index()
    await index.add(point(1, ttl=-1))
    await index.add(point(2, ttl=0.3))
    await until(lambda: _nothing(index, 2))
    assert await index.nearest("s", vector(1), 4) == []


async def test_a_question_that_is_removed_is_not_found(start_index: StartIndex) -> None:
    index = start_index()
    await index.add(point(1))
    await index.add(point(2))
    await index.remove([point(1).key, "p:v1:red:" + "f" * 64])
    assert [one.key for one in await index.nearest("s", vector(1), 4)] == [point(2).key]


async def test_beyond_the_bound_the_oldest_leaves(start_index: StartIndex) -> None:
    index = start_index(max_points=3)
    for seed in range(5):
        await index.add(point(seed, tenant=f"t{seed}"))
    await until(lambda: _found(index, 9, 3))


async def test_one_tenant_has_no_more_than_its_share(start_index: StartIndex) -> None:
    index = start_index(max_of_tenant=2)
    await index.add(point(1, tenant="blue"))
    for seed in range(10, 15):
        await index.add(point(seed, tenant="red"))
    await until(lambda: _found(index, 9, 3))
    assert (await index.nearest("s", vector(1), 1))[0].key == point(1, tenant="blue").key


BROKEN = {
    "no number": np.full(DIMENSIONS, np.nan, np.float32),
    "without an end": np.full(DIMENSIONS, np.inf, np.float32),
    "longer than the others": np.ones(2 * DIMENSIONS, np.float32) / 8,
    "shorter than the others": np.ones(DIMENSIONS // 2, np.float32) / 4,
    "empty": np.zeros(0, np.float32),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_vector_of_the_model_is_not_taken_in_and_finds_nothing(
    start_index: StartIndex, broken: Vector
) -> None:
    index = start_index()
    await index.add(point(1))
    with pytest.raises(StoreError, match="vector"):
        await index.add(point(2)._replace(vector=broken))
    with suppress(StoreError):
        assert await index.nearest("s", broken, 4) == []
    assert [one.text for one in await index.nearest("s", near(1), 4)] == ["question 1"]


TEXTS = {
    "100 kB": "How do I reset it? " * 5_500,
    "another script": "如何重置我的密码? Как сбросить пароль? كيف أعيد تعيين كلمة المرور؟ 🔑👩‍💻",
    "what means something to a server": '@scope:{*} | (-"\' => {$} [KNN 9]\n\t\0 {"must": []}',
    "blanks": " \u00a0\u200b\u202e\ufeff ",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_a_text_comes_back_as_it_was(start_index: StartIndex, text: str) -> None:
    index = start_index()
    await index.add(point(1)._replace(text=text))
    (found,) = await index.nearest("s", vector(1), 4)
    assert found.text == text


async def test_a_tenant_that_floods_its_scope_with_look_alikes_is_seen_by_no_other(start_index: StartIndex) -> None:
    index = start_index(max_points=8, max_of_tenant=4)
    await index.add(point(1, scope="b", tenant="blue"))
    for number in range(12):
        key = f"p:v1:red:{number:064x}"
        await index.add(point(1, scope="r", key=key))
    (found,) = await index.nearest("b", vector(1), 9)
    assert found.key == point(1, tenant="blue").key
    await until(lambda: _has(index, "r", 4))


@pytest.mark.parametrize("start_index", ["on disk", *SHARED], indirect=True)
async def test_a_bound_that_is_lowered_holds_for_what_was_there(start_index: StartIndex) -> None:
    before = start_index()
    for seed in range(8):
        await before.add(point(seed, ttl=60 + seed))
    lower = start_index(max_points=3)
    await until(lambda: _found_some(lower))
    await lower.add(point(9, ttl=90))
    await until(lambda: _found(lower, 9, 3))
    assert (await lower.nearest("s", vector(9), 1))[0].text == "question 9"


async def _nothing(index: Index, seed: int) -> bool:
    return await index.nearest("s", vector(seed), 4) == []


async def _found(index: Index, seed: int, number: int) -> bool:
    return len(await index.nearest("s", vector(seed), 9)) == number


async def _has(index: Index, scope: str, number: int) -> bool:
    return len(await index.nearest(scope, vector(1), 9)) == number


async def _found_some(index: Index) -> bool:
    return await index.nearest("s", vector(1), 9) != []


@pytest.mark.parametrize("start_index", ["on disk", *SHARED], indirect=True)
async def test_a_new_replica_finds_what_others_added_before_it(start_index: StartIndex) -> None:
    first = start_index()
    for seed in range(5):
        await first.add(point(seed))
    second = start_index()
    await until(lambda: _found(second, 3, 5))
    assert (await second.nearest("s", near(3), 1))[0].text == "question 3"


@pytest.mark.parametrize("start_index", SHARED, indirect=True)  # a disk is one gateway's, never opened by two at once
async def test_a_replica_learns_of_what_others_add(start_index: StartIndex) -> None:
    first, second = start_index(), start_index()
    await first.add(point(1))
    await until(lambda: _found(second, 1, 1))


@pytest.mark.parametrize("start_index", SHARED, indirect=True)
async def test_a_replica_learns_of_what_others_remove(start_index: StartIndex) -> None:
    first, second = start_index(), start_index()
    await first.add(point(1))
    await until(lambda: _found(second, 1, 1))
    await first.remove([point(1).key])
    await until(lambda: _nothing(second, 1))


async def test_a_search_index_that_is_dropped_is_made_again_over_what_is_there(search: RedisServer) -> None:
    search.command("FLUSHALL")
    index = searching(search, max_points=100, max_of_tenant=100)
    await index.add(point(1))
    for name in search.command("FT._LIST").split():
        search.command("FT.DROPINDEX", name)
    assert await index.nearest("s", vector(1), 4) == []
    await index.add(point(2))
    await until(lambda: _found(index, 1, 2))
    await index.close()


async def test_vectors_of_another_model_are_not_read(tmp_path: Path) -> None:
    store = disk(tmp_path)
    old, new = in_process(store.vectors(), model="old"), in_process(store.vectors(), model="new")
    await old.add(point(1))
    new.begin()
    async with asyncio.timeout(LONG_SECONDS):
        await new.loaded.wait()
    assert len(new) == 0
    for one in (old, new, store):
        await one.close()


async def test_many_vectors_of_a_scope_are_found_as_few_are_while_some_are_replaced_and_removed() -> None:
    index = in_process(memory().vectors(), max_points=GRAPH_FROM * 2, max_of_tenant=GRAPH_FROM * 2)
    number = GRAPH_FROM + 100
    for seed in range(number):
        await index.add(point(seed))
    for seed in (5, GRAPH_FROM + 50):
        (found,) = await index.nearest("s", near(seed), 1)
        assert found.key == point(seed).key
        assert found.similarity == pytest.approx(float(near(seed) @ vector(seed)), abs=0.002)
        await index.remove([point(seed).key])
        assert point(seed).key not in {one.key for one in await index.nearest("s", near(seed), 4)}
        await index.add(point(seed))
        (found,) = await index.nearest("s", near(seed), 1)
        assert found.key == point(seed).key
    await index.close()


def test_a_partition_holds_what_was_not_removed() -> None:
    partition = Partition(DIMENSIONS)
    for seed in range(20):
        partition.add(str(seed), vector(seed))
    for seed in range(0, 20, 2):
        partition.remove(str(seed))
    assert len(partition) == 10
    for seed in range(20):
        (found, cosine), *_ = partition.nearest(vector(seed), 3)
        assert (found == str(seed)) == bool(seed % 2)
        assert (cosine > 0.999) == bool(seed % 2)
