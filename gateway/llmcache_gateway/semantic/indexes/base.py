"""The index port: where the vectors of questions are searched."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from llmcache_gateway.errors import StoreError

Vector = NDArray[np.float32]
"""One vector of length 1, or all zeros."""


class Point(NamedTuple):
    """A question, its vector, and the key of the entry that answers it."""

    key: str
    scope: str
    text: str
    vector: Vector
    until: float
    """When its entry is over, in seconds since the epoch."""


class Neighbour(NamedTuple):
    """A question close to another, and how close: the cosine of their vectors."""

    key: str
    text: str
    similarity: float


def require_comparable(vector: Vector, dimensions: int | None = None) -> None:
    """Raise StoreError for a vector that is no numbers, or not as long as those that are there, if any are."""
    if not np.isfinite(vector).all():
        raise StoreError("a vector that is no numbers can't be compared")
    if not len(vector) or dimensions not in (None, len(vector)):
        raise StoreError(f"a vector of {len(vector)} numbers can't be compared with those of {dimensions or 'a model'}")


class Index(Protocol):
    """Finds the nearest questions of a scope. Every method may raise StoreError."""

    name: str

    def begin(self) -> None:
        """Begin what goes on in the background, if anything does, when there is a loop. More than once does nothing."""

    async def nearest(self, scope: str, vector: Vector, count: int) -> list[Neighbour]:
        """Return the nearest questions of one scope that are not over, the nearest first, `count` at most.

        What can't be compared with those of the scope is near to none, or a StoreError.
        """

    async def add(self, point: Point) -> None:
        """Take a question in, in place of one with the same key; one that is over is left out.

        Where its tenant, or all together, have as many as the bounds allow, the oldest leave, or this one stays out.
        StoreError for a vector that can't be compared with those of the scope.
        """

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove the questions of these keys."""

    async def close(self) -> None:
        """Let go of connections and of what goes on in the background."""
