"""The index in a Qdrant: what is its own beside the contract of all (test_indexes.py)."""

import asyncio
import json
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from aiohttp import web

from llmcache_gateway.errors import StoreError
from llmcache_gateway.semantic.indexes.qdrant import QdrantIndex, connect
from llmcache_gateway.semantic.indexes.qdrant_access import QdrantAccess, open_qdrant
from tests.gateway.conftest import StartGateway
from tests.gateway.provider import Provider
from tests.gateway.semantic.questions import DEBUG, RESET, SAME, ask_until_hit, chat, semantic
from tests.gateway.semantic.test_indexes import DIMENSIONS, near, point, until, vector
from tests.gateway.test_command_line import address, finish, serving
from tests.gateway.test_invalidation import invalidate
from tests.qdrant_server import CreateCollection, QdrantServer, running_qdrant

COLLECTION = "answers"
KEY = {"credential": {"secretRef": {"name": "qdrant", "key": "api-key"}}}


@pytest.fixture
async def qdrant() -> AsyncIterator[QdrantServer]:
    async with running_qdrant() as server:
        yield server


@asynccontextmanager
async def index_in(
    server: QdrantServer,
    *,
    owner: str = "one",
    clock: Callable[[], float] = time.time,
    sweep_seconds: float = 60.0,
    **access: Any,
) -> AsyncIterator[QdrantIndex]:
    index = QdrantIndex(
        connect(QdrantAccess(server.url, **access)),
        collection=COLLECTION,
        owner=owner,
        max_points=100,
        max_of_tenant=100,
        clock=clock,
        sweep_seconds=sweep_seconds,
    )
    yield index
    await index.close()


def kept(server: QdrantServer) -> int:
    return int(server.collections[COLLECTION].shard.info().points_count)


OTHERS = {
    "are 8 long, those of the embedding model 32": {"size": 8, "distance": "Cosine"},
    "compares by Dot": {"size": DIMENSIONS, "distance": "Dot"},
    "have names": {"": {"size": DIMENSIONS, "distance": "Cosine"}},
}


@pytest.mark.parametrize(("why", "vectors"), OTHERS.items())
async def test_a_collection_of_other_vectors_is_an_error_that_says_so(
    qdrant: QdrantServer, why: str, vectors: dict[str, Any]
) -> None:
    qdrant.create(COLLECTION, CreateCollection(vectors))
    async with index_in(qdrant) as index:
        for call in (index.nearest("s", vector(1), 4), index.add(point(1))):
            with pytest.raises(StoreError, match=f"{COLLECTION}.*{why}.*semantic.index.collection"):
                await call
        assert kept(qdrant) == 0


async def test_a_collection_that_somebody_made_gets_what_it_lacks(qdrant: QdrantServer) -> None:
    qdrant.create(COLLECTION, CreateCollection({"size": DIMENSIONS, "distance": "Cosine"}))
    async with index_in(qdrant) as index:
        await index.add(point(1))
        assert qdrant.collections[COLLECTION].indexed == {
            "cache": "keyword",
            "scope": "keyword",
            "tenant": "keyword",
            "until": "integer",
        }


async def test_caches_of_one_collection_never_meet(qdrant: QdrantServer) -> None:
    async with index_in(qdrant, owner="one") as one, index_in(qdrant, owner="two") as two:
        await one.add(point(1))
        assert await two.nearest("s", vector(1), 4) == []
        await two.add(point(1))
        await two.remove([point(1).key])
        assert len(await one.nearest("s", vector(1), 4)) == 1


async def test_two_replicas_make_the_collection_at_once(qdrant: QdrantServer) -> None:
    async with index_in(qdrant) as one, index_in(qdrant) as two:
        await asyncio.gather(one.add(point(1)), two.add(point(2)), one.add(point(3)))
        assert len(await two.nearest("s", vector(1), 4)) == 3


async def test_what_is_over_is_swept_and_nothing_else(qdrant: QdrantServer) -> None:
    now = [1_800_000_000.0]

    def at(seed: int, seconds: float) -> Any:
        return point(seed)._replace(until=now[0] + seconds)

    async with (
        index_in(qdrant, clock=lambda: now[0], sweep_seconds=0.05) as index,
        index_in(qdrant, owner="two", clock=lambda: now[0]) as other,
    ):
        await index.add(at(1, 10))
        await index.add(at(2, 1000))
        await other.add(at(3, 10))
        now[0] += 10
        (left,) = await index.nearest("s", vector(1), 4)
        assert left.text == "question 2"
        assert kept(qdrant) == 3
        index.begin()
        await until(lambda: _is(lambda: kept(qdrant) == 2))


