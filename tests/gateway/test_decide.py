"""Which stored question answers the one asked."""

from collections.abc import Sequence

import pytest

from llmcache_gateway.semantic.decide import Candidate, Decision, Limits, decide, least_similarity
from llmcache_gateway.semantic.facts import Facts

ASKED = "How do I reset my password?"
SAME = Candidate("Resetting my password, how?", 0.8)
LIKE = Candidate("How do I reset my password in 2024?", 0.9)
FAR = Candidate("Which wine goes with fish?", 0.1)


def test_without_candidates_nothing_is_served() -> None:
    assert decide(ASKED, [], Limits(0.5)) == Decision(None, "none")


def test_the_nearest_that_no_guard_refuses_is_served_even_when_another_is_nearer() -> None:
    assert decide(ASKED, [LIKE, SAME], Limits(0.5)) == Decision(1, "served", 0.8)


def test_what_held_the_nearest_apart_is_told() -> None:
    assert decide(ASKED, [LIKE, FAR], Limits(0.5)) == Decision(None, "number", 0.9)
    assert decide(ASKED, [FAR], Limits(0.5)) == Decision(None, "threshold", 0.1)


def test_guards_can_be_left_out() -> None:
    assert decide(ASKED, [LIKE], Limits(0.5, guards=False)) == Decision(0, "served", 0.9)


def test_the_verifier_has_the_last_word_and_sees_only_what_is_left() -> None:
    seen: list[Sequence[str]] = []

    def scores(asked: Facts, stored: Sequence[Facts]) -> list[float]:
        assert asked.text == ASKED
        seen.append([facts.text for facts in stored])
        return [0.4, 0.9][: len(stored)]

    other = Candidate("How do I reset a password?", 0.7)

    assert decide(ASKED, [LIKE, SAME, other, FAR], Limits(0.5, least_score=0.6), scores) == Decision(
        2, "served", 0.7, 0.9
    )
    assert decide(ASKED, [SAME], Limits(0.5, least_score=0.6), scores) == Decision(None, "verifier", 0.8, 0.4)
    assert seen == [[SAME.text, other.text], [SAME.text]]


TOLD = Candidate("I have 3 bikes and never lock them outside. How do I pick a new secret word to get in?", 0.8)


def test_a_doubt_is_left_to_the_verifier_and_named_when_it_says_no() -> None:
    def scores(_: Facts, __: Sequence[Facts]) -> list[float]:
        return [0.7]

    assert decide(ASKED, [TOLD], Limits(0.5)) == Decision(None, "number", 0.8)
    assert decide(ASKED, [TOLD], Limits(0.5, least_score=0.6), scores) == Decision(0, "served", 0.8, 0.7)
    assert decide(ASKED, [TOLD], Limits(0.5, least_score=0.9), scores) == Decision(None, "number", 0.8, 0.7)
    assert decide(ASKED, [TOLD], Limits(0.5, guards=False, least_score=0.6), scores).served == 0


def test_a_doubted_one_may_be_judged() -> None:
    decision = decide(ASKED, [TOLD], Limits(0.5, least_score=0.9, grey_from=0.3), lambda *_: [0.4])

    assert decision == Decision(None, "number", 0.8, 0.4, grey=0)


def test_an_equal_text_needs_no_verifier() -> None:
    def scores(_: Facts, stored: Sequence[Facts]) -> list[float]:
        raise AssertionError(stored)

    decision = decide(ASKED, [LIKE, Candidate(ASKED, 1.0)], Limits(0.5, least_score=0.9), scores)

    assert decision == Decision(1, "served", 1.0)


def test_a_least_score_without_a_verifier_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no verifier"):
        decide(ASKED, [SAME], Limits(0.5, least_score=0.5))


@pytest.mark.parametrize(
    ("configured", "of_model", "verified", "least"),
    [(0.7, 0.5, True, 0.7), (None, 0.5, True, 0.5), (None, None, True, 0.6), (None, 0.5, False, 0.92)],
)
def test_the_least_similarity_is_the_configurations_or_the_models(
    configured: float | None, of_model: float | None, verified: bool, least: float
) -> None:
    assert least_similarity(configured, of_model, verified=verified) == least


@pytest.mark.parametrize(
    ("asked", "stored", "same"),
    [
        ("How do I migrate from MySQL to Postgres?", "How can I migrate from MySQL to Postgres", True),
        ("How to migrate from MySQL to Postgres", "how should one migrate from MySQL to Postgres?", True),
        ("How do I migrate from MySQL to Postgres?", "Can I migrate from MySQL to Postgres?", False),
        ("How do I call us?", "How do I call US?", False),
        ("How do I  reset my password", " How can I reset my password?", True),
        ("How do you work?", "How do we work?", False),
        ("How would I invest it?", "How do I invest it?", False),
        ("Which is bigger, 4 or 5?", "Which is bigger, 4 or 5", False),
        ("Compare these:\none two\nthree", "Compare these:\none\ntwo three", False),
    ],
)
def test_what_is_written_the_same_but_for_how_one_asks_how_needs_no_judge(asked: str, stored: str, same: bool) -> None:
    def no(_asked: Facts, stored: Sequence[Facts]) -> list[float]:
        return [0.0] * len(stored)

    assert decide(asked, [Candidate(stored, 0.9)], Limits(0.5, least_score=0.5), no).served == (0 if same else None)
