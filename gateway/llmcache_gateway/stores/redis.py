"""The Redis store: entries that all replicas share."""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

from redis.exceptions import RedisClusterException, RedisError, ResponseError

from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import BadEntryError, OvertakenError, StoreError, StorePartError
from llmcache_gateway.stores.base import Found
from llmcache_gateway.stores.contents import ContentLedger, RedisContents
from llmcache_gateway.stores.labels import LabelKeeper, RedisLabels
from llmcache_gateway.stores.leases import Lease, LeaseKeeper, RedisLeases, put_while_held
from llmcache_gateway.stores.marks import MarksKeeper, RedisMarks
from llmcache_gateway.stores.redis_cluster import NodeAwayError
from llmcache_gateway.stores.redis_link import RedisLink
from llmcache_gateway.stores.vectors import RedisVectors, VectorKeeper
from llmcache_gateway.values import LastRead, ValueFormat

SCAN_BATCH: Final = 500
"""Keys that one SCAN is asked to look at, and of one batch."""


class RedisStore:
    """Keeps entries in one Redis (or Valkey) under `{namespace}{key}`, with Redis' own expiry.

    `namespace` belongs to one LLMCache alone, so that several can share a Redis without mixing keys.
    """

    name = "redis"

    def __init__(self, link: RedisLink, *, namespace: str, clock: Callable[[], float], values: ValueFormat) -> None:
        self._link = link
        self._namespace = namespace
        self._clock = clock
        self._values = values
        self._last_read = LastRead(values)

    def get_now(self, key: str) -> Found | None:
        return None

    async def get(self, key: str) -> Found | None:
        name = self._namespace + key
        with _store_errors():
            try:
                found: Found | None = await self._link.get(name, partial(self._found, key))
            except BadEntryError:
                with suppress(RedisError, RedisClusterException):  # a replica keeps it: then it is a miss each time
                    await self._link.call(name, "UNLINK", name)  # it would only fail again
                raise
        return found

    def ask(self, key: str) -> asyncio.Future[Found | None] | None:
        return self._link.ask(self._namespace + key, partial(self._found, key))

    async def put(self, key: str, entry: Entry, lease: Lease | None = None) -> None:
        milliseconds = math.floor((entry.kept_until - self._clock()) * 1000)
        if milliseconds <= 0:
            return
        name, value = self._namespace + key, self._values.to_bytes(key, entry)
        if lease is None:
            with _store_errors():
                await self._link.call(name, "SET", name, value, "PX", milliseconds)
        elif not await put_while_held(self._evaluate, lease, name, value, milliseconds):
            raise OvertakenError("redis: another call has taken the place of this one")

    def fits(self, key: str, entry: Entry) -> bool:
        return True

    async def delete(self, key: str) -> bool:
        with _store_errors():
            name = self._namespace + key
            return bool(await self._link.call(name, "UNLINK", name))

    def forget(self, key: str) -> bool:
        return False

    async def scan(self) -> AsyncIterator[list[str]]:
        # What is not ours is never seen: a namespace's characters stand for themselves.
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", self._namespace) + "*"
        batch: list[str] = []
        with _store_errors():
            async for name in self._link.scan(pattern, SCAN_BATCH):
                batch.append(name.decode("utf-8", "replace")[len(self._namespace) :])
                if len(batch) >= SCAN_BATCH:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def marks(self) -> MarksKeeper:
        return RedisMarks(self._evaluate, f"{self._namespace}@marks")

    def leases(self) -> LeaseKeeper:
        return RedisLeases(self._evaluate, self._namespace)

    def contents(self) -> ContentLedger:
        return RedisContents(self._evaluate, self._namespace)

    def vectors(self) -> VectorKeeper:
        return RedisVectors(self.call, self._evaluate, self._names, self._namespace, self._clock)

    def labels(self) -> LabelKeeper:
        return labels_in(self._link, self._namespace)

    async def call(self, name: str, *command: Any) -> Any:
        """Run a command on the server that has a name; StoreError when it can't."""
        with _store_errors():
            return await self._link.call(name, *command)

    async def _names(self, pattern: str, count: int) -> AsyncIterator[bytes]:
        with _store_errors():
            async for name in self._link.scan(pattern, count):
                yield name

    async def _evaluate(self, script: str, keys: int, *arguments: Any, lasting: bool = False) -> Any:
        with _store_errors():
            return await self._link.evaluate(script, keys, *arguments, lasting=lasting)

    async def ping(self) -> None:
        with _store_errors():
            await self._link.ping()

    async def close(self) -> None:
        await self._link.close()

    def _found(self, key: str, value: object) -> Found | None:
        """Return what a value is, or raise the exception in its place, in the port's words."""
        if value is None:
            return None
        if isinstance(value, Exception):
            if isinstance(value, ResponseError) and "WRONGTYPE" in str(value):
                raise BadEntryError("the stored value is no string")
            with _store_errors():
                raise value
        entry = self._last_read.from_bytes(key, value)
        return Found(entry, self.name) if entry.is_kept(self._clock()) else None


def labels_in(link: RedisLink, namespace: str) -> LabelKeeper:
    """Return where what sampled hits have told is kept in a Redis; `namespace` belongs to one LLMCache alone."""

    async def evaluate(script: str, keys: int, *arguments: Any) -> Any:
        with _store_errors():
            return await link.evaluate(script, keys, *arguments)

    return RedisLabels(evaluate, namespace)


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except NodeAwayError as error:
        raise StorePartError(f"redis: {error}") from None
    except (RedisError, RedisClusterException, OSError) as error:
        raise StoreError(f"redis: {str(error) or type(error).__name__}") from None
