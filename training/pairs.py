"""Pairs of questions: their form in files, and which labelled ones are held out."""

import gzip
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

LABELLED: Final = "labelled"
"""The kind of the pairs that people have labelled."""

NEAR: Final = "near"
"""The kind of the pairs that nobody has labelled."""


class Pair(NamedTuple):
    """Two questions, whether one answer serves both, and how they came about ("labelled" or what made them)."""

    a: str
    b: str
    same: bool
    kind: str


def read(file: Path) -> list[Pair]:
    """Lines of JSON with `a`, `b`, `same` and maybe `kind`; `.gz` too."""
    content = file.read_bytes()
    text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode()
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [Pair(row["a"], row["b"], bool(row["same"]), row.get("kind", LABELLED)) for row in rows]


def split(pairs: Iterable[Pair]) -> tuple[list[Pair], list[Pair]]:
    """To train on, and held out (12 of 100 groups), so that no question is on both sides, even by way of a third."""
    everything = list(pairs)
    parents: dict[str, str] = {}

    def root(text: str) -> str:
        while parents.setdefault(text, text) != text:
            parents[text] = parents[parents[text]]
            text = parents[text]
        return text

    for pair in everything:
        parents[root(pair.a)] = root(pair.b)
    train: list[Pair] = []
    held: list[Pair] = []
    for pair in everything:
        held_out = int(hashlib.sha256(root(pair.a).encode()).hexdigest(), 16) % 100 < 12
        (held if held_out else train).append(pair)
    return train, held
