"""What a dialect is: one wire API of a provider, as the gateway needs to know it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, Self

import msgspec

from llmcache_gateway.dialects.turns import Turn
from llmcache_gateway.headers import Headers
from llmcache_gateway.plainjson import dumps
from llmcache_gateway.sse import data_event

Written = Literal["events", "array", "frames"]
"""How a stream is written: as server-sent events, as the items of one JSON array, as AWS's binary messages."""


class Request(msgspec.Struct, frozen=True):
    """A request's body as a dialect reads it.

    `members` are the body's top-level members as plain data (fractions as Decimal); `body` the bytes that they
    were read from. `target` is the path with its query, where the dialect reads something from it. `written` says how
    a stream is wanted.
    """

    model: str
    stream: bool
    members: dict[str, Any]
    body: bytes
    target: str = ""
    written: Written = "events"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What speaks against storing an answer: stable words, the gravest first; none when it may be stored."""

    reasons: tuple[str, ...] = ()

    @property
    def store(self) -> bool:
        """Whether it may be stored."""
        return not self.reasons

    @property
    def reason(self) -> str:
        """The gravest reason, or nothing."""
        return self.reasons[0] if self.reasons else ""

    def but_for(self, allowed: frozenset[str]) -> "Verdict":
        """Return what still speaks against it where some reasons are allowed."""
        return Verdict(tuple(reason for reason in self.reasons if reason not in allowed))


STORE: Final = Verdict()


def refuse(*reasons: str) -> Verdict:
    """Return the verdict that an answer is not stored, and why."""
    return Verdict(reasons)


class Dialect(Protocol):
    """One wire API. Everything here is pure: it reads and builds data, and does no I/O.

    The canonical answer is the body of an unstreamed call as plain data; a streamed answer is a list of event
    blocks. `assemble` and `replay` turn one into the other, and lose no field in either direction.
    """

    @property
    def name(self) -> str:
        """The dialect's name in metrics, logs and keys."""

    @property
    def path(self) -> str:
        """The path below the gateway's root, such as /v1/chat/completions; words in capitals stand for any."""

    @property
    def providers(self) -> frozenset[str]:
        """The kinds of upstream, as `provider` names them in the manifest, that speak this API."""

    @property
    def key_headers(self) -> tuple[str, ...]:
        """Request headers, in lower case, that hold a set of flags: their order does not count."""

    @property
    def uncounted_fields(self) -> frozenset[str]:
        """Fields of the query, as `name=value`, that don't change the answer, but only how it is written."""

    @property
    def echoes(self) -> bool:
        """Whether answers repeat members of the request that are no part of the key (see `personal`)."""

    def for_provider(self, provider: str) -> "Dialect":
        """Return this dialect as one kind of provider speaks it: it may count and stream other members."""

    def parse(self, members: Any, body: bytes, target: str = "") -> Request:
        """Return the request of a decoded body, sent to a path; RequestError(400) when it is none of this dialect."""

    def counted(self, request: Request) -> dict[str, Any]:
        """Return the members of the body that can change the answer: all, but for those known not to.

        Prompt-cache hints are taken out at any depth, and where a provider takes a text and a list of one text
        part for the same, so does this.
        """

    def last_turn(self, members: Mapping[str, Any]) -> Turn | None:
        """Return the last user turn of members as `counted` gives them; None when they end with anything but a text.

        With the text and the rest the whole is told: two requests of which both are equal have one key.
        """

    def answer_text(self, answer: Any) -> str | None:
        """Return what a canonical answer says; None when it is more, or other, than one text."""

    def bypass(self, request: Request, admitted: frozenset[str] = frozenset()) -> str | None:
        """Return why this request must not meet the cache at all, as a stable word; None when it may.

        Reasons in `admitted` are passed over: every other one still keeps it away.
        """

    def bypass_of(self, headers: Headers) -> str | None:
        """Return the same of a request's headers, where an API says there what others say in the body."""

    def for_upstream(self, request: Request) -> bytes:
        """Return the body to send upstream: the client's own, with what the recording needs."""

    def upstream_target(self, request: Request, asked: str) -> str:
        """Return the path with its query to ask upstream, where the client asked `asked`."""

    def for_client(self, block: bytes, request: Request) -> bytes | None:
        """Return one event block as this client asked for it; None when the client is not to see it."""

    def is_terminal(self, block: bytes) -> bool:
        """Say whether this block ends a complete stream."""

    def is_whole(self, blocks: list[bytes]) -> bool:
        """Say whether a stream of which none ends it is complete, now that its provider has sent these and no more."""

    def judge(self, answer: Any, request: Request | None = None) -> Verdict:
        """Say whether a canonical answer is complete and successful, and all that `request` asked for."""

    def assemble(self, blocks: list[bytes]) -> dict[str, Any]:
        """Return the canonical answer of a complete stream; ValueError when the blocks make none."""

    def replay(self, answer: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the event blocks of a stream that amounts to the canonical answer, its end included."""

    def personal(self, answer: dict[str, Any], request: Request) -> dict[str, Any]:
        """Return a canonical answer in which what repeats the request repeats this one, not the first asker's."""

    def personal_blocks(self, blocks: list[bytes], request: Request) -> list[bytes]:
        """Return the same of a recorded stream, whose events are otherwise kept as they came."""

    def error_body(self, status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
        """Return an error in the provider's own shape."""

    def error_event(self, status: int, message: str, code: str | None) -> bytes:
        """Return the event block that tells a client of a stream that it failed half way."""


class BodyDialect:
    """What is so for a dialect that doesn't say otherwise.

    Requests stand in the body alone and go upstream as they came; streams are shown as they are and end with a last
    event; answers repeat nothing of the request; an error is told in a stream as it is told without one.
    """

    uncounted_fields: frozenset[str] = frozenset()
    echoes: bool = False

    def bypass_of(self, headers: Headers) -> str | None:
        return None

    def for_upstream(self, request: Request) -> bytes:
        return request.body

    def for_provider(self, provider: str) -> Self:
        return self

    def upstream_target(self, request: Request, asked: str) -> str:
        return asked

    def for_client(self, block: bytes, request: Request) -> bytes | None:
        return block

    def is_terminal(self, block: bytes) -> bool:
        return False

    def is_whole(self, blocks: list[bytes]) -> bool:
        return False

    def personal(self, answer: dict[str, Any], request: Request) -> dict[str, Any]:
        return answer

    def personal_blocks(self, blocks: list[bytes], request: Request) -> list[bytes]:
        return blocks

    def error_body(self, status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
        raise NotImplementedError  # each API has errors of its own

    def error_event(self, status: int, message: str, code: str | None) -> bytes:
        return data_event(dumps(self.error_body(status, message, code, None)))

    def last_turn(self, members: Mapping[str, Any]) -> Turn | None:
        return None

    def answer_text(self, answer: Any) -> str | None:
        return None
