"""Where invalidation marks are kept: beside the entries, so that both live and die together."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from llmcache_gateway.marks import ALL

MAX_MARKS: Final = 20_000
"""Most marks kept. Beyond it the older half becomes one mark of all entries: more misses, never an old answer."""


class Pace(NamedTuple):
    """How often marks that others may add to are read, and for how long what was read is relied on."""

    refresh_seconds: float
    """How old marks may be before they are read again, in the background."""

    trust_seconds: float
    """How old they may be at all: the longest that an invalidation takes to reach every replica."""

    read_seconds: float
    """Longest that a reading may take."""


PACE: Final = Pace(refresh_seconds=0.3, trust_seconds=0.9, read_seconds=0.25)


class MarksKeeper(Protocol):
    """Keeps marks. Both methods may raise StoreError."""

    shared: bool
    """Whether others may add marks, so that they have to be read again and again."""

    pace: Pace

    async def read(self, known: int) -> tuple[int, dict[str, int]]:
        """Return the floor and the marks newer than `known`, the newest epoch that the caller has seen.

        Where marks were lost, as the caller can tell them by what it has seen, the floor is a new one.
        """

    async def add(self, scopes: Sequence[str], known: int) -> int:
        """Mark scopes with one new epoch, newer than all before and than `known`; return it."""


class MarkTable(msgspec.Struct, frozen=True):
    """All marks, where they are read and written as a whole; the oldest stands first."""

    floor: int = 0
    marks: dict[str, int] = {}

    @property
    def newest(self) -> int:
        """The newest epoch in it."""
        return max(self.floor, next(reversed(self.marks.values()), 0))

    def newer(self, known: int) -> dict[str, int]:
        """Return the marks that came after an epoch."""
        return {scope: epoch for scope, epoch in self.marks.items() if epoch > known}

    def marked(self, scopes: Sequence[str], known: int, least: int = 0) -> "MarkTable":
        """Return it with scopes marked: with one epoch, newer than all in it and than `known`, not below `least`."""
        epoch = max(least, self.newest + 1, known + 1)
        fresh = dict.fromkeys(scopes, epoch)
        marks = {scope: old for scope, old in self.marks.items() if scope not in fresh} | fresh
        floor = self.floor
        if ALL in fresh:
            floor = epoch
        elif len(marks) > MAX_MARKS:
            floor = list(marks.values())[MAX_MARKS // 2 - 1]
        return MarkTable(floor, {scope: epoch for scope, epoch in marks.items() if epoch > floor})


class LocalMarks:
    """Marks of this process, for entries that end with it."""

    shared = False
    pace = PACE

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._table = MarkTable()

    async def read(self, known: int) -> tuple[int, dict[str, int]]:
        return self._table.floor, self._table.newer(known)

    async def add(self, scopes: Sequence[str], known: int) -> int:
        self._table = self._table.marked(scopes, known, int(self._clock() * 1e6))
        return self._table.newest


# The marks are a sorted set, by epoch. Where it is gone (evicted, flushed, deleted), or older than what a gateway has
# seen (a failover to a replica that lagged), nothing can be said of what was invalidated: a new floor at once.
# %.0f, because Lua writes large numbers with 14 digits.
_WHOLE: Final = """
local known = tonumber(ARGV[1])
local top = tonumber(redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or '0')
local time = redis.call('TIME')
local next = string.format('%.0f', math.max(time[1] * 1000000 + time[2], top + 1, known + 1))
if top < known or not redis.call('ZSCORE', KEYS[1], 'all') then
  redis.call('DEL', KEYS[1])
  redis.call('ZADD', KEYS[1], next, 'all')
  next = string.format('%.0f', tonumber(next) + 1)
end
"""
_READ: Final = (
    _WHOLE
    + """
return {redis.call('ZSCORE', KEYS[1], 'all'),
        redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'WITHSCORES')}
"""
)
_ADD: Final = (
    _WHOLE
    + """
local most = tonumber(ARGV[2])
for at = 3, #ARGV do
  if ARGV[at] == 'all' then redis.call('DEL', KEYS[1]) end
end
for at = 3, #ARGV do redis.call('ZADD', KEYS[1], next, ARGV[at]) end
if redis.call('ZCARD', KEYS[1]) > most then
  local last = math.floor(most / 2)
  local floor = redis.call('ZRANGE', KEYS[1], last, last, 'WITHSCORES')[2]
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, last)
  redis.call('ZADD', KEYS[1], floor, 'all')
end
return next
"""
)


class RedisMarks:
    """Marks in the Redis that holds the entries, in one sorted set. Epochs come from its clock, and never go back.

    `evaluate` runs a script: (script, number of keys, keys and arguments) → its result; StoreError where it can't. With
    `lasting` a failover does not undo it.
    """

    shared = True
    pace = PACE

    def __init__(self, evaluate: Callable[..., Any], name: str) -> None:
        self._evaluate = evaluate
        self._name = name

    async def read(self, known: int) -> tuple[int, dict[str, int]]:
        floor, newer = await self._evaluate(_READ, 1, self._name, str(known))
        pairs = zip(newer[::2], newer[1::2], strict=True)
        return int(float(floor)), {scope.decode(): int(float(epoch)) for scope, epoch in pairs}

    async def add(self, scopes: Sequence[str], known: int) -> int:
        # A failover that lost it would bring back, to those who had not read it yet, what it takes back.
        return int(await self._evaluate(_ADD, 1, self._name, str(known), str(MAX_MARKS), *scopes, lasting=True))
