"""What an entry of the corpus is, and what the four APIs' streams have in common."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Json = dict[str, Any]


class Fate(Enum):
    """What becomes of the answer to a request that is asked twice."""

    KEPT = ("MISS", "HIT")
    NOT_KEPT = ("MISS", "MISS")
    BYPASSED = ("BYPASS", "BYPASS")


@dataclass(frozen=True, slots=True)
class Api:
    """One wire API: how it streams an answer, and where the SDK has it.

    `blocks` returns the event blocks that the provider sends for an answer to a request's body. `resource` finds the
    SDK's resource in a client; `final` names the method of its stream helper that returns the whole answer, where
    there is such a helper, and `pieced` puts the chunks together where there is none. `stream_path` is the path of a
    stream, where the path says that it is one, and not the body; `stream_type` the content type of streams.
    """

    name: str
    path: str
    sdk: str
    blocks: Callable[[Json, Json], list[bytes]]
    resource: Callable[[Any], Any]
    final: str | None = None
    pieced: Callable[[list[Json]], Json] | None = None
    stream_path: str | None = None
    stream_type: str = "text/event-stream; charset=utf-8"

    def streams(self, path: str, body: Json) -> bool | None:
        """Say whether a request is for a stream; None when its path is none of this API."""
        if path == self.stream_path:
            return True
        return bool(body.get("stream")) if path == self.path else None


@dataclass(frozen=True, slots=True)
class Case:
    """One request, and the answer that the provider has for it, streamed or not.

    `ask` are the arguments for the SDK, `streamed` those that only a streamed call has, `helped` those that only the
    stream helper has, None where the helper refuses such a request. `unsaid` names the members that the provider
    leaves out of a stream, so that what is recorded from one can't have them; `unlike` those in which the helper's
    answer differs from any that could be had from a stream made of an unstreamed answer, and the entry says why.
    `blocks` replaces the API's own way to stream, and `wire` the way in which blocks are written.
    """

    api: Api
    name: str
    ask: Json
    answer: Json
    fate: Fate = Fate.KEPT
    streamed: Json = field(default_factory=dict)
    helped: Json | None = field(default_factory=dict)
    unsaid: frozenset[str] = frozenset()
    unlike: frozenset[str] = frozenset()
    blocks: Callable[[Json, Json], list[bytes]] | None = None
    wire: Callable[[list[bytes]], bytes] | None = None

    @property
    def id(self) -> str:
        return f"{self.api.name}: {self.name}"

    def stream(self, body: Json) -> bytes:
        """Return the bytes that the provider streams to a request."""
        blocks = (self.blocks or self.api.blocks)(without(self.answer, self.unsaid), body)
        return self.wire(blocks) if self.wire else b"".join(block + b"\n\n" for block in blocks)


def pieces(text: str, most: int = 6) -> list[str]:
    """Return a text in at most so many pieces; none for the empty text."""
    size = max(1, -(-len(text) // most))
    return [text[at : at + size] for at in range(0, len(text), size)]


def without(value: Any, names: Iterable[str]) -> Any:
    """Return plain data without the members of these names, at any depth."""
    if not names:
        return value
    if isinstance(value, dict):
        return {name: without(item, names) for name, item in value.items() if name not in names}
    return [without(item, names) for item in value] if isinstance(value, list) else value


def restless(blocks: list[bytes]) -> bytes:
    """Return a stream with CRLF line ends and comments that keep the connection alive, as proxies make it."""
    return b": connected\r\n\r\n" + b"".join(
        block.replace(b"\n", b"\r\n") + b"\r\n\r\n: keep-alive\r\n\r\n" for block in blocks
    )


# What no SDK knows yet, of every shape.
TOMORROW: Json = {"text": "t", "none": None, "list": [1, 1.5, {"deep": []}], "yes": True}

UNICODE = (
    "naïve Ünïcödé, 漢字, עברית, 👩\u200d👩\u200d👧🇦🇹, e\u0301, \u0000\u0007\u007f\u2028\u2029\ufeff\ufffe"
    ' "quoted" \\ back / \r\n\t'
)
LONE = "half \ud83d of an emoji, and the other \udc4d half"
EMOJI_IN_TWO = "\ud83d\udc4d"
NUMBERS: Json = {
    "large": 2**53 + 1,
    "largest": 2**64 - 1,
    "beyond": 2**80,
    "below": -(2**70),
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "one": 1.0,
    "exact": 0.1,
    "thirds": 0.3333333333333333,
    "minus_zero": -0.0,
    "scientific": 1e22,
}
LONG = "".join(f"{number} is a number of a long answer. " for number in range(6000))
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjcKJcOkw7zDtsOfCg=="
