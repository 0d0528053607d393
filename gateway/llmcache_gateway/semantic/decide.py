"""Which of the nearest stored questions is the one that was asked, or what held the nearest apart. Pure."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.guards import Differences, GuardName, differences_of

Why = GuardName | Literal["served", "none", "threshold", "verifier"]

UNCHECKED: Final = 0.92
"""Least similarity where neither the configuration nor the model says one, and nothing but the similarity decides."""

CHECKED: Final = 0.6
"""The same where a verifier decides: the similarity has to find candidates, no more."""

_HOW: Final = re.compile(r"^how (?:(?:do|can) i|(?:does|can|should) one|to)\b", re.IGNORECASE)
_END: Final = re.compile(r"(?<=[^\W\d_])[?.!]$")
"""A mark after a word; after a figure or another mark it may say something: `5!`, `cd ..`."""

Scores = Callable[[Facts, Sequence[Facts]], Sequence[float]]
"""Of a question and stored ones, how likely each is the same: `Verifier.scores`."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored question and its cosine similarity to the one asked."""

    text: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Limits:
    """How strict a match is. Without `least_score`, no verifier is asked."""

    least_similarity: float
    guards: bool = True
    least_score: float | None = None
    grey_from: float | None = None
    """Least score of a candidate that is not served, but worth a judgement afterwards; None where nobody judges."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Which candidate answers the question (its place in the list) or None, and why.

    `why` is "served", "none" without candidates, or what kept the nearest candidate away: "threshold", the name of a
    guard that refused it, or had a doubt where the verifier then said no, "verifier". `similarity` and `score` are that
    candidate's; `score` is None when the verifier was not asked. `grey` is the place of the best one that only the
    verifier keeps away, a doubt included, and not by much.
    """

    served: int | None
    why: Why
    similarity: float = 0.0
    score: float | None = None
    grey: int | None = None


def least_similarity(configured: float | None, of_model: float | None, *, verified: bool) -> float:
    """The configuration's word, else what was measured for the embedding model, else a constant."""
    if configured is not None:
        return configured
    if not verified:
        return UNCHECKED
    return CHECKED if of_model is None else of_model


def decide(asked: str, candidates: Sequence[Candidate], limits: Limits, scores: Scores | None = None) -> Decision:
    """The best of the candidates (nearest first) that nothing holds apart from what was asked.

    A text that is equal needs no verifier, nor one that only says "how can I" for "how do I". It is asked once, for all
    that are left.
    """
    if not candidates:
        return Decision(None, "none")
    verified = limits.least_score is not None
    left: list[int] = []
    refused: dict[int, Why] = {}
    found: dict[int, Differences] = {}
    facts, stored = Facts(asked), [Facts(candidate.text) for candidate in candidates]
    for at, candidate in enumerate(candidates):
        if candidate.similarity < limits.least_similarity:
            refused[at] = "threshold"
            continue
        found[at] = differences_of(facts, stored[at]) if limits.guards else Differences()
        guard = found[at].refusing(verified=verified)
        if guard is not None:
            refused[at] = guard
        elif asked_the_same(asked, candidate.text):
            return Decision(at, "served", candidate.similarity)
        else:
            left.append(at)
    if limits.least_score is None:
        if left:
            return Decision(left[0], "served", candidates[left[0]].similarity)
        return Decision(None, refused[0], candidates[0].similarity)
    if scores is None:
        raise ValueError("limits name a least score, but there is no verifier to ask")
    judged: dict[int, float] = {}
    if left:
        judged = dict(zip(left, scores(facts, [stored[at] for at in left]), strict=True))
    best = max(judged, key=judged.__getitem__, default=None)
    if best is not None and judged[best] >= limits.least_score:
        return Decision(best, "served", candidates[best].similarity, judged[best])
    unsure = limits.grey_from is not None and best is not None and judged[best] >= limits.grey_from
    grey = best if unsure else None
    why = refused.get(0) or found[0].refusing(verified=False) or "verifier"
    return Decision(None, why, candidates[0].similarity, judged.get(0), grey)


def asked_the_same(asked: str, stored: str) -> bool:
    """Whether two questions that no guard holds apart need no verifier: equal, or but for how one asks how.

    Blanks between words count for nothing; lines do, and how far they are indented: that may be code.
    """
    return asked == stored or _plain(asked) == _plain(stored)


def _plain(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.strip().splitlines())
    return _HOW.sub("how to", _END.sub("", "\n".join(lines)))
