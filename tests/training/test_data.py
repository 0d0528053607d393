"""What the verifier is trained on has the form it should, and nothing of what it is measured on."""

import json
import re
from pathlib import Path
from random import Random

import pytest

from llmcache_gateway.semantic.embedders import StaticEmbedder
from training import corpus, grammar, near, pairs, sets
from training.pairs import Pair

NOT_TRAINED_ON = [
    *sorted((Path(__file__).parents[1] / "gateway" / "data").glob("question-pairs*.jsonl")),
    corpus.CHOSEN_ON,
]


def plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def questions_trained_on() -> set[str]:
    by_hand = [text for same, traps in sets.read() for text in (*same, *(text for _, text in traps))]
    random = Random(1)
    made = [*grammar.families(random, 3000), *grammar.attributes(random, 1000), *grammar.claims(random, 1000)]
    return {plain(text) for text in (*by_hand, *(text for pair in made for text in pair[:2]))}


@pytest.mark.parametrize("file", NOT_TRAINED_ON, ids=lambda file: file.stem)
def test_what_is_measured_on_or_chosen_on_was_not_trained_on(file: Path) -> None:
    measured = {plain(row[side]) for row in map(json.loads, file.read_text().splitlines()) for side in "ab"}
    assert not measured & questions_trained_on()


def test_nothing_is_measured_on_what_was_chosen_on() -> None:
    chosen = {plain(text) for pair in pairs.read(corpus.CHOSEN_ON) for text in pair[:2]}
    for file in NOT_TRAINED_ON[:-1]:
        assert not chosen & {
            plain(row[side]) for row in map(json.loads, file.read_text().splitlines()) for side in "ab"
        }


def test_every_set_has_rewordings_and_traps() -> None:
    short = [each.same[0] for each in sets.read() if len(each.same) < 2 or len(each.traps) < 2]
    assert not short


def test_a_trap_meets_as_many_questions_as_is_said() -> None:
    one = sets.QuestionSet(("a?", "b?", "c?", "d?"), (("word", "x?"), ("name", "y?")))

    everything, some = list(sets.pairs([one], Random(1))), list(sets.pairs([one], Random(1), traps_with=3))

    assert [sum(pair.b == trap for pair in everything if pair.a in one.same) for trap in ("x?", "y?")] == [4, 4]
    assert [len({pair.a for pair in some if pair.b == trap and pair.a in one.same}) for trap in ("x?", "y?")] == [3, 3]
    assert sum(pair.same for pair in some) == sum(pair.same for pair in everything) == 6


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("= one?\n+ the same?\n* another?\n")
    with pytest.raises(ValueError, match=r"x\.txt:3: .*\* another"):
        sets.read(tmp_path)


def test_held_out_sets_share_no_question_with_those_trained_on() -> None:
    train, held = sets.split(sets.read())
    texts = [{text for each in some for text in (*each.same, *dict(each.traps).values())} for some in (train, held)]
    assert len(held) > 100
    assert not texts[0] & texts[1]


def test_pairs_that_share_a_question_by_way_of_others_are_on_one_side() -> None:
    chains = [
        Pair(f"{chain} {link}", f"{chain} {link + 1}", True, "labelled") for chain in range(200) for link in range(3)
    ]
    train, held = pairs.split(chains)
    sides = [{text.split()[0] for pair in some for text in pair[:2]} for some in (train, held)]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]


def test_pairs_are_read_with_their_kind_or_as_labelled(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(
        '{"a": "a?", "b": "b?", "same": 1, "kind": "x"}\n\n{"a": "ä?", "b": "b?", "same": 0}\n'
    )

    assert pairs.read(tmp_path / "p.jsonl") == [Pair("a?", "b?", True, "x"), Pair("ä?", "b?", False, "labelled")]


def test_near_pairs_are_not_labelled() -> None:
    texts = [
        "How do I reset my password?", "How can I reset the password?", "How do I reset my old password?",
        "Is a cat bigger than a dog?", "Is a dog bigger than a cat?", "Is a cat bigger than a big dog?",
    ]  # fmt: skip
    labelled = [Pair(texts[0], texts[1], True, pairs.LABELLED), Pair(texts[3], texts[4], False, pairs.LABELLED)]
    labelled += [Pair(text, "Which wine goes with salmon?", False, pairs.LABELLED) for text in (texts[2], texts[5])]

    found = near.near(labelled, StaticEmbedder(), 100)

    both = {frozenset(pair[:2]) for pair in found}
    assert {frozenset((texts[0], texts[2])), frozenset((texts[3], texts[5]))} <= both
    assert not both & {frozenset(pair[:2]) for pair in labelled}
    assert {pair.kind for pair in found} == {pairs.NEAR}


def test_near_pairs_are_the_nearest_of_all() -> None:
    texts = ("How do I boil an egg?", "How do I boil the egg?", "How do I boil two potatoes?", "Is it so?")
    labelled = [Pair(texts[0], texts[3], False, pairs.LABELLED), Pair(texts[1], texts[2], False, pairs.LABELLED)]

    (nearest,) = near.near(labelled, StaticEmbedder(), 1)

    assert {nearest.a, nearest.b} == set(texts[:2])


def test_words_in_another_order_are_no_near_pair() -> None:
    texts = ("Is a cat bigger than a dog?", "Is a dog bigger than a cat?", "Which wine goes with salmon?", "Is it so?")
    labelled = [Pair(texts[0], texts[2], False, pairs.LABELLED), Pair(texts[1], texts[3], False, pairs.LABELLED)]

    assert frozenset(texts[:2]) not in {frozenset(pair[:2]) for pair in near.near(labelled, StaticEmbedder(), 100)}
