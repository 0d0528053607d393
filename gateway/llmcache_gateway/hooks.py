"""What hooks are given, and what they may return. Users import these types; docs/hooks.md shows each in use.

Everything a hook gets is a copy of its own: changing it changes nothing in the gateway.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks, given to `build_key(request, default_key) -> str`.

    `members` are the members of the body as plain data (fractions as Decimal), `headers` the client's, names in lower
    case, without credentials.
    """

    dialect: str
    model: str
    stream: bool
    members: dict[str, Any]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way upstream, given to `pre_upstream(call) -> Changes | None`. Credentials are left out."""

    dialect: str
    model: str
    upstream: str
    stream: bool
    members: dict[str, Any]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Changes:
    """What `pre_upstream` changes: members of the body and headers to set, and members to leave out.

    `stream` and `stream_options` can't be changed, nor can headers with credentials or of the connection.
    """

    members: Mapping[str, Any] = field(default_factory=dict)
    without: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer of an upstream, given to `post_response(response) -> None`.

    `answer` is the body of an unstreamed call, also where the answer was streamed; None when it is not one.
    """

    dialect: str
    model: str
    upstream: str
    status: int
    streamed: bool
    answer: Any


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is about to be stored, given to `pre_store(candidate) -> Decision | None`. `ttl` is in seconds."""

    key: str
    dialect: str
    model: str
    policy: str
    ttl: float
    tags: tuple[str, ...]
    answer: Any


@dataclass(frozen=True, slots=True)
class Decision:
    """What `pre_store` decides: not to store, a shorter lifetime in seconds, or further tags.

    `ttl` can only shorten what policy, client and provider allow.
    """

    veto: bool = False
    ttl: float | None = None
    tags: Sequence[str] = ()
