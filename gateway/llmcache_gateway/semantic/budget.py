"""The error budget of a policy: what sampled hits tell of those that were wrong, and how strict that makes it. Pure.

The threshold is chosen by conformal risk control (Angelopoulos et al., "Conformal Risk Control", ICLR 2024): the least
one at which n/(n+1) · r + 1/(n+1) ≤ the bound, r being the share of n sampled hits that were wrong and would still be
served. Then, if samples and hits are alike, the expected share of such wrong hits is within the bound, whatever n is.
"""

import math
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from llmcache_gateway.config import Semantic, share
from llmcache_gateway.labels import Drift, Label
from llmcache_gateway.semantic.drift import began

DEFAULT_SAMPLE: Final = 0.05
"""Share of the hits that are asked again, where none is set."""

MAX_LABELS: Final = 2000
"""Most sampled hits that are remembered: newer ones say more of what is served now."""

LABEL_SECONDS: Final = 7 * 86400.0
"""How long one counts. So what made a policy exact only does not do so for ever."""

NOTHING: Final = math.inf
"""The threshold at which nothing is served."""

Z: Final = 1.96
"""Of a confidence of 95 %."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The share of sampled hits that were wrong, with its 95 % confidence interval (Wilson's)."""

    sampled: int
    wrong: int
    low: float
    share: float
    high: float

    @property
    def bounds(self) -> dict[str, float]:
        """The share and the ends of its interval, by what they are called where they are shown."""
        return {"low": self.low, "estimate": self.share, "high": self.high}


class Budget:
    """Labels of one policy, and what follows from them. `clock` returns seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._labels: list[Label] = []
        """By when they were found out, so that replicas agree on their order."""

        self._known: set[str] = set()
        self._drift: Drift | None = None
        self._reckoned: dict[float, float] = {}
        """Thresholds by bound, as long as the labels are the same: each lookup asks for one."""

    def learn(self, what: Label | Drift) -> None:
        """Take in what came of a sampled hit, or that hits have changed; what is known already changes nothing."""
        if isinstance(what, Drift):
            if self._drift is None or what.since > self._drift.since:
                self._drift = what
        elif what.id not in self._known:
            self._known.add(what.id)
            insort(self._labels, what, key=lambda label: (label.at, label.id))
            self._keep(self._labels[-MAX_LABELS:])

    def estimate(self) -> Estimate:
        """Return the share of wrong hits among those that count still."""
        labels = self._counting()
        return estimate(len(labels), sum(label.wrong for label in labels))

    def threshold(self, configured: float, bound: float) -> float:
        """Return the least similarity that keeps within the bound, never less than the configured one.

        While there are too few labels to say anything of the bound, it is the configured one, or the one that was in
        force when hits changed; NOTHING where no threshold would do.
        """
        labels = self._counting()
        if (len(labels) + 1) * bound < 1:
            return max(configured, self._held())
        if bound not in self._reckoned:
            self._reckoned[bound] = _supported(labels, calibrated(labels, bound))
        return max(configured, self._reckoned[bound])

    def drift(self, bound: float) -> Drift | None:
        """Return that hits are wrong more often than they were, by more than the bound; None while they are not."""
        labels = self._counting()
        first = began((label.wrong for label in labels), bound)
        if first is None:
            return None
        return Drift(labels[first].at, self.threshold(0.0, bound), self._clock())

    def _held(self) -> float:
        held = self._drift
        return held.held if held is not None and self._clock() - held.at <= LABEL_SECONDS else 0.0

    def _counting(self) -> list[Label]:
        since = self._clock() - LABEL_SECONDS
        if self._drift is not None:
            since = max(since, self._drift.since)
        if self._labels and self._labels[0].at < since:
            self._keep([label for label in self._labels if label.at >= since])
        return self._labels

    def _keep(self, labels: list[Label]) -> None:
        """Keep these, the newest of those that are known."""
        self._known.difference_update(label.id for label in self._labels[: len(self._labels) - len(labels)])
        self._labels = labels
        self._reckoned.clear()


def share_asked_again(semantic: Semantic) -> float:
    """Return the share of the hits that are asked again: none where nothing bounds how many may be wrong."""
    if semantic.max_false_hit_rate is None:
        return 0.0
    return DEFAULT_SAMPLE if semantic.sample is None else share(semantic.sample)


def share_compared(semantic: Semantic) -> float:
    """Return the share of the hits withheld by mode `shadow` that are compared with the answers that came instead.

    All where that asks nobody. Where an upstream makes the vectors of answers, it is paid for as a sample is.
    """
    return 1.0 if semantic.embedding.upstream is None else share_asked_again(semantic)


def is_looked_into(semantic: Semantic) -> bool:
    """Say whether any hit by these settings, served or withheld, is compared with a fresh answer."""
    return (share_compared(semantic) if semantic.mode == "shadow" else share_asked_again(semantic)) > 0


def _supported(labels: list[Label], threshold: float) -> float:
    """Return a raised threshold, NOTHING where no hit that was right is as similar: nothing speaks for serving then."""
    if threshold > 0 and not any(label.similarity >= threshold and not label.wrong for label in labels):
        return NOTHING
    return threshold


def calibrated(labels: list[Label], bound: float) -> float:
    """Return the least threshold within the bound by conformal risk control, 0 where all may be served."""
    allowed = math.floor(bound * (len(labels) + 1) - 1 + 1e-9)  # wrong ones that may still be served
    if allowed < 0:
        return NOTHING
    wrong = sorted((label.similarity for label in labels if label.wrong), reverse=True)
    if len(wrong) <= allowed:
        return 0.0
    # The first that may not be served any more, and all that are no more similar.
    least = wrong[allowed]
    return math.nextafter(least, math.inf) if least < 1.0 else NOTHING


def estimate(sampled: int, wrong: int) -> Estimate:
    """Return Wilson's interval; from 0 to 1 where nothing was sampled."""
    if not sampled:
        return Estimate(0, 0, 0.0, 0.0, 1.0)
    share = wrong / sampled
    middle = share + Z * Z / (2 * sampled)
    reach = Z * math.sqrt(share * (1 - share) / sampled + Z * Z / (4 * sampled * sampled))
    whole = 1 + Z * Z / sampled
    return Estimate(sampled, wrong, max(0.0, (middle - reach) / whole), share, min(1.0, (middle + reach) / whole))
