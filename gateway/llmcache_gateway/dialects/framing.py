"""How the blocks of a stream are written to a client: as events, or as the items of one JSON array."""

from collections.abc import Sequence

from llmcache_gateway.dialects.base import Request
from llmcache_gateway.sse import END_OF_EVENT, event_data

ARRAY_TYPE = "application/json; charset=UTF-8"


class Framing:
    """The form in which one request wants its stream. It knows what it has written."""

    __slots__ = ("_array", "_begun")

    def __init__(self, request: Request) -> None:
        self._array = request.array
        self._begun = False

    def content_type(self, recorded: str) -> str:
        """Return the content type of the stream, given that of the events."""
        return ARRAY_TYPE if self._array else recorded

    def pieces(self, blocks: Sequence[bytes]) -> bytes:
        """Return the bytes of blocks that come next."""
        if not self._array:
            return END_OF_EVENT.join([*blocks, b""])
        items = [data for data in map(event_data, blocks) if data is not None]
        if not items:
            return b""
        lead, self._begun = b",\r\n" if self._begun else b"[", True
        return lead + b",\r\n".join(items)

    def end(self) -> bytes:
        """Return the bytes that come after the last block."""
        if not self._array:
            return b""
        return b"]" if self._begun else b"[]"
