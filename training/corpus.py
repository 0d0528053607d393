"""What is trained on: labelled pairs, others that are near, pairs made by rule, and sets written by hand."""

import json
from pathlib import Path
from random import Random
from typing import Final

import numpy as np

from llmcache_gateway.semantic.embedders import BUILT_IN, StaticEmbedder, Vectors, load_tokenizer
from llmcache_gateway.semantic.lexicon import LEXICON
from training import edits, grammar, pairs, sets
from training.near import near
from training.pairs import Pair

_WORDS: Final = (
    "be have do not now more all man girl then well even still other first some same here there people "
    "make like get go give take say come right mine day time back"
)
UNLIKE_OPPOSITES: Final = frozenset(_WORDS.split())
"""Words whose antonyms in a dictionary change little in a question."""

CHOSEN_ON: Final = Path(__file__).parent / "data" / "chosen-on.jsonl"
"""Pairs written as blind tests by writers who had not seen the sets; looked at since, so not blind any more."""


def for_large(labelled: list[Pair], table: Vectors) -> list[Pair]:
    """The labelled pairs twice, most of the sets' pairs, and some made by rule, in random order."""
    random = Random(14)
    written = list(sets.pairs(sets.split(sets.read())[0], random, traps_with=3))
    chosen = random.sample(written, min(len(written), len(labelled) * 27 // 10))
    everything = [*labelled, *labelled, *_made(labelled, _edits(labelled, table, random), random, 0.2), *chosen]
    random.shuffle(everything)
    return everything


def to_judge(labelled: list[Pair], embedder: StaticEmbedder) -> list[Pair]:
    """What `small` learns of `large`: the labelled pairs, three times as many that nobody has labelled, and the sets'
    pairs, each trap with three of the questions."""
    random = Random(15)
    written = sets.pairs(sets.split(sets.read())[0], random, traps_with=3)
    return [*labelled, *near(labelled, embedder, len(labelled) * 3), *written]


def made(labelled: list[Pair], table: Vectors) -> list[Pair]:
    """Pairs made by rule, of whose labels there is no doubt."""
    random = Random(10)
    return _made(labelled, _edits(labelled, table, random), random, 1)


def _edits(labelled: list[Pair], table: Vectors, random: Random) -> edits.Edits:
    return edits.Edits(random, _opposites(), near_words(labelled, table), edits.harvest(labelled))


def _made(labelled: list[Pair], changes: edits.Edits, random: Random, share: float) -> list[Pair]:
    return [
        *grammar.families(random, int(17000 * share)), *grammar.attributes(random, int(5000 * share)),
        *grammar.relations(random, int(5000 * share)), *grammar.claims(random, int(7000 * share)),
        *edits.edited(labelled, changes, random, int(30000 * share)),
    ]  # fmt: skip


def held_out(kept: list[Pair], table: Vectors) -> dict[str, list[Pair]]:
    """Where weights and thresholds are chosen. `kept` are the labelled pairs to hold out."""
    random = Random(12)
    changes = _edits(kept, table, random)
    return {
        pairs.LABELLED: kept,
        "sets": list(sets.pairs(sets.split(sets.read())[1], random)),
        "made": list(edits.edited(kept, changes, random, 1500)),
        "chosen-on": pairs.read(CHOSEN_ON),
    }


def near_words(labelled: list[Pair], table: Vectors) -> dict[str, list[str]]:
    """Of each common word, others that stand near it in meaning, yet for something else."""
    tokenizer = load_tokenizer(BUILT_IN)
    counts = np.zeros(len(table), np.int64)
    texts = [text for pair in labelled for text in pair[:2]]
    for encoded in tokenizer.encode_batch(texts, add_special_tokens=False):
        np.add.at(counts, encoded.ids, 1)
    names = {number: word for word, number in tokenizer.get_vocab().items()}
    words = [
        int(number)
        for number in np.argsort(-counts, kind="stable")[:6000]
        if names[number].isalpha() and len(names[number]) > 2 and counts[number] >= 8
    ]
    vectors = table - table.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
    alike = vectors[words] @ vectors[words].T
    found: dict[str, list[str]] = {}
    for row, number in enumerate(words):
        word = names[number]
        if word in LEXICON.common:
            continue
        others = [
            names[words[at]]
            for at in np.argsort(-alike[row], kind="stable")[1:25]
            if 0.35 < alike[row, at] < 0.68
            and names[words[at]][:4] != word[:4]
            and names[words[at]] not in LEXICON.common
        ]
        if others:
            found[word] = others[:10]
    return found


def _opposites() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    file = BUILT_IN.parent / "data" / "wordnet-opposites.txt"
    for line in file.read_text("utf-8").splitlines():
        word, mark, others = line.partition(": ")
        if line.startswith("#") or not mark:
            continue
        for other in others.split():
            if not {word, other} & UNLIKE_OPPOSITES:
                found.setdefault(word, []).append(other)
                found.setdefault(other, []).append(word)
    return found


def describe(pairs: list[Pair]) -> str:
    """How many there are of each kind, as a line of JSON."""
    kinds: dict[str, int] = {}
    for pair in pairs:
        kinds[pair.kind] = kinds.get(pair.kind, 0) + 1
    return json.dumps(
        {"pairs": len(pairs), "same": sum(pair.same for pair in pairs), "kinds": dict(sorted(kinds.items()))}
    )
