"""The learned judge of two questions: how likely it is that one answer serves both. Milliseconds a pair on one core.

A transformer that reads both texts at once, and is told how alike they are worded: of five layers (`small`) or of
twelve (`large`). It knows nothing of the embedder, so it is the same judge behind every embedding model. `training/`
makes its files: a folder with `reader.onnx` (the layers), `words.safetensors` (the words' vectors) and `verifier.json`
(what the log odds are weighed with, and the score from which on a pair is served).
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from llmcache_gateway.semantic.embedders import BUILT_IN, ModelFilesError, load_tokenizer, open_session
from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.wording import wording

Size = Literal["small", "large"]
Floats = NDArray[np.float32]

WINDOW: Final = 96
"""Most tokens of one question. A longer one is never taken for another: what is not read can't be compared."""

GROUP: Final = 32
"""How many numbers of a word's vector share a scale."""

_SLOW: Final = ("SkipLayerNormFusion",)
"""What onnxruntime had better not do: its fused step takes four times as long as the two that it replaces."""

_START, _END = 101, 102  # [CLS] and [SEP] of the tokenizer that comes along


class Verifier:
    """Scores pairs. Not bound to a thread; each call blocks for as long as it computes."""

    def __init__(self, folder: Path) -> None:
        """Load a folder's; ModelFilesError when the files can't be used."""
        self._reader = PairReader(folder)
        notes = folder / "verifier.json"
        try:
            told = json.loads(notes.read_text("utf-8"))
            self.threshold, self._bias, self._weight = (float(told[name]) for name in ("threshold", "bias", "weight"))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ModelFilesError(f"{notes}: doesn't say how a verifier weighs: {error!r}") from error
        self.identity = hashlib.sha256(f"{self._reader.identity}\n{json.dumps(told)}".encode()).hexdigest()[:32]

    @classmethod
    def load(cls, size: Size = "small") -> "Verifier":
        """One that comes with the gateway."""
        return cls(BUILT_IN / "verifier" / size)

    def score(self, asked: str, stored: str) -> float:
        """From 0 to 1: how likely one answer serves both."""
        return self.scores(Facts(asked), [Facts(stored)])[0]

    def scores(self, asked: Facts, stored: Sequence[Facts]) -> list[float]:
        """The same for several stored questions, of each of which the guards may have read something already."""
        return [0.0 if odds is None else self._weigh(odds) for odds in self._reader.log_odds(asked, stored)]

    def _weigh(self, odds: float) -> float:
        return float(1.0 / (1.0 + np.exp(-(self._weight * odds + self._bias))))


class PairReader:
    """The transformer that reads a pair."""

    def __init__(self, folder: Path) -> None:
        """Load a folder's; ModelFilesError when the files can't be used."""
        self._tokenizer = load_tokenizer(BUILT_IN)
        words = folder / "words.safetensors"
        try:
            tables = load_file(words)
            self._packed, self._scales = tables["packed"], tables["scales"]
            self._places, self._sides = tables["places"], tables["sides"]
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelFilesError(f"{words}: holds no word vectors: {error!r}") from error
        layers = folder / "reader.onnx"
        self._layers = open_session(layers, without=_SLOW)
        self.identity = hashlib.sha256(words.read_bytes() + layers.read_bytes()).hexdigest()

    def log_odds(self, asked: Facts, stored: Sequence[Facts]) -> list[float | None]:
        """What was read of each stored question; None when it or the one asked has no tokens, or too many."""
        texts = [asked.text, *(each.text for each in stored)]
        first, *others = (each.ids for each in self._tokenizer.encode_batch(texts, add_special_tokens=False))
        return [
            self._read(first, other, wording(asked, facts))
            if 0 < len(first) <= WINDOW and 0 < len(other) <= WINDOW
            else None
            for facts, other in zip(stored, others, strict=True)
        ]

    def _read(self, first: list[int], second: list[int], worded: Floats) -> float:
        """One pair at a time: 8-bit arithmetic rounds by the largest number of a batch, so company would change it."""
        ids = np.array([_START, *first, _END, *second, _END], np.int64)
        side = np.zeros_like(ids)
        side[len(first) + 2 :] = 1
        states = word_vectors(self._packed[ids], self._scales[ids]) + self._places[: len(ids)] + self._sides[side]
        told = {"states": states[None], "side": side.astype(np.float32)[None], "wording": worded[None]}
        (logit,) = self._layers.run(["logit"], told)
        return float(logit[0])


def word_vectors(packed: NDArray[np.uint8], scales: NDArray[np.float16]) -> Floats:
    """`[…, width]` of `packed`, two numbers of four bits in each byte, from -8 to 7, times the scale of their group."""
    whole = (
        np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1, GROUP).astype(np.float32) - 8.0
    )
    vectors: Floats = (whole * scales.astype(np.float32)[..., None]).reshape(*packed.shape[:-1], -1)
    return vectors
