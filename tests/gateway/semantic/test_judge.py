"""What a judge is asked, what its answer says, how much may be judged, and what lies in the grey zone."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.semantic.allowance import Allowance
from llmcache_gateway.semantic.decide import Candidate, Limits, decide
from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.judge import Words, asked_of, read_verdict

WORDS = Words.of("4f1c")
CANDIDATES = [Candidate("one", 0.9), Candidate("two", 0.8), Candidate("three", 0.5)]


def completion(content: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": content}}]}


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("same-4f1c", "same"),
        (" different-4f1c\n", "different"),
        ("same", "unknown"),
        ("yes", "unknown"),
        ("same-0000", "unknown"),
        ("They are same-4f1c", "unknown"),
        ("same-4f1c different-4f1c", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
        (["same-4f1c"], "unknown"),
    ],
)
def test_only_one_of_the_two_words_is_a_verdict(said: Any, verdict: str) -> None:
    assert read_verdict(completion(said), WORDS) == verdict


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["choices", "message", "content"]) | st.text(), inner)
    ),
)


@given(JSON)
def test_whatever_else_comes_is_unknown(answer: Any) -> None:
    assert read_verdict(answer, WORDS) == "unknown"


def test_two_choices_are_no_clear_answer() -> None:
    both = completion("same-4f1c")["choices"] * 2
    assert read_verdict({"choices": both}, WORDS) == "unknown"


@given(st.text(), st.text())
def test_questions_are_data_in_the_message_of_the_user_alone(first: str, second: str) -> None:
    body = asked_of("m", first, second, WORDS)
    system, user = body["messages"]
    assert json.loads(user["content"]) == {"first": first, "second": second}
    assert system == asked_of("m", "", "", WORDS)["messages"][0]
    assert WORDS.same in system["content"]
    assert WORDS.different in system["content"]


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_no_more_is_judged_in_a_minute_than_is_allowed() -> None:
    clock = Clock()
    allowance = Allowance(clock)
    taken = [allowance.take(per_minute=2, per_day=100, tokens_per_day=None) for _ in range(3)]
    assert taken == [None, None, "minute"]
    clock.now += 61
    assert allowance.take(per_minute=2, per_day=100, tokens_per_day=None) is None


def test_no_more_is_judged_in_a_day_than_is_allowed() -> None:
    clock = Clock()
    allowance = Allowance(clock)
    for _ in range(5):
        assert allowance.take(per_minute=1, per_day=5, tokens_per_day=None) is None
        clock.now += 3600
    assert allowance.take(per_minute=1, per_day=5, tokens_per_day=None) == "day"
    clock.now += 20 * 3600  # the first was 25 hours ago
    assert allowance.take(per_minute=1, per_day=5, tokens_per_day=None) is None


def test_nothing_is_judged_once_the_tokens_of_a_day_are_spent() -> None:
    clock = Clock()
    allowance = Allowance(clock)
    for _ in range(2):
        assert allowance.take(per_minute=9, per_day=9, tokens_per_day=1000) is None
        allowance.spend(600)
    assert allowance.take(per_minute=9, per_day=9, tokens_per_day=1000) == "tokens"
    assert allowance.take(per_minute=9, per_day=9, tokens_per_day=None) is None
    clock.now += 24 * 3600
    assert allowance.take(per_minute=9, per_day=9, tokens_per_day=1000) is None


def test_a_clock_that_is_put_back_holds_nothing_up_for_good() -> None:
    clock = Clock()
    allowance = Allowance(clock)
    assert allowance.take(per_minute=1, per_day=1, tokens_per_day=None) is None
    clock.now -= 10 * 86400
    assert allowance.take(per_minute=1, per_day=1, tokens_per_day=None) is None


def scoring(*scores: float) -> Any:
    def of(_: Facts, stored: Sequence[Facts]) -> list[float]:
        by_text = dict(zip(("one", "two", "three"), scores, strict=True))
        return [by_text[facts.text] for facts in stored]

    return of


@pytest.mark.parametrize(
    ("scores", "served", "grey"),
    [
        ((0.2, 0.5, 0.0), None, 1),  # the best of those that are near, not the nearest
        ((0.2, 0.29, 0.0), None, None),
        ((0.5, 0.8, 0.0), 1, None),
        ((0.3, 0.0, 0.69), None, 0),  # the third is not similar enough to be asked about
    ],
)
def test_what_the_verifier_almost_took_for_the_question_is_grey(
    scores: tuple[float, ...], served: int | None, grey: int | None
) -> None:
    decision = decide("asked", CANDIDATES, Limits(0.6, guards=False, least_score=0.7, grey_from=0.3), scoring(*scores))
    assert (decision.served, decision.grey) == (served, grey)


def test_what_a_guard_holds_apart_is_never_grey() -> None:
    stored = [Candidate("Reset it in 5 minutes", 0.99)]
    limits = Limits(0.6, least_score=0.7, grey_from=0.0)
    decision = decide("Reset it in 6 minutes", stored, limits, lambda _, texts: [0.5] * len(texts))
    assert (decision.why, decision.grey) == ("number", None)


def test_without_a_judge_nothing_is_grey() -> None:
    decision = decide("asked", CANDIDATES, Limits(0.6, guards=False, least_score=0.7), scoring(0.5, 0.5, 0.5))
    assert (decision.why, decision.grey) == ("verifier", None)
