"""What is stored: one whole answer of a provider."""

import math
from typing import Final, Literal

import msgspec

from llmcache_gateway.usage import Usage

ALIAS_TYPE: Final = "application/vnd.llmcache.alias+json"
"""Content type of an entry that holds no answer, but says under which key there is one."""

MAX_PAUSE_MILLISECONDS: Final = 0xFFFF
"""Longest pause that an entry can tell of: two bytes for each event."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One answer, as the provider gave it.

    A `json` answer has one block, its body; an `sse` answer one block per event (lines joined by LF, no blank
    line). Times are seconds since the epoch.
    """

    form: Literal["json", "sse"]
    content_type: str
    blocks: list[bytes]
    model: str
    stored_at: float
    fresh_until: float
    kept_until: float
    tags: list[str] = []
    """What its request, or a hook, calls it by, for invalidation."""

    epoch: int = 0
    """The invalidation epoch that its gateway knew when its request began, in microseconds; 0 is older than all."""

    pauses: bytes = b""
    """The milliseconds before each event of a stream, two bytes each, big-endian; empty when they are not known.

    Events that came together have none between them. Kept whatever the pace of replays is: another policy, or the next
    configuration, finds the same entry.
    """

    usage: Usage | None = None
    """The tokens that it took, as far as its provider said: what each answer from here saves."""

    def is_kept(self, now: float) -> bool:
        """Say whether a store may still give it out, fresh or stale."""
        return now < self.kept_until

    def age(self, now: float) -> int:
        """Return the whole seconds since the answer was stored (RFC 9111, section 4.2.3)."""
        return max(0, int(now - self.stored_at))

    def freshness(self, now: float) -> float:
        """Return the seconds for which it is still fresh; less than zero when it is stale."""
        return self.fresh_until - now

    @property
    def is_alias(self) -> bool:
        """Whether it holds no answer, but says where there is one."""
        return self.content_type == ALIAS_TYPE

    @property
    def size(self) -> int:
        """Bytes of the answer itself."""
        return sum(map(len, self.blocks))

    @property
    def sound(self) -> bool:
        """Say whether its parts agree with each other, as those of an entry that was recorded do."""
        times = (self.stored_at, self.fresh_until, self.kept_until)
        return (
            all(map(math.isfinite, times))
            and self.stored_at <= self.fresh_until <= self.kept_until
            and (self.form == "sse" or len(self.blocks) == 1)
            and len(self.pauses) in (0, 2 * len(self.blocks))
            and self.content_type.isprintable()  # it becomes a header
        )
