"""Chooses what the verifier's numbers are weighed with, and from which score on a pair is served, on held-out pairs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

from llmcache_gateway.semantic.alignment import NAMES, alignment
from llmcache_gateway.semantic.embedders import BUILT_IN, StaticEmbedder, TransformerEmbedder
from llmcache_gateway.semantic.guards import rejected_by
from llmcache_gateway.semantic.verifier import Verifier, encoder_file
from training.pairs import Pair

MOST_WRONG: Final = 0.025
"""Share of the traps in held-out sets that may be served at the threshold. Others' pairs may come to half as many more:
that is still below 4 %."""

COLUMNS: Final = {"small": slice(0, 1), "large": slice(0, 1 + len(NAMES))}


@dataclass(frozen=True)
class Measured:
    """Of pairs: numbers `[pairs, 1 + NAMES]`, whether they are the same, whether similarity and guards let them by."""

    numbers: NDArray[np.float64]
    same: NDArray[np.bool_]
    passed: NDArray[np.bool_]


def measure(pairs: Sequence[Pair], folder: Path) -> Measured:
    """By the gateway's own code, with the reader that is in the folder."""
    plain = {"threshold": 0.0, "bias": 0.0, "weights": [1.0]}
    (folder / "verifier.json").write_text(json.dumps({"small": plain}), "utf-8")
    reader = Verifier.load(folder, "small")
    encoder = TransformerEmbedder(BUILT_IN, model=encoder_file())
    states = {text: encoder.states(text) for text in sorted({text for pair in pairs for text in pair[:2]})}
    scores = np.clip([reader.score(pair.a, pair.b) for pair in pairs], 1e-7, 1 - 1e-7)
    matched = [alignment(pair.a, pair.b, states[pair.a], states[pair.b]) for pair in pairs]
    static = StaticEmbedder()
    first = static.embed_now([pair.a for pair in pairs])
    second = static.embed_now([pair.b for pair in pairs])
    near = (first * second).sum(axis=1) >= (static.threshold or 0.0)
    held_apart = np.array([bool(rejected_by(pair.a, pair.b)) for pair in pairs])
    return Measured(
        np.column_stack([np.log(scores / (1 - scores)), np.array(matched, np.float64)]),
        np.array([pair.same for pair in pairs]),
        near & ~held_apart,
    )


def weigh(held: dict[str, Measured]) -> dict[str, dict[str, object]]:
    """What `verifier.json` says of each size. `held` has "labelled", "sets" and "made"; scores are out of fold."""
    numbers = np.vstack([each.numbers for each in held.values()])
    same = np.concatenate([each.same for each in held.values()])
    # Each source counts the same, however many pairs it has.
    weights = np.concatenate([np.full(len(each.same), 1 / len(each.same)) for each in held.values()]) * len(same)
    ends = np.cumsum([len(each.same) for each in held.values()])
    result: dict[str, dict[str, object]] = {}
    for size, columns in COLUMNS.items():
        scaler = StandardScaler().fit(numbers[:, columns])
        scaled = scaler.transform(numbers[:, columns])
        model = LogisticRegression(C=0.3)
        scores = cross_val_predict(
            model, scaled, same, cv=5, method="predict_proba", params={"sample_weight": weights}
        )[:, 1]
        model.fit(scaled, same, sample_weight=weights)
        factors = model.coef_[0] / scaler.scale_
        parts = dict(zip(held, np.split(scores, ends[:-1]), strict=True))
        least = threshold(held["sets"], parts["sets"])
        result[size] = {
            "threshold": least,
            "bias": round(float(model.intercept_[0] - factors @ scaler.mean_), 4),
            "weights": [round(float(each), 4) for each in factors],
        }
        for name, each in held.items():
            served = each.passed & (parts[name] >= least)
            print(
                f"{size}, {name}: {served[each.same].mean():.3f} served, {served[~each.same].mean():.3f} wrong, "
                f"precision {each.same[served].mean():.3f}"
            )
    return result


def threshold(sets: Measured, scores: NDArray[np.float64]) -> float:
    """The least score, in hundredths, that keeps the bound. ValueError when none does."""
    for hundredths in range(30, 100):
        served = sets.passed & (scores >= hundredths / 100)
        if served[~sets.same].mean() <= MOST_WRONG:
            return hundredths / 100
    raise ValueError(f"no score keeps the wrong ones at {MOST_WRONG:.0%}: the reader is no good")
