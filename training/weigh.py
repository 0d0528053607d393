"""Chooses what the verifier's numbers are weighed with, on held-out pairs."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

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
    doubts = np.array([one.doubts for one in found], np.float64)
    return Measured(np.column_stack([odds, doubts]), np.array([pair.same for pair in pairs]), near & left)


def weigh(held: dict[str, Measured]) -> dict[str, float]:
    """What `verifier.json` says. `held` is of `corpus.held_out`."""
    passed = np.concatenate([each.passed for each in held.values()])
    numbers = np.vstack([each.numbers for each in held.values()])[passed]
    same = np.concatenate([each.same for each in held.values()])[passed]
    # Each source counts the same, however many pairs it has.
    weights = np.concatenate([np.full(each.passed.sum(), 1 / each.passed.sum()) for each in held.values()]) * len(same)
    scaler = StandardScaler().fit(numbers)
    model = LogisticRegression(C=0.3).fit(scaler.transform(numbers), same, sample_weight=weights)
    factors = model.coef_[0] / scaler.scale_
    weight, doubt, bias = (round(float(each), 4) for each in (*factors, model.intercept_[0] - factors @ scaler.mean_))
    if doubt > 0:
        raise ValueError("a doubt would raise the score: the guards are no good, or the reader")
    scores = 1 / (1 + np.exp(-(numbers @ [weight, doubt] + bias)))
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
    return {"threshold": least, "bias": bias, "weight": weight, "doubt": doubt}
