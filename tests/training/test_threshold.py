"""From which score on a pair is served is chosen by what is served wrongly, and rightly."""

import numpy as np
import pytest

from training.threshold import MOST_WRONG, RECALL, Measured, Scored, threshold


def scored(scores: list[float], same: list[bool], passed: list[bool]) -> Scored:
    kept = np.array(passed)
    return Scored(Measured(np.zeros(len(same)), np.array(same), kept), np.array(scores)[kept])


def traps(*scores: float, of: int) -> Scored:
    """So many pairs that are not the same, of which only these pass similarity and guards."""
    return scored([*scores, *[0.0] * (of - len(scores))], [False] * of, [at < len(scores) for at in range(of)])


def labelled(*, right: list[float], wrong: list[float]) -> Scored:
    every = len(right) + len(wrong)
    return scored([*right, *wrong], [at < len(right) for at in range(every)], [True] * every)


PRECISE = labelled(right=[0.99] * 20, wrong=[0.2] * 20)


def test_it_is_the_least_that_keeps_the_bound_of_traps() -> None:
    allowed = int(MOST_WRONG * 200)

    assert threshold(traps(*[0.9] * allowed, 0.6095, of=200), PRECISE) == 0.61
    assert threshold(traps(*[0.9] * allowed, of=200), PRECISE) == 0.3


def test_it_is_more_until_labelled_pairs_are_served_rightly() -> None:
    assert threshold(traps(of=200), labelled(right=[0.99] * 20, wrong=[0.4095] * 20)) == 0.41


def test_but_not_so_much_that_too_few_are_served() -> None:
    served = int(RECALL * 100) + 1
    right = [0.99] * served + [0.5005] * (100 - served)

    assert threshold(traps(of=200), labelled(right=right, wrong=[0.4095] * 100)) == 0.41
    assert threshold(traps(of=200), labelled(right=[0.5005] * 100, wrong=[0.995] * 100)) == 0.5


def test_no_score_that_keeps_the_bound_is_an_error() -> None:
    with pytest.raises(ValueError, match="the reader is no good"):
        threshold(traps(*[1.0] * 50, of=100), PRECISE)


def test_labelled_pairs_none_of_which_are_the_same_are_an_error() -> None:
    with pytest.raises(ValueError, match="no labelled pair is the same"):
        threshold(traps(of=200), labelled(right=[], wrong=[0.4]))


def test_what_did_not_pass_is_not_served() -> None:
    some = scored([0.9, 0.9, 0.9, 0.2], [True, True, False, False], [True, False, True, True])

    assert some.served(0.5) == (1, 1)
