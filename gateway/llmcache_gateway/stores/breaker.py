"""The circuit breaker: when a store is still asked, decided from how its last calls ended. No clock, no I/O."""

from typing import Final, Literal

State = Literal["closed", "open", "half-open"]

FAILURES_TO_OPEN: Final = 5
"""Failures in a row that open the circuit. One lost connection is no reason to do without a store."""

PROBE_SECONDS: Final = 1.0
"""Time from one failure to the next probe, while the circuit is open."""


class Breaker:
    """Closed, every call goes through; open, none does until a probe has succeeded.

    `now` is a monotonic clock's seconds. Each call that was let through, or was the probe, ends in `succeeded` or
    `failed`; both say whether the circuit has just changed sides.
    """

    def __init__(self) -> None:
        self.state: State = "closed"
        self.failures = 0
        """Failures since the last success."""
        self._probe_at = 0.0

    @property
    def closed(self) -> bool:
        return self.state == "closed"

    def wants_probe(self, now: float) -> bool:
        """Say whether this caller is to try the store, for all others; True once each PROBE_SECONDS at most."""
        if self.state != "open" or now < self._probe_at:
            return False
        self.state = "half-open"
        return True

    def succeeded(self) -> bool:
        """Note a call that worked; say whether that closed the circuit."""
        reopened = not self.closed
        self.state, self.failures = "closed", 0
        return reopened

    def failed(self, now: float) -> bool:
        """Note a call that failed or took too long; say whether that opened a closed circuit."""
        self.failures += 1
        was_closed = self.closed
        if was_closed and self.failures < FAILURES_TO_OPEN:
            return False
        self.state, self._probe_at = "open", now + PROBE_SECONDS
        return was_closed
