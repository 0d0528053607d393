"""Turns a stored entry into the bytes that this client asked for."""

from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.entry import Entry
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.sse import CONTENT_TYPE, END_OF_EVENT

JSON_TYPE = "application/json"


def replay(entry: Entry, dialect: Dialect, request: Request) -> tuple[str, bytes]:
    """Return content type and body of a hit: streamed or not, as the request has it, whatever was recorded."""
    if not request.stream:
        if entry.form == "json":
            return entry.content_type, entry.blocks[0]
        return JSON_TYPE, dumps(dialect.assemble(entry.blocks))
    blocks = entry.blocks if entry.form == "sse" else list(dialect.replay(loads(entry.blocks[0])))
    shown = [block for block in (dialect.for_client(block, request) for block in blocks) if block is not None]
    content_type = entry.content_type if entry.form == "sse" else CONTENT_TYPE
    return content_type, END_OF_EVENT.join([*shown, b""])
