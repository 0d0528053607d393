"""From which score on a pair is served, on pairs held out: the least that keeps the wrong traps below a bound, and more
as long as too many labelled pairs are served wrongly, and enough of them rightly."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_WRONG: Final = 0.027
"""Share of the traps that may be served at the threshold: others may come to half more, and still be below 4 %."""

PRECISION: Final = 0.90
"""Share of the labelled pairs served that people call the same."""

RECALL: Final = 0.41
"""Share of those that people call the same which are served at least, whatever the precision is: 0.40, and a little."""


@dataclass(frozen=True)
class Measured:
    """Of pairs: numbers `[pairs, 3]` (log odds of both depths, doubts), which are the same, which are let by."""

    numbers: NDArray[np.float64]
    same: NDArray[np.bool_]
    passed: NDArray[np.bool_]


@dataclass(frozen=True)
class Scored:
    """Pairs that were measured, and the scores of those that passed."""

    measured: Measured
    scores: NDArray[np.float64]

    def served(self, hundredths: int) -> tuple[int, int]:
        """How many that are the same, and how many that are not."""
        same = self.measured.same[self.measured.passed][self.scores >= hundredths / 100]
        return int(same.sum()), int((~same).sum())


def threshold(traps: Scored, labelled: Scored) -> float:
    """In hundredths. ValueError when no score keeps the bound."""
    bound = MOST_WRONG * (~traps.measured.same).sum()
    least = next((at for at in range(30, 100) if traps.served(at)[1] <= bound), None)
    if least is None:
        raise ValueError(f"no score keeps the wrong ones at {MOST_WRONG:.1%}: the reader is no good")
    enough = RECALL * labelled.measured.same.sum()
    while _precision(*labelled.served(least)) < PRECISION and labelled.served(least + 1)[0] >= enough:
        least += 1
    return least / 100


def _precision(right: int, wrong: int) -> float:
    return right / max(right + wrong, 1)
