"""Which models are given no hint for a while, because their upstream refused one."""

import re
from typing import Final, NamedTuple

STAND_DOWN_SECONDS: Final = 600.0
"""For how long a refused hint is not tried again."""

MAX_STAND_DOWNS: Final = 500
"""Most that are remembered: clients choose the models' names."""

REFUSING: Final = frozenset({400, 422})

_NAMES_A_HINT: Final = re.compile(
    rb"cache_control|cache_?point|prompt_cache_|cached_?content|prompt caching", re.IGNORECASE
)
"""What an upstream that refuses a hint speaks of: the member, or the thing."""


class StandDown(NamedTuple):
    """One refusal. `until` is when the hint is tried again; `refused` which one it was."""

    upstream: str
    model: str
    refused: str
    until: float


class StandDowns:
    """The refusals that still hold."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], StandDown] = {}

    def note(self, upstream: str, model: str, refused: str, now: float) -> None:
        """Give a model no hints for a while."""
        self._known.pop((upstream, model), None)
        self._known[upstream, model] = StandDown(upstream, model, refused, now + STAND_DOWN_SECONDS)
        while len(self._known) > MAX_STAND_DOWNS:
            del self._known[next(iter(self._known))]

    def holds(self, upstream: str, model: str, now: float) -> bool:
        """Say whether a model gets no hint now."""
        known = self._known.get((upstream, model))
        return known is not None and now < known.until

    def current(self, now: float) -> list[StandDown]:
        """Return those that hold now, the oldest first."""
        return [one for one in self._known.values() if now < one.until]


def refuses(status: int) -> bool:
    """Say whether an answer refuses a request for what stands in it."""
    return status in REFUSING


def names_hint(status: int, body: bytes) -> bool:
    """Say whether an answer refuses a request for a hint in it."""
    return refuses(status) and _NAMES_A_HINT.search(body) is not None
