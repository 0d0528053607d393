"""A queue of keys to work on: each key once, one run of a key at a time, retries later and later.

This is the shape that controllers have: whoever sees something happen adds a key; what is to be done about it
is found out when its turn comes, from the state as it is then.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """When a key wants its next turn: after so many seconds, with growing delays (`backoff`), or only when it is added.

    With both, `after` is the shortest that a delay may be.
    """

    after: float | None = None
    backoff: bool = False


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds that double from `first` to `last`."""

    first: float = 1.0
    last: float = 30.0

    def delay(self, failures: int, random: float) -> float:
        """Return the delay after a number of failures; `random` in [0, 1) spreads it by a fifth either way."""
        return min(self.last, self.first * 2.0 ** min(failures - 1, 32)) * (0.8 + 0.4 * random)


class WorkQueue(Generic[K]):
    """Runs `handle` for keys that were added; what it raises is logged and counts as a failure."""

    def __init__(
        self,
        handle: Callable[[K], Awaitable[Outcome]],
        *,
        workers: int,
        random: Callable[[], float],
        backoff: Backoff | None = None,
    ) -> None:
        self._handle = handle
        self._workers = workers
        self._random = random
        self._backoff = backoff or Backoff()
        self._numbers = itertools.count()
        self._heap: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._waiting: set[K] = set()
        self._active: set[K] = set()
        self._late: set[K] = set()
        self._failures: dict[K, int] = {}
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._wake = asyncio.Event()
        self.alive = False

    def add(self, key: K, delay: float = 0.0) -> None:
        """Give a key a turn in `delay` seconds, or earlier if it has one already."""
        due = asyncio.get_running_loop().time() + delay
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._numbers), key))
        self._wake.set()

    @property
    def depth(self) -> int:
        """Keys that are due and wait for a worker."""
        return self._ready.qsize() + len(self._late)

    @property
    def active(self) -> int:
        """Keys that are being worked on."""
        return len(self._active)

    async def run(self) -> None:
        """Work until cancelled; what was under way then has no other turn before it is added anew."""
        self.alive = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._dispatch(), name="work-dispatch")
                for number in range(self._workers):
                    tasks.create_task(self._work(), name=f"work-{number}")
        finally:
            self.alive = False
            self._waiting.clear()
            self._active.clear()
            self._late.clear()
            self._ready = asyncio.Queue()

    async def _dispatch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            while self._heap and self._heap[0][0] <= now:
                due, _, key = heapq.heappop(self._heap)
                if self._due.get(key) != due:
                    continue  # it was given an earlier turn since
                del self._due[key]
                if key in self._active:
                    self._late.add(key)
                elif key not in self._waiting:
                    self._waiting.add(key)
                    self._ready.put_nowait(key)
            self._wake.clear()
            try:
                async with asyncio.timeout_at(self._heap[0][0] if self._heap else None):
                    await self._wake.wait()
            except TimeoutError:
                pass  # something is due

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._active.add(key)
            try:
                outcome = await self._handle(key)
            except Exception:
                log.exception("work on %s failed", key)
                outcome = Outcome(backoff=True)
            self._active.discard(key)
            if key in self._late:
                self._late.discard(key)
                self.add(key)
            if outcome.backoff:
                self._failures[key] = self._failures.get(key, 0) + 1
                delay = self._backoff.delay(self._failures[key], self._random())
                self.add(key, max(delay, outcome.after or 0.0))
            else:
                self._failures.pop(key, None)
                if outcome.after is not None:
                    self.add(key, outcome.after)
