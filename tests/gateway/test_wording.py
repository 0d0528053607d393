"""How alike two questions are worded, in numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.wording import NUMBERS, wording


def told(one: str, other: str) -> list[float]:
    return [float(number) for number in wording(Facts(one), Facts(other))]


def test_words_that_are_not_shared_are_counted_and_shares_told() -> None:
    numbers = told("How do I reset my router?", "How do I reset the old printer? Why?")

    counts = [round(float(each)) for each in np.expm1(numbers[:9])]
    assert counts[:3] == [1, 2, 1]  # router; old, printer ("why" is too common to count); reset
    assert counts[3:5] == [6, 11]  # my, router, the, old, printer, why; characters more
    assert counts[5:] == [6, 8, 1, 2]  # words, and question marks
    # Of content, of all words, and of three letters in a row: reset; how, do, i, reset; " how do i reset " and "er ".
    assert numbers[9:12] == pytest.approx([1 / 4, 4 / 10, 16 / 42])
    assert numbers[12:] == [1, 1, 0, 0]  # both begin "how do", and end otherwise


def test_of_equal_questions_everything_is_shared() -> None:
    assert told("Who wrote Emma?", "Who wrote Emma?")[9:] == [1] * 7


@given(st.text(max_size=60), st.text(max_size=60))
def test_it_is_the_same_both_ways_round_and_always_a_number(one: str, other: str) -> None:
    numbers = told(one, other)
    assert numbers == told(other, one)
    assert len(numbers) == NUMBERS
    assert np.isfinite(numbers).all()
