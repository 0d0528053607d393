"""From which score on a pair is served is chosen by its bound alone."""

import numpy as np
import pytest

from training.threshold import MOST_WRONG, Measured, served, threshold


def measured(scores: list[float], same: list[bool], passed: list[bool]) -> tuple[Measured, np.ndarray]:
    kept = np.array(passed)
    return Measured(np.zeros((len(same), 3)), np.array(same), kept), np.array(scores)[kept]


def traps(*scores: float, of: int) -> tuple[Measured, np.ndarray]:
    """So many pairs that are not the same, of which only these pass similarity and guards."""
    return measured([*scores, *[0.0] * (of - len(scores))], [False] * of, [at < len(scores) for at in range(of)])


def test_it_is_the_least_that_keeps_the_bound() -> None:
    allowed = int(MOST_WRONG * 200)

    assert threshold(*traps(*[0.9] * allowed, 0.61, of=200)) == 0.62
    assert threshold(*traps(*[0.9] * allowed, of=200)) == 0.3


def test_no_score_that_keeps_it_is_an_error() -> None:
    with pytest.raises(ValueError, match="the reader is no good"):
        threshold(*traps(*[1.0] * 50, of=100))


def test_what_did_not_pass_is_not_served() -> None:
    one, scores = measured([0.9, 0.9, 0.9, 0.2], [True, True, False, False], [True, False, True, True])

    assert served(one, scores, 0.5) == (1, 1)
