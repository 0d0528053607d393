"""The vectors of one scope, in memory: compared one by one while they are few, in a graph (HNSW) once they are many."""

from typing import Final

import numpy as np
from usearch.index import Index as Graph

from llmcache_gateway.semantic.indexes.base import Vector

GRAPH_FROM: Final = 2000
"""From how many on a graph is faster than comparing with each."""

FIRST_ROWS: Final = 8


class Partition:
    """Vectors by key. Not for two threads at once."""

    def __init__(self, dimensions: int) -> None:
        self._rows = np.zeros((FIRST_ROWS, dimensions), np.float32)
        self._keys: list[str] = []
        self._at: dict[str, int] = {}
        self._graph: Graph | None = None
        self._labels: dict[int, str] = {}
        self._next = 0

    @property
    def dimensions(self) -> int:
        """Length of its vectors."""
        return int(self._rows.shape[1])

    def __len__(self) -> int:
        return len(self._at)

    @property
    def large(self) -> bool:
        """Whether it is a graph, or becomes one: adding and searching are then to be done beside the event loop."""
        return self._graph is not None or len(self._keys) >= GRAPH_FROM

    def add(self, key: str, vector: Vector) -> None:
        """Take a vector in, in place of one with the same key."""
        self.remove(key)
        if self._graph is None and len(self._keys) >= GRAPH_FROM:
            self._become_graph()
        if self._graph is not None:
            self._add_to_graph(key, vector)
            return
        if len(self._keys) == len(self._rows):
            self._rows = np.concatenate((self._rows, np.zeros_like(self._rows)))
        self._at[key] = len(self._keys)
        self._rows[len(self._keys)] = vector
        self._keys.append(key)

    def remove(self, key: str) -> None:
        """Remove a vector, if there is one."""
        at = self._at.pop(key, None)
        if at is None:
            return
        if self._graph is not None:
            self._graph.remove(at)
            del self._labels[at]
            return
        last = self._keys.pop()
        if last != key:  # the last takes its place
            self._keys[at], self._at[last] = last, at
            self._rows[at] = self._rows[len(self._keys)]

    def nearest(self, vector: Vector, count: int) -> list[tuple[str, float]]:
        """Return the nearest keys and their cosines, the nearest first."""
        if self._graph is not None:
            return self._nearest_in_graph(self._graph, vector, count)
        cosines = self._rows[: len(self._keys)] @ vector
        some = np.argpartition(cosines, -count)[-count:] if count < len(cosines) else np.arange(len(cosines))
        return [(self._keys[at], float(cosines[at])) for at in sorted(some, key=lambda at: -cosines[at])]

    def _nearest_in_graph(self, graph: Graph, vector: Vector, count: int) -> list[tuple[str, float]]:
        found = []
        for label in graph.search(vector, count, threads=1).keys:
            key = self._labels.get(int(label))
            if key is not None:
                # Reckoned anew from what is held: the graph's own distances are rounded.
                held = np.asarray(graph.get(int(label)), np.float32).reshape(-1)
                found.append((key, float(held @ vector)))
        return sorted(found, key=lambda pair: -pair[1])

    def _become_graph(self) -> None:
        self._graph = Graph(ndim=self.dimensions, metric="ip", dtype="f16")
        keys, self._keys, self._at = self._keys, [], {}
        for at, key in enumerate(keys):
            self._add_to_graph(key, self._rows[at])
        self._rows = self._rows[:0]

    def _add_to_graph(self, key: str, vector: Vector) -> None:
        assert self._graph is not None
        self._graph.add(self._next, vector, threads=1)
        self._at[key], self._labels[self._next] = self._next, key
        self._next += 1
