"""How an entry is written to a store outside this process, and read from there.

A value is a head of six bytes and the entry in MessagePack: the schema's version, how the rest is packed (as it is, or
by zstd), and a CRC-32 over that byte, the key and the rest. So a value that was cut off, has a bit flipped, or stands
under another key is noticed before any of it is believed. The CRC keeps accidents out; against who may write to the
store it is no protection, but such values, too, are entries, or BadEntryError, within bounds.
"""

import struct
import sys
import zlib
from typing import Final

import msgspec

from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import BadEntryError

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd  # for tests, too

SCHEMA: Final = 4
"""The version of this layout and of Entry's; it grows with every change of either."""

PLAIN: Final = 0
ZSTD: Final = 1

COMPRESS_ABOVE: Final = 4096
"""Bytes of a value from which on compressing it pays, where nothing else is set."""

LEVEL: Final = 3
"""zstd's own default: what is above it costs much more time than it saves bytes of JSON."""

WINDOW_LOG: Final = 23
"""Largest window that reading takes memory for, as a power of two: that of any level up to 19."""

FRAMING_BYTES: Final = 64 * 2**10
"""What an entry may have beside its answer: content type, model, tags. Its events are counted apart."""

MAX_LAST: Final = 500
"""Most values that are remembered with what they say."""

MAX_LAST_BYTES: Final = 16 * 2**10
"""Longest value that is: MAX_LAST of them must not weigh beside the rest of the process."""

_HEAD: Final = struct.Struct(">BBI")
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Entry)


class ValueFormat:
    """Writes and reads values. Those of more than `compress_above` bytes are compressed; None compresses none.

    An entry whose answer is larger than `max_bytes` can't be read: whatever a value promises, no more memory is taken
    than that bound allows.
    """

    def __init__(self, *, compress_above: int | None, max_bytes: int) -> None:
        self._compress_above = compress_above
        self._max_answer = max_bytes
        # Each event, of a few bytes at least, costs up to five bytes of framing and two for the pause before it.
        self._max_packed = 2 * max_bytes + FRAMING_BYTES

    @property
    def max_value(self) -> int:
        """Most bytes of a value: one that is larger need not be read."""
        return self._max_packed + _HEAD.size

    def to_bytes(self, key: str, entry: Entry) -> bytes:
        """Return the value of an entry that is stored under this key."""
        packed, packing = _encoder.encode(entry), PLAIN
        if self._compress_above is not None and len(packed) > self._compress_above:
            packed, packing = zstd.compress(packed, LEVEL), ZSTD
        return _HEAD.pack(SCHEMA, packing, _checksum(key, packing, packed)) + packed

    def from_bytes(self, key: str, value: object) -> Entry:
        """Return the entry of what was found under a key; BadEntryError, and no other, when it is none."""
        if not isinstance(value, bytes):
            raise BadEntryError(f"the stored value is no bytes, but {type(value).__name__}")
        if len(value) < _HEAD.size:
            raise BadEntryError("the stored value is too short")
        schema, packing, checksum = _HEAD.unpack_from(value)
        if schema != SCHEMA:
            raise BadEntryError("the stored value has another schema version")
        packed = memoryview(value)[_HEAD.size :]
        if checksum != _checksum(key, packing, packed):
            raise BadEntryError("the stored value is damaged, or another key's")
        if packing == ZSTD:
            packed = memoryview(self._unpacked(packed))
        elif packing != PLAIN:
            raise BadEntryError("the stored value is compressed in a way that is not known")
        if len(packed) > self._max_packed:
            raise BadEntryError("the stored value is larger than an entry may be")
        try:
            entry = _decoder.decode(packed)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadEntryError(f"the stored value can't be read: {error}") from None
        if not entry.sound or entry.size > self._max_answer:
            raise BadEntryError("the stored value's parts don't agree, or its answer is larger than it may be")
        return entry

    def _unpacked(self, packed: memoryview) -> bytes:
        """Return what was compressed, but never more than a bound: a few bytes may promise gigabytes."""
        reader = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})
        try:
            plain = reader.decompress(packed, max_length=self._max_packed + 1)
        except zstd.ZstdError as error:
            raise BadEntryError(f"the stored value can't be decompressed: {error}") from None
        if not reader.eof or reader.unused_data:
            raise BadEntryError("the stored value is not one whole zstd frame, or larger than an entry may be")
        return plain


class LastRead:
    """Reads values, and one that is the same to the byte as what was last read under its key not once more.

    What a value says depends on nothing else, so an entry that is remembered is the one that reading would give.
    """

    def __init__(self, values: ValueFormat) -> None:
        self._values = values
        self._last: dict[str, tuple[bytes, Entry]] = {}

    def from_bytes(self, key: str, value: object) -> Entry:
        """Return what `ValueFormat.from_bytes` does, or raise what it does."""
        last = self._last.get(key)
        if last is not None and last[0] == value:
            return last[1]
        entry = self._values.from_bytes(key, value)
        if isinstance(value, bytes) and len(value) <= MAX_LAST_BYTES:
            self._last[key] = (value, entry)
            if len(self._last) > MAX_LAST:
                del self._last[next(iter(self._last))]
        return entry


def _checksum(key: str, packing: int, packed: bytes | memoryview) -> int:
    return zlib.crc32(packed, zlib.crc32(key.encode("utf-8", "surrogatepass"), packing))
