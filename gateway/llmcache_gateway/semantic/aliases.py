"""Questions that were judged to be another one, remembered beside the entries, as entries that hold no answer.

So an alias is kept where the entries are, ends in time, and falls under the same invalidations. Its key is made of the
question's whole scope and its text: who finds it has asked that very question, in that very conversation, as that
tenant.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import msgspec

from llmcache_gateway.canonical import encode
from llmcache_gateway.entry import ALIAS_TYPE, Entry
from llmcache_gateway.normalize import STEPS
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.semantic.guards import rejected_by
from llmcache_gateway.semantic.suitability import Asked
from llmcache_gateway.stores.base import Found
from llmcache_gateway.stores.guarded import GuardedStore


class _Alias(msgspec.Struct, frozen=True):
    """What stands in the entry."""

    key: str
    text: str
    similarity: Annotated[float, msgspec.Meta(ge=-1.0, le=1.0)]


class Named(NamedTuple):
    """The entry that an alias leads to: its key, what it is, and how similar the questions were."""

    key: str
    found: Found
    similarity: float


class Aliases:
    """Keeps aliases in the cache's own store. `clock` returns seconds since the epoch."""

    def __init__(self, store: GuardedStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def find(self, asked: Asked, own_key: str, usable: Callable[[Entry], bool]) -> Named | None:
        """Return the entry of the question that this one was judged to be, if it can be served.

        `own_key` is the request's: only an entry of its prefix, version and tenant is found.
        """
        name = alias_key(asked, own_key)
        alias = await self._store.get(name)
        if alias is None or not alias.entry.is_alias:
            return None
        try:
            held = msgspec.convert(loads(alias.entry.blocks[0]), _Alias)
        except ValueError:
            return None
        if held.text != asked.text and rejected_by(asked.text, held.text) is not None:
            return None  # what was evened out may matter, in code say
        if held.key.rpartition(":")[0] != own_key.rpartition(":")[0]:
            return None
        # Whatever has taken back the entry that was judged, or this question's own, has taken back what was said of
        # them, though others are there now.
        if not all(self._store.admits(key, alias.entry) for key in (held.key, own_key)):
            return None
        found = await self._store.get(held.key)
        if found is None or not usable(found.entry):
            return None
        return Named(held.key, found, held.similarity)

    def remember(
        self,
        asked: Asked,
        own_key: str,
        *,
        key: str,
        entry: Entry,
        similarity: float,
        epoch: int,
        tags: Sequence[str],
        ttl: float,
    ) -> bool:
        """Begin to keep a question as an alias of the one whose entry is given, under `key`; say whether it was taken.

        It ends with that entry, or after `ttl` seconds, the longest that its client allows. `epoch` is the
        invalidation epoch known when the question was asked, `tags` are the question's own.
        """
        now = self._clock()
        ends = min(entry.fresh_until, now + ttl)
        if not now < ends:
            return False
        held = _Alias(key, asked.text, max(-1.0, min(1.0, similarity)))
        alias = Entry(
            form="json",
            content_type=ALIAS_TYPE,
            blocks=[dumps(msgspec.to_builtins(held))],
            model=entry.model,
            stored_at=now,
            fresh_until=ends,
            kept_until=ends,  # a stale entry answers nobody who asked in other words
            tags=sorted({*entry.tags, *tags}),
            epoch=min(epoch, entry.epoch),
        )
        return self._store.put_soon(alias_key(asked, own_key), alias, answer=False)

    async def forget(self, asked: Asked, own_key: str) -> None:
        """Take back the alias of a question, at all replicas; StoreError when that can't be done."""
        name = alias_key(asked, own_key)
        await self._store.invalidate([f"key:{name}"])  # others hold a copy near them
        await self._store.delete(name)


def alias_key(asked: Asked, own_key: str) -> str:
    """Return the key of a question's alias, beside the request's own key: no request has one like it."""
    digest = hashlib.sha256(encode(["alias", asked.scope, STEPS["whitespace"](asked.text)])).hexdigest()
    return f"{own_key.rpartition(':')[0]}:{digest}"
