"""What replicas have of a write: of those that confirmed it, or of those ahead of them, the next primary is chosen."""

import logging
from typing import Final

log = logging.getLogger(__name__)

WAIT_MILLISECONDS: Final = 250
"""Longest that a lasting write waits for a replica."""

WAIT: Final = ("WAIT", 1, WAIT_MILLISECONDS)
"""The command that follows a lasting write on its connection; it returns how many replicas have it."""


def note_unconfirmed() -> None:
    """Say in the log that no replica has confirmed a write."""
    log.warning(
        "no replica of Redis has confirmed an invalidation within %d ms: it stands, but would be lost with the primary",
        WAIT_MILLISECONDS,
    )
