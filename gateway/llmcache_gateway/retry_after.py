"""How long who was refused for now (429, 503) waits before asking again."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LATER: Final = frozenset({429, 503})
"""Refusals that hold for now, which another time may be answered."""

MAX_GROWN_SECONDS: Final = 60.0


def told_seconds(retry_after: str | None, now: datetime) -> float | None:
    """Return the wait that a Retry-After tells (RFC 9110, section 10.2.3: seconds or a date); None where none does."""
    if retry_after is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", retry_after.strip()):
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):  # a date of such numbers is none either
        return None
    return max((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now.timestamp(), 0.0)


def grown_seconds(attempt: int) -> float:
    """Return the wait before attempt `attempt` (1 is the first repeat): each twice the one before, up to a minute."""
    return min(2.0 ** min(attempt - 1, 10), MAX_GROWN_SECONDS)
