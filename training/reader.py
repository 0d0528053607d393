"""The pair reader: the layers of an encoder, reading both questions as one text, and a head that judges."""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from llmcache_gateway.semantic.verifier import GROUP, word_vectors
from llmcache_gateway.semantic.wording import NUMBERS

WIDTH: Final = 384
HEADS: Final = 12
INNER: Final = 1536
WORDS: Final = 30522
PLACES: Final = 512


class Layer(nn.Module):
    """A layer of a BERT encoder, normalised after each half."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.o = nn.Linear(WIDTH, WIDTH)
        self.n1 = nn.LayerNorm(WIDTH, eps=1e-12)
        self.i = nn.Linear(WIDTH, INNER)
        self.f = nn.Linear(INNER, WIDTH)
        self.n2 = nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: Tensor, bias: Tensor | None, drop: float = 0.0) -> Tensor:
        """States `[pairs, tokens, width]`; `bias` is added to what attends, very negative where nothing stands."""
        pairs, tokens, width = x.shape
        q, k, v = self.qkv(x).view(pairs, tokens, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        attended = (q @ k.transpose(-1, -2)) * (1 / math.sqrt(width // HEADS))
        weights = torch.softmax(attended if bias is None else attended + bias, -1)
        if drop:
            weights = functional.dropout(weights, drop)
        y = self.o((weights @ v).transpose(1, 2).reshape(pairs, tokens, width))
        if drop:
            y = functional.dropout(y, drop)
        x = self.n1(x + y)
        y = self.f(functional.gelu(self.i(x)))
        if drop:
            y = functional.dropout(y, drop)
        states: Tensor = self.n2(x + y)
        return states


class Reader(nn.Module):
    """Log odds that one answer serves both questions, after so many layers."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.word = nn.Embedding(WORDS, WIDTH)
        self.pos = nn.Embedding(PLACES, WIDTH)
        self.typ = nn.Embedding(2, WIDTH)
        self.n = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.inner = nn.Linear(5 * WIDTH, 128)
        self.out = nn.Linear(128, 1)
        self.told = nn.Parameter(torch.zeros(128, NUMBERS))
        """What the head makes of the wording: nothing, until that is trained."""

    def forward(self, ids: Tensor, sides: Tensor, mask: Tensor, wording: Tensor, drop: float = 0.0) -> Tensor:
        """`[pairs]`. Of tokens, 0 or 1 for the question they are of, and 1 where there are any, each `[pairs, tokens]`;
        and of how the two are worded, `[pairs, NUMBERS]`.
        """
        states = self.word(ids) + self.typ(sides) + self.pos.weight[: ids.shape[1]]
        return self.judge(states, mask, sides, wording, drop)

    def judge(self, states: Tensor, mask: Tensor | None, sides: Tensor, wording: Tensor, drop: float = 0.0) -> Tensor:
        """The same, from the sum of word, place and side vectors. Without `mask`, there is a token everywhere."""
        bias = None if mask is None else ((1 - mask[:, None, None, :]) * -1e4).to(states.dtype)
        x = self.n(states)
        for layer in self.layers:
            x = layer(x, bias, drop)
        of_either = (1 - sides, sides)
        first, second = ((side if mask is None else mask * side).unsqueeze(-1).to(x.dtype) for side in of_either)
        a = (x * first).sum(1) / first.sum(1)
        b = (x * second).sum(1) / second.sum(1)
        hidden = self.inner(torch.cat([x[:, 0], a, b, (a - b).abs(), a * b], -1))
        hidden = hidden + functional.linear(wording, self.told)
        judged: Tensor = self.out(functional.gelu(hidden)).squeeze(-1)
        return judged


def load_encoder(reader: Reader, weights: Mapping[str, Tensor], *, rounded: bool) -> None:
    """Fill it with an encoder's weights, of BERT's names.

    With `rounded`, the words' vectors are what the gateway will have of them, so that the layers learn on just that.
    """

    def put(target: Tensor, *names: str) -> None:
        target.data.copy_(torch.cat([weights[name] for name in names]))

    put(reader.word.weight, "embeddings.word_embeddings.weight")
    if rounded:
        reader.word.weight.data.copy_(torch.from_numpy(word_vectors(*four_bits(reader.word.weight.detach().numpy()))))
    put(reader.pos.weight, "embeddings.position_embeddings.weight")
    put(reader.typ.weight, "embeddings.token_type_embeddings.weight")
    for kind in ("weight", "bias"):
        put(getattr(reader.n, kind), f"embeddings.LayerNorm.{kind}")
        for number, layer in enumerate(reader.layers):
            at = f"encoder.layer.{number}."
            put(getattr(layer.qkv, kind), *(f"{at}attention.self.{part}.{kind}" for part in ("query", "key", "value")))
            put(getattr(layer.o, kind), f"{at}attention.output.dense.{kind}")
            put(getattr(layer.n1, kind), f"{at}attention.output.LayerNorm.{kind}")
            put(getattr(layer.i, kind), f"{at}intermediate.dense.{kind}")
            put(getattr(layer.f, kind), f"{at}output.dense.{kind}")
            put(getattr(layer.n2, kind), f"{at}output.LayerNorm.{kind}")


def four_bits(words: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """What `word_vectors` reads: numbers from -8 to 7, two in a byte, with a scale for each group of `GROUP`."""
    grouped = words.reshape(len(words), WIDTH // GROUP, GROUP)
    scales = (np.abs(grouped).max(-1) / 7.0).astype(np.float16)
    whole = np.round(grouped / np.maximum(scales.astype(np.float32), 1e-8)[..., None])
    shifted = (np.clip(whole, -8, 7) + 8).astype(np.uint8).reshape(len(words), WIDTH)
    return shifted[:, 0::2] | (shifted[:, 1::2] << 4), scales
