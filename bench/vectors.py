"""`make bench-vectors`: the lookup of each index with 100,000 questions, beside the in-process one with 2,000.

All questions are of one scope, the hardest case. The indexes are asked in turn, in rounds, in one run: only the ratios
mean anything. To build the graphs is what takes long: `--vectors 10000` takes a minute where 100,000 take several.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import numpy as np
import redis
from numpy.typing import NDArray

from llmcache_gateway.config import ExternalRedis
from llmcache_gateway.semantic.indexes.base import Index, Point, Vector
from llmcache_gateway.semantic.indexes.in_process import InProcessIndex
from llmcache_gateway.semantic.indexes.partition import GRAPH_FROM
from llmcache_gateway.semantic.indexes.qdrant_access import QdrantAccess, open_qdrant
from llmcache_gateway.semantic.indexes.redis_search import RedisSearchIndex
from llmcache_gateway.stores import MemoryStore, RedisAccess, connect
from tests.qdrant_server import QdrantServer, edge, running_qdrant
from tests.redis_search import running_search

DIMENSIONS: Final = 128
"""As those of the model that comes with the gateway."""

NOISE: Final = 0.3
"""How far a question is from the one it means: a cosine of about 0.96."""

NEIGHBOURS: Final = 4
BOUNDS: Final[Mapping[str, Any]] = {"model": "m", "max_points": 10**7, "max_of_tenant": 10**7, "clock": time.time}
UNTIL: Final = time.time() + 24 * 3600
BATCH: Final = 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.vectors", description=__doc__)
    parser.add_argument("--vectors", type=int, default=100_000, help="questions of the scope")
    parser.add_argument("--lookups", type=int, default=200, help="lookups of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    asyncio.run(compare(parser.parse_args()))


async def compare(asked: argparse.Namespace) -> None:
    """Fill every index, ask each in turn, and print what came of it."""
    random = np.random.default_rng(7)
    vectors = unit(random.normal(size=(asked.vectors, DIMENSIONS)))
    async with AsyncExitStack() as stack:
        indexes = [
            (f"inProcess, {GRAPH_FROM}", await in_process(stack, vectors[:GRAPH_FROM]), GRAPH_FROM),
            (f"inProcess, {asked.vectors}", await in_process(stack, vectors), asked.vectors),
            (f"redisSearch, {asked.vectors}", await in_redis(stack, vectors), asked.vectors),
            (f"Qdrant's engine, {asked.vectors}", await in_qdrant(stack, vectors), asked.vectors),
        ]
        took: dict[str, list[float]] = {name: [] for name, *_ in indexes}
        first = dict.fromkeys(took, 0)
        for _ in range(asked.rounds):
            for name, index, number in indexes:
                for at in random.integers(number, size=asked.lookups):
                    near = unit(vectors[at] + NOISE * unit(random.normal(size=DIMENSIONS)))
                    begun = time.perf_counter()
                    found = await index.nearest("s", near, NEIGHBOURS)
                    took[name].append(time.perf_counter() - begun)
                    first[name] += bool(found) and found[0].key == key(int(at))
    reference = statistics.median(took[indexes[0][0]])
    print(f"{'':28} {'median':>8} {'p99':>8} {'found':>7}   times the median among {GRAPH_FROM} in process")
    for name, seconds in took.items():
        median, late = statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]
        share = first[name] / len(seconds)
        print(f"{name:28} {median * 1e3:5.2f} ms {late * 1e3:5.2f} ms {share:7.1%}   {median / reference:.1f}")


def unit(vectors: NDArray[Any]) -> Vector:
    """Return vectors of length 1."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    made: Vector = (vectors / lengths).astype(np.float32)
    return made


def key(number: int) -> str:
    return f"p:v1:red:{number:064x}"


def point(number: int, vector: Vector) -> Point:
    return Point(key(number), "s", f"question {number}", vector, UNTIL)


async def in_process(stack: AsyncExitStack, vectors: Vector) -> Index:
    store = MemoryStore(max_entries=1, max_bytes=1, clock=time.time)
    index = InProcessIndex(store.vectors(), **BOUNDS)
    stack.push_async_callback(index.close)
    for at, vector in enumerate(vectors):
        await index.add(point(at, vector))
    return index


async def in_redis(stack: AsyncExitStack, vectors: Vector) -> Index:
    server = stack.enter_context(running_search())
    link = connect(RedisAccess(ExternalRedis(url=server.url)), timeout_seconds=30.0)
    index = RedisSearchIndex(link, namespace="bench:", **BOUNDS)
    stack.push_async_callback(index.close)
    await index.add(point(0, vectors[0]))
    copy_in_redis(server.url, vectors)
    return index


async def in_qdrant(stack: AsyncExitStack, vectors: Vector) -> Index:
    server = await stack.enter_async_context(running_qdrant())
    index = open_qdrant(QdrantAccess(server.url), namespace="bench:", **BOUNDS)
    stack.push_async_callback(index.close)
    await index.add(point(0, vectors[0]))
    copy_in_qdrant(server, vectors)
    return index


def copy_in_redis(url: str, vectors: Vector) -> None:
    """Write the other questions as the first was written: one by one they would take hours."""
    client = redis.Redis.from_url(url)
    (name,) = client.scan_iter(_type="hash")
    fields: dict[Any, Any] = client.hgetall(name)
    begins = name.removesuffix(key(0).encode())
    for batch in _batches(len(vectors)):
        pipe = client.pipeline(transaction=False)
        for at in batch:
            own = {b"key": key(at), b"vector": vectors[at].tobytes()}
            pipe.hset(begins + key(at).encode(), mapping=fields | own)
        pipe.execute()
    client.close()


def copy_in_qdrant(server: QdrantServer, vectors: Vector) -> None:
    """As above, and have the engine build its graph, as the server does by itself."""
    ((_, collection),) = server.collections.items()
    ((first,), _) = collection.shard.scroll(edge.ScrollRequest(limit=1, with_payload=True))
    for batch in _batches(len(vectors)):
        points = [edge.Point(at, vectors[at].tolist(), first.payload | {"key": key(at)}) for at in batch]
        collection.shard.update(edge.UpdateOperation.upsert_points(points))
    collection.shard.optimize()


def _batches(number: int) -> Iterator[range]:
    for at in range(1, number, BATCH):
        yield range(at, min(at + BATCH, number))


if __name__ == "__main__":
    main()
