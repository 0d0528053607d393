"""An event loop in which waiting takes no time: hours pass in microseconds, in the order in which they would."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: the clock jumps to where the wait would have ended."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += timeout or 0.0
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run_virtually(script: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end on a loop of its own, whose time begins at 0."""
    loop = _VirtualLoop()
    try:
        return loop.run_until_complete(script)
    finally:
        loop.close()
