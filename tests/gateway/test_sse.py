"""Splitting a stream of server-sent events."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.errors import UpstreamError
from llmcache_gateway.sse import EventSplitter, event_data

STREAM = b'data: {"a":1}\n\n: keep-alive\n\nevent: x\r\ndata: one\r\ndata:two\r\n\r\n\n\ndata: [DONE]\n\n'
BLOCKS = [b'data: {"a":1}', b": keep-alive", b"event: x\ndata: one\ndata:two", b"data: [DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_blocks_do_not_depend_on_how_the_bytes_arrive(cuts: list[int]) -> None:
    splitter = EventSplitter(1000)
    blocks = []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        blocks += splitter.feed(STREAM[start:end])
    assert blocks == BLOCKS


def test_an_event_without_its_blank_line_is_not_given() -> None:
    assert EventSplitter(1000).feed(b"data: half\n") == []


def test_an_endless_event_is_refused() -> None:
    splitter = EventSplitter(10)
    with pytest.raises(UpstreamError, match="larger than 10 bytes"):
        splitter.feed(b"data: 0123456789")


@pytest.mark.parametrize(
    ("block", "data"),
    [
        (b"data: x", b"x"),
        (b"data:x", b"x"),
        (b"data:  x", b" x"),
        (b"event: e\ndata: 1\nid: 7\ndata: 2", b"1\n2"),
        (b": comment", None),
        (b"event: e", None),
    ],
)
def test_data_of_a_block(block: bytes, data: bytes | None) -> None:
    assert event_data(block) == data
