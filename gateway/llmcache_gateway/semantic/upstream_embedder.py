"""Vectors from an upstream: `POST /v1/embeddings`, as OpenAI and everything shaped like it has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from llmcache_gateway.dialects.openai_shaped import TRAITS
from llmcache_gateway.errors import EmbeddingError, UpstreamError
from llmcache_gateway.plainjson import loads
from llmcache_gateway.semantic.asking import ask
from llmcache_gateway.semantic.embedders import Vectors
from llmcache_gateway.upstreams.base import Upstream
from llmcache_gateway.usage import read_usage

MAX_ANSWER_BYTES: Final = 16 * 2**20
"""Largest answer: vectors of 4096 numbers for as many texts as are asked for together."""


@dataclass(slots=True)
class Asked:
    """What an upstream gave vectors of so far; `tokens` is what it says that it took."""

    calls: int = 0
    texts: int = 0
    tokens: int = 0


class UpstreamEmbedder:
    """Asks an upstream. `dimensions` is the length that is asked for, 0 for the model's own."""

    threshold: float | None = None

    def __init__(self, upstream: Upstream, *, model: str, dimensions: int | None) -> None:
        self.asked = Asked()
        self._upstream = upstream
        self._model = model
        self._asked_for = dimensions
        self.dimensions = dimensions or 0
        self.identity = ":".join(("upstream", *upstream.identity, model, str(self.dimensions)))

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """As the port says; EmbeddingError when the upstream gives no vectors, or what can't be any."""
        wanted: dict[str, Any] = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        if self._asked_for is not None:
            wanted[TRAITS[self._upstream.provider].length] = self._asked_for
        try:
            body = await ask(self._upstream, "/v1/embeddings", wanted, what="vectors", most=MAX_ANSWER_BYTES)
        except UpstreamError as error:
            raise EmbeddingError(error.message, said=error.said) from None
        try:
            answer = loads(body)
            vectors = self._read(answer, len(texts))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            raise EmbeddingError(f"upstream {self._upstream.name!r} gave an answer without vectors") from None
        usage = read_usage(answer)
        self.asked.calls += 1
        self.asked.texts += len(texts)
        self.asked.tokens += usage.input if usage is not None else 0
        if self._asked_for not in (None, vectors.shape[1]):
            raise EmbeddingError(
                f"upstream {self._upstream.name!r} gave vectors of {vectors.shape[1]}, not of {self._asked_for}"
            )
        return vectors

    @staticmethod
    def _read(answer: Any, number: int) -> Vectors:
        rows: list[Any] = [None] * number
        for one in answer["data"]:
            rows[one["index"]] = one["embedding"]
        vectors = np.asarray(rows, np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise ValueError("vectors that are no numbers, or have no direction")
        unit: Vectors = vectors / lengths
        return unit
