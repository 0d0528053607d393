"""Tallies show what prometheus-client's own metrics show after the same counting."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from llmcache_gateway.tallies import Tally, TimeTally

BUCKETS = (0.001, 0.0025, 1, 60)
WORDS = st.sampled_from(["HIT", "MISS", 'a "quoted"\nname', "é"])
SECONDS = st.floats(0, 100) | st.sampled_from([float(bound) for bound in BUCKETS])


def lines(registry: CollectorRegistry) -> set[str]:
    text = generate_latest(registry).decode()
    return {line for line in text.splitlines() if "_created" not in line}


@given(st.lists(st.tuples(WORDS, WORDS)))
def test_a_tally_is_shown_as_a_counter_is(counted: list[tuple[str, str]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = Tally("asked", "How often.", ["model", "outcome"], ours)
    counter = Counter("asked", "How often.", ["model", "outcome"], registry=theirs)
    for labels in counted:
        tally.add(*labels)
        counter.labels(*labels).inc()
    assert lines(ours) == lines(theirs)


def test_a_tally_without_labels_begins_at_zero() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    Tally("asked", "How often.", (), ours)
    Counter("asked", "How often.", registry=theirs)
    TimeTally("took", "How long.", (), BUCKETS, ours)
    Histogram("took", "How long.", registry=theirs, buckets=BUCKETS)
    assert lines(ours) == lines(theirs)
    assert {"asked_total 0.0", "took_count 0.0"} <= lines(ours)


@given(st.lists(st.tuples(WORDS, SECONDS)))
def test_a_tally_of_times_is_shown_as_a_histogram_is(observed: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = TimeTally("took", "How long.", ["outcome"], BUCKETS, ours)
    histogram = Histogram("took", "How long.", ["outcome"], registry=theirs, buckets=BUCKETS)
    for label, seconds in observed:
        tally.add(seconds, label)
        histogram.labels(label).observe(seconds)
    assert lines(ours) == lines(theirs)
