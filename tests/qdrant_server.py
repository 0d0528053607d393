"""A stand for Qdrant's server, which is not packaged: its REST API over a real socket, in front of its own engine.

Points are kept, filtered, sorted and compared by Qdrant's engine (the package qdrant-edge-py, built from the server's
sources). The API in front of it is ours, written from its reference, and stricter than the server: a member that the
reference doesn't name is refused, and so is a filter on a field without a payload index, as in strict mode.
"""

import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from tests.tools import missing

edge: Any = import_module("qdrant_edge") if find_spec("qdrant_edge") else None
"""The engine. It is built for some platforms only."""

_T = TypeVar("_T")

Id = Annotated[int, Meta(ge=0)] | str
Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class Body(Struct, forbid_unknown_fields=True):
    """What a request may hold."""


class VectorParams(Body):
    size: Annotated[int, Meta(ge=1, le=65536)]
    distance: Literal["Cosine", "Dot", "Euclid", "Manhattan"]


class CreateCollection(Body):
    vectors: dict[str, Any]
    """Those of one vector, or of several by name."""


class CreateIndex(Body):
    field_name: str
    field_schema: Literal["keyword", "integer"]


class MatchValue(Body):
    value: str | int | bool


class Range(Body):
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


class Condition(Body):
    key: str | UnsetType = UNSET
    match: MatchValue | UnsetType = UNSET
    range: Range | UnsetType = UNSET
    has_id: list[Id] | UnsetType = UNSET


class Filter(Body):
    must: list[Condition] = []
    must_not: list[Condition] = []


class Point(Body):
    id: Id
    vector: list[float]
    payload: dict[str, Any] | None = None


class Upsert(Body):
    points: list[Point]


class Nearest(Body):
    nearest: list[float]


class Query(Body):
    query: list[float] | Nearest
    limit: Annotated[int, Meta(ge=1)] = 10
    filter: Filter = msgspec.field(default_factory=Filter)
    with_payload: bool | list[str] = False
    with_vector: bool = False


class Count(Body):
    filter: Filter = msgspec.field(default_factory=Filter)
    exact: bool = True


class OrderBy(Body):
    key: str
    direction: Literal["asc", "desc"] = "asc"


class Scroll(Body):
    order_by: OrderBy | None = None
    limit: Annotated[int, Meta(ge=1)] = 10
    filter: Filter = msgspec.field(default_factory=Filter)
    with_payload: bool | list[str] = True
    with_vector: bool = False


class Delete(Body):
    points: list[Id] | UnsetType = UNSET
    filter: Filter | UnsetType = UNSET


@dataclass
class Collection:
    """The engine's shard, and what only the server knows of it."""

    shard: Any
    vectors: dict[str, Any]
    indexed: dict[str, str] = field(default_factory=dict)


class _RefusedError(Exception):
    def __init__(self, status: int, told: str) -> None:
        self.status = status
        self.told = told


class QdrantServer:
    """What it was asked, and how it answers: `behave` comes first, and may leave a request to the rest."""

    def __init__(self, folder: Path, api_key: str | None) -> None:
        self.url = ""
        self.api_key = api_key
        self.calls: list[tuple[str, str, bytes]] = []
        self.behave: Behaviour | None = None
        self.collections: dict[str, Collection] = {}
        self._folder = folder
        self._made = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.calls.append((request.method, request.path_qs, body))
        if self.behave is not None and (answer := await self.behave(request)) is not None:
            return answer
        if self.api_key is not None and request.headers.get("api-key") != self.api_key:
            told = "Invalid API key or JWT" if "api-key" in request.headers else "Must provide an API key"
            return web.Response(status=401, text=told)
        try:
            result = self._answer(request, body)
        except _RefusedError as refused:
            return web.json_response({"status": {"error": refused.told}, "time": 0.001}, status=refused.status)
        whole = msgspec.json.encode({"result": result, "status": "ok", "time": 0.001})
        return web.Response(body=whole, content_type="application/json")

    def _answer(self, request: web.Request, body: bytes) -> Any:
        name, what = request.match_info["name"], (request.method, request.match_info["rest"])
        writes = request.method == "PUT" or what == ("POST", "/points/delete")
        if not request.query.keys() <= ({"wait"} if writes and what[1] else set()):
            raise _RefusedError(400, f"the stand knows no such parameters: {request.query_string}")
        if what == ("PUT", ""):
            return self.create(name, _read(body, CreateCollection))
        if name not in self.collections:
            raise _RefusedError(404, f"Not found: Collection `{name}` doesn't exist!")
        found = self.collections[name]
        match what:
            case ("GET", ""):
                return _info(found)
            case ("PUT", "/index"):
                return _index(found, _read(body, CreateIndex))
            case ("PUT", "/points"):
                points = [edge.Point(p.id, p.vector, p.payload) for p in _read(body, Upsert).points]
                return _update(found, edge.UpdateOperation.upsert_points(points))
            case ("POST", "/points/query"):
                return {"points": _query(found, _read(body, Query))}
            case ("POST", "/points/count"):
                asked = _read(body, Count)
                return {"count": found.shard.count(edge.CountRequest(asked.exact, _filter(found, asked.filter)))}
            case ("POST", "/points/scroll"):
                return {"points": _scroll(found, _read(body, Scroll)), "next_page_offset": None}
            case ("POST", "/points/delete"):
                return _update(found, _deletion(found, _read(body, Delete)))
        raise _RefusedError(404, "")

    def create(self, name: str, asked: CreateCollection) -> bool:
        if name in self.collections:
            raise _RefusedError(409, f"Wrong input: Collection `{name}` already exists!")
        self._made += 1
        named = "size" not in asked.vectors
        vectors = {of: _params(one) for of, one in asked.vectors.items()} if named else _params(asked.vectors)
        shard = edge.EdgeShard.create(str(self._folder / str(self._made)), edge.EdgeConfig(vectors=vectors))
        self.collections[name] = Collection(shard, asked.vectors)
        return True

    def drop(self) -> None:
        """Remove every collection, as somebody might who cleans up."""
        for one in self.collections.values():
            one.shard.close()
        self.collections.clear()


