"""How much may be judged: bounds by the minute and by the day. Pure but for the clock."""

from collections import deque
from collections.abc import Callable
from typing import Final, Literal

Refusal = Literal["minute", "day", "tokens"]

HOUR: Final = 3600.0
DAY_HOURS: Final = 24


class Allowance:
    """What was judged in the last minute, and in 24 hours, the current one included. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._minute: deque[float] = deque()
        self._hours: dict[int, list[int]] = {}

    def take(self, *, per_minute: int, per_day: int, tokens_per_day: int | None) -> Refusal | None:
        """Take one judgement; or say which bound it would break, and take none."""
        now = self._clock()
        while self._minute and not 0 <= now - self._minute[0] < 60:
            self._minute.popleft()
        if len(self._minute) >= per_minute:
            return "minute"
        self._forget(now)
        if sum(calls for calls, _ in self._hours.values()) >= per_day:
            return "day"
        if tokens_per_day is not None and sum(tokens for _, tokens in self._hours.values()) >= tokens_per_day:
            return "tokens"
        self._minute.append(now)
        self._hour(now)[0] += 1
        return None

    def spend(self, tokens: int) -> None:
        """Note the tokens that a judgement took."""
        self._hour(self._clock())[1] += tokens

    def _hour(self, now: float) -> list[int]:
        return self._hours.setdefault(int(now // HOUR), [0, 0])

    def _forget(self, now: float) -> None:
        this = int(now // HOUR)
        self._hours = {hour: spent for hour, spent in self._hours.items() if 0 <= this - hour < DAY_HOURS}
