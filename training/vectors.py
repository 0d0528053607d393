"""Static vectors for the default embedder: what an encoder makes of each token alone, in fewer dimensions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor

from llmcache_gateway.semantic.embedders import BUILT_IN, Vectors, load_tokenizer
from training.pairs import Pair
from training.reader import WORDS, Reader, load_encoder
from training.train import END, START

DIMENSIONS: Final = 128
LAYERS: Final = 6
RARE: Final = 1e-3
"""Weight of a token with frequency p: RARE / (RARE + p), smooth inverse frequency (Arora et al., ICLR 2017)."""

LEAST_SIMILARITY: Final = 0.4
"""At which candidates of these vectors are worth a look: 97 of 100 rewordings are as near, on pairs held out."""


def token_vectors(encoder: Mapping[str, Tensor]) -> Vectors:
    """Of each token, the mean state of `[CLS] token [SEP]`: `[tokens, width]`."""
    reader = Reader(LAYERS)
    load_encoder(reader, encoder, rounded=False)
    reader.eval()
    table = np.zeros((WORDS, reader.word.embedding_dim), np.float32)
    with torch.no_grad():
        for start in range(0, WORDS, 512):
            tokens = torch.arange(start, min(WORDS, start + 512))
            ids = torch.stack([torch.full_like(tokens, START), tokens, torch.full_like(tokens, END)], 1)
            states = reader.n(reader.word(ids) + reader.typ.weight[0] + reader.pos.weight[:3])
            for layer in reader.layers:
                states = layer(states, torch.zeros(()))
            table[start : start + 512] = states.mean(1).numpy()
    return table


def save_vectors(table: Vectors, labelled: Sequence[Pair], file: Path) -> None:
    """The main dimensions, weighted by how rare a token is, as 8-bit numbers with a scale for each token."""
    tokenizer = load_tokenizer(BUILT_IN)
    counts = np.ones(len(table))
    for encoded in tokenizer.encode_batch([text for pair in labelled for text in pair[:2]], add_special_tokens=False):
        np.add.at(counts, encoded.ids, 1)
    centred = table - table.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    fewer = centred @ directions[:DIMENSIONS].T
    weighted = fewer * (RARE / (RARE + counts / counts.sum()))[:, None]
    scales = (np.abs(weighted).max(axis=1) / 127).astype(np.float32)
    vectors = np.round(weighted / scales[:, None]).astype(np.int8)
    notes = {"threshold": str(LEAST_SIMILARITY), "source": "all-MiniLM-L6-v2 (Apache-2.0)"}
    save_file({"scales": scales, "vectors": vectors}, file, metadata=notes)
