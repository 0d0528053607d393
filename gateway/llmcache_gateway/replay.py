"""Turns a stored entry into the bytes that this client asked for."""

from collections.abc import Iterable
from typing import Any

from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.entry import Entry
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.sse import CONTENT_TYPE, END_OF_EVENT

JSON_TYPE = "application/json"


def replay(entry: Entry, dialect: Dialect, request: Request) -> tuple[str, bytes]:
    """Return content type and body of a hit: streamed or not, as the request has it, whatever was recorded."""
    if dialect.echoes:
        answer = dialect.assemble(entry.blocks) if entry.form == "sse" else loads(entry.blocks[0])
        return _of_answer(dialect.personal(answer, request), dialect, request)
    if not request.stream:
        if entry.form == "json":
            return entry.content_type, entry.blocks[0]
        return JSON_TYPE, dumps(dialect.assemble(entry.blocks))
    if entry.form == "json":
        return _of_answer(loads(entry.blocks[0]), dialect, request)
    return entry.content_type, _stream(entry.blocks, dialect, request)


def _of_answer(answer: dict[str, Any], dialect: Dialect, request: Request) -> tuple[str, bytes]:
    if request.stream:
        return CONTENT_TYPE, _stream(dialect.replay(answer), dialect, request)
    return JSON_TYPE, dumps(answer)


def _stream(blocks: Iterable[bytes], dialect: Dialect, request: Request) -> bytes:
    shown = [block for block in (dialect.for_client(block, request) for block in blocks) if block is not None]
    return END_OF_EVENT.join([*shown, b""])
