"""Turns a stored entry into the bytes that this client asked for."""

from collections.abc import Iterable

from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.entry import Entry
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.sse import CONTENT_TYPE, END_OF_EVENT

JSON_TYPE = "application/json"


def replay(entry: Entry, dialect: Dialect, request: Request) -> tuple[str, bytes]:
    """Return content type and body of a hit: streamed or not, as the request has it, whatever was recorded."""
    if request.stream and entry.form == "sse":
        return entry.content_type, _stream(dialect.personal_blocks(entry.blocks, request), dialect, request)
    if not request.stream and entry.form == "json" and not dialect.echoes:
        return entry.content_type, entry.blocks[0]
    answer = dialect.assemble(entry.blocks) if entry.form == "sse" else loads(entry.blocks[0])
    answer = dialect.personal(answer, request)
    if request.stream:
        return CONTENT_TYPE, _stream(dialect.replay(answer), dialect, request)
    return JSON_TYPE, dumps(answer)


def _stream(blocks: Iterable[bytes], dialect: Dialect, request: Request) -> bytes:
    shown = [block for block in (dialect.for_client(block, request) for block in blocks) if block is not None]
    return END_OF_EVENT.join([*shown, b""])
