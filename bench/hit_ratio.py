"""How often the memory store hits beside LRU, which most caches use: on requests by Zipf's law, and with scans between.

`python -m bench.hit_ratio` prints the figures; they are the same on every machine.
"""

import asyncio
import itertools
import random
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from llmcache_gateway.entry import Entry
from llmcache_gateway.stores import MemoryStore

THINGS: Final = 4000
"""What may be asked for, the n-th 1/n times as often as the first."""

SIZES: Final = (40, 200, 1000)
"""Entries that the cache may hold: a hundredth, a twentieth and a quarter of them."""

REQUESTS: Final = 40_000


def zipf(seed: int = 5) -> list[str]:
    """Return the keys of requests by Zipf's law."""
    names = [f"k{number}" for number in range(THINGS)]
    weights = [1 / (rank + 1) for rank in range(THINGS)]
    return random.Random(seed).choices(names, weights, k=REQUESTS)


def with_scans(trace: list[str]) -> Iterator[str]:
    """Yield the trace with a scan of 400 keys, asked for once each, after every 1000 requests."""
    once = itertools.count()
    for at, key in enumerate(trace):
        yield key
        if at % 1000 == 999:
            yield from (f"scan{next(once)}" for _ in range(400))


def lru_ratio(trace: list[str], size: int) -> float:
    """Return the share of hits that LRU has with room for so many entries."""
    held: OrderedDict[str, None] = OrderedDict()
    hits = 0
    for key in trace:
        if key in held:
            hits += 1
            held.move_to_end(key)
            continue
        held[key] = None
        if len(held) > size:
            held.popitem(last=False)
    return hits / len(trace)


async def store_ratio(trace: list[str], size: int) -> float:
    """Return the share of hits that the memory store has with room for so many entries."""
    now = time.time()
    entry = Entry("json", "application/json", [b"{}"], "m", now, now + 3600, now + 3600)
    store, hits = MemoryStore(max_entries=size, max_bytes=10**9, clock=lambda: now), 0
    for key in trace:
        if store.get_now(key) is not None:
            hits += 1
        else:
            await store.put(key, entry)
    return hits / len(trace)


async def _show() -> None:
    print(f"{'':<14}{'entries':>8}{'LRU':>8}{'memory':>8}")
    for name, trace in (("Zipf", zipf()), ("with scans", list(with_scans(zipf())))):
        for size in SIZES:
            print(f"{name:<14}{size:>8}{lru_ratio(trace, size):>8.3f}{await store_ratio(trace, size):>8.3f}")


if __name__ == "__main__":
    asyncio.run(_show())
