"""The index in a Redis with its search module (RediSearch 2.4 or newer: Redis Stack, Redis 8)."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from redis.exceptions import RedisError, ResponseError

from llmcache_gateway.errors import StoreError
from llmcache_gateway.marks import key_parts
from llmcache_gateway.semantic.indexes.base import Neighbour, Point, Vector, require_comparable
from llmcache_gateway.stores.redis_link import RedisLink

_PUT: Final = "redis.call('HSET', KEYS[1], unpack(ARGV, 2)); return redis.call('PEXPIREAT', KEYS[1], ARGV[1])"

MORE: Final = 8
"""How many are looked at beside those asked for: some may be over, but not yet gone."""

LOOKED_AT: Final = 64
"""How many vectors a search in the graph weighs up: by Redis' own 10, a quarter of the nearest of 100,000 is missed."""

AT_ONCE: Final = 500
"""Most that leave at once."""


class RedisSearchIndex:
    """Each question is a hash, which Redis ends in time, and which its search module finds by scope and vector.

    `namespace` belongs to one LLMCache alone; `model` is the identity of what makes the vectors, and has an index of
    its own. Beyond `max_points`, or `max_of_tenant` of one tenant, the one that is over soonest leaves. `clock` returns
    seconds since the epoch.
    """

    name = "redisSearch"

    def __init__(
        self,
        link: RedisLink,
        *,
        namespace: str,
        model: str,
        max_points: int,
        max_of_tenant: int,
        clock: Callable[[], float],
    ) -> None:
        own = hashlib.sha256(model.encode()).hexdigest()[:16]
        self._link = link
        self._index = f"{namespace}@search:{own}"
        self._names = f"{namespace}@question:{own}:"
        self._max_points = max_points
        self._max_of_tenant = max_of_tenant
        self._clock = clock
        self._checked_for: int | None = None

    def begin(self) -> None:
        return

    async def nearest(self, scope: str, vector: Vector, count: int) -> list[Neighbour]:
        require_comparable(vector)
        wanted = f"(@scope:{{{scope}}})=>[KNN {count + MORE} @vector $vector AS distance]"
        returned = ("RETURN", 4, "key", "text", "until", "distance")
        given = ("PARAMS", 2, "vector", _bytes(vector), "DIALECT", 2)
        try:
            answer = await self._search(wanted, *returned, "SORTBY", "distance", *_limit(count + MORE), *given)
        except _NoIndex:
            return []  # nothing was ever taken in, or all of it is lost
        self._checked_for = len(vector)
        now, near = self._clock() * 1000, []
        for found in _documents(answer):
            if found.keys() >= {b"key", b"text", b"until", b"distance"} and float(found[b"until"]) > now:
                similarity = 1.0 - float(found[b"distance"])
                near.append(Neighbour(found[b"key"].decode(), found[b"text"].decode(), similarity))
        return near[:count]

    async def add(self, point: Point) -> None:
        if point.until <= self._clock():
            return
        require_comparable(point.vector)
        if self._checked_for != len(point.vector):
            # What is written is not refused when its length is another; it would just never be found.
            await self.nearest(point.scope, point.vector, 1)
        tenant = _tag(key_parts(point.key)[1])
        try:
            await self._make_room(f"@tenant:{{{tenant}}}", self._max_of_tenant, point.key)
            await self._make_room("*", self._max_points, point.key)
        except _NoIndex:
            await self._create(len(point.vector))
        fields = {
            "key": point.key,
            "scope": point.scope,
            "tenant": tenant,
            "text": point.text,
            "until": int(point.until * 1000),
            "vector": _bytes(point.vector),
        }
        written = [part for pair in fields.items() for part in pair]
        with _store_errors():
            await self._link.evaluate(_PUT, 1, self._names + point.key, int(point.until * 1000), *written)

    async def remove(self, keys: Sequence[str]) -> None:
        with _store_errors():
            for key in keys:
                name = self._names + key
                await self._link.call(name, "UNLINK", name)

    async def close(self) -> None:
        await self._link.close()

    async def _make_room(self, wanted: str, most: int, key: str) -> None:
        """Remove the questions that are over soonest, so that there is room for one more."""
        too_many = _total(await self._search(wanted, *_limit(0), "DIALECT", 2)) - most + 1  # not sorted for that
        if too_many <= 0:
            return
        in_order = ("RETURN", 1, "key", "SORTBY", "until", "ASC", *_limit(min(too_many, AT_ONCE)))
        answer = await self._search(wanted, *in_order, "DIALECT", 2)
        oldest = [found[b"key"].decode() for found in _documents(answer) if b"key" in found]
        await self.remove([one for one in oldest if one != key])

    async def _search(self, *words: Any) -> Any:
        with _store_errors():
            return await self._link.call(self._index, "FT.SEARCH", self._index, *words)

    async def _create(self, dimensions: int) -> None:
        kind = ("TYPE", "FLOAT32", "DIM", dimensions, "DISTANCE_METRIC", "COSINE", "EF_RUNTIME", LOOKED_AT)
        vector = ("vector", "VECTOR", "HNSW", len(kind), *kind)
        schema = ("scope", "TAG", "tenant", "TAG", "until", "NUMERIC", "SORTABLE", *vector)
        create = ("FT.CREATE", self._index, "ON", "HASH", "PREFIX", 1, self._names, "SCHEMA", *schema)
        try:
            with _store_errors():
                await self._link.call(self._index, *create)
        except StoreError as error:
            if "already exists" not in str(error):  # another replica was sooner
                raise


class _NoIndex(StoreError):
    """The index is not there."""


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except ResponseError as error:
        told = str(error)
        if "index" in told.lower() and ("no such" in told.lower() or "unknown" in told.lower()):
            raise _NoIndex(told) from None
        if "unknown command" in told.lower():
            raise StoreError("this Redis has no search module: load it, or set index: {type: inProcess}") from None
        if "blob size" in told.lower():
            told = f"the embedding model's vectors are of another length than those of the index; drop it ({told})"
        raise StoreError(f"redisSearch: {told}") from None
    except (RedisError, OSError) as error:
        raise StoreError(f"redisSearch: {str(error) or type(error).__name__}") from None


def _documents(answer: Any) -> Iterator[Mapping[bytes, Any]]:
    """Yield the fields of each document of an answer, in RESP2's form or RESP3's."""
    if isinstance(answer, dict):
        for one in answer.get(b"results") or answer.get("results") or ():
            fields = one.get(b"extra_attributes", one.get("extra_attributes")) or {}
            yield {_raw(name): _raw(value) for name, value in fields.items()}
        return
    for fields in answer[2::2]:
        if fields is not None:  # it ended meanwhile
            yield dict(zip(map(_raw, fields[::2]), map(_raw, fields[1::2]), strict=True))


def _total(answer: Any) -> int:
    if isinstance(answer, dict):
        return int(answer.get(b"total_results") or answer.get("total_results") or 0)
    return int(answer[0])


def _raw(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def _limit(number: int) -> tuple[str, int, int]:
    return "LIMIT", 0, number


def _tag(tenant: str) -> str:
    """Return a tenant as a tag: without characters that mean something in a query."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:32]


def _bytes(vector: Vector) -> bytes:
    return vector.astype(np.dtype("<f4")).tobytes()
