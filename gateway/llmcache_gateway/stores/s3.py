"""The S3 store: entries that all replicas share, and that outlive them all, in a bucket."""

import hashlib
import re
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import BadEntryError, StoreError
from llmcache_gateway.stores.base import Found
from llmcache_gateway.stores.labels import LabelKeeper
from llmcache_gateway.stores.leases import Lease
from llmcache_gateway.stores.marks import MarksKeeper
from llmcache_gateway.stores.s3_bucket import Bucket
from llmcache_gateway.stores.s3_marks import S3Marks
from llmcache_gateway.stores.vectors import LocalVectors, VectorKeeper
from llmcache_gateway.values import ValueFormat

SCAN_BATCH: Final = 500
"""Keys of one batch of a scan."""

PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}(:[A-Za-z0-9][A-Za-z0-9._-]{0,199}){3}")
"""A key whose parts can stand in an object's name as they are: every server takes them, and no two meet."""

OTHER: Final = "-"
"""The folder of all other keys, under their hash. No part of a plain one is called that."""

LENGTH: Final = struct.Struct(">I")

KEY_BYTES: Final = 64 * 2**10
"""What an object may have before its value."""


class S3Store:
    """Keeps entries in a bucket, each as one object: `PREFIX/entries/OWNER/VERSION…/DIGEST`, the key with slashes.

    `owner` belongs to one LLMCache alone, so that several can share a bucket. S3 forgets nothing by itself: what is
    over is not given out, and a lifecycle rule of the bucket's removes it.
    """

    name = "s3"

    def __init__(
        self, bucket: Bucket, *, prefix: str, owner: str, clock: Callable[[], float], values: ValueFormat
    ) -> None:
        self._bucket = bucket
        self._entries = f"{prefix}/entries/{owner}"
        self._marks = f"{prefix}/marks/{owner}"
        self._clock = clock
        self._values = values
        self._most = values.max_value + KEY_BYTES

    def get_now(self, key: str) -> Found | None:
        return None

    async def get(self, key: str) -> Found | None:
        name = self._object(key)
        try:
            found = await self._bucket.get(name, max_bytes=self._most)
            if found is None:
                return None
            entry = self._values.from_bytes(key, _without_key(key, found.content))
        except BadEntryError:
            with suppress(StoreError):  # a key that may not delete: then it is a miss each time
                await self._bucket.delete(name)  # it would only fail again
            raise
        return Found(entry, self.name) if entry.is_kept(self._clock()) else None

    def ask(self, key: str) -> None:
        return None

    async def put(self, key: str, entry: Entry, lease: Lease | None = None) -> None:
        if entry.is_kept(self._clock()):
            await self._bucket.put(self._object(key), _with_key(key, self._values.to_bytes(key, entry)))

    def fits(self, key: str, entry: Entry) -> bool:
        return True

    async def delete(self, key: str) -> bool:
        return await self._bucket.delete(self._object(key))

    def forget(self, key: str) -> bool:
        return False

    async def scan(self) -> AsyncIterator[list[str]]:
        async for names in self._bucket.names(self._entries, SCAN_BATCH):
            keys = [await self._key(name) for name in names]  # one request for each odd key, which no gateway makes
            yield [key for key in keys if key is not None]

    def marks(self) -> MarksKeeper:
        return S3Marks(self._bucket, self._marks)

    def leases(self) -> None:
        return None

    def contents(self) -> None:
        return None

    def vectors(self) -> VectorKeeper:
        return LocalVectors()  # to learn of others' would take a listing each second: the manifest's rules say so

    def labels(self) -> LabelKeeper | None:
        return None

    async def ping(self) -> None:
        await self._bucket.get(f"{self._marks}/probe", max_bytes=0)

    async def close(self) -> None:
        """Nothing to do: connections close when nobody uses them."""

    def _object(self, key: str) -> str:
        if PLAIN_KEY.fullmatch(key):
            return f"{self._entries}/{key.replace(':', '/')}"
        return f"{self._entries}/{OTHER}/{hashlib.sha256(_bytes(key)).hexdigest()}"

    async def _key(self, name: str) -> str | None:
        """Return the key of an object; None for one that is no entry."""
        key = name.removeprefix(f"{self._entries}/").replace("/", ":")
        if PLAIN_KEY.fullmatch(key):
            return key
        try:
            found = await self._bucket.get(name, max_bytes=self._most)
        except BadEntryError:
            return None
        odd = _key_in(found.content) if found is not None else None
        return odd if odd is not None and self._object(odd) == name else None


def _with_key(key: str, value: bytes) -> bytes:
    """Return what an object holds: the value, behind the key and its length where the name does not tell the key."""
    if PLAIN_KEY.fullmatch(key):
        return value
    return LENGTH.pack(len(_bytes(key))) + _bytes(key) + value


def _without_key(key: str, content: bytes) -> bytes:
    return content if PLAIN_KEY.fullmatch(key) else content[LENGTH.size + len(_bytes(key)) :]


def _key_in(content: bytes) -> str | None:
    """Return the key that an object begins with; None where it does not."""
    if len(content) < LENGTH.size:
        return None
    end = LENGTH.size + LENGTH.unpack_from(content)[0]
    try:
        return content[LENGTH.size : end].decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
