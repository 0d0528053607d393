"""From which score on a pair is served: the least that keeps the wrong ones below a bound, on pairs held out."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_WRONG: Final = 0.027
"""Share of the traps that may be served at the threshold: others may come to half more, and still be below 4 %."""


@dataclass(frozen=True)
class Measured:
    """Of pairs: numbers `[pairs, 3]` (log odds of both depths, doubts), which are the same, which are let by."""

    numbers: NDArray[np.float64]
    same: NDArray[np.bool_]
    passed: NDArray[np.bool_]


def threshold(measured: Measured, scores: NDArray[np.float64]) -> float:
    """In hundredths; `scores` are of what passed. ValueError when no score keeps the bound."""
    traps = (~measured.same).sum()
    for hundredths in range(30, 100):
        if served(measured, scores, hundredths / 100)[1] <= MOST_WRONG * traps:
            return hundredths / 100
    raise ValueError(f"no score keeps the wrong ones at {MOST_WRONG:.1%}: the reader is no good")


def served(measured: Measured, scores: NDArray[np.float64], least: float) -> tuple[int, int]:
    """How many that are the same, and how many that are not; `scores` are of what passed."""
    same = measured.same[measured.passed][scores >= least]
    return int(same.sum()), int((~same).sum())
