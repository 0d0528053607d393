"""From which score on a pair is served: the least that keeps the bound of traps, then raised, on labelled pairs, until
`PRECISION` is reached or `RECALL` would be lost."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_WRONG: Final = 0.027
"""Share of the traps that may be served at the threshold: others may have nearly half more, and stay below 4 %."""

PRECISION: Final = 0.905
"""Share of the labelled pairs served that people call the same: 0.90, and a little."""

RECALL: Final = 0.40
"""Share of those that people call the same which are served at least, whatever the precision is."""


@dataclass(frozen=True)
class Measured:
    """Of pairs: what the reader makes of them, which are the same, which are let by."""

    odds: NDArray[np.float64]
    same: NDArray[np.bool_]
    passed: NDArray[np.bool_]


@dataclass(frozen=True)
class Scored:
    """Pairs that were measured, and the scores of those that passed."""

    measured: Measured
    scores: NDArray[np.float64]

    def served(self, least: float) -> tuple[int, int]:
        """How many that are the same, and how many that are not, from that score on."""
        same = self.measured.same[self.measured.passed][self.scores >= least]
        return int(same.sum()), int((~same).sum())


def threshold(traps: Scored, labelled: Scored) -> float:
    """In whole thousandths. ValueError when no score keeps the bound, or no labelled pair is the same."""
    bound = MOST_WRONG * (~traps.measured.same).sum()
    enough = RECALL * labelled.measured.same.sum()
    if not enough:
        raise ValueError("no labelled pair is the same: precision and recall can't be told")
    thousandths = next((at for at in range(300, 1000) if traps.served(at / 1000)[1] <= bound), None)
    if thousandths is None:
        raise ValueError(f"no score keeps the wrong ones at {MOST_WRONG:.1%}: the reader is no good")
    while (
        _precision(*labelled.served(thousandths / 1000)) < PRECISION
        and labelled.served((thousandths + 1) / 1000)[0] >= enough
    ):
        thousandths += 1
    return thousandths / 1000


def _precision(right: int, wrong: int) -> float:
    return right / max(right + wrong, 1)
