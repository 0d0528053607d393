"""Words that the guards know: opposites, names and other names for the same, from the files in `data/`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DATA: Final = Path(__file__).parent / "data"

PREFIXES: Final = (
    "un",
    "in",
    "im",
    "il",
    "ir",
    "dis",
    "de",
    "non",
    "mis",
    "anti",
    "counter",
    "de-",
    "non-",
    "anti-",
    "un-",
)


@dataclass(frozen=True)
class Lexicon:
    """What the files in `data/` say."""

    opposites: dict[str, frozenset[str]]
    """Of a word's stem, the stems of its opposites."""
    directions: dict[str, frozenset[str]]
    """The same of words that say where, when, or which way."""
    names: dict[str, str]
    """Proper names that are known in any case, each with the one name it is counted by."""
    aliases: dict[str, str]
    """Other names of the same."""
    common: frozenset[str]
    """Words too common to tell one question from another."""
    counted: frozenset[str]
    """Words that a number is joined to by a hyphen, as in "5-star"."""
    units: dict[str, tuple[str, float]]
    """Of a unit's name, its dimension and what one is worth in it."""
    numbers: dict[str, float]
    scales: dict[str, float]
    dates: dict[str, str]
    dayparts: dict[str, str]

    def opposed(self, one: str, other: str) -> bool:
        """Whether two stems are opposites, by the list or by a prefix."""
        if other in self.opposites.get(one, ()):
            return True
        short, long = sorted((one, other), key=len)
        return len(short) > 3 and any(long == prefix + short for prefix in PREFIXES)


_PAST: Final = frozenset({"agreed", "disagreed", "guaranteed", "freed", "decreed"})
"""Forms of the past on "eed", unlike "succeed" and "speed"."""


def stem(word: str) -> str:
    """The word without the commonest endings of English; two forms of one verb or noun come to the same."""
    if len(word) <= 3 or not word.isascii():
        return word
    for ending, put in (("ies", "y"), ("ied", "y"), ("sses", "ss")):
        if word.endswith(ending) and len(word) > 4:
            return word[: -len(ending)] + put
    if word.endswith("eed"):
        return word.removesuffix("ed") if word in _PAST else word
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and not word.endswith(("ss", "us", "is")) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            if ending in ("ing", "ed") and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word.removesuffix("e") if len(word) > 3 else word


def _lines(name: str) -> Iterator[str]:
    text = (DATA / name).read_text("utf-8")
    return (line.strip() for line in text.splitlines() if line.strip() and line[0] != "#")


def _pairs(name: str) -> dict[str, frozenset[str]]:
    """Lines `word: opposite opposite`, or `word word / opposite opposite`, both ways."""
    table: dict[str, set[str]] = {}
    for line in _lines(name):
        left, right = ([stem(word) for word in side.split()] for side in re.split(r"\s*[:/]\s*", line, maxsplit=1))
        for one in left:
            for other in right:
                if one != other:
                    table.setdefault(one, set()).add(other)
                    table.setdefault(other, set()).add(one)
    return {word: frozenset(others) for word, others in table.items()}


def _names() -> tuple[dict[str, str], dict[str, str]]:
    """Lines `name, name, other name = name`: what stands before `=` is another name for the first of the group."""
    names: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for line in _lines("names.txt"):
        for group in line.split(", "):
            chief, *others = [each.strip().lower() for each in group.split("=")]
            names[chief] = chief
            for other in others:
                names[other] = chief
                aliases[other] = chief
    return names, aliases


def _words(name: str) -> frozenset[str]:
    return frozenset(word for line in _lines(name) for word in line.split())


def _named(name: str) -> dict[str, str]:
    """Lines `meaning: word word`."""
    lines = (line.split(": ", 1) for line in _lines(name))
    return {word: meaning for meaning, words in lines for word in words.split()}


def _units() -> dict[str, tuple[str, float]]:
    meanings = ((word, meaning.split()) for word, meaning in _named("units.txt").items())
    return {word: (dimension, float(worth)) for word, (dimension, worth) in meanings}


def _load() -> Lexicon:
    names, aliases = _names()
    own, wide = _pairs("opposites.txt"), _pairs("wordnet-opposites.txt")
    return Lexicon(
        opposites={word: own.get(word, frozenset()) | wide.get(word, frozenset()) for word in own.keys() | wide.keys()},
        directions=_pairs("directions.txt"),
        names=names,
        aliases=aliases,
        common=_words("common.txt"),
        counted=_words("counted.txt"),
        units=_units(),
        numbers={word: float(number) for word, number in _named("numbers.txt").items()},
        scales={word: float(scale) for word, scale in _named("scales.txt").items()},
        dates=_named("dates.txt"),
        dayparts=_named("dayparts.txt"),
    )


LEXICON: Final = _load()
