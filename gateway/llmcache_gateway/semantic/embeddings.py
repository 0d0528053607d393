"""Vectors of questions, each made once: remembered, and made together with those that are asked for meanwhile."""

import asyncio
from collections import OrderedDict
from typing import Final

import numpy as np

from llmcache_gateway.background import Background
from llmcache_gateway.errors import EmbeddingError
from llmcache_gateway.semantic.embedders import Embedder
from llmcache_gateway.semantic.indexes.base import Vector

MAX_TOGETHER: Final = 64
"""Most texts in one call."""

MAX_CALLS: Final = 4
"""Calls under way at once. What is asked for meanwhile goes with the next one together."""

MAX_WAITING: Final = 2000
"""Most texts that wait. Beyond it a vector is not made: a slow service must not fill the memory."""

MAX_REMEMBERED: Final = 2000
"""Most vectors that are remembered: of what is asked again before its answer is there."""

LENGTH_TOLERANCE: Final = 0.01
"""By how much a vector's length may differ from 1."""


class Embeddings:
    """Asks an embedder. Who stops waiting takes nothing from the others, nor from who asks again.

    Of `remembered` texts the vectors are kept.
    """

    def __init__(self, embedder: Embedder, *, remembered: int = MAX_REMEMBERED) -> None:
        self._embedder = embedder
        self._remembered = remembered
        self._known: OrderedDict[str, Vector] = OrderedDict()
        self._asked: dict[str, asyncio.Future[Vector]] = {}
        self._waiting: list[str] = []
        self._calls = Background()
        self._under_way = 0
        self._length: int | None = None

    async def vector(self, text: str) -> Vector:
        """Return the vector of a text, of length 1, or all zeros where the model sees nothing in it.

        EmbeddingError when there is none to be had, and when the embedder gives what is none.
        """
        known = self._known.get(text)
        if known is not None:
            self._known.move_to_end(text)
            return known
        future = self._asked.get(text)
        if future is None:
            if len(self._asked) >= MAX_WAITING:
                raise EmbeddingError("too many texts wait for the embedding model")
            future = self._asked[text] = asyncio.get_running_loop().create_future()
            future.add_done_callback(lambda done: done.exception())  # who waits is told; perhaps nobody does any more
            self._waiting.append(text)
            if self._under_way < MAX_CALLS:
                self._under_way += 1
                self._calls.begin(self._call())
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Stop what is under way."""
        await self._calls.close()

    async def _call(self) -> None:
        try:
            await self._carry()
        finally:
            # Here and not when the task is done, which is later: who asks in between would wait for nobody. One that is
            # stopped before its first step gives nothing back; only `close` stops any, and nobody asks after it.
            self._under_way -= 1

    async def _carry(self) -> None:
        while self._waiting:
            texts, self._waiting = self._waiting[:MAX_TOGETHER], self._waiting[MAX_TOGETHER:]
            futures = [self._asked[text] for text in texts]
            try:
                vectors = self._checked(await self._embedder.embed(texts), len(texts))
            except BaseException as error:
                told = (
                    error if isinstance(error, EmbeddingError) else EmbeddingError(str(error) or type(error).__name__)
                )
                for future in futures:
                    future.set_exception(told)
                if not isinstance(error, Exception):
                    raise
            else:
                for text, future, vector in zip(texts, futures, vectors, strict=True):
                    future.set_result(vector)
                    self._known[text] = vector
                while len(self._known) > self._remembered:
                    self._known.popitem(last=False)
            finally:
                for text in texts:
                    del self._asked[text]

    def _checked(self, vectors: Vector, number: int) -> Vector:
        """Return vectors that can be compared with each other; EmbeddingError for what an embedder must not give."""
        if vectors.ndim != 2 or len(vectors) != number:
            raise EmbeddingError(f"the embedding model gave {vectors.shape} for {number} texts")
        if self._length is None:
            self._length = vectors.shape[1]
        if vectors.shape[1] != self._length:
            raise EmbeddingError(f"the embedding model's vectors were {self._length} long, now {vectors.shape[1]}")
        lengths = np.linalg.norm(vectors, axis=1)
        if not np.isfinite(lengths).all():
            raise EmbeddingError("the embedding model gave vectors that are no numbers")
        if not (np.isclose(lengths, 1.0, atol=LENGTH_TOLERANCE) | (lengths == 0)).all():
            raise EmbeddingError("the embedding model gave vectors whose length is not 1")
        return vectors
