"""How entries are written: whatever a store gives back, it is the entry that was stored, or BadEntryError."""

import math
import struct
import time
import tracemalloc
import zlib
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import BadEntryError
from llmcache_gateway.values import (
    FRAMING_BYTES,
    MAX_LAST,
    MAX_LAST_BYTES,
    PLAIN,
    SCHEMA,
    ZSTD,
    LastRead,
    ValueFormat,
    zstd,
)
from tests.gateway.conftest import StartGateway, manifest
from tests.gateway.redis_stores import entries

PLAINLY = ValueFormat(compress_above=None, max_bytes=10_000)
PACKED = ValueFormat(compress_above=0, max_bytes=10_000)

ENTRY = Entry(
    form="sse",
    content_type="text/event-stream",
    blocks=[b'data: {"a": 1}', b"data: [DONE]"],
    model="gpt-4o",
    stored_at=1000.0,
    fresh_until=1060.0,
    kept_until=1120.0,
    tags=["faq"],
    epoch=7,
    pauses=b"\x00\x00\x00\x64",
)


def poisoned(packed: bytes, packing: int = PLAIN, schema: int = SCHEMA, key: str = "k") -> bytes:
    """Return a value as one would write it who may write to the store and knows the format."""
    return struct.pack(">BBI", schema, packing, zlib.crc32(packed, zlib.crc32(key.encode(), packing))) + packed


def changed(**fields: Any) -> bytes:
    return poisoned(msgspec.msgpack.encode(msgspec.structs.replace(ENTRY, **fields)))


@pytest.mark.parametrize("values", [PLAINLY, PACKED])
def test_an_entry_is_read_as_it_was_written(values: ValueFormat) -> None:
    assert values.from_bytes("k", values.to_bytes("k", ENTRY)) == ENTRY


def test_how_a_value_was_written_does_not_matter_for_reading_it() -> None:
    assert PLAINLY.from_bytes("k", PACKED.to_bytes("k", ENTRY)) == ENTRY
    assert PACKED.from_bytes("k", PLAINLY.to_bytes("k", ENTRY)) == ENTRY


def test_only_what_is_larger_is_compressed() -> None:
    above = len(msgspec.msgpack.encode(ENTRY))
    assert ValueFormat(compress_above=above, max_bytes=10_000).to_bytes("k", ENTRY)[1] == PLAIN
    assert ValueFormat(compress_above=above - 1, max_bytes=10_000).to_bytes("k", ENTRY)[1] == ZSTD


@pytest.mark.parametrize("values", [PLAINLY, PACKED])
def test_a_value_cut_off_anywhere_or_with_any_bit_flipped_is_no_entry(values: ValueFormat) -> None:
    value = values.to_bytes("k", ENTRY)
    for at in range(len(value)):
        with pytest.raises(BadEntryError):
            values.from_bytes("k", value[:at])
        for bit in range(8):
            with pytest.raises(BadEntryError):
                values.from_bytes("k", value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :])


@pytest.mark.parametrize("values", [PLAINLY, PACKED])
def test_a_value_under_another_key_is_no_entry(values: ValueFormat) -> None:
    with pytest.raises(BadEntryError):
        values.from_bytes("other", values.to_bytes("k", ENTRY))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_no_entry(value: bytes) -> None:
    with pytest.raises(BadEntryError):
        PLAINLY.from_bytes("k", value)


@pytest.mark.parametrize("value", [None, "text", 17, [b"x"], Exception("x")])
def test_what_is_not_even_bytes_is_no_entry(value: object) -> None:
    with pytest.raises(BadEntryError):
        PLAINLY.from_bytes("k", value)


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.binary(max_size=300) | st.lists(_ANYTHING, max_size=12).map(msgspec.msgpack.encode), st.integers(0, 255))
@settings(max_examples=500)
def test_what_is_poisoned_with_a_right_checksum_is_an_entry_or_an_error_and_nothing_else(
    packed: bytes, packing: int
) -> None:
    for value in (poisoned(packed, packing), poisoned(packed), poisoned(zstd.compress(packed), ZSTD)):
        with suppress(BadEntryError):
            assert PLAINLY.from_bytes("k", value).sound


@given(st.data())
@settings(max_examples=500)
def test_a_poisoned_frame_of_zstd_is_an_entry_or_an_error_and_nothing_else(data: st.DataObject) -> None:
    packed = bytearray(zstd.compress(msgspec.msgpack.encode(ENTRY)))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadEntryError):
        assert PLAINLY.from_bytes("k", poisoned(bytes(packed), ZSTD)).sound


