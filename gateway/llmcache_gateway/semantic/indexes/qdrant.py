"""The index in a Qdrant. The one module that imports its client; without the extra `qdrant` it can't be imported."""

import asyncio
import hashlib
import logging
import ssl
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import httpx
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from llmcache_gateway.config import Problem
from llmcache_gateway.errors import ConfigError, StoreError
from llmcache_gateway.marks import key_parts
from llmcache_gateway.semantic.indexes.base import Neighbour, Point, Vector, require_comparable
from llmcache_gateway.semantic.indexes.qdrant_access import QdrantAccess

log = logging.getLogger(__name__)

_T = TypeVar("_T")

TIMEOUT_SECONDS: Final = 5
"""Longest that a call takes. What a request waits for ends sooner, by `semantic.deadline`."""

SWEEP_SECONDS: Final = 60.0
"""How often what is over is removed, and the collection looked at again: somebody may have made it anew."""

AT_ONCE: Final = 500
"""Most points that one call removes."""

FIELDS: Final = {
    "cache": models.PayloadSchemaType.KEYWORD,
    "scope": models.PayloadSchemaType.KEYWORD,
    "tenant": models.PayloadSchemaType.KEYWORD,
    "until": models.PayloadSchemaType.INTEGER,
}
"""What points are selected by. A payload index of each lets Qdrant find them without reading all, and sort by one."""

_ANOTHER: Final = "name another with spec.semantic.index.collection, or delete it"


def owner(namespace: str, model: str) -> str:
    """Return what tells the points of one LLMCache and embedding model from those of all others."""
    return _digest(namespace, model)


def connect(access: QdrantAccess) -> AsyncQdrantClient:
    """Return a client that has not connected yet; ConfigError when the certificates can't be used."""
    more: dict[str, Any] = {}
    if access.ca is not None:
        more["verify"] = context = ssl.create_default_context()
        try:
            context.load_verify_locations(cadata=access.ca)
        except ssl.SSLError as error:
            message = f"holds no certificates in PEM: {error.reason or error}"
            raise ConfigError([Problem("spec.semantic.index.ca", message)]) from None
    return AsyncQdrantClient(
        url=access.url,
        port=None,  # the address means what it says; else the client would ask at 6333
        timeout=TIMEOUT_SECONDS,
        # Where the key is named as such, the client complains of each address that is not HTTPS.
        headers={"api-key": access.api_key} if access.api_key is not None else None,
        check_compatibility=False,  # a call, in a thread of its own, at each start
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=60.0),
        **more,
    )


