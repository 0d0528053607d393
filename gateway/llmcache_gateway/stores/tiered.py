"""The tiered store: the memory store (L1) in front of a shared one (L2)."""

from collections.abc import AsyncIterator

from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import OvertakenError
from llmcache_gateway.stores.base import Found, Store
from llmcache_gateway.stores.contents import ContentLedger
from llmcache_gateway.stores.labels import LabelKeeper
from llmcache_gateway.stores.leases import Lease, LeaseKeeper
from llmcache_gateway.stores.marks import MarksKeeper
from llmcache_gateway.stores.vectors import VectorKeeper


class TieredStore:
    """Looks into L1 first, and keeps in L1 what L2 had.

    An L1 entry ends when its L2 entry does: the expiry is a property of the entry, not of the tier.
    """

    name = "tiered"

    def __init__(self, l1: Store, l2: Store) -> None:
        self.l1 = l1
        self._l2 = l2

    @property
    def below(self) -> Store:
        """The shared store, without the one in front of it."""
        return self._l2

    def get_now(self, key: str) -> Found | None:
        return self.l1.get_now(key)

    async def get(self, key: str) -> Found | None:
        found = await self.l1.get(key)
        if found is not None:
            return found
        found = await self._l2.get(key)
        if found is not None:
            await self.l1.put(key, found.entry)
        return found

    def ask(self, key: str) -> None:
        return None

    async def put(self, key: str, entry: Entry, lease: Lease | None = None) -> None:
        # L1 first: if L2 fails, this replica at least does not ask the provider again.
        await self.l1.put(key, entry)
        try:
            await self._l2.put(key, entry, lease)
        except OvertakenError:
            self.l1.forget(key)  # what all share is newer
            raise

    def fits(self, key: str, entry: Entry) -> bool:
        return self._l2.fits(key, entry)

    async def delete(self, key: str) -> bool:
        # L2 first: a lookup in between must not bring the entry back into L1.
        there = await self._l2.delete(key)
        return await self.l1.delete(key) or there

    def forget(self, key: str) -> bool:
        return self.l1.forget(key)

    def scan(self) -> AsyncIterator[list[str]]:
        return self._l2.scan()

    def marks(self) -> MarksKeeper:
        return self._l2.marks()

    def leases(self) -> LeaseKeeper | None:
        return self._l2.leases()

    def contents(self) -> ContentLedger | None:
        return self._l2.contents()

    def vectors(self) -> VectorKeeper:
        return self._l2.vectors()

    def labels(self) -> LabelKeeper | None:
        return self._l2.labels()

    async def ping(self) -> None:
        await self._l2.ping()

    async def close(self) -> None:
        await self.l1.close()
        await self._l2.close()