@pytest.mark.parametrize(
    "value",
    [
        poisoned(msgspec.msgpack.encode(ENTRY), schema=SCHEMA - 1),
        poisoned(msgspec.msgpack.encode(ENTRY), schema=SCHEMA + 1),
        poisoned(msgspec.msgpack.encode(ENTRY), packing=7),
        poisoned(msgspec.msgpack.encode(ENTRY), packing=ZSTD),
        poisoned(zstd.compress(msgspec.msgpack.encode(ENTRY)), packing=PLAIN),
        poisoned(zstd.compress(msgspec.msgpack.encode(ENTRY)) * 2, packing=ZSTD),
        poisoned(msgspec.msgpack.encode(ENTRY) + b"\x00"),
        poisoned(b"\x9b" + msgspec.msgpack.encode(ENTRY)[1:] + b"\x91" * 100_000 + b"\x00"),
        changed(stored_at=math.nan),
        changed(kept_until=math.inf),
        changed(stored_at=-math.inf),
        changed(fresh_until=999.0),
        changed(kept_until=1059.0),
        changed(form="json"),
        changed(blocks=[], form="json", pauses=b""),
        changed(pauses=b"\x00"),
        changed(pauses=b"\x00" * 6),
        changed(content_type="text/html\r\nSet-Cookie: a=b"),
    ],
)
def test_a_value_that_only_looks_like_an_entry_is_none(value: bytes) -> None:
    with pytest.raises(BadEntryError):
        PLAINLY.from_bytes("k", value)


def test_a_value_that_would_grow_to_gigabytes_takes_no_more_memory_than_an_entry_may() -> None:
    compressor = zstd.ZstdCompressor()
    bomb = b"".join(compressor.compress(bytes(2**24)) for _ in range(64)) + compressor.flush()
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(BadEntryError, match="larger than an entry may be"):
            PLAINLY.from_bytes("k", poisoned(bomb, ZSTD))
        assert tracemalloc.get_traced_memory()[1] < 10 * (2 * 10_000 + FRAMING_BYTES)
    finally:
        tracemalloc.stop()


def test_a_window_of_gigabytes_is_refused() -> None:
    wide: dict[int, int] = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=wide)
    packed = compressor.compress(msgspec.msgpack.encode(ENTRY)) + compressor.flush()
    with pytest.raises(BadEntryError, match="decompressed"):
        PLAINLY.from_bytes("k", poisoned(packed, ZSTD))


@pytest.mark.parametrize("values", [PLAINLY, PACKED])
def test_an_answer_beyond_the_bound_is_not_read_one_at_the_bound_is(values: ValueFormat) -> None:
    def of(size: int) -> bytes:
        return values.to_bytes("k", msgspec.structs.replace(ENTRY, blocks=[b"x" * size], pauses=b""))

    assert values.from_bytes("k", of(10_000)).size == 10_000
    for size in (10_001, 10**6):
        with pytest.raises(BadEntryError):
            values.from_bytes("k", of(size))


def test_an_answer_of_the_smallest_events_can_be_read_up_to_the_bound() -> None:
    now = time.time()
    blocks = [b":" * 7] * (10_000 // 7)
    entry = Entry("sse", "text/event-stream", blocks, "m", now, now, now, pauses=bytes(2 * len(blocks)))
    assert PLAINLY.from_bytes("k", PLAINLY.to_bytes("k", entry)) == entry


def test_the_same_bytes_are_not_read_again_others_are_whatever_was_read_before() -> None:
    last, value = LastRead(PLAINLY), PLAINLY.to_bytes("k", ENTRY)
    entry = last.from_bytes("k", value)
    assert entry == ENTRY
    assert last.from_bytes("k", bytes(bytearray(value))) is entry
    with pytest.raises(BadEntryError):
        last.from_bytes("another", value)
    for at in range(len(value)):
        with pytest.raises(BadEntryError):
            last.from_bytes("k", value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :])
    newer = msgspec.structs.replace(ENTRY, blocks=[b"data: newer", b"data: [DONE]"])
    assert last.from_bytes("k", PLAINLY.to_bytes("k", newer)) == newer
    assert last.from_bytes("k", value) == ENTRY


def test_values_that_are_large_or_long_ago_are_not_remembered() -> None:
    last = LastRead(ValueFormat(compress_above=None, max_bytes=10 * MAX_LAST_BYTES))
    large = PLAINLY.to_bytes("k", msgspec.structs.replace(ENTRY, blocks=[b"x" * MAX_LAST_BYTES, b""]))
    assert last.from_bytes("k", large) is not last.from_bytes("k", large)
    first = PLAINLY.to_bytes("first", ENTRY)
    entry = last.from_bytes("first", first)
    for number in range(MAX_LAST):
        last.from_bytes(f"k{number}", PLAINLY.to_bytes(f"k{number}", ENTRY))
    assert last.from_bytes("first", first) is not entry


@pytest.mark.parametrize(("above", "packing"), [(None, ZSTD), ("0", ZSTD), ("1Mi", PLAIN), ("Off", PLAIN)])
async def test_the_gateway_compresses_what_goes_to_redis_as_it_is_told(
    above: str | None, packing: int, start_gateway: StartGateway, redis_url: str
) -> None:
    store = {"type": "redis"} if above is None else {"type": "redis", "compressAbove": above}
    body = {"model": "m", "messages": [{"role": "user", "content": "word " * 2000}]}
    async with start_gateway(manifest(None, cache={"store": store}, redis={"external": {"url": redis_url}})) as gateway:
        first = await gateway.post(body)
        await gateway.running.reloader.current.store.flush()
        again = await gateway.post(body)
    assert again.headers["X-LLMCache"] == "HIT"
    assert again.content == first.content
    with redis.Redis.from_url(redis_url) as client:
        (name,) = entries(client.keys("*:v1:*"))
        value = client.get(name)
    assert value[1] == packing
    assert (len(value) < len(first.content)) == (packing == ZSTD)
