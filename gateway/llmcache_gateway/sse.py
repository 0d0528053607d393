"""Server-sent events, as far as LLM providers use them: splitting a byte stream, and reading a block.

Format: the WHATWG HTML standard, section "Server-sent events".
"""

import re
from typing import Final

from llmcache_gateway.errors import UpstreamError

CONTENT_TYPE: Final = "text/event-stream"
END_OF_EVENT: Final = b"\n\n"
MAX_EVENT_BYTES: Final = 64 * 2**20
"""Largest event that is passed on: it has to be held until it is whole."""

_BOM: Final = b"\xef\xbb\xbf"
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventSplitter:
    """Cuts a stream of bytes, in pieces of any size, into event blocks.

    A block is the event's lines joined by a single LF, without the blank line that ends it. Blocks of comments
    only (keep-alives) are blocks too: what to do with them is the caller's matter.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._begun = False
        self._held = b""
        self._max = max_event_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Return the blocks that `data` completes; UpstreamError when one grows beyond the bound."""
        if not self._begun:
            self._held += data
            if len(self._held) < len(_BOM) and _BOM.startswith(self._held):
                return []
            data, self._begun = self._held.removeprefix(_BOM), True
        self._buffer += data
        blocks = []
        start = 0
        for match in _BLANK_LINE.finditer(self._buffer, self._scanned):
            block = self._buffer[start : match.start()].strip(b"\r\n")
            if block:
                blocks.append(b"\n".join(_LINE_END.split(block)))
            start = match.end()
        del self._buffer[:start]
        # A blank line may have begun in the last three bytes; everything before them need not be read again.
        self._scanned = max(0, len(self._buffer) - 3)
        if len(self._buffer) > self._max:
            raise UpstreamError(f"one event of the stream is larger than {self._max} bytes")
        return blocks

    def end(self) -> list[bytes]:
        """Return the block that the stream ended within, whose blank line did not come; none when there is none."""
        block = bytes(self._buffer).strip(b"\r\n")
        return [b"\n".join(_LINE_END.split(block))] if block else []


def is_comment(block: bytes) -> bool:
    """Say whether a block holds comments only, as a keep-alive does: no part of any event."""
    return block.startswith(b":") and all(line.startswith(b":") for line in block.split(b"\n"))


def event_data(block: bytes) -> bytes | None:
    """Return the data of an event block, its `data:` lines joined by LF; None when it has none."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def data_event(data: bytes) -> bytes:
    """Return one event block with this data, which holds no line break."""
    return b"data: " + data
