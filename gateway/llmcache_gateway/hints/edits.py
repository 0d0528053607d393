"""Changing one place of a JSON body and leaving every other byte of its values as it came.

Providers keep a prompt by its bytes: what is not touched must not be written anew, not even equally.
"""

from collections.abc import Callable
from typing import Final

import msgspec

Path = tuple[str | int, ...]
"""Where a value stands: names of members, positions in lists."""

Change = Callable[[bytes], bytes]
"""What becomes of a value, as JSON."""

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items: Final = msgspec.json.Decoder(list[msgspec.Raw])


def edited(body: bytes, path: Path, change: Change) -> bytes:
    """Return a body with the value at a path changed; ValueError when there is none, or the body can't be read."""
    try:
        return _edited(body, path, change)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, IndexError, RecursionError) as error:
        raise ValueError(f"nothing to change at {path}: {error!r}") from None


def _edited(raw: bytes, path: Path, change: Change) -> bytes:
    if not path:
        return change(raw)
    first, rest = path[0], path[1:]
    if isinstance(first, str):
        members = _members.decode(raw)
        members[first] = msgspec.Raw(_edited(bytes(members[first]), rest, change))
        return msgspec.json.encode(members)
    items = _items.decode(raw)
    items[first] = msgspec.Raw(_edited(bytes(items[first]), rest, change))
    return msgspec.json.encode(items)


def with_member(name: str, value: bytes) -> Change:
    """Return the change that adds a member behind those of an object that has some."""
    return lambda raw: raw.rstrip()[:-1] + b',"' + name.encode() + b'":' + value + b"}"


def as_block(kind: str, name: str, value: bytes) -> Change:
    """Return the change that makes a text the same text in a list of one block, with a member more."""
    start = b'[{"type":"' + kind.encode() + b'","text":'
    return lambda raw: start + raw.strip() + b',"' + name.encode() + b'":' + value + b"}]"


def inserted(at: int, value: bytes) -> Change:
    """Return the change that puts one more item into a list, at a position."""

    def change(raw: bytes) -> bytes:
        items = _items.decode(raw)
        return msgspec.json.encode([*items[:at], msgspec.Raw(value), *items[at:]])

    return change
