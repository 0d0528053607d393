"""What is stored: one whole answer of a provider."""

from typing import Final, Literal

import msgspec

from llmcache_gateway.errors import BadEntryError

SCHEMA: Final = b"\x02"
"""First byte of every stored value. It grows whenever the layout of Entry changes; other values are no entries."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One answer, as the provider gave it.

    A `json` answer has one block, its body; an `sse` answer one block per event (lines joined by LF, no blank
    line). Times are seconds since the epoch.
    """

    form: Literal["json", "sse"]
    content_type: str
    blocks: list[bytes]
    model: str
    stored_at: float
    fresh_until: float
    kept_until: float
    tags: list[str] = []
    """What its request, or a hook, calls it by, for invalidation."""

    epoch: int = 0
    """The invalidation epoch that its gateway knew when its request began, in microseconds; 0 is older than all."""

    def is_kept(self, now: float) -> bool:
        """Say whether a store may still give it out, fresh or stale."""
        return now < self.kept_until

    def age(self, now: float) -> int:
        """Return the whole seconds since the answer was stored (RFC 9111, section 4.2.3)."""
        return max(0, int(now - self.stored_at))

    def freshness(self, now: float) -> float:
        """Return the seconds for which it is still fresh; less than zero when it is stale."""
        return self.fresh_until - now

    @property
    def size(self) -> int:
        """Bytes of the answer itself."""
        return sum(map(len, self.blocks))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def to_bytes(entry: Entry) -> bytes:
    """Return an entry as it is written to a store outside this process."""
    return SCHEMA + _encoder.encode(entry)


def from_bytes(value: bytes) -> Entry:
    """Return the entry of a stored value; BadEntryError when it is none of this schema."""
    if not value.startswith(SCHEMA):
        raise BadEntryError("the stored value has another schema version")
    try:
        return _decoder.decode(memoryview(value)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadEntryError(f"the stored value can't be read: {error}") from None
