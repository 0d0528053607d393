"""Questions in sets, written by hand: one, its rewordings, and what only looks like it."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from training.pairs import Pair

FOLDER = Path(__file__).parent / "data" / "sets"
HELD_OUT = 20
"""Each so many-th set is not trained on: weights and thresholds are chosen on it."""


class QuestionSet(NamedTuple):
    """Questions that mean the same, and others, `(kind, text)`, of which no two mean the same."""

    same: tuple[str, ...]
    traps: tuple[tuple[str, str], ...]


def read(folder: Path = FOLDER) -> list[QuestionSet]:
    """Of all files of a folder: `= question`, `+ the same`, `-kind another`. ValueError names another line."""
    found: list[QuestionSet] = []
    for file in sorted(folder.glob("*.txt")):
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            mark, _, text = line.partition(" ")
            if mark == "=":
                found.append(QuestionSet((text,), ()))
            elif mark == "+" and found:
                found[-1] = QuestionSet((*found[-1].same, text), found[-1].traps)
            elif mark.startswith("-") and found:
                found[-1] = QuestionSet(found[-1].same, (*found[-1].traps, (mark[1:] or "trap", text)))
            elif line and mark != "#":
                raise ValueError(f"{file}:{number}: neither `= `, `+ `, `-kind ` nor `# `: {line}")
    return found


def split(sets: Iterable[QuestionSet]) -> tuple[list[QuestionSet], list[QuestionSet]]:
    """To train on, and held out; what shares a question with one held out is in neither."""
    everything = list(sets)
    held = everything[::HELD_OUT]
    texts = {text for each in held for text in _texts(each)}
    return [each for each in everything if not texts.intersection(_texts(each))], held


def _texts(each: QuestionSet) -> tuple[str, ...]:
    return (*each.same, *(text for _, text in each.traps))


def pairs(sets: Iterable[QuestionSet], random: Random, *, traps_with: int | None = None) -> Iterator[Pair]:
    """Every two of one meaning, each trap with all of them or with so many, and three pairs of traps a set.

    Two traps of order are no pair: where one thing is turned round, it is often turned round twice in the same way.
    """
    for same, traps in sets:
        yield from (Pair(a, b, True, "set-reworded") for a, b in itertools.combinations(same, 2))
        for kind, trap in traps:
            beside = same if traps_with is None else random.sample(same, min(traps_with, len(same)))
            yield from (Pair(question, trap, False, f"set-{kind}") for question in beside)
        two = [pair for pair in itertools.combinations(traps, 2) if any(kind != "order" for kind, _ in pair)]
        chosen = random.sample(two, min(3, len(two)))
        yield from (Pair(one, other, False, "set-traps") for (_, one), (_, other) in chosen)
