"""What became of labelled pairs, counted: how many rewordings are served, and look-alikes answered wrongly. Pure."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

STEPS: Final = (*(round(0.5 + 0.02 * step, 2) for step in range(25)), 0.99)
"""Similarities that the curves are drawn at."""

SCORES: Final = (
    0.01,
    0.02,
    0.05,
    *(round(0.1 * step, 1) for step in range(1, 9)),
    0.85,
    0.9,
    0.93,
    0.95,
    0.97,
    0.98,
    0.99,
)
"""Verifier's scores that its curve is drawn at."""

PLAIN: Final = (0.80, 0.90, 0.95)
"""Similarities at which plain cosine is shown beside it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair, of that line, as the configuration sees it. `score` is None without a verifier.

    `guard` found a difference, None when none did; `firm` says whether that decides, whatever the verifier says.
    """

    line: int
    same: bool
    kind: str
    similarity: float
    guard: str | None
    firm: bool
    score: float | None


@dataclass(frozen=True, slots=True)
class Share:
    """A share of so many, with its 95 % interval (Wilson's, which holds for small numbers and near 0 and 1)."""

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        return self.hits / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        if not self.of:
            return None
        z, n = 1.96, self.of
        p = self.hits / n
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Pairs of one kind, or all: `served` of those that are the same, `wrong` of those that are not."""

    served: Share
    wrong: Share

    @property
    def precision(self) -> Share:
        """The right ones among all that are answered. It depends on how many of the pairs are the same."""
        return Share(self.served.hits, self.served.hits + self.wrong.hits)


def count(pairs: Iterable[Judged], serves: Callable[[Judged], bool]) -> Outcome:
    """Of these pairs, what a rule serves."""
    tally: Counter[tuple[bool, bool]] = Counter((pair.same, serves(pair)) for pair in pairs)
    same, different = tally[True, True] + tally[True, False], tally[False, True] + tally[False, False]
    return Outcome(Share(tally[True, True], same), Share(tally[False, True], different))


def by_kind(pairs: Sequence[Judged], serves: Callable[[Judged], bool]) -> dict[str, Outcome]:
    """The same for each kind, in the order of their names."""
    kinds = sorted({pair.kind for pair in pairs})
    return {kind: count([pair for pair in pairs if pair.kind == kind], serves) for kind in kinds}


def configured(least_similarity: float, least_score: float | None, *, guards: bool) -> Callable[[Judged], bool]:
    """What a configuration serves, of pairs judged already."""

    def serves(pair: Judged) -> bool:
        if pair.similarity < least_similarity or (guards and pair.firm):
            return False
        return least_score is None or pair.score is None or pair.score >= least_score

    return serves


def curve(
    pairs: Sequence[Judged], at: Iterable[float], rule: Callable[[float], Callable[[Judged], bool]]
) -> list[dict[str, float | None]]:
    """Served, wrong and precision at each threshold."""
    points = []
    for threshold in at:
        outcome = count(pairs, rule(threshold))
        points.append(
            {
                "threshold": threshold,
                "served": rounded(outcome.served.value),
                "wrong": rounded(outcome.wrong.value),
                "precision": rounded(outcome.precision.value),
            }
        )
    return points


def rounded(value: float | None) -> float | None:
    """Return a share as it is told."""
    return None if value is None else round(value, 4)