class QdrantIndex:
    """Each question is a point, which is searched by scope, and which we end: Qdrant keeps what it has.

    `owner` is that of one LLMCache and one embedding model; others' points in the same collection are none of its
    own. Beyond `max_points`, or `max_of_tenant` of one tenant, the one that is over soonest leaves. `clock` returns
    seconds since the epoch.
    """

    name = "qdrant"

    def __init__(
        self,
        client: AsyncQdrantClient,
        *,
        collection: str,
        owner: str,
        max_points: int,
        max_of_tenant: int,
        clock: Callable[[], float],
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._client = client
        self._collection = collection
        self._owner = owner
        self._max_points = max_points
        self._max_of_tenant = max_of_tenant
        self._clock = clock
        self._sweep_seconds = sweep_seconds
        self._checked_for: int | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._closed = False

    def begin(self) -> None:
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep_again_and_again())

    async def nearest(self, scope: str, vector: Vector, count: int) -> list[Neighbour]:
        require_comparable(vector)
        now = self._now()
        of_scope = _is("scope", _digest(self._owner, scope))
        in_force = models.FieldCondition(key="until", range=models.Range(gt=now))
        try:
            await self._check(len(vector))
            found = await _asked(
                self._client.query_points(
                    self._collection,
                    query=vector.tolist(),
                    query_filter=models.Filter(must=[of_scope, in_force]),
                    limit=count,
                    with_payload=["key", "text"],
                )
            )
        except _NoCollectionError:
            self._checked_for = None
            return []  # nothing was ever taken in, or all of it is lost
        near = [(one.payload or {}, one.score) for one in found.points]
        return [Neighbour(told["key"], told["text"], score) for told, score in near if {"key", "text"} <= told.keys()]

    async def add(self, point: Point) -> None:
        if point.until <= self._clock():
            return
        require_comparable(point.vector)
        try:
            await self._put(point)
        except _NoCollectionError:  # it is not there yet, or not any more
            await self._make(len(point.vector))
            await self._put(point)

    async def remove(self, keys: Sequence[str]) -> None:
        points = [self._id(key) for key in keys]
        with suppress(_NoCollectionError):
            for at in range(0, len(points), AT_ONCE):
                await self._delete(models.PointIdsList(points=list(points[at : at + AT_ONCE])))

    async def close(self) -> None:
        self._closed = True  # a cancellation alone may be lost inside a client
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
        await self._client.close()

    async def _put(self, point: Point) -> None:
        await self._check(len(point.vector))
        tenant = _digest(self._owner, key_parts(point.key)[1])
        name = self._id(point.key)
        await self._make_room(_is("tenant", tenant), self._max_of_tenant, name)
        await self._make_room(_is("cache", self._owner), self._max_points, name)
        payload = {
            "cache": self._owner,
            "scope": _digest(self._owner, point.scope),
            "tenant": tenant,
            "key": point.key,
            "text": point.text,
            "until": int(point.until * 1000),
        }
        taken_in = models.PointStruct(id=name, vector=point.vector.tolist(), payload=payload)
        await _asked(self._client.upsert(self._collection, points=[taken_in], wait=True))

    async def _make_room(self, of: models.FieldCondition, most: int, name: str) -> None:
        """Remove the questions that are over soonest, so that there is room for the one of this name."""
        others = models.Filter(must=[of], must_not=[models.HasIdCondition(has_id=[name])])
        counted = await _asked(self._client.count(self._collection, count_filter=others, exact=True))
        too_many = counted.count - most + 1
        if too_many <= 0:
            return
        oldest, _ = await _asked(
            self._client.scroll(
                self._collection,
                scroll_filter=others,
                order_by=models.OrderBy(key="until", direction=models.Direction.ASC),
                limit=min(too_many, AT_ONCE),
                with_payload=False,
            )
        )
        await self._delete(models.PointIdsList(points=[one.id for one in oldest]))

    async def _delete(self, points: models.PointIdsList | models.FilterSelector) -> None:
        await _asked(self._client.delete(self._collection, points_selector=points, wait=True))

    async def _check(self, dimensions: int) -> None:
        """Look whether the collection is for such vectors, StoreError when not: those of others have no similarity."""
        if self._checked_for != dimensions:
            await self._look(dimensions)
            self._checked_for = dimensions

    async def _look(self, dimensions: int) -> None:
        info = await _asked(self._client.get_collection(self._collection))
        has = info.config.params.vectors
        if not isinstance(has, models.VectorParams):
            raise StoreError(f"qdrant: the vectors of collection {self._collection} have names: {_ANOTHER}")
        if has.distance != models.Distance.COSINE:
            raise StoreError(f"qdrant: collection {self._collection} compares by {has.distance.value}: {_ANOTHER}")
        if has.size != dimensions:
            raise StoreError(
                f"qdrant: the vectors of collection {self._collection} are {has.size} long, those of the embedding "
                f"model {dimensions}: {_ANOTHER}"
            )
        if missing := FIELDS.keys() - info.payload_schema.keys():
            await self._make_searchable(missing)

    async def _make(self, dimensions: int) -> None:
        """Make the collection, unless another replica was sooner; then it is checked like any other."""
        self._checked_for = None
        vectors = models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
        with suppress(_ThereAlreadyError):
            await _asked(self._client.create_collection(self._collection, vectors_config=vectors))

    async def _make_searchable(self, fields: Iterable[str]) -> None:
        for field in fields:
            await _asked(self._client.create_payload_index(self._collection, field, FIELDS[field], wait=True))

    async def _sweep_again_and_again(self) -> None:
        told = False
        while not self._closed:
            try:
                await self._sweep()
                told = False
            except StoreError as error:
                if not told:
                    log.warning(
                        "questions that are over can't be removed: %s; they are not found, but take room", error
                    )
                    told = True
            if not self._closed:
                await asyncio.sleep(self._sweep_seconds)

    async def _sweep(self) -> None:
        """Look at the collection again, and remove what is over."""
        checked_for, self._checked_for = self._checked_for, None
        over = models.FieldCondition(key="until", range=models.Range(lte=self._now()))
        own = models.Filter(must=[_is("cache", self._owner), over])
        with suppress(_NoCollectionError):
            if checked_for is not None:
                await self._check(checked_for)
            await self._delete(models.FilterSelector(filter=own))

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _id(self, key: str) -> str:
        """Return the name of a key's point: Qdrant takes numbers and UUIDs only."""
        return str(uuid.UUID(hex=_digest(self._owner, key)))


class _NoCollectionError(StoreError):
    """The collection is not there."""


class _ThereAlreadyError(StoreError):
    """The collection that is to be made is there."""


async def _asked(call: Awaitable[_T]) -> _T:
    """Return what Qdrant answers; StoreError with what it says when that is no answer."""
    try:
        return await call
    except UnexpectedResponse as error:
        told = _reason(error)
        if error.status_code == 404 and "doesn't exist" in told:
            raise _NoCollectionError(told) from None
        if "already exists" in told:
            raise _ThereAlreadyError(told) from None
        raise StoreError(f"qdrant answered {error.status_code}: {told}") from None
    except ResponseHandlingException as error:
        told = str(error.source) or type(error.source).__name__
        raise StoreError(f"qdrant at spec.semantic.index.url gave no answer: {told}") from None
    except (ApiException, QdrantException) as error:
        raise StoreError(f"qdrant: {error}") from None


def _reason(error: UnexpectedResponse) -> str:
    try:
        return str(error.structured()["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return error.reason_phrase or "no reason given"


def _is(field: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
