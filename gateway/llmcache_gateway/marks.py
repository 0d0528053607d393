"""Invalidation marks: from which epoch on the entries of a scope may be served.

An epoch is a logical time: that of the newest mark. An entry carries the one that its gateway knew before it asked
upstream, so an answer that was on its way while a scope was invalidated is older than the mark, wherever and whenever
it is written. A gateway that knows too little stamps entries too old, which makes misses; never too new.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from llmcache_gateway.entry import Entry

ALL: Final = "all"


class Marks:
    """The marks that one gateway knows. Scopes: all, version:V, tenant:T, model:M, tag:T, key:K."""

    def __init__(self) -> None:
        self.floor = 0
        """The mark of all entries."""

        self.newest = 0
        """The epoch now: what is asked upstream from here on is as new as every mark known."""

        self._marks: dict[str, int] = {}

    def learn(self, floor: int, newer: Mapping[str, int]) -> None:
        """Take over the floor, and the marks that came since `newest`."""
        if floor > self.floor:
            self.floor = floor
            self._marks = {scope: epoch for scope, epoch in self._marks.items() if epoch > floor}
        for scope, epoch in newer.items():
            # Readings may overtake each other: the newer mark stays.
            if epoch > max(self.floor, self._marks.get(scope, 0)):
                self._marks[scope] = epoch
        self.newest = max(self.newest, floor, *newer.values())

    def admits(self, key: str, entry: Entry) -> bool:
        """Say whether an entry is newer than the marks of every scope that it belongs to."""
        if entry.epoch >= self.newest:
            return True  # nothing was invalidated since: by far the most lookups
        if entry.epoch < self.floor:
            return False
        return all(entry.epoch >= self._marks.get(scope, 0) for scope in scopes(key, entry))


def scopes(key: str, entry: Entry) -> Iterator[str]:
    """Yield the scopes of an entry, but for `all`."""
    yield f"key:{key}"
    version, tenant = key_parts(key)
    yield f"version:{version}"
    yield f"tenant:{tenant}"
    yield f"model:{entry.model}"
    for tag in entry.tags:
        yield f"tag:{tag}"


def key_parts(key: str) -> tuple[str, str]:
    """Return the version and the tenant of a key; empty ones where it has none."""
    parts = key.split(":")
    return (parts[1], parts[2]) if len(parts) == 4 else ("", "")
