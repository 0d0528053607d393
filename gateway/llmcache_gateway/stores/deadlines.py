"""One timer for all that must be done within the same time."""

import asyncio
from collections import deque
from typing import Any


class Deadlines:
    """Fails futures with TimeoutError that are not done so many seconds after they were given here.

    All have the same time, so they run out in the order in which they came: a timer for each, set and cancelled again,
    would cost more than the lookup that it bounds.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def bound(self, future: asyncio.Future[Any]) -> None:
        """Give a future its time from now on."""
        while self._open and self._open[0][1].done():
            self._open.popleft()  # at once, since what it holds may be large
        loop = asyncio.get_running_loop()
        due = loop.time() + self._seconds
        self._open.append((due, future))
        if self._timer is None:
            self._timer = loop.call_at(due, self._ring)

    def close(self) -> None:
        """Bound nothing any more."""
        self._open.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        loop = asyncio.get_running_loop()
        while self._open and (self._open[0][1].done() or self._open[0][0] <= loop.time()):
            _, future = self._open.popleft()
            if not future.done():
                future.set_exception(TimeoutError())
        self._timer = loop.call_at(self._open[0][0], self._ring) if self._open else None
