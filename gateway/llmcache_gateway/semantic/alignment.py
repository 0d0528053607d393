"""How well two questions match, word by word: what the verifier weighs beside its own reading of the pair."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.lexicon import LEXICON

Floats = NDArray[np.float32]

NAMES: Final = (
    "mean",  # cosine of the mean states
    "first",  # cosine of the first states, which stand for the whole
    "worse",  # each token's best match, averaged over that question where it is worse
    "better",
    "lowest",  # the token that matches least, of either question
    "fewer",  # content words that the other question lacks, of the question with fewer of them
    "more",
    "overlap",  # shared content words, as a share of all
    "length",  # words by which one is longer
)


def alignment(one: str, other: str, states: Floats, other_states: Floats) -> Floats:
    """Return these numbers for two texts and their token states `[tokens, width]`; their order does not matter."""
    first, second = _unit(states), _unit(other_states)
    matches = first @ second.T
    here, there = matches.max(axis=1), matches.max(axis=0)
    averages = sorted((float(here.mean()), float(there.mean())))
    mean = float(_unit(states.mean(axis=0)) @ _unit(other_states.mean(axis=0)))
    lowest = min(float(here.min()), float(there.min()))
    return np.array([mean, float(matches[0, 0]), *averages, lowest, *_words(one, other)], np.float32)


def _words(one: str, other: str) -> list[float]:
    first, second = Facts(one), Facts(other)
    mine, yours = (
        {stem for word, stem in zip(facts.words, facts.stems, strict=True) if word not in LEXICON.common}
        for facts in (first, second)
    )
    fewer, more = sorted((len(mine - yours), len(yours - mine)))
    return [fewer, more, len(mine & yours) / max(len(mine | yours), 1), abs(len(first.words) - len(second.words))]


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)
    return unit
