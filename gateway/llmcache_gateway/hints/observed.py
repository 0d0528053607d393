"""Which prefixes were seen, which were marked, and whether marking pays: what `onRepeat` decides by.

Everything here takes the time as an argument and forgets what is oldest. It is only ever a guess about what the
provider still holds: a wrong one costs the price of a write, and no answer depends on it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

MAX_PREFIXES: Final = 20_000
"""Most prefixes remembered, about four megabytes."""

MAX_ROUTES: Final = 500
"""Most routes whose balance is kept: clients choose the models' names."""

TRIED: Final = 20
"""After how many marked requests it is judged whether marks pay on a route."""

PAUSE_SECONDS: Final = 600.0
"""For how long a route gets no marks when they did not pay."""


@dataclass(slots=True)
class _Times:
    seen: float
    marked: float = float("-inf")


class Prefixes:
    """When each prefix was last seen and last marked, for the last `capacity` of them."""

    def __init__(self, capacity: int = MAX_PREFIXES) -> None:
        self._capacity = capacity
        self._times: dict[bytes, _Times] = {}

    def __len__(self) -> int:
        return len(self._times)

    def was_seen(self, prefix: bytes, now: float, ttl: float) -> bool:
        """Say whether a request with this prefix came within the last `ttl` seconds."""
        times = self._times.get(prefix)
        return times is not None and now - times.seen <= ttl

    def was_marked(self, prefix: bytes, now: float, ttl: float) -> bool:
        """Say whether a provider was told to keep it within the last `ttl` seconds."""
        times = self._times.get(prefix)
        return times is not None and now - times.marked <= ttl

    def see(self, prefixes: Iterable[bytes], now: float) -> None:
        """Note that a request with these prefixes comes."""
        for prefix in prefixes:
            times = self._times.pop(prefix, None) or _Times(now)
            times.seen = now
            self._times[prefix] = times
        while len(self._times) > self._capacity:
            del self._times[next(iter(self._times))]

    def mark(self, prefix: bytes, now: float) -> None:
        """Note that its provider is told to keep it, or reads it again, which keeps it as long."""
        times = self._times.get(prefix)
        if times is not None:
            times.marked = now


@dataclass(slots=True)
class Balance:
    """What marks cost and saved on one route, as far as can be told from here, in bytes of uncached input.

    `read` and `written` are what the provider had and what it was to keep, by the marks of one trial.
    """

    marked: int = 0
    read: float = 0.0
    written: float = 0.0
    paused_until: float = float("-inf")

    def add(self, *, read: float, written: float) -> None:
        """Count one marked request."""
        self.marked += 1
        self.read += read
        self.written += written

    def judge(self, now: float, *, read_price: float, write_price: float) -> bool:
        """Say whether the trial is over and marks did not pay, which pauses them; a new trial begins."""
        if self.marked < TRIED:
            return False
        saved = self.read * (1 - read_price) - self.written * (write_price - 1)
        self.marked, self.read, self.written = 0, 0.0, 0.0
        if saved >= 0:
            return False
        self.paused_until = now + PAUSE_SECONDS
        return True


@dataclass(slots=True)
class Balances:
    """The balance of each route, of the last MAX_ROUTES of them."""

    _routes: dict[tuple[str, str], Balance] = field(default_factory=dict)

    def of(self, route: tuple[str, str]) -> Balance:
        """Return the balance of a route."""
        balance = self._routes.pop(route, None) or Balance()
        self._routes[route] = balance
        while len(self._routes) > MAX_ROUTES:
            del self._routes[next(iter(self._routes))]
        return balance

    def paused(self, now: float) -> dict[tuple[str, str], float]:
        """Return the routes whose marks are paused, and until when."""
        return {route: one.paused_until for route, one in self._routes.items() if one.paused_until > now}
