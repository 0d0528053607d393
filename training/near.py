"""Questions that stand near each other: what a cache would have to choose from. Nobody has labelled these pairs."""

from itertools import islice
from typing import Final

import numpy as np

from llmcache_gateway.semantic.embedders import BUILT_IN, StaticEmbedder, load_tokenizer
from training.pairs import NEAR, Pair

NEIGHBOURS: Final = 6
AT_ONCE: Final = 1024


def near(labelled: list[Pair], embedder: StaticEmbedder, number: int) -> list[Pair]:
    """So many pairs, at most, of questions among the labelled pairs' that are near by these vectors, the nearest first.

    None of them is labelled, and none has the same words in another order: the vectors can't see a difference there,
    so there would be too many of them.
    """
    texts = sorted({text for pair in labelled for text in pair[:2]})
    known = {frozenset(pair[:2]) for pair in labelled}
    vectors = embedder.embed_now(texts)
    encoded = load_tokenizer(BUILT_IN).encode_batch(texts, add_special_tokens=False)
    words = [sorted(each.ids) for each in encoded]
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(texts), AT_ONCE):
        alike = vectors[start : start + AT_ONCE] @ vectors.T
        nearest = np.argpartition(-alike, min(NEIGHBOURS, len(texts) - 1), axis=1)[:, : NEIGHBOURS + 1]
        for row, others in enumerate(nearest, start):
            for other in map(int, others):
                similarity = float(alike[row - start, other])
                if similarity >= (embedder.threshold or 0.0) and words[row] != words[other]:
                    found[min(row, other), max(row, other)] = similarity
    nearest_first = sorted(found, key=lambda pair: (-found[pair], pair))
    some = (Pair(texts[a], texts[b], False, NEAR) for a, b in nearest_first)
    return list(islice((pair for pair in some if frozenset(pair[:2]) not in known), number))
