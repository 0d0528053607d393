"""When the next request may be sent, and how long a refused one waits."""

import re
from datetime import datetime
from typing import Final

from llmcache_gateway.retry_after import grown_seconds, told_seconds

MAX_WAIT_SECONDS: Final = 60.0
"""Longest wait that a Retry-After is obeyed for."""

_RATE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:/(s|m|h))?")
_UNITS: Final = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def rate(text: str) -> float:
    """Return requests per second of a text such as `5/s`, `30/m` or `5`; ValueError for another."""
    found = _RATE.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise ValueError(f"expected a rate, such as 5/s or 30/m, not {text!r}")
    return float(found[1]) / _UNITS[found[2]]


class Pace:
    """Spaces requests evenly. Time that was lost is not made up: there are never two requests closer than that."""

    def __init__(self, per_second: float | None) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._next = 0.0

    def take(self, now: float) -> float:
        """Return the time at which the next request may be sent, and count it as sent then."""
        at = max(now, self._next)
        self._next = at + self._gap
        return at

    def hold(self, until: float) -> None:
        """Let no further request be sent before a time."""
        self._next = max(self._next, until)


def wait_seconds(retry_after: str | None, attempt: int, now: datetime) -> float:
    """Return how long to wait before attempt `attempt` (1 is the first repeat) of a refused request.

    `retry_after` is the answer's header; without one that can be read each wait is twice the one before.
    """
    told = told_seconds(retry_after, now)
    return min(grown_seconds(attempt) if told is None else told, MAX_WAIT_SECONDS)
