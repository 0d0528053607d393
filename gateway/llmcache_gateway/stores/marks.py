"""Where invalidation marks are kept: beside the entries, so that both live and die together."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from llmcache_gateway.marks import ALL

MAX_MARKS: Final = 20_000
"""Most marks kept. Beyond it the older half becomes one mark of all entries: more misses, never an old answer."""


class MarksKeeper(Protocol):
    """Keeps marks. Both methods may raise StoreError."""

    shared: bool
    """Whether others may add marks, so that they have to be read again and again."""

    async def read(self, known: int) -> tuple[int, dict[str, int]]:
        """Return the floor and the marks newer than `known`, the newest epoch that the caller has seen.

        Where marks were lost, as the caller can tell them by what it has seen, the floor is a new one.
        """

    async def add(self, scopes: Sequence[str], known: int) -> int:
        """Mark scopes with one new epoch, newer than all before and than `known`; return it."""


class LocalMarks:
    """Marks of this process, for entries that end with it."""

    shared = False

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._floor = 0
        self._newest = 0
        self._marks: dict[str, int] = {}

    async def read(self, known: int) -> tuple[int, dict[str, int]]:
        return self._floor, {scope: epoch for scope, epoch in self._marks.items() if epoch > known}

    async def add(self, scopes: Sequence[str], known: int) -> int:
        self._newest = max(int(self._clock() * 1e6), self._newest + 1, known + 1)
        for scope in scopes:
            self._marks.pop(scope, None)  # the oldest stands first
            self._marks[scope] = self._newest
        if ALL in scopes:
            self._floor = self._newest
        elif len(self._marks) > MAX_MARKS:
            for scope in list(self._marks)[: MAX_MARKS // 2]:
                self._floor = self._marks.pop(scope)
        self._marks = {scope: epoch for scope, epoch in self._marks.items() if epoch > self._floor}
        return self._newest


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