async def test_a_sweep_that_fails_is_told_once_and_tried_again(
    qdrant: QdrantServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with index_in(qdrant, sweep_seconds=0.02) as index:
        await index.add(point(1))
        qdrant.behave = _answers(503, {"status": {"error": "Service internal error: no peer"}})
        asked = len(qdrant.calls)
        index.begin()
        await until(lambda: _is(lambda: len(qdrant.calls) >= asked + 3))
        qdrant.behave = None
        assert [one.message for one in caplog.records if one.name.endswith("qdrant")] == [
            "questions that are over can't be removed: qdrant answered 503: Service internal error: no peer; they are "
            "not found, but take room"
        ]


async def test_a_collection_that_is_dropped_is_made_again_with_the_next_question(qdrant: QdrantServer) -> None:
    async with index_in(qdrant) as index:
        await index.add(point(1))
        qdrant.drop()
        assert await index.nearest("s", vector(1), 4) == []
        await index.remove([point(1).key])
        await index.add(point(2))
        assert len(await index.nearest("s", vector(2), 4)) == 1


async def test_a_collection_that_is_dropped_between_two_questions_loses_none_of_those_after_it(
    qdrant: QdrantServer,
) -> None:
    async with index_in(qdrant) as index:
        await index.add(point(1))
        qdrant.drop()
        await index.add(point(2))
        assert len(await index.nearest("s", vector(2), 4)) == 1


async def test_a_collection_that_was_made_anew_for_others_is_seen_at_the_next_sweep(qdrant: QdrantServer) -> None:
    async with index_in(qdrant, sweep_seconds=0.02) as index:
        await index.add(point(1))
        index.begin()
        qdrant.drop()
        qdrant.create(COLLECTION, CreateCollection({"size": DIMENSIONS, "distance": "Dot"}))

        async def is_seen() -> bool:
            try:
                await index.nearest("s", near(1), 4)
            except StoreError as error:
                return "compares by Dot" in str(error)
            return False

        await until(is_seen)


async def test_every_call_carries_the_key_and_a_wrong_one_is_told_without_it() -> None:
    async with running_qdrant(api_key="right") as qdrant:
        async with index_in(qdrant, api_key="right") as index:
            await index.add(point(1))
            assert len(await index.nearest("s", vector(1), 4)) == 1
        for key in ("wr0ng", None):
            async with index_in(qdrant, api_key=key) as index:
                with pytest.raises(StoreError, match="qdrant answered 401: Unauthorized") as raised:
                    await index.nearest("s", vector(1), 4)
                assert "wr0ng" not in str(raised.value)


async def test_an_address_may_have_a_path_and_one_without_a_port_means_the_usual() -> None:
    async with running_qdrant() as qdrant:
        qdrant.url += "/behind"
        async with index_in(qdrant) as index:
            await index.add(point(1))
            assert len(await index.nearest("s", vector(1), 4)) == 1
    for url in ("https://qdrant.example", "https://qdrant.example/behind"):
        assert connect(QdrantAccess(url)).http.client.host == url


async def test_a_server_of_ones_own_authority_is_trusted_with_its_certificate_only() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with running_qdrant(tls=context) as qdrant:
        async with index_in(qdrant, ca=authority.cert_pem.bytes().decode()) as index:
            await index.add(point(1))
            assert len(await index.nearest("s", vector(1), 4)) == 1
        async with index_in(qdrant) as index:
            with pytest.raises(StoreError, match="certificate verify failed"):
                await index.nearest("s", vector(1), 4)


async def test_a_server_that_is_away_is_an_error_that_says_so() -> None:
    index = open_qdrant(
        QdrantAccess("http://127.0.0.1:9"), namespace="x", model="m", max_points=9, max_of_tenant=9, clock=time.time
    )
    with pytest.raises(
        StoreError, match=r"qdrant at spec\.semantic\.index\.url gave no answer: All connection attempts failed"
    ):
        await index.nearest("s", vector(1), 4)
    await index.close()


def in_qdrant(provider: Provider, url: str, *, index: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    of_index = {"type": "qdrant", "url": url} | (index or {})
    return semantic(provider, semantic={"index": of_index} | more)


async def test_vectors_may_be_searched_in_qdrant_with_a_key_from_a_secret(
    start_gateway: StartGateway, provider: Provider, tmp_path: Path
) -> None:
    (tmp_path / "qdrant").mkdir()
    (tmp_path / "qdrant" / "api-key").write_text("s3cret\n")
    async with running_qdrant(api_key="s3cret") as qdrant:
        config = in_qdrant(provider, qdrant.url, index=KEY)
        async with start_gateway(config, secrets=tmp_path) as gateway:
            first = await gateway.post(chat(RESET))
            assert (await ask_until_hit(gateway, chat(SAME))).json() == first.json()
            (name,) = qdrant.collections
            assert name.startswith("llmcache_tests_test_")
            other = {"Authorization": "Bearer another"}
            answer = await gateway.post(chat(SAME), headers=other | DEBUG)
            assert answer.headers["X-LLMCache-Semantic"] == "none"


async def test_a_key_that_is_changed_in_its_secret_is_used_without_a_restart(
    start_gateway: StartGateway, provider: Provider, tmp_path: Path
) -> None:
    (tmp_path / "qdrant").mkdir()
    (tmp_path / "qdrant" / "api-key").write_text("old")
    async with running_qdrant(api_key="new") as qdrant:
        config = in_qdrant(provider, qdrant.url, index=KEY)
        async with start_gateway(config, secrets=tmp_path) as gateway:
            answer = await gateway.post(chat(RESET), headers=DEBUG)
            assert answer.headers["X-LLMCache-Semantic"] == "no-index"
            (tmp_path / "qdrant" / "api-key").write_text("new")

            async def is_used() -> bool:
                again = await gateway.post(chat(RESET), headers=DEBUG | {"Cache-Control": "no-cache"})
                assert again.status_code == 200
                held = {"Cache-Control": "only-if-cached"}
                return (await gateway.post(chat(SAME), headers=held)).status_code == 200

            await until(is_used)


@pytest.mark.parametrize("by", ["keys", "version"])
async def test_what_is_invalidated_leaves_qdrant_too(
    start_gateway: StartGateway, provider: Provider, qdrant: QdrantServer, by: str
) -> None:
    async with start_gateway(in_qdrant(provider, qdrant.url, index={"collection": COLLECTION})) as gateway:
        first = await gateway.post(chat(RESET))
        await ask_until_hit(gateway, chat(SAME))
        wanted: dict[str, Any] = {"keys": [first.headers["X-LLMCache-Key"]], "version": "v1"}
        await invalidate(gateway, **{by: wanted[by]})
        await until(lambda: _is(lambda: kept(qdrant) == 0))


async def test_a_qdrant_that_is_away_or_refuses_makes_misses(start_gateway: StartGateway, provider: Provider) -> None:
    async with running_qdrant(api_key="right") as refusing:
        for url in ("http://127.0.0.1:9", refusing.url):
            async with start_gateway(in_qdrant(provider, url)) as gateway:
                answer = await gateway.post(chat(RESET), headers=DEBUG)
                assert answer.headers["X-LLMCache"] == "MISS"
                assert answer.headers["X-LLMCache-Semantic"] == "no-index"
                assert (await gateway.post(chat(RESET))).headers["X-LLMCache"] == "HIT"


async def test_the_log_has_no_line_for_each_call_of_qdrant(
    provider: Provider, qdrant: QdrantServer, tmp_path: Path
) -> None:
    file = tmp_path / "llmcache.yaml"
    file.write_text(json.dumps(in_qdrant(provider, qdrant.url)))
    async with serving(file) as (process, lines), httpx.AsyncClient(timeout=30) as client:
        asked = await client.post(address(lines, "gateway") + "/v1/chat/completions", json=chat(RESET))
        assert asked.status_code == 200
        await until(lambda: _is(lambda: bool(qdrant.collections)))
        process.send_signal(signal.SIGTERM)
        _, _, err = await finish(process)
    assert "CACHE MISS" in err
    assert "HTTP Request" not in err


async def test_a_qdrant_that_is_silent_holds_nobody_up_and_is_soon_not_asked(
    start_gateway: StartGateway, provider: Provider, qdrant: QdrantServer
) -> None:
    ended = asyncio.Event()

    async def silent(request: web.Request) -> None:
        await ended.wait()

    qdrant.behave = silent
    async with start_gateway(in_qdrant(provider, qdrant.url, deadline="100ms")) as gateway:
        told = []
        for number in range(6):
            answer = await gateway.post(chat(f"{RESET} Attempt {number}."), headers=DEBUG)
            assert answer.headers["X-LLMCache"] == "MISS"
            told.append(answer.headers["X-LLMCache-Semantic"].partition(";")[0])
        assert told[:5] == ["deadline"] * 5
        assert await gateway.metric('llmcache_store_circuit_open{op="search",store="qdrant"}') == 1
        ended.set()


async def _is(holds: Callable[[], bool]) -> bool:
    return holds()


def _answers(status: int, body: dict[str, Any]) -> Callable[[web.Request], Any]:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=json.dumps(body), content_type="application/json")

    return answer
