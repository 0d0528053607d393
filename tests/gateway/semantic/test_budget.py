"""The error budget: the threshold that sampled hits allow, and how sure their share of wrong ones is."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.config import Embedding, Semantic
from llmcache_gateway.config.semantic import LEAST_BOUND
from llmcache_gateway.labels import Drift, Label
from llmcache_gateway.semantic.budget import (
    LABEL_SECONDS,
    MAX_LABELS,
    NOTHING,
    Budget,
    calibrated,
    estimate,
    is_looked_into,
    share_asked_again,
    share_compared,
)
from llmcache_gateway.semantic.drift import began


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Hits:
    """A budget, and the hits that it is told of one by one, a second apart."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.budget = Budget(clock)
        self.number = 0

    def add(self, similarity: float, *, wrong: bool) -> None:
        self.number += 1
        self.budget.learn(Label(similarity, wrong, self.clock.now, f"{self.number:06}"))
        self.clock.now += 1


def hits() -> Hits:
    return Hits(Clock())


def test_few_labels_change_nothing() -> None:
    one = hits()
    for _ in range(18):
        one.add(0.95, wrong=True)
        assert one.budget.threshold(0.9, 0.05) == 0.9
    one.add(0.95, wrong=True)  # the nineteenth: 1 / 0.05 - 1
    assert one.budget.threshold(0.9, 0.05) > 0.95


def test_right_hits_leave_the_configured_threshold() -> None:
    one = hits()
    for _ in range(500):
        one.add(0.93, wrong=False)
    assert one.budget.threshold(0.9, 0.05) == 0.9


def test_wrong_hits_below_a_similarity_raise_the_threshold_above_it() -> None:
    one = hits()
    for at in range(200):
        one.add(0.91, wrong=at % 2 == 0)
        one.add(0.97, wrong=False)
    assert 0.91 < one.budget.threshold(0.9, 0.05) <= 0.97


def test_wrong_hits_that_are_as_similar_as_can_be_leave_nothing_to_serve() -> None:
    one = hits()
    for _ in range(200):
        one.add(1.0, wrong=True)
    assert one.budget.threshold(0.9, 0.01) == NOTHING


def test_a_threshold_above_every_hit_that_was_right_leaves_nothing_to_serve() -> None:
    one = hits()
    for _ in range(100):
        one.add(0.9, wrong=True)
        one.add(0.85, wrong=False)
    assert one.budget.threshold(0.8, 0.05) == NOTHING
    one.add(0.91, wrong=False)
    assert 0.9 < one.budget.threshold(0.8, 0.05) < 0.91


def test_the_least_bound_that_can_be_set_can_be_shown() -> None:
    one = hits()
    for _ in range(MAX_LABELS):
        one.add(0.9, wrong=True)

    assert one.budget.threshold(0.8, LEAST_BOUND) == NOTHING


def test_labels_count_for_a_time_only() -> None:
    one = hits()
    for _ in range(100):
        one.add(1.0, wrong=True)
    assert one.budget.threshold(0.9, 0.05) == NOTHING
    one.clock.now += LABEL_SECONDS
    assert one.budget.threshold(0.9, 0.05) == 0.9
    assert one.budget.estimate().sampled == 0


def test_what_is_told_twice_counts_once_and_in_any_order() -> None:
    labels = [Label(0.9, number % 9 == 0, float(number), f"{number}") for number in range(100)]
    one, other = Budget(lambda: 100.0), Budget(lambda: 100.0)
    for label in labels:
        one.learn(label)
    for label in [*reversed(labels), *labels]:
        other.learn(label)
    assert one.estimate() == other.estimate() == estimate(100, 12)
    assert one.threshold(0.0, 0.02) == other.threshold(0.0, 0.02) > 0.9


def test_only_the_newest_labels_are_remembered() -> None:
    one = hits()
    for number in range(MAX_LABELS + 100):
        one.add(0.9, wrong=number < 100)
    assert one.budget.estimate() == estimate(MAX_LABELS, 0)


