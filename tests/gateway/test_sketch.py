"""What the Space-Saving sketch promises, for any sequence."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.sketch import SpaceSaving


@given(st.lists(st.sampled_from("abcdefghij")), st.integers(1, 8))
def test_counts_are_bounded_and_what_comes_often_has_a_counter(names: list[str], capacity: int) -> None:
    sketch: SpaceSaving[str] = SpaceSaving(capacity)
    for name in names:
        counter, _ = sketch.add(name)
        counter.item = name
    truth = Counter(names)
    assert len(sketch) <= capacity
    assert sum(counter.count for counter in sketch.top()) == len(names)
    for name, count in truth.items():
        found = sketch.get(name)
        if found is None:
            assert count <= len(names) / capacity
        else:
            assert found.count - found.error <= count <= found.count
            assert found.error <= len(names) / capacity
            assert found.item == name


def test_the_most_frequent_are_found_among_a_scan_of_what_comes_once() -> None:
    sketch: SpaceSaving[str] = SpaceSaving(100)
    names = [f"hot-{n}" for n in range(10) for _ in range(500)] + [f"cold-{n}" for n in range(20_000)]
    random.Random(1).shuffle(names)
    for name in names:
        sketch.add(name)[0].item = name
    assert {counter.item for counter in sketch.top()[:10]} == {f"hot-{n}" for n in range(10)}
    assert len(sketch) == 100
