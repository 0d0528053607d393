"""AWS's binary event stream (`application/vnd.amazon.eventstream`): its messages as event blocks, and back.

Format: "Amazon event stream" of the Smithy specification. A message is two lengths and their CRC, headers, a payload,
and a CRC over all before it, in network order. Inside the gateway each is a block like those of every other stream,
whose first line tells its kind and name:

    event: contentBlockDelta          :message-type event, and its :event-type
    data: {"delta": …}                the payload

`exception: NAME` stands for a message that is one of the API's errors, `error: CODE` for one that is none of them and
has no payload: its data are the `:error-message`. Messages are read by botocore, which does not write any
(`upstreams/aws.py`).
"""

import re
import struct
import zlib
from collections.abc import Mapping
from typing import Final

from llmcache_gateway.sse import event_data

FRAMES_TYPE: Final = "application/vnd.amazon.eventstream"

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_FIRST_LINE: Final = re.compile(rb"(event|exception|error): ?([^\n]*)\n")
_TEXT: Final = 7
"""The type of a header whose value is a text."""


def block_of(headers: Mapping[str, object], payload: bytes) -> bytes:
    """Return the event block of a message, given its headers as botocore reads them; ValueError when it has no name."""
    kind = headers.get(":message-type", "event")
    if kind == "error":
        payload = str(headers.get(":error-message", "")).encode()
    name = headers.get({"error": ":error-code", "exception": ":exception-type"}.get(str(kind), ":event-type"))
    if kind not in ("event", "exception", "error") or not isinstance(name, str) or not name.isprintable():
        raise ValueError(f"a message of the stream is of no known kind: {dict(headers)!r}")
    # A payload is JSON, whose texts have no line ends: those between its values are white space.
    lines = [b"data: " + line for line in _LINE_END.split(payload)]
    return f"{kind}: {name}\n".encode() + b"\n".join(lines)


def named_block(name: str, data: bytes, kind: str = "event") -> bytes:
    """Return the block of a message with a payload of one line."""
    return f"{kind}: {name}\ndata: ".encode() + data


def name_of(block: bytes) -> str | None:
    """Return the name of the event that a block is; None for an error and for what is no message."""
    match = _FIRST_LINE.match(block)
    return match[2].decode() if match is not None and match[1] == b"event" else None


def frame(block: bytes) -> bytes:
    """Return the message of a block; nothing for a block that is none, as a comment is not."""
    match = _FIRST_LINE.match(block)
    if match is None:
        return b""
    kind, name = match[1], match[2]
    payload = event_data(block) or b""
    if kind == b"error":
        headers = _header(b":error-code", name) + _header(b":error-message", payload)
        payload = b""
    else:
        headers = _header(b":%s-type" % kind, name) + _header(b":content-type", b"application/json")
    headers += _header(b":message-type", kind)
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = lengths + struct.pack("!I", zlib.crc32(lengths)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


def _header(name: bytes, value: bytes) -> bytes:
    return struct.pack("!B", len(name)) + name + struct.pack("!BH", _TEXT, len(value)) + value
