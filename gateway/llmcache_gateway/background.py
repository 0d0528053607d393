"""Work in the background: tasks that no request waits for, held until they end, stopped when their owner closes."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """The tasks of one owner. One that fails ends no other; asyncio reports what it raises, if nobody awaits it.

    asyncio itself holds a task weakly: one that nobody else holds may be gone before it ends.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """Return how many are under way. One that ends still counts until the loop's next turn."""
        return len(self._tasks)

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a piece of work.

        Stopped before its first step it never runs, nor does a `finally` in it: what is taken for it before it runs has
        to be given back by a callback of the task.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drained(self) -> None:
        """Wait until nothing is under way any more, not even what is begun meanwhile."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Stop what is under way, and wait until it has stopped; what it raises then is dropped."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
