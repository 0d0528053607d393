"""Every error of the gateway.

GatewayError
├── ConfigError           the configuration can't be used; holds all problems
├── RequestError          the client's request is refused; becomes an answer in the provider's shape
├── UpstreamError         the upstream gave no answer; becomes 502 or 504
│   └── LostCallError     the call ended with the gateway that made it; asked once more
├── ContentError          a cached content is not made, renewed or deleted; counted, and requests go on without it
├── EmbeddingError        there is no vector of a text; counted, and the request goes on without it
└── StoreError            a store failed; counted, and the request goes on without it
    ├── StorePartError    only a part of it did: a node of a cluster is away
    ├── BadEntryError     what it held is no entry
    └── OvertakenError    a newer call has taken the place of the one whose answer was to be stored
"""

from collections.abc import Sequence
from typing import Any


class GatewayError(Exception):
    """The root of this package's errors."""


class ConfigError(GatewayError):
    """The configuration can't be used. `problems` holds each reason, in the file's order."""

    def __init__(self, problems: Sequence[Any]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class RequestError(GatewayError):
    """A request that is refused before it reaches an upstream.

    `status` is the HTTP status, `code` a stable word for programs, `param` the field at fault.
    """

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


class UpstreamError(GatewayError):
    """An upstream that gave no whole answer: refused, reset, or silent for too long.

    `said` is what it wrote instead, in brief: it may repeat what it was asked, so it is for who runs a command, not for
    logs.
    """

    def __init__(self, message: str, *, timed_out: bool = False, said: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.timed_out = timed_out
        self.said = said

    @property
    def reason(self) -> str:
        """How it failed, as a stable word."""
        return "upstream-timeout" if self.timed_out else "upstream-unreachable"

    @property
    def status(self) -> int:
        """The HTTP status that says so."""
        return 504 if self.timed_out else 502


class LostCallError(UpstreamError):
    """A call whose answer will not come from where it was asked for, and may be asked again.

    `alone` says that it is of no use to ask other gateways for it.
    """

    def __init__(self, message: str, *, alone: bool = False) -> None:
        super().__init__(message)
        self.alone = alone


class ContentError(GatewayError):
    """What was not done about a cached content. `status` is the provider's answer, 0 where there was none."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class EmbeddingError(GatewayError):
    """A text whose vector is not to be had, or is none. `said` is as with UpstreamError."""

    def __init__(self, message: str, *, said: str = "") -> None:
        super().__init__(message)
        self.said = said


class StoreError(GatewayError):
    """A store that could not do what it was asked."""


class StorePartError(StoreError):
    """A part of a store that could not do what it was asked. It says nothing of the rest."""


class BadEntryError(StoreError):
    """A stored value that is no entry: poisoned, truncated, or of another schema. The store itself is well."""


class OvertakenError(StoreError):
    """An answer that is not stored because its lease was lost: a newer one has taken its place. The store is well."""
