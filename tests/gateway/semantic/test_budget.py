"""The error budget: the threshold that sampled hits allow, and how sure their share of wrong ones is."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.semantic.budget import LABEL_SECONDS, NOTHING, Budget, Label, calibrated, estimate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def budget(bound: float = 0.05) -> tuple[Budget, Clock]:
    clock = Clock()
    return Budget(bound, clock), clock


def test_few_labels_change_nothing() -> None:
    one, _ = budget(0.05)
    for _ in range(18):
        one.add(0.95, wrong=True)
        assert one.threshold(0.9) == 0.9
    one.add(0.95, wrong=True)  # the nineteenth: 1 / 0.05 - 1
    assert one.threshold(0.9) > 0.95


def test_right_hits_leave_the_configured_threshold() -> None:
    one, _ = budget()
    for _ in range(500):
        one.add(0.93, wrong=False)
    assert one.threshold(0.9) == 0.9


def test_wrong_hits_below_a_similarity_raise_the_threshold_above_it() -> None:
    one, _ = budget(0.05)
    for at in range(200):
        one.add(0.91, wrong=at % 2 == 0)
        one.add(0.97, wrong=False)
    assert 0.91 < one.threshold(0.9) <= 0.97


def test_wrong_hits_that_are_as_similar_as_can_be_leave_nothing_to_serve() -> None:
    one, _ = budget(0.01)
    for _ in range(200):
        one.add(1.0, wrong=True)
    assert one.threshold(0.9) == NOTHING


def test_labels_count_for_a_time_only() -> None:
    one, clock = budget(0.05)
    for _ in range(100):
        one.add(1.0, wrong=True)
    assert one.threshold(0.9) == NOTHING
    clock.now = LABEL_SECONDS + 1
    assert one.threshold(0.9) == 0.9
    assert one.estimate().sampled == 0


LABELS = st.lists(st.builds(Label, st.floats(0, 1), st.booleans(), st.just(0.0)), max_size=200)


@given(LABELS, st.floats(0.001, 0.5))
def test_the_threshold_is_the_least_that_keeps_the_corrected_risk_within_the_bound(
    labels: list[Label], bound: float
) -> None:
    def risk(threshold: float) -> float:
        served = sum(label.wrong and label.similarity >= threshold for label in labels)
        return (served + 1) / (len(labels) + 1)

    chosen = calibrated(labels, bound)
    if chosen == NOTHING:
        assert risk(1.0) > bound - 1e-9
        return
    assert risk(chosen) <= bound + 1e-9
    lower = [label.similarity for label in labels if label.wrong and label.similarity < chosen]
    if chosen > 0:
        assert risk(max(lower)) > bound - 1e-9


def test_wrong_hits_stay_within_the_bound_on_data_of_the_same_kind() -> None:
    numbers = random.Random(5)

    def drawn() -> Label:
        similarity = numbers.uniform(0.8, 1.0)
        return Label(similarity, numbers.random() < (1.0 - similarity) * 2, 0.0)

    shares = []
    for _ in range(200):
        threshold = calibrated([drawn() for _ in range(300)], 0.05)
        fresh = [drawn() for _ in range(300)]
        shares.append(sum(one.wrong and one.similarity >= threshold for one in fresh) / len(fresh))
    assert sum(shares) / len(shares) <= 0.052  # the guarantee is of the mean; what is drawn is not exactly it


@pytest.mark.parametrize(("sampled", "wrong", "low", "high"), [(0, 0, 0, 1), (10, 0, 0, 0.278), (100, 3, 0.010, 0.085)])
def test_an_interval_is_wilsons(sampled: int, wrong: int, low: float, high: float) -> None:
    found = estimate(sampled, wrong)
    assert found.low == pytest.approx(low, abs=0.001)
    assert found.high == pytest.approx(high, abs=0.001)
    assert found.low <= found.share <= found.high
