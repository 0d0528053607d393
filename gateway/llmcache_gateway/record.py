"""Recording an answer: collected as it comes, then judged, then made an entry."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from llmcache_gateway.dialects.base import Dialect, Request, Verdict, refuse
from llmcache_gateway.entry import MAX_PAUSE_MILLISECONDS, Entry
from llmcache_gateway.plainjson import loads
from llmcache_gateway.sse import is_comment
from llmcache_gateway.usage import Usage, read_usage

Form = Literal["json", "sse"]


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When an answer is recorded, for how long it is fresh, for how long it is kept after that, in seconds.

    `age` is for how many seconds other caches have had it.
    """

    now: float
    ttl: float
    stale: float
    age: float = 0.0


class Recording:
    """One answer as it comes: either a body in pieces, or event blocks.

    More than `max_bytes` is not kept, and makes the answer one that is not stored. `store_also` names verdicts
    of the dialect that the settings overrule.
    """

    def __init__(self, dialect: Dialect, request: Request, store_also: frozenset[str], max_bytes: int) -> None:
        self._dialect = dialect
        self._request = request
        self._store_also = store_also
        self._max = max_bytes
        self._form: Form = "json"
        self._body = bytearray()
        self._blocks: list[bytes] = []
        self._pauses = bytearray()
        self._last: float | None = None
        self._size = 0
        self._usage: Usage | None = None
        self._usage_read = False
        self.ended = False
        """Whether the stream is whole: its last event has come, or what amounts to it."""

    def add_body(self, chunk: bytes) -> None:
        """Take a piece of an unstreamed answer."""
        self._body += chunk
        self._size += len(chunk)

    def add_events(self, blocks: Iterable[bytes], now: float) -> None:
        """Take event blocks of a stream. Comments are keep-alives and no part of the answer.

        `now` is any clock's seconds: when they came, all together.
        """
        self._form = "sse"
        for block in blocks:
            if self.ended or is_comment(block):
                continue
            self._size += len(block)
            if self.too_large:
                self._blocks.clear()
                self._pauses.clear()
            else:
                self._blocks.append(block)
                self._pauses += self._pause(now)
            self.ended = self._dialect.is_terminal(block)

    def end(self) -> None:
        """Note that the provider has ended the stream: where no event says so, that tells whether it is whole."""
        if self._form == "sse" and not self.over:
            self.ended = self._dialect.is_whole(self._blocks)

    @property
    def body(self) -> bytes:
        """What has come of an unstreamed answer."""
        return bytes(self._body)

    @property
    def too_large(self) -> bool:
        """Whether more has come than may be stored."""
        return self._size > self._max

    @property
    def over(self) -> bool:
        """Whether nothing that could still come would change the verdict."""
        return self.ended or self.too_large

    def verdict(self, status: int) -> Verdict:
        """Say whether the answer, whole now, may be stored."""
        if status != 200:
            return refuse("status")
        if self.too_large:
            return refuse("too-large")
        if self._form == "sse" and not self.ended:
            return refuse("unterminated")
        try:
            answer = self._canonical()
            verdict = self._dialect.judge(answer, self._request)
        except ValueError:
            return refuse("no-answer" if self._form == "sse" else "not-json")
        self._usage, self._usage_read = read_usage(answer), True
        return verdict.but_for(self._store_also)

    def entry(
        self, *, content_type: str, model: str, lifetime: Lifetime, tags: Iterable[str] = (), epoch: int = 0
    ) -> Entry:
        """Return the entry of an answer that may be stored; `epoch` is the one known when its request began."""
        return Entry(
            form=self._form,
            content_type=content_type,
            blocks=self._blocks if self._form == "sse" else [self.body],
            model=model,
            stored_at=lifetime.now - lifetime.age,
            fresh_until=lifetime.now + lifetime.ttl,
            kept_until=lifetime.now + lifetime.ttl + lifetime.stale,
            tags=list(tags),
            epoch=epoch,
            pauses=bytes(self._pauses),
            usage=self.usage(),
        )

    def usage(self, headers: Mapping[str, str] | None = None) -> Usage | None:
        """Return what the answer, whole now, says that it took, or else its headers; None when neither does."""
        if not self._usage_read:
            self._usage, self._usage_read = read_usage(self.answer()), True
        if self._usage is None and headers is not None:
            self._usage = read_usage(None, headers)
        return self._usage

    def answer(self) -> object:
        """Return a copy of the answer as the body of an unstreamed call; None when it makes none."""
        try:
            return self._canonical()
        except ValueError:
            return None

    def _pause(self, now: float) -> bytes:
        """Return the milliseconds since the last event, as an entry has them; what is less stays for the next."""
        if self._last is None:
            self._last = now
        milliseconds = max(0, int((now - self._last) * 1000))
        self._last += milliseconds / 1000
        return min(milliseconds, MAX_PAUSE_MILLISECONDS).to_bytes(2, "big")

    def _canonical(self) -> object:
        return self._dialect.assemble(self._blocks) if self._form == "sse" else loads(self.body)
