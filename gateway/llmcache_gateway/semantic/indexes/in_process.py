"""The index in each replica's memory. Vectors are kept in the cache's own store, by which replicas learn of them."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar

import numpy as np

from llmcache_gateway.errors import StoreError
from llmcache_gateway.marks import key_parts
from llmcache_gateway.semantic.indexes.base import Neighbour, Point, Vector, require_comparable
from llmcache_gateway.semantic.indexes.partition import Partition
from llmcache_gateway.stores.vectors import VectorKeeper, VectorRecord

log = logging.getLogger(__name__)

_T = TypeVar("_T")

NEWS_SECONDS: Final = 0.4
"""How often what other replicas added is read."""

ALL_AGAIN_SECONDS: Final = 600.0
"""How often all vectors are looked through, for those whose news was missed."""

MAX_REMOVED: Final = 10_000
"""Most removals that are remembered, so that what was read before one does not undo it."""

MORE: Final = 8
"""How many are looked at beside those asked for: some may be over."""


class _Held(NamedTuple):
    scope: str
    text: str
    until: float


class InProcessIndex:
    """Searches in memory. `model` is the identity of what makes the vectors; those of another model are not read.

    Beyond `max_points`, or `max_of_tenant` of one tenant, the oldest leaves, from the store too. `clock` returns
    seconds since the epoch.
    """

    name = "inProcess"

    def __init__(
        self,
        keeper: VectorKeeper,
        *,
        model: str,
        max_points: int,
        max_of_tenant: int,
        clock: Callable[[], float],
    ) -> None:
        self._keeper = keeper
        self._model = model
        self._max_points = max_points
        self._max_of_tenant = max_of_tenant
        self._clock = clock
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._of_tenant: dict[str, OrderedDict[str, None]] = {}
        self._removed: OrderedDict[str, float] = OrderedDict()
        self._partitions: dict[str, Partition] = {}
        # One thread for graphs: what it does is never done twice at once.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vectors")
        self._writing = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None
        self._closed = False
        self.loaded = asyncio.Event()
        """Set when all that was kept has been read once."""

    def __len__(self) -> int:
        return len(self._held)

    def begin(self) -> None:
        if self._following is None:
            self._following = asyncio.create_task(self._follow())

    async def nearest(self, scope: str, vector: Vector, count: int) -> list[Neighbour]:
        require_comparable(vector)
        partition = self._partitions.get(scope)
        if partition is None or partition.dimensions != len(vector):
            return []
        found = await self._do(partition, lambda: partition.nearest(vector, count + MORE))
        now, near = self._clock(), []
        for key, similarity in found:
            held = self._held.get(key)
            if held is not None and held.scope == scope and held.until > now:
                near.append(Neighbour(key, held.text, similarity))
        return near[:count]

    async def add(self, point: Point) -> None:
        if point.until <= self._clock():
            return
        async with self._writing:
            partition = self._partitions.get(point.scope)
            require_comparable(point.vector, partition.dimensions if partition is not None else None)
            left = await self._take(point)
        vector = point.vector.astype("<f2").tobytes()
        await self._keeper.put(VectorRecord(point.key, point.scope, self._model, point.text, vector, point.until))
        if left:
            await self._keeper.remove(left)

    async def remove(self, keys: Sequence[str]) -> None:
        async with self._writing:
            for key in keys:
                await self._forget(key)
        await self._keeper.remove(keys)

    async def close(self) -> None:
        self._closed = True  # a cancellation alone may be lost inside a client
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _follow(self) -> None:
        """Read all that is kept, then what is added, and all of it again from time to time."""
        told = False
        read_all_at = float("-inf")
        while not self._closed:
            try:
                if time.monotonic() - read_all_at >= ALL_AGAIN_SECONDS:
                    async for batch in self._keeper.load():
                        for record in batch:
                            await self._change(record)
                    read_all_at = time.monotonic()
                    self.loaded.set()
                for change in await self._keeper.news():
                    await self._change(change)
                told = False
            except StoreError as error:
                read_all_at = float("-inf")  # whatever was told meanwhile is missed
                if not told:
                    log.warning("vectors of other replicas can't be read: %s; going on with those known", error)
                    told = True
            await self._end_some()
            await asyncio.sleep(NEWS_SECONDS if self._keeper.shared else ALL_AGAIN_SECONDS / 100)

    async def _change(self, change: VectorRecord | str) -> None:
        async with self._writing:
            await (self._forget(change) if isinstance(change, str) else self._learn(change))

    async def _learn(self, record: VectorRecord) -> None:
        if record.model != self._model or record.until <= self._clock():
            return
        vector = np.frombuffer(record.vector, "<f2").astype(np.float32)
        if not np.isfinite(vector).all():
            return
        # What was read a while ago does not undo what came since.
        known = self._held.get(record.key)
        newest = known.until if known is not None else self._removed.get(record.key, 0.0)
        if record.until > newest:
            await self._take(Point(record.key, record.scope, record.text, vector, record.until))

    async def _take(self, point: Point) -> list[str]:
        """Take a point in; return the keys of those that left for it."""
        await self._drop(point.key)
        partition = self._partitions.get(point.scope)
        if partition is not None and partition.dimensions != len(point.vector):
            return []  # it came from who runs another model under the same name
        tenant = key_parts(point.key)[1]
        theirs = self._of_tenant.setdefault(tenant, OrderedDict())
        left = []
        if len(theirs) >= self._max_of_tenant:
            left.append(next(iter(theirs)))
        elif len(self._held) >= self._max_points:
            left.append(next(iter(self._held)))
        for key in left:
            await self._drop(key)
        self._held[point.key] = _Held(point.scope, point.text, point.until)
        self._of_tenant.setdefault(tenant, OrderedDict())[point.key] = None
        partition = self._partitions.get(point.scope)
        if partition is None:
            partition = self._partitions[point.scope] = Partition(len(point.vector))
        await self._do(partition, lambda: partition.add(point.key, point.vector))
        return left

    async def _forget(self, key: str) -> None:
        """Drop a question that is removed everywhere."""
        held = self._held.get(key)
        if held is not None:
            self._removed[key] = held.until
            if len(self._removed) > MAX_REMOVED:
                self._removed.popitem(last=False)
            await self._drop(key)

    async def _drop(self, key: str) -> None:
        held = self._held.pop(key, None)
        if held is None:
            return
        tenant = key_parts(key)[1]
        theirs = self._of_tenant[tenant]
        del theirs[key]
        if not theirs:
            del self._of_tenant[tenant]
        partition = self._partitions[held.scope]
        await self._do(partition, lambda: partition.remove(key))
        if not len(partition) and self._partitions.get(held.scope) is partition:
            del self._partitions[held.scope]

    async def _end_some(self) -> None:
        """Let go of what is over. Redis, or whoever keeps it, ends it by itself."""
        now = self._clock()
        async with self._writing:
            for key in [key for key, held in self._held.items() if held.until <= now]:
                await self._drop(key)

    async def _do(self, partition: Partition, work: Callable[[], _T]) -> _T:
        """Work with a partition: at once while it is small, in the thread once it is a graph."""
        if not partition.large:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
