"""Leases as the request path sees them: claiming one is bounded in time and never fails, the rest fails in time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from llmcache_gateway.background import Background
from llmcache_gateway.errors import StoreError, StorePartError
from llmcache_gateway.stores.circuit import Circuit
from llmcache_gateway.stores.leases import Lease, LeaseKeeper, Standing, Wish

PATIENCE_SECONDS: Final = 1.0
"""Longest that a call which no request waits for may take."""

MIN_SECONDS: Final = 0.005
"""Least that a claim is given, however long the lookup before it took."""

MAX_CALLS: Final = 8
"""Most renewals, readings and writings under way at once: so many connections serve all flights of a gateway."""

PROBE: Final = "@probe"

T = TypeVar("T")


class GuardedLeases:
    """Bounds what a keeper does. `timeout_seconds` is what lookup and claim of one request may take together.

    A store whose `lookups` fail is not asked for leases: a request waits for it once, not twice.
    """

    def __init__(self, keeper: LeaseKeeper, *, timeout_seconds: float, circuit: Circuit, lookups: Circuit) -> None:
        self._keeper = keeper
        self._timeout = timeout_seconds
        self._circuit = circuit
        self._lookups = lookups
        self._calls = asyncio.Semaphore(MAX_CALLS)
        self._background = Background()

    async def claim(self, key: str, call: str, wish: Wish, *, waited: float) -> Lease | None:
        """Take a call's lease, or return the one that another gateway has; None when that can't be said in time.

        `waited` is what the request has waited for the store already.
        """
        if self._lookups.failing:
            return None
        if not self._circuit.closed:
            if self._circuit.wants_probe():
                self._background.begin(self._probe())
            return None
        lease, claimed = self._keeper.lease(key, call), None
        try:
            async with asyncio.timeout(max(self._timeout - waited, MIN_SECONDS)):
                claimed = await self._keeper.claim(lease, wish)
        except asyncio.CancelledError:
            self._circuit.given_up()
            raise
        except StorePartError:
            self._circuit.partly_failed()
        except Exception as error:  # a server that is no Redis makes errors that no list foresees
            self._circuit.failed(error)
        else:
            self._circuit.worked()
        finally:
            if claimed is None:
                # It may have been taken all the same: nobody is to wait for a call that is not made under it.
                self._background.begin(self._let_go(lease))
        return claimed

    async def renew(self, lease: Lease, *, over: bool) -> Standing:
        """As the keeper does; StoreError when it can't, in time."""
        return await self._bounded(lambda: self._keeper.renew(lease, over=over))

    async def publish(self, lease: Lease, at: int, pieces: Sequence[bytes]) -> bool:
        """As the keeper does; StoreError when it can't, in time."""
        return await self._bounded(lambda: self._keeper.publish(lease, at, pieces))

    async def read(self, lease: Lease, at: int, ttl: float) -> list[bytes] | None:
        """As the keeper does; StoreError when it can't, in time."""
        return await self._bounded(lambda: self._keeper.read(lease, at, ttl))

    async def release(self, lease: Lease, last: Sequence[bytes]) -> None:
        """As the keeper does; StoreError when it can't, in time."""
        await self._bounded(lambda: self._keeper.release(lease, last))

    async def close(self) -> None:
        """Stop what is under way."""
        await self._background.close()

    async def _bounded(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._calls:
                return await work()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._circuit.count()  # whether to claim leases is decided by the claims
            raise StoreError(str(error) or "no answer in time") from None

    async def _let_go(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._keeper.release(lease, ())
        except Exception:
            return  # then it ends by itself, LEASE_SECONDS after it began

    async def _probe(self) -> None:
        """Take a lease that nobody wants, and let go of it."""
        lease = self._keeper.lease(PROBE, PROBE)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._keeper.claim(lease, Wish(max_age=-1.0))
                await self._keeper.release(lease, ())
        except asyncio.CancelledError:
            self._circuit.given_up()
            raise
        except StorePartError:
            self._circuit.partly_failed()
        except Exception as error:
            self._circuit.failed(error)
        else:
            self._circuit.worked()
