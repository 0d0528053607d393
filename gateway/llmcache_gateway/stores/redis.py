"""The Redis store: entries that all replicas share."""

import math
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import BadEntryError, StoreError
from llmcache_gateway.stores.base import Found
from llmcache_gateway.stores.marks import MarksKeeper, RedisMarks
from llmcache_gateway.stores.together import Together
from llmcache_gateway.values import ValueFormat

SCAN_BATCH: Final = 500
"""Keys that one SCAN is asked to look at, and of one batch."""


class RedisStore:
    """Keeps entries in one Redis (or Valkey) under `{namespace}{key}`, with Redis' own expiry.

    `namespace` belongs to one LLMCache alone, so that several can share a Redis without mixing keys. A call
    that takes longer than `timeout_seconds` fails.
    """

    name = "redis"

    def __init__(
        self,
        *,
        url: str,
        username: str | None,
        password: str | None,
        namespace: str,
        timeout_seconds: float,
        clock: Callable[[], float],
        values: ValueFormat,
    ) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url,
            username=username,
            password=password,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            client_name="llmcache-gateway",
        )
        self._lookups = Together(self._fetch)
        self._namespace = namespace
        self._clock = clock
        self._values = values

    def get_now(self, key: str) -> Found | None:
        return None

    async def get(self, key: str) -> Found | None:
        name = self._namespace + key
        with _store_errors():
            try:
                value = await self._lookup(name)
                if value is None:
                    return None
                entry = self._values.from_bytes(key, value)
            except BadEntryError:
                with suppress(RedisError):  # a replica keeps it: then it is a miss each time
                    await self._redis.unlink(name)  # it would only fail again
                raise
        return Found(entry, self.name) if entry.is_kept(self._clock()) else None

    async def put(self, key: str, entry: Entry) -> None:
        milliseconds = math.floor((entry.kept_until - self._clock()) * 1000)
        if milliseconds <= 0:
            return
        with _store_errors():
            await self._redis.set(self._namespace + key, self._values.to_bytes(key, entry), px=milliseconds)

    def fits(self, key: str, entry: Entry) -> bool:
        return True

    async def delete(self, key: str) -> bool:
        with _store_errors():
            return bool(await self._redis.unlink(self._namespace + key))

    def forget(self, key: str) -> bool:
        return False

    async def scan(self) -> AsyncIterator[list[str]]:
        # What is not ours is never seen: a namespace's characters stand for themselves.
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", self._namespace) + "*"
        batch: list[str] = []
        with _store_errors():
            async for name in self._redis.scan_iter(match=pattern, count=SCAN_BATCH):
                batch.append(name.decode("utf-8", "replace")[len(self._namespace) :])
                if len(batch) >= SCAN_BATCH:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def marks(self) -> MarksKeeper:
        return RedisMarks(self._evaluate, f"{self._namespace}@marks")

    async def _evaluate(self, script: str, *arguments: Any) -> Any:
        with _store_errors():
            # Typed as if it might not have to be awaited.
            return await cast(Any, self._redis.eval(script, *arguments))

    async def ping(self) -> None:
        with _store_errors():
            await self._redis.ping()

    async def close(self) -> None:
        await self._lookups.close()
        await self._redis.aclose()

    async def _lookup(self, name: str) -> Any:
        try:
            return await self._lookups.get(name)
        except ResponseError as error:
            if "WRONGTYPE" in str(error):
                raise BadEntryError("the stored value is no string") from None
            raise

    async def _fetch(self, names: list[str]) -> list[Any]:
        if len(names) == 1:
            return [await self._redis.get(names[0])]
        # Not MGET: this needs no right that a single lookup does not, and works over the slots of a cluster.
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.get(name)
        return await pipeline.execute(raise_on_error=False)


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreError(f"redis: {str(error) or type(error).__name__}") from None