@asynccontextmanager
async def running_qdrant(api_key: str | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[QdrantServer]:
    """Run one; the test is skipped, or fails on CI, where the engine is not installed."""
    if edge is None:
        missing("qdrant-edge-py is not installed, which has Qdrant's engine: run make install")
    with tempfile.TemporaryDirectory(prefix="llmcache-qdrant-") as folder:
        server = QdrantServer(Path(folder), api_key)
        app = web.Application()
        app.router.add_route("*", "/{proxy:(?:behind/)?}collections/{name:[^/]+}{rest:.*}", server.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        server.url = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
        yield server
        await runner.cleanup()
        server.drop()


def _read(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise _RefusedError(400, f"Format error in JSON body: {error}") from None


def _params(asked: Any) -> Any:
    params = _read(msgspec.json.encode(asked), VectorParams)
    return edge.EdgeVectorParams(size=params.size, distance=getattr(edge.Distance, params.distance))


def _info(found: Collection) -> dict[str, Any]:
    optimizers = {
        "deleted_threshold": 0.2,
        "vacuum_min_vector_number": 1000,
        "default_segment_number": 0,
        "flush_interval_sec": 5,
    }
    return {
        "status": "green",
        "optimizer_status": "ok",
        "segments_count": 1,
        "points_count": found.shard.info().points_count,
        "config": {
            "params": {"vectors": found.vectors, "shard_number": 1},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": optimizers,
        },
        "payload_schema": {name: {"data_type": kind, "points": 0} for name, kind in found.indexed.items()},
    }


def _index(found: Collection, asked: CreateIndex) -> dict[str, Any]:
    kind = getattr(edge.PayloadSchemaType, asked.field_schema.capitalize())
    done = _update(found, edge.UpdateOperation.create_field_index(asked.field_name, kind))
    found.indexed[asked.field_name] = asked.field_schema
    return done


def _query(found: Collection, asked: Query) -> list[dict[str, Any]]:
    request = edge.QueryRequest(
        limit=asked.limit,
        query=edge.Query.Nearest(asked.query.nearest if isinstance(asked.query, Nearest) else asked.query),
        filter=_filter(found, asked.filter),
        with_payload=asked.with_payload,
        with_vector=asked.with_vector,
    )
    points = _engine(lambda: found.shard.query(request))
    return [{"id": p.id, "version": p.version, "score": p.score, "payload": p.payload} for p in points]


def _scroll(found: Collection, asked: Scroll) -> list[dict[str, Any]]:
    order = None
    if asked.order_by is not None:
        direction = getattr(edge.Direction, asked.order_by.direction.capitalize())
        order = edge.OrderBy(asked.order_by.key, direction)
    request = edge.ScrollRequest(
        limit=asked.limit,
        filter=_filter(found, asked.filter),
        with_payload=asked.with_payload,
        with_vector=asked.with_vector,
        order_by=order,
    )
    points, _ = _engine(lambda: found.shard.scroll(request))
    return [{"id": p.id, "payload": p.payload, "order_value": p.order_value} for p in points]


def _deletion(found: Collection, asked: Delete) -> Any:
    if (asked.points is UNSET) == (asked.filter is UNSET):
        raise _RefusedError(400, "Format error in JSON body: data did not match any variant of PointsSelector")
    if isinstance(asked.points, list):
        return edge.UpdateOperation.delete_points(asked.points)
    assert isinstance(asked.filter, Filter)
    return edge.UpdateOperation.delete_points_by_filter(_filter(found, asked.filter))


def _update(found: Collection, operation: Any) -> dict[str, Any]:
    _engine(lambda: found.shard.update(operation))
    return {"operation_id": 0, "status": "completed"}


def _engine(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:  # the engine has one type of its own
        raise _RefusedError(400, f"Wrong input: {error}") from None


def _filter(found: Collection, asked: Filter) -> Any:
    return edge.Filter(
        must=[_condition(found, one) for one in asked.must],
        must_not=[_condition(found, one) for one in asked.must_not],
    )


def _condition(found: Collection, asked: Condition) -> Any:
    if isinstance(asked.has_id, list):
        return edge.HasIdCondition(set(asked.has_id))
    if not isinstance(asked.key, str):
        raise _RefusedError(400, "Format error in JSON body: data did not match any variant of Condition")
    if asked.key not in found.indexed:
        raise _RefusedError(400, f"Bad request: Index required but not found for {asked.key!r}")
    if isinstance(asked.match, MatchValue):
        return edge.FieldCondition(key=asked.key, match=edge.MatchValue(asked.match.value))
    assert isinstance(asked.range, Range)
    return edge.FieldCondition(key=asked.key, range=edge.RangeFloat(**msgspec.structs.asdict(asked.range)))