def test_where_hits_become_wrong_old_labels_are_let_go_and_the_threshold_holds() -> None:
    one, bound = hits(), 0.02
    for number in range(1000):
        one.add(0.9, wrong=number % 100 == 0)
    assert one.budget.drift(bound) is None
    assert one.budget.threshold(0.0, bound) == 0.0
    while one.budget.drift(bound) is None:
        one.add(0.95, wrong=one.number % 3 == 0)
    found, before = one.budget.drift(bound), one.budget.threshold(0.0, bound)
    assert found is not None
    assert 1000 < one.number < 1040
    assert 995 <= found.since <= one.number
    assert found.held == before

    one.budget.learn(found)
    assert one.budget.estimate().sampled < 40
    assert one.budget.estimate().share > 0.2
    assert one.budget.threshold(0.0, bound) == before  # too few to conclude anything: none is served that was not
    assert one.budget.drift(bound) is None
    for _ in range(30):
        one.add(0.95, wrong=True)
    assert one.budget.threshold(0.0, bound) > 0.95


def test_what_is_held_since_a_drift_ends_with_its_labels() -> None:
    one = hits()
    one.budget.learn(Drift(since=0.0, held=0.97, at=1.0))
    assert one.budget.threshold(0.9, 0.01) == 0.97
    one.clock.now = LABEL_SECONDS + 2
    assert one.budget.threshold(0.9, 0.01) == 0.9


def test_an_older_drift_changes_nothing() -> None:
    one = hits()
    one.budget.learn(Drift(since=50.0, held=0.97, at=60.0))
    one.budget.learn(Drift(since=10.0, held=0.5, at=20.0))
    assert one.budget.threshold(0.0, 0.01) == 0.97


def test_a_steady_share_of_wrong_hits_is_hardly_ever_taken_for_a_drift() -> None:
    numbers = random.Random(7)
    for bound in (0.01, 0.02, 0.05):
        alarms = [began([numbers.random() < bound for _ in range(2000)], bound) for _ in range(200)]
        assert sum(alarm is not None for alarm in alarms) <= 8


@pytest.mark.parametrize(("bound", "within"), [(0.01, 400), (0.02, 200), (0.05, 80)])
def test_a_rise_is_seen_soon_and_where_it_began(bound: float, within: int) -> None:
    numbers = random.Random(8)
    for _ in range(100):
        before = [numbers.random() < bound / 2 for _ in range(500)]
        after = [numbers.random() < bound * 8 for _ in range(within)]
        found = began(before + after, bound)
        assert found is not None
        assert found > 300


def test_a_fall_is_no_drift() -> None:
    assert began([True, False] * 200 + [False] * 1000, 0.01) is None


LABELS = st.lists(st.builds(Label, st.floats(0, 1), st.booleans(), st.just(0.0), st.just("")), max_size=200)


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
        return Label(similarity, numbers.random() < (1.0 - similarity) * 2, 0.0, "")

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


UPSTREAM = Embedding(upstream="vectors")


@pytest.mark.parametrize(
    ("semantic", "asked_again", "compared", "looked_into"),
    [
        (Semantic(), 0, 1, False),
        (Semantic(max_false_hit_rate="1%"), 0.05, 1, True),
        (Semantic(max_false_hit_rate="1%", sample="20%"), 0.2, 1, True),
        (Semantic(mode="shadow"), 0, 1, True),
        (Semantic(mode="shadow", embedding=UPSTREAM), 0, 0, False),  # each comparison would be paid for
        (Semantic(mode="shadow", embedding=UPSTREAM, max_false_hit_rate="1%"), 0.05, 0.05, True),
        (Semantic(mode="shadow", embedding=UPSTREAM, max_false_hit_rate="1%", sample="20%"), 0.2, 0.2, True),
    ],
)
def test_how_many_hits_are_looked_into_is_what_that_costs_and_what_was_allowed(
    semantic: Semantic, asked_again: float, compared: float, looked_into: bool
) -> None:
    assert share_asked_again(semantic) == asked_again
    assert share_compared(semantic) == compared
    assert is_looked_into(semantic) is looked_into
