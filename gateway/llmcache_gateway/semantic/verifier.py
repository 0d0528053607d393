"""The learned judge of two questions: how likely it is that one answer serves both. Milliseconds a pair on one core.

A transformer that reads both texts at once, and is told how alike they are worded. `small` judges after three layers;
`large` reads on through three more. It knows nothing of the embedder, so it is the same judge behind every embedding
model. `training/` makes its files.
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

PARTS: Final[dict[Size, tuple[str, ...]]] = {"small": ("small.onnx",), "large": ("small.onnx", "large.onnx")}
"""Files of the layers. Each gives log odds; `large.onnx` goes on from the states of `small.onnx`."""

_SLOW: Final = ("SkipLayerNormFusion",)
"""What onnxruntime had better not do: its fused step takes four times as long as the two that it replaces."""

_START, _END = 101, 102  # [CLS] and [SEP] of the tokenizer that comes along


class Verifier:
    """Scores pairs. Not bound to a thread; each call blocks for as long as it computes."""

    def __init__(self, folder: Path, size: Size) -> None:
        """Load; ModelFilesError when the files can't be used."""
        self._reader = _Reader(folder, size)
        notes = folder / "verifier.json"
        try:
            told = json.loads(notes.read_text("utf-8"))[size]
            self.threshold = float(told["threshold"])
            self._bias = float(told["bias"])
            self._doubt = float(told["doubt"])
            self._weights = np.array(told["weights"], np.float32)
            if len(self._weights) != len(PARTS[size]):
                raise ValueError(f"{len(self._weights)} weights")
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ModelFilesError(f"{notes}: says nothing of a verifier {size}: {error!r}") from error
        parts = [size, self._reader.identity, json.dumps(told)]
        self.identity = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    @classmethod
    def load(cls, folder: Path | None = None, size: Size = "small") -> "Verifier":
        """The one that comes with the gateway, or that of a folder."""
        return cls(folder or BUILT_IN / "verifier", size)

    def score(self, asked: str, stored: str, doubts: int = 0) -> float:
        """From 0 to 1: how likely one answer serves both. `doubts` is how many guards have one."""
        return self.scores(Facts(asked), [Facts(stored)], [doubts])[0]

    def scores(self, asked: Facts, stored: Sequence[Facts], doubts: Sequence[int]) -> list[float]:
        """The same for several stored questions, of each of which the guards may have read something already."""
        return [
            0.0 if odds is None else self._weigh(odds, doubted)
            for odds, doubted in zip(self.log_odds(asked, stored), doubts, strict=True)
        ]

    def log_odds(self, asked: Facts, stored: Sequence[Facts]) -> list[Floats | None]:
        """What each part read of each stored question; None when it or the one asked has no tokens, or too many."""
        return self._reader.log_odds(asked, stored)

    def _weigh(self, odds: Floats, doubted: int) -> float:
        return float(1.0 / (1.0 + np.exp(-(self._weights @ odds + self._doubt * doubted + self._bias))))


class _Reader:
    """The transformer that reads a pair."""

    def __init__(self, folder: Path, size: Size) -> None:
        self._tokenizer = load_tokenizer(BUILT_IN)
        words = folder / "words.safetensors"
        try:
            tables = load_file(words)
            self._packed, self._scales = tables["packed"], tables["scales"]
            self._places, self._sides = tables["places"], tables["sides"]
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelFilesError(f"{words}: holds no word vectors: {error!r}") from error
        files = [folder / name for name in PARTS[size]]
        self._parts = [open_session(file, without=_SLOW) for file in files]
        self.identity = hashlib.sha256(b"".join(file.read_bytes() for file in (words, *files))).hexdigest()

    def log_odds(self, asked: Facts, stored: Sequence[Facts]) -> list[Floats | None]:
        """Of each stored question, as `Verifier` gives them."""
        texts = [asked.text, *(each.text for each in stored)]
        first, *others = (each.ids for each in self._tokenizer.encode_batch(texts, add_special_tokens=False))
        return [
            self._read(first, other, wording(asked, facts))
            if 0 < len(first) <= WINDOW and 0 < len(other) <= WINDOW
            else None
            for facts, other in zip(stored, others, strict=True)
        ]

    def _read(self, first: list[int], second: list[int], worded: Floats) -> Floats:
        """One pair at a time: 8-bit arithmetic rounds by the largest number of a batch, so company would change it."""
        ids = np.array([_START, *first, _END, *second, _END], np.int64)
        side = np.zeros_like(ids)
        side[len(first) + 2 :] = 1
        words = word_vectors(self._packed[ids], self._scales[ids])
        states = (words + self._places[: len(ids)] + self._sides[side])[None]
        told = {"side": side.astype(np.float32)[None], "wording": worded[None]}
        odds: list[float] = []
        for number, part in enumerate(self._parts, 1):
            outputs = ["logit"] if number == len(self._parts) else ["logit", "between"]
            logit, *between = part.run(outputs, {"states": states, **told})
            odds.append(float(logit[0]))
            states = between[0] if between else states
        return np.array(odds, np.float32)


def word_vectors(packed: NDArray[np.uint8], scales: NDArray[np.float16]) -> Floats:
    """`[…, width]` of `packed`, two numbers of four bits in each byte, from -8 to 7, times the scale of their group."""
    whole = (
        np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1, GROUP).astype(np.float32) - 8.0
    )
    vectors: Floats = (whole * scales.astype(np.float32)[..., None]).reshape(*packed.shape[:-1], -1)
    return vectors
