"""Questions that stand near each other: what a cache would have to choose from. Nobody has labelled these pairs."""

from random import Random
from typing import Final

import numpy as np

from llmcache_gateway.semantic.embedders import BUILT_IN, StaticEmbedder, load_tokenizer
from training.pairs import NEAR, Pair

NEIGHBOURS: Final = 3
AT_ONCE: Final = 1024


def near(labelled: list[Pair], embedder: StaticEmbedder, random: Random, number: int) -> list[Pair]:
    """So many pairs, at most, of questions among the labelled pairs' that are near by these vectors.

    None of them is labelled, and none has the same words in another order: the vectors can't see a difference there,
    so there would be too many of them.
    """
    texts = sorted({text for pair in labelled for text in pair[:2]})
    known = {frozenset(pair[:2]) for pair in labelled}
    vectors = embedder.embed_now(texts)
    encoded = load_tokenizer(BUILT_IN).encode_batch(texts, add_special_tokens=False)
    words = [sorted(each.ids) for each in encoded]
    found: set[tuple[int, int]] = set()
    for start in range(0, len(texts), AT_ONCE):
        alike = vectors[start : start + AT_ONCE] @ vectors.T
        nearest = np.argpartition(-alike, NEIGHBOURS, axis=1)[:, : NEIGHBOURS + 1]
        for row, others in enumerate(nearest, start):
            found.update(
                (min(row, int(other)), max(row, int(other)))
                for other in others
                if alike[row - start, other] >= (embedder.threshold or 0.0) and words[row] != words[other]
            )
    some = [
        Pair(texts[a], texts[b], False, NEAR) for a, b in sorted(found) if frozenset((texts[a], texts[b])) not in known
    ]
    return random.sample(some, min(number, len(some)))
