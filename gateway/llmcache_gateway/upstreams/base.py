"""The upstream port: one provider endpoint, as the request path sees it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from multidict import CIMultiDict


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it goes upstream.

    `target` is the raw path with its query (`/v1/chat/completions?x=1`). `body` is None
    for a request without one; an iterator for an upload that is passed on as it comes.
    """

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes | AsyncIterator[bytes] | None
    decoded: bool
    """Whether the answer is wanted without its content encoding, so that it can be read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An upstream's answer whose body is still to come. Iterating may raise UpstreamError."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]

    @property
    def content_type(self) -> str:
        """The media type, in lower case, without parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()


class Signer(Protocol):
    """Proves to a provider who asks, by what it makes of the request itself, or by a token of its own."""

    @property
    def reads_body(self) -> bool:
        """Whether it needs the whole body. Otherwise it is given none."""

    async def sign(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return the headers to add to a request; UpstreamError when it can't be signed."""


class Upstream(Protocol):
    """One provider endpoint."""

    @property
    def name(self) -> str:
        """The upstream's name in the manifest."""

    @property
    def provider(self) -> str:
        """Which kind of endpoint it is, as the manifest has it."""

    @property
    def translates(self) -> str:
        """The name of the one dialect that it takes and its provider does not speak; empty for all others."""

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells this endpoint from another in a key: name, provider and address, but no credential."""

    @property
    def passthrough(self) -> bool:
        """Whether it is asked with each client's own credential."""

    def serves(self, model: str) -> bool:
        """Say whether it serves a model."""

    def send(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        """Send a request and give its answer; UpstreamError when there is none."""
