"""AWS's binary event stream: what the gateway writes, read by botocore, and what it makes of others' messages."""

import json
import re
from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.dialects.frames import block_of, frame, name_of, named_block
from llmcache_gateway.errors import UpstreamError
from llmcache_gateway.sse import MAX_EVENT_BYTES, EventSplitter, event_data
from llmcache_gateway.upstreams.aws import events_of
from tests.gateway.providers.bedrock import frame as theirs

NAMES = st.text("abcdefghijklmnopqrstuvwxyzABC", min_size=1, max_size=40)
PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)

# One message of the reference, as AWS writes it.
KNOWN = bytes.fromhex(
    "000000950000005789cbb35e0b3a6576656e742d74797065070011636f6e74656e74426c6f636b44656c74610d3a636f6e74656e742d747970"
    "650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b22636f6e74656e74426c6f636b49"
    "6e646578223a302c2264656c7461223a7b2274657874223a2248656c227d7d6413a776"
)
DELTA = b'{"contentBlockIndex":0,"delta":{"text":"Hel"}}'


def read(stream: bytes) -> list[Any]:
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    return list(buffer)


def test_a_message_is_what_aws_writes() -> None:
    assert frame(named_block("contentBlockDelta", DELTA)) == KNOWN


@given(name=NAMES, payload=PAYLOADS, kind=st.sampled_from(["event", "exception"]))
def test_botocore_reads_what_is_written(name: str, payload: Any, kind: str) -> None:
    data = json.dumps(payload).encode()
    (message,) = read(frame(named_block(name, data, kind)))
    assert message.payload == data
    assert message.headers == {
        f":{kind}-type": name,
        ":content-type": "application/json",
        ":message-type": kind,
    }
    assert frame(block_of(message.headers, message.payload)) == theirs(name, data, kind)


def test_an_error_that_is_none_of_the_apis_keeps_its_code_and_its_message() -> None:
    headers = {":message-type": "error", ":error-code": "InternalError", ":error-message": "all is lost"}
    (message,) = read(frame(block_of(headers, b"")))
    assert (message.headers, message.payload) == (headers, b"")
    assert name_of(block_of(headers, b"")) is None


def test_white_space_between_values_may_hold_line_ends() -> None:
    block = block_of({":message-type": "event", ":event-type": "a"}, b'{\r\n"a":\n1\r}')
    assert json.loads(event_data(block) or b"") == {"a": 1}
    (message,) = read(frame(block))
    assert json.loads(message.payload) == {"a": 1}


def test_comments_are_no_messages() -> None:
    assert frame(b": keep-alive") == b""


@pytest.mark.parametrize(
    "headers",
    [{}, {":message-type": "event"}, {":message-type": "odd", ":event-type": "a"}, {":event-type": "a\nb"}],
)
def test_a_message_of_no_known_kind_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="no known kind"):
        block_of(headers, b"{}")


async def blocks(stream: bytes, size: int) -> list[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(stream), size):
            yield stream[at : at + size]

    splitter = EventSplitter(MAX_EVENT_BYTES)
    return [block async for events in events_of(chunks()) for block in splitter.feed(events)]


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_messages_come_as_blocks_however_they_are_cut(size: int) -> None:
    stream = theirs("messageStart", {"role": "assistant"}) + KNOWN
    assert await blocks(stream, size) == [
        named_block("messageStart", b'{"role": "assistant"}'),
        named_block("contentBlockDelta", DELTA),
    ]


@pytest.mark.parametrize("at", [1, 9, 40, 120, 147])
async def test_a_damaged_message_is_noticed_after_those_before_it(at: int) -> None:
    damaged = bytearray(KNOWN)
    damaged[at] ^= 1
    events = events_of(_once(KNOWN + bytes(damaged) + KNOWN))
    assert re.findall(rb"event: (\w+)", await anext(events)) == [b"contentBlockDelta"]
    with pytest.raises(UpstreamError, match="can't be read"):
        await anext(events)


async def _once(stream: bytes) -> AsyncIterator[bytes]:
    yield stream


def test_bytes_in_a_payload_are_kept() -> None:
    payload = json.loads(read(theirs("chunk", {"bytes": "AAEC"}))[0].payload)
    assert b64decode(payload["bytes"]) == b"\0\1\2"
