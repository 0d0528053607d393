"""How far a run is: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable
from typing import Final, TextIO

from llmcache_gateway.warm.outcome import Tally

BAR_SECONDS: Final = 0.1
LINE_SECONDS: Final = 10.0
WIDTH: Final = 30


class Progress:
    """Writes to `out`, at most every tenth of a second on a terminal and every ten seconds elsewhere."""

    def __init__(self, out: TextIO, tally: Tally, clock: Callable[[], float]) -> None:
        self._out = out
        self._tally = tally
        self._clock = clock
        self._bar = out.isatty()
        self._next = clock() + (0 if self._bar else LINE_SECONDS)

    def show(self) -> None:
        """Say how far the run is, if it is time to."""
        now = self._clock()
        if now >= self._next:
            self._next = now + (BAR_SECONDS if self._bar else LINE_SECONDS)
            self._write()

    def end(self) -> None:
        """Say it a last time, and leave the line."""
        self._write()
        if self._bar:
            self._out.write("\n")
            self._out.flush()

    def _write(self) -> None:
        tally = self._tally
        text = f"{tally.done}/{tally.total}  {tally.stored} stored, {tally.there} there, {tally.failed} failed"
        if self._bar:
            full = WIDTH * tally.done // max(tally.total, 1)
            self._out.write(f"\r[{'#' * full}{'.' * (WIDTH - full)}] {text}\x1b[K")
        else:
            self._out.write(text + "\n")
        self._out.flush()
