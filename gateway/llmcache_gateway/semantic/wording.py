"""How alike two questions are worded, in numbers that the verifier is told beside the texts.

A small model reads what words mean better than it counts how many of them are shared.
"""

import re
from math import log1p
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmcache_gateway.semantic.facts import Facts

NUMBERS: Final = 16
"""How many there are."""

_NO_WORD = re.compile(r"\W+")


def wording(one: Facts, other: Facts) -> NDArray[np.float32]:
    """`[NUMBERS]`, the same both ways round: counts as log(1 + n), shares from 0 to 1, and yes or no as 1 or 0."""
    mine, yours = set(one.content), set(other.content)
    counts = [
        *sorted((len(mine - yours), len(yours - mine))),
        len(mine & yours),
        len(set(one.words) ^ set(other.words)),
        abs(len(one.text) - len(other.text)),
        *sorted((len(one.words), len(other.words))),
        *sorted((one.text.count("?"), other.text.count("?"))),
    ]
    shares = [
        _shared(mine, yours),
        _shared(set(one.stems), set(other.stems)),
        _shared(_trigrams(one.text), _trigrams(other.text)),
    ]
    alike = [
        one.words[:1] == other.words[:1],
        one.words[:2] == other.words[:2],
        one.words[-1:] == other.words[-1:],
        one.content == other.content,
    ]
    return np.array([*map(log1p, counts), *shares, *alike], np.float32)


def _shared(mine: set[str], yours: set[str]) -> float:
    return len(mine & yours) / max(len(mine | yours), 1)


def _trigrams(text: str) -> set[str]:
    """Each three letters in a row, words apart by one space."""
    plain = f" {_NO_WORD.sub(' ', text.lower()).strip()} "
    return {plain[at : at + 3] for at in range(len(plain) - 2)}
