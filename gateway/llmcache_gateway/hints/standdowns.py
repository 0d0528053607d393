"""Which models are given no hint for a while, because their upstream refused one."""

import re
from typing import Final, NamedTuple

STAND_DOWN_SECONDS: Final = 600.0
"""For how long a refused hint is not tried again."""

MAX_STAND_DOWNS: Final = 500
"""Most that are remembered: clients choose the models' names."""

REFUSING: Final = frozenset({400, 422})

REFUSING_CONTENT: Final = frozenset({403, 404, 500})
"""How a request is refused whose cached content has ended, is another credential's, or is broken."""

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


class Refusal(NamedTuple):
    """An answer that refuses a hint, or a request that has one, by this status."""

    hint: str
    name: str
    """The cached content that the request used."""

    status: int

    @property
    def is_of_content(self) -> bool:
        """Whether it says that the content is not there, or not for who asks: nothing of the hint itself."""
        return bool(self.name) and self.status not in REFUSING


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


def refuses(status: int, *, uses_content: bool) -> bool:
    """Say whether an answer may refuse a request for the hint in it."""
    return status in REFUSING or (uses_content and status in REFUSING_CONTENT)


def names_hint(body: bytes) -> bool:
    """Say whether an answer that refuses a request speaks of a hint."""
    return _NAMES_A_HINT.search(body) is not None
