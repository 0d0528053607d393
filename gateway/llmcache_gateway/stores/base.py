"""The store port: where entries are kept."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from llmcache_gateway.entry import Entry
from llmcache_gateway.stores.contents import ContentLedger
from llmcache_gateway.stores.labels import LabelKeeper
from llmcache_gateway.stores.leases import Lease, LeaseKeeper
from llmcache_gateway.stores.marks import MarksKeeper
from llmcache_gateway.stores.vectors import VectorKeeper


class Found(NamedTuple):
    """An entry and the tier that held it."""

    entry: Entry
    tier: str


class Store(Protocol):
    """Keeps entries by key until their `kept_until`.

    A key is `{prefix.name}:{prefix.version}:{tenant}:{digest}`. Every method may raise StoreError; none raises
    anything else but cancellation. An entry is never returned after that; one that is stale may be.
    """

    name: str

    def get_now(self, key: str) -> Found | None:
        """Return an entry that is at hand without waiting; None when that can't be said."""

    async def get(self, key: str) -> Found | None:
        """Return an entry; None when there is none."""

    def ask(self, key: str) -> asyncio.Future[Found | None] | None:
        """Begin to do as `get` does, without a task for each caller; None where `get` has to be awaited.

        An entry that is of no use (BadEntryError) is left to the caller to remove.
        """

    async def put(self, key: str, entry: Entry, lease: Lease | None = None) -> None:
        """Keep an entry until it is over, in place of one with the same key.

        OvertakenError, and nothing is kept, where the lease that its answer was asked for under has been lost.
        """

    def fits(self, key: str, entry: Entry) -> bool:
        """Say whether the store could keep an entry of this size at all."""

    async def delete(self, key: str) -> bool:
        """Remove an entry; say whether there was one."""

    def forget(self, key: str) -> bool:
        """Drop what this process holds in front of, or instead of, a shared store; say whether that was something."""

    def scan(self) -> AsyncIterator[list[str]]:
        """Yield all keys in bounded batches, in no order, those put meanwhile or not. A key may come twice."""

    def marks(self) -> MarksKeeper:
        """Return where the marks of this store's entries are kept, as durable and as shared as they are."""

    def leases(self) -> LeaseKeeper | None:
        """Return where leases are kept, for all gateways that share these entries; None where none do."""

    def contents(self) -> ContentLedger | None:
        """Return where cached contents are noted for all gateways that share these entries; None where none do."""

    def vectors(self) -> VectorKeeper:
        """Return where the vectors of questions are kept, as durable and as shared as these entries are."""

    def labels(self) -> LabelKeeper | None:
        """Return where what sampled hits have told is kept for all replicas; None where that ends with the process."""

    async def ping(self) -> None:
        """Return when the store can be used; StoreError when it can't."""

    async def close(self) -> None:
        """Let go of connections. The store is not used after that."""
