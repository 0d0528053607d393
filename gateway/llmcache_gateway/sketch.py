"""Which of very many things come most often, in bounded memory: the Space-Saving sketch.

A. Metwally, D. Agrawal, A. El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams",
ICDT 2005. With m counters and N things seen: a count is never too low, and too high by at most its `error`, which is
at most N/m; everything that came more than N/m times has a counter.
"""

import heapq
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Counter(Generic[T]):
    """How often one thing came: at most `count` times, at least `count - error`."""

    count: int
    error: int
    item: T | None = None
    """What the sketch's owner keeps with it."""

    unfit: bool = False
    """Whether the owner will keep nothing with it."""


class SpaceSaving(Generic[T]):
    """Counts with `capacity` counters. The heap is lazy: a count that has grown is moved only when it is met at the
    top, so that one more of a thing that has a counter costs an addition."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counters: dict[str, Counter[T]] = {}
        self._heap: list[tuple[int, str]] = []  # a count that the thing once had, for each thing

    def __len__(self) -> int:
        return len(self._counters)

    def add(self, name: str) -> tuple[Counter[T], Counter[T] | None]:
        """Count one more; return its counter, and the one that had to make way."""
        counter = self._counters.get(name)
        if counter is not None:
            counter.count += 1
            return counter, None
        lost, least = None, 0
        if len(self._counters) >= self._capacity:
            lost = self._take_least()
            least = lost.count
        counter = self._counters[name] = Counter(least + 1, least)
        heapq.heappush(self._heap, (least + 1, name))
        return counter, lost

    def get(self, name: str) -> Counter[T] | None:
        """Return the counter of a thing that has one."""
        return self._counters.get(name)

    def top(self) -> list[Counter[T]]:
        """Return all counters, the most frequent first."""
        return sorted(self._counters.values(), key=lambda counter: -counter.count)

    def _take_least(self) -> Counter[T]:
        while True:
            known, name = self._heap[0]
            counter = self._counters[name]
            if counter.count == known:
                heapq.heappop(self._heap)
                del self._counters[name]
                return counter
            heapq.heapreplace(self._heap, (counter.count, name))
