"""Chooses what the verifier's log odds are weighed with, on held-out pairs."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression

from llmcache_gateway.semantic.embedders import StaticEmbedder
from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.guards import differences_of
from llmcache_gateway.semantic.verifier import PairReader
from training.pairs import LABELLED, Pair
from training.threshold import Measured, Scored, threshold

WRITTEN: Final = "chosen-on"
"""What the bound of traps holds on. In labelled pairs nobody set traps; in sets every trap meets every rewording,
so that the hardest ones count most."""


def measure(pairs: Sequence[Pair], reader: PairReader, static: StaticEmbedder) -> Measured:
    """By the gateway's own code."""
    both = [(Facts(pair.a), Facts(pair.b)) for pair in pairs]
    read = [reader.log_odds(asked, [stored])[0] for asked, stored in both]
    odds = np.array([0.0 if each is None else each for each in read], np.float64)
    found = [differences_of(asked, stored) for asked, stored in both]
    first = static.embed_now([pair.a for pair in pairs])
    second = static.embed_now([pair.b for pair in pairs])
    near = (first * second).sum(axis=1) >= (static.threshold or 0.0)
    left = np.array(
        [each is not None and not one.refusing(verified=True) for each, one in zip(read, found, strict=True)]
    )
    return Measured(odds, np.array([pair.same for pair in pairs]), near & left)


def weigh(held: dict[str, Measured]) -> dict[str, float]:
    """What `verifier.json` says. `held` is of `corpus.held_out`."""
    passed = np.concatenate([each.passed for each in held.values()])
    odds = np.concatenate([each.odds for each in held.values()])[passed]
    same = np.concatenate([each.same for each in held.values()])[passed]
    # Each source counts the same, however many pairs it has.
    weights = np.concatenate([np.full(each.passed.sum(), 1 / each.passed.sum()) for each in held.values()]) * len(same)
    model = LogisticRegression().fit(odds[:, None], same, sample_weight=weights)
    weight, bias = (round(float(each[0]), 4) for each in (model.coef_[0], model.intercept_))
    scores = 1 / (1 + np.exp(-(weight * odds + bias)))
    ends = np.cumsum([each.passed.sum() for each in held.values()])
    split = zip(held.items(), np.split(scores, ends[:-1]), strict=True)
    scored = {name: Scored(each, some) for (name, each), some in split}
    least = threshold(scored[WRITTEN], scored[LABELLED])
    for name, each in held.items():
        right, wrong = scored[name].served(least)
        print(
            f"{name}: {right / each.same.sum():.3f} served, {wrong / (~each.same).sum():.3f} wrong, "
            f"precision {right / max(right + wrong, 1):.3f}"
        )
    return {"threshold": least, "bias": bias, "weight": weight}
