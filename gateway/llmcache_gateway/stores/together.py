"""Lookups that wait at the same time share one round trip."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

MAX_TRIPS: Final = 2
"""Round trips under way at once. What is asked for meanwhile waits, and goes with the next one together."""

MAX_NAMES: Final = 64
"""Most lookups in one round trip, so that none waits for the values of too many others."""


Read = Callable[[Any], Any]
"""Makes of a value, or of the exception in its place, what is wanted; what it raises fails that lookup alone."""


class Together:
    """Calls `fetch` with all names that are asked for while its last call is under way.

    `fetch` returns one value for each name, an exception where that one alone has failed; what it raises, all who
    wait for it are given.
    """

    def __init__(self, fetch: Callable[[list[str]], Awaitable[list[Any]]]) -> None:
        self._fetch = fetch
        self._waiting: list[tuple[str, Read, asyncio.Future[Any]]] = []
        self._trips: set[asyncio.Task[None]] = set()

    async def get(self, name: str) -> Any:
        """Return the value of one name. Who is cancelled takes nothing from the others."""
        return await self.ask(name, _as_it_is)

    def ask(self, name: str, read: Read) -> asyncio.Future[Any]:
        """Return what will have what `read` makes of a name's value. Cancelled, it takes nothing from the others."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((name, read, future))
        if len(self._trips) < MAX_TRIPS:
            self._trips.add(asyncio.create_task(self._travel()))
        return future

    async def close(self) -> None:
        """End what is under way."""
        trips = list(self._trips)
        for trip in trips:
            trip.cancel()
        await asyncio.gather(*trips, return_exceptions=True)

    async def _travel(self) -> None:
        try:
            await self._carry()
        finally:
            # Here and not when the task is done, which is later: who asks in between would wait for nobody.
            self._trips.discard(cast(Any, asyncio.current_task()))

    async def _carry(self) -> None:
        while self._waiting:
            # Some have not waited so long: they ran out of time before this trip began.
            batch = [one for one in self._waiting[:MAX_NAMES] if not one[2].done()]
            del self._waiting[:MAX_NAMES]
            if not batch:
                continue
            try:
                values = await self._fetch([name for name, _, _ in batch])
            except asyncio.CancelledError:
                for _, _, future in batch:
                    future.cancel()
                raise
            except Exception as error:
                values = [error] * len(batch)
            for (_, read, future), value in zip(batch, values, strict=True):
                if future.done():
                    continue
                try:
                    future.set_result(read(value))
                except Exception as error:
                    future.set_exception(error)


def _as_it_is(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value
