"""How the blocks of a stream are written to a client: as events, as the items of one JSON array, or as AWS's frames."""

from collections.abc import Sequence
from typing import Final

from llmcache_gateway.dialects.base import Request, Written
from llmcache_gateway.dialects.frames import FRAMES_TYPE, frame
from llmcache_gateway.sse import END_OF_EVENT, event_data

_TYPES: Final[dict[Written, str]] = {"array": "application/json; charset=UTF-8", "frames": FRAMES_TYPE}


class Framing:
    """The form in which one request wants its stream. It knows what it has written."""

    __slots__ = ("_begun", "_written")

    def __init__(self, request: Request) -> None:
        self._written = request.written
        self._begun = False

    def content_type(self, recorded: str) -> str:
        """Return the content type of the stream, given that of the events."""
        return _TYPES.get(self._written, recorded)

    def pieces(self, blocks: Sequence[bytes]) -> bytes:
        """Return the bytes of blocks that come next."""
        if self._written == "events":
            return END_OF_EVENT.join([*blocks, b""])
        if self._written == "frames":
            return b"".join(map(frame, blocks))
        items = [data for data in map(event_data, blocks) if data is not None]
        if not items:
            return b""
        lead, self._begun = b",\r\n" if self._begun else b"[", True
        return lead + b",\r\n".join(items)

    def end(self) -> bytes:
        """Return the bytes that come after the last block."""
        if self._written != "array":
            return b""
        return b"]" if self._begun else b"[]"
