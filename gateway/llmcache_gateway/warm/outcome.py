"""What came of a request, as the gateway's headers tell."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from llmcache_gateway.plaintext import brief

STORED: Final = "stored"
THERE: Final = "already there"
UNTOLD: Final = "untold"
"""Said of a stream that went upstream, its headers sent before it was known whether it is stored, and of an answer
that another request asked for."""

Kind = Literal["stored", "already there", "untold", "failed"]

_DETAIL: Final = re.compile(r'llmcache\b[^,]*?;\s*detail="((?:[^"\\]|\\.)*)"')
_WAS_STORED: Final = re.compile(r"llmcache\b[^,]*;\s*stored\b")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request; `reason` says why it failed."""

    kind: Kind
    reason: str = ""


def outcome(status: int, headers: Mapping[str, str]) -> Outcome:
    """Return what an answer's status and headers (names in any case) say."""
    cache_status, word = headers.get("Cache-Status", ""), headers.get("X-LLMCache")
    found = _DETAIL.search(cache_status)
    detail = found[1] if found else ""
    if word is None:
        return Outcome("failed", f"status {status} of something that is no LLMCache gateway")
    if status >= 300 or status < 200:
        return Outcome("failed", f"status {status}: {detail}" if detail not in ("", "status") else f"status {status}")
    if word in ("HIT", "STALE"):
        return Outcome("already there")
    if word == "MISS" and _WAS_STORED.search(cache_status):
        return Outcome("stored")
    if word == "COALESCED" or (word == "MISS" and not detail):
        return Outcome("untold")
    return Outcome("failed", f"not stored: {detail or word.lower()}")


@dataclass(slots=True)
class Tally:
    """How many requests came to what."""

    total: int
    done_before: int = 0
    stored: int = 0
    there: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, one: Outcome) -> None:
        """Count one outcome."""
        if one.kind == "stored":
            self.stored += 1
        elif one.kind == "already there":
            self.there += 1
        else:
            self.failures[brief(one.reason)] += 1

    @property
    def failed(self) -> int:
        """How many failed."""
        return self.failures.total()

    @property
    def done(self) -> int:
        """How many are over, those of an earlier run included."""
        return self.done_before + self.stored + self.there + self.failed

    def numbers(self) -> dict[str, Any]:
        """Return the same for programs, with few reasons: a pod's termination message has 4096 bytes."""
        return {
            "complete": self.done == self.total and not self.failed,
            "total": self.total,
            "stored": self.stored,
            "alreadyThere": self.there,
            "failed": self.failed,
            "notSent": self.total - self.done,
            "doneBefore": self.done_before,
            "failures": {reason[:200]: count for reason, count in self.failures.most_common(10)},
        }

    def summary(self) -> list[str]:
        """Return the lines that end a run."""
        before = f", {self.done_before} done in an earlier run" if self.done_before else ""
        left = f", {self.total - self.done} not sent" if self.done < self.total else ""
        first = f"{self.stored} stored, {self.there} already there, {self.failed} failed{before}{left}"
        return [first, *(f"  {count} × {reason}" for reason, count in self.failures.most_common(20))]
