"""What one gateway publishes of an answer for the others that follow it: a head, the pieces, an end.

Each is a byte that says which it is, and its content. A reader takes what it can't read for an answer that is lost.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from multidict import CIMultiDict

from llmcache_gateway.headers import hop_headers

HEAD: Final = b"h"
PIECE: Final = b"p"
END: Final = b"e"

_KEPT_BACK: Final = frozenset({"set-cookie", "content-length", "content-encoding"})
"""Headers that are one client's, or of a body that is published decoded."""


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What is known when the answer begins."""

    status: int
    headers: list[tuple[str, str]]
    stream: bool
    """Whether a stream was asked for."""

    events: bool
    """Whether the pieces are event blocks."""

    stored: bool
    reason: str


class End(msgspec.Struct, frozen=True, array_like=True):
    """How it ended.

    `whole`; `failed` with what is said to those who waited; `lost` where it may be asked again; `too-large` where
    each gateway has to ask for itself.
    """

    how: Literal["whole", "failed", "lost", "too-large"]
    stored: bool = False
    reason: str = ""
    message: str = ""
    timed_out: bool = False


_encode = msgspec.msgpack.encode
_head = msgspec.msgpack.Decoder(Head)
_end = msgspec.msgpack.Decoder(End)


def shown(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the headers of an answer that other gateways are told."""
    kept_back = _KEPT_BACK | hop_headers(CIMultiDict(headers))
    return [(str(name), value) for name, value in headers.items() if name.lower() not in kept_back]


def to_bytes(part: Head | End | bytes) -> bytes:
    """Return a part as it is published."""
    if isinstance(part, bytes):
        return PIECE + part
    return (HEAD if isinstance(part, Head) else END) + _encode(part)


def from_bytes(published: Any) -> Head | End | bytes:
    """Return a part that was published; ValueError when it is none."""
    if not isinstance(published, bytes):
        raise ValueError(f"a part is bytes, not {type(published).__name__}")
    kind, content = published[:1], published[1:]
    try:
        if kind == PIECE:
            return content
        if kind == HEAD:
            return _head.decode(content)
        if kind == END:
            return _end.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"a part can't be read: {error}") from None
    raise ValueError("a part is of no known kind")
