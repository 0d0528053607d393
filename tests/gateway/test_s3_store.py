"""The S3 store's own promises: names, what is damaged, marks under many writers, and servers that are not right."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from llmcache_gateway.config import S3
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import BadEntryError, ConfigError, StoreError
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.stores import TieredStore
from llmcache_gateway.stores.guarded import GuardedStore
from llmcache_gateway.stores.s3 import S3Store
from llmcache_gateway.stores.s3_access import S3Access
from llmcache_gateway.stores.s3_bucket import Bucket
from tests.gateway.conftest import VALUES
from tests.gateway.test_marks import an_entry as marked_entry
from tests.gateway.test_store_contract import an_entry, bucket, memory
from tests.redis_server import free_port
from tests.redis_topologies import make_certificates
from tests.s3_server import BUCKET, KEY_ID, SECRET, S3Server, running_s3

KEY = "bot:v1:red:" + "0" * 64
OBJECT = "llmcache/entries/tests/one/bot/v1/red/" + "0" * 64


async def test_an_object_is_named_after_its_key_and_its_llmcache(s3: S3Server) -> None:
    store = bucket(s3.url)
    await store.put(KEY, an_entry())
    await store.put("../../marks/x", an_entry())
    names = {str(file.relative_to(s3.objects)) for file in s3.files()}
    assert OBJECT in names
    assert len(names) == 2
    assert all(name.startswith("llmcache/entries/tests/one/") for name in names)


async def test_two_llmcaches_in_one_bucket_do_not_see_each_other(s3: S3Server) -> None:
    one, two = bucket(s3.url, "a/one"), bucket(s3.url, "b/one")
    await one.put(KEY, an_entry())
    await one.marks().add(["all"], 0)
    assert await two.get(KEY) is None
    assert await two.delete(KEY) is False
    assert [batch async for batch in two.scan()] == []
    assert await one.get(KEY) is not None


async def test_what_is_over_is_not_given_out_though_s3_still_has_it(s3: S3Server) -> None:
    now = time.time()
    access = S3Access(S3(bucket=BUCKET, endpoint=s3.url), KEY_ID, SECRET)
    early = S3Store(Bucket(access), prefix="llmcache", owner="tests/one", clock=lambda: now - 100, values=VALUES)
    await early.put(KEY, Entry("json", "application/json", [b"old"], "m", now - 100, now - 50, now - 1))
    assert await early.get(KEY) is not None
    assert await bucket(s3.url).get(KEY) is None
    assert (s3.objects / OBJECT).is_file()


async def test_a_copied_object_is_not_taken_for_the_answer_to_another_key(s3: S3Server) -> None:
    store = bucket(s3.url)
    await store.put(KEY, an_entry("of red"))
    blue = s3.objects / OBJECT.replace("/red/", "/blue/")
    blue.parent.mkdir()
    shutil.copy(s3.objects / OBJECT, blue)
    with pytest.raises(BadEntryError, match="another key's"):
        await store.get(KEY.replace(":red:", ":blue:"))
    assert await store.get(KEY) is not None


async def test_an_object_too_large_to_be_an_entry_is_removed_without_being_read(s3: S3Server) -> None:
    store = bucket(s3.url)
    await store.put(KEY, an_entry())
    with (s3.objects / OBJECT).open("r+b") as file:
        file.truncate(VALUES.max_value + 2**17)
    with pytest.raises(BadEntryError, match="larger than"):
        await store.get(KEY)
    assert not (s3.objects / OBJECT).exists()


async def test_what_is_no_entry_is_left_out_of_a_scan(s3: S3Server) -> None:
    store = bucket(s3.url)
    await store.put(KEY, an_entry())
    (s3.objects / "llmcache/entries/tests/one/readme").write_text("not ours")
    assert [batch async for batch in store.scan()] == [[KEY]]


async def test_a_server_that_is_not_there_is_a_store_error() -> None:
    store = bucket(f"http://127.0.0.1:{free_port()}")
    for call in (store.get(KEY), store.put(KEY, an_entry()), store.delete(KEY), store.ping(), store.marks().read(0)):
        with pytest.raises(StoreError, match="s3: "):
            await call
    with pytest.raises(StoreError, match="s3: "):
        _ = [batch async for batch in store.scan()]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"secret": "wrong"}, "s3: 403 Forbidden SignatureDoesNotMatch"),
        ({"bucket": "nobodys"}, "s3: .*(bucket|Bucket)"),
    ],
)
async def test_an_error_says_what_the_server_has_against_it_and_names_no_key(
    s3: S3Server, wrong: dict[str, str], says: str
) -> None:
    store = bucket(s3.url, **wrong)
    for call in (store.get(KEY), store.put(KEY, an_entry()), store.ping(), store.marks().read(0)):
        with pytest.raises(StoreError, match=says) as caught:
            await call
        assert "red" not in str(caught.value)
        assert "\n" not in str(caught.value)


async def test_marks_of_many_gateways_at_once_are_all_kept_and_each_is_newer_than_those_before(s3: S3Server) -> None:
    keepers = [bucket(s3.url).marks() for _ in range(5)]

    async def adds(number: int) -> list[int]:
        return [await keepers[number].add([f"tag:{number}-{turn}"], 0) for turn in range(6)]

    epochs = await asyncio.gather(*(adds(number) for number in range(5)))
    _, marks = await bucket(s3.url).marks().read(0)
    assert {scope for scope in marks if scope != "all"} == {f"tag:{n}-{turn}" for n in range(5) for turn in range(6)}
    assert len(set(marks.values())) == 30
    for number, own in enumerate(epochs):
        assert own == sorted(own)
        assert own == [marks[f"tag:{number}-{turn}"] for turn in range(6)]


async def test_gateways_that_begin_at_once_agree_on_one_floor(s3: S3Server) -> None:
    floors = await asyncio.gather(*(bucket(s3.url).marks().read(0) for _ in range(5)))
    assert len({floor for floor, _ in floors}) == 1


@pytest.mark.parametrize("loss", ["deleted", "garbage", "older"])
async def test_lost_marks_become_a_floor_newer_than_every_epoch_before(s3: S3Server, loss: str) -> None:
    one, other = bucket(s3.url).marks(), bucket(s3.url).marks()
    file = s3.objects / "llmcache/marks/tests/one/marks"
    first, _ = await one.read(0)
    before = file.read_bytes()
    newest = await one.add(["tag:a"], first)
    await asyncio.sleep(1.1)
    if loss == "deleted":
        file.unlink()
    else:
        file.write_bytes(b"no marks" if loss == "garbage" else before)
    known = newest if loss == "older" else 0  # who has seen nothing can't tell that marks are old
    floor, marks = await other.read(known)
    assert floor > newest
    assert marks == {}
    assert await one.read(newest) == (floor, {})


async def test_an_invalidation_reaches_the_other_replica_within_the_time_that_the_page_says(s3: S3Server) -> None:
    one, other = (
        GuardedStore(
            TieredStore(memory(), bucket(s3.url)),
            timeout_seconds=5.0,
            metrics=Metrics(CollectorRegistry()),
            clock=time.time,
        )
        for _ in range(2)
    )
    assert await one.get(KEY) is None
    one.put_soon(KEY, marked_entry(one.epoch, "a"))
    await one.flush()
    assert await other.get(KEY) is not None
    assert other.get_now(KEY) is not None
    await one.invalidate(["tag:a"])
    assert await one.get(KEY) is None
    began = time.monotonic()
    while await other.get(KEY) is not None:
        assert time.monotonic() - began < 3.0
        await asyncio.sleep(0.02)
    for store in (one, other):
        await store.close()


@asynccontextmanager
async def server_without_conditions() -> AsyncIterator[str]:
    """A server that keeps objects and heeds no conditions, as some that speak S3 do."""
    objects: dict[str, bytes] = {}

    async def answer(request: web.Request) -> web.Response:
        if request.method == "PUT":
            objects[request.path] = await request.read()
        if request.path not in objects:
            return web.Response(status=404)
        return web.Response(
            body=objects[request.path], headers={"ETag": '"same"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


async def test_a_server_that_would_lose_marks_is_refused_with_the_reason() -> None:
    async with server_without_conditions() as url:
        store = bucket(url)
        for call in (store.marks().read(0), store.marks().add(["all"], 0)):
            with pytest.raises(
                StoreError, match="the server ignores If-None-Match on writes: invalidations would be lost"
            ):
                await call


async def test_a_server_of_ones_own_is_spoken_to_by_tls_with_its_authority_and_not_without(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    with running_s3(certificate=made.server) as server:
        known = S3Access(S3(bucket=BUCKET, endpoint=server.url), KEY_ID, SECRET, made.ca.read_text())
        store = S3Store(Bucket(known), prefix="p", owner="a/b", clock=time.time, values=VALUES)
        await store.put(KEY, an_entry())
        assert await store.get(KEY) is not None
        with pytest.raises(StoreError):
            await bucket(server.url).get(KEY)
    for text in ("no certificate", "-----BEGIN CERTIFICATE-----\nZZZ\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ConfigError, match="holds no certificates in PEM"):
            Bucket(S3Access(S3(bucket=BUCKET, endpoint="https://x"), ca=text))
