"""A request as a provider's prompt cache sees it: places where a mark may stand, and what comes before each."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from llmcache_gateway.canonical import encode
from llmcache_gateway.hints.edits import Path

Location = Literal["tools", "system", "message"]


class Place(NamedTuple):
    """A place where a mark may stand, behind what it marks."""

    location: Location
    path: Path
    """Where what is marked stands in the body."""

    is_bare: bool
    """Whether a bare text stands there, which can only be marked as a block."""

    is_text: bool
    """Whether it is a text, bare or in a block."""

    prefix: bytes
    """A digest of the prompt up to here, this included, and of whose it is."""

    size: int
    """How many bytes that is, about."""

    message: int = -1
    """Which of the messages it is in."""

    last: bool = False
    """Whether it is the last one of its message, of the system prompt, or of the tools."""


class Prompt(NamedTuple):
    """The places of a request in the order in which the provider reads it, and the role of each message."""

    places: tuple[Place, ...]
    roles: tuple[str, ...]

    @classmethod
    def of(cls, places: Sequence[Place], roles: Sequence[str]) -> "Prompt":
        """Return a prompt whose places know which of them are the last ones."""
        following = [*((place.location, place.message) for place in places[1:]), None]
        ended = (
            place._replace(last=after != (place.location, place.message))
            for place, after in zip(places, following, strict=False)
        )
        return cls(tuple(ended), tuple(roles))

    def texts(self) -> "Prompt":
        """Return it with the places behind texts only."""
        return Prompt.of([place for place in self.places if place.is_text], self.roles)


class PromptBuilder:
    """Collects the places of a request. `whose` tells prompts apart that no provider takes for one."""

    def __init__(self, whose: Iterable[Any]) -> None:
        self._hash = hashlib.sha256(encode(list(whose)))
        self._size = 0
        self._places: list[Place] = []
        self._roles: list[str] = []

    def read(
        self, location: Location, path: Path, value: Any, *, markable: bool, message: int = -1, extra: int = 0
    ) -> None:
        """Take what comes next in the prompt, and note the place behind it where a mark may stand there.

        `extra` is how many bytes it stands for beside its own.
        """
        form = encode(value)
        self._hash.update(b"%d:" % len(form))
        self._hash.update(form)
        self._size += len(form) + extra
        if markable:
            digest = self._hash.copy().digest()[:16]
            bare = isinstance(value, str)
            is_text = bare or (isinstance(value, dict) and isinstance(value.get("text"), str))
            self._places.append(Place(location, path, bare, is_text, digest, self._size, message))

    def begin_message(self, role: str) -> int:
        """Take the role of the next message, and return its number."""
        self._hash.update(b"message ")
        self._hash.update(encode(role))
        self._roles.append(role)
        return len(self._roles) - 1

    def prompt(self) -> Prompt:
        """Return what was collected."""
        return Prompt.of(self._places, self._roles)


def has_text(value: Any) -> bool:
    """Say whether this is a text with something in it: an empty one can't be marked."""
    return isinstance(value, str) and bool(value.strip())


def items_of(value: Any) -> list[Any]:
    """Return a list's items; of anything else, none."""
    return value if isinstance(value, list) else []
