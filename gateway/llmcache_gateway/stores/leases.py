"""Leases: which gateway makes a call that several want at once, and how the others read what comes of it.

Who claims a call first holds its lease for as long as it renews it. Each lease has a token of its own; what its holder
publishes stands under that token, and what it stores is refused by the store itself once another token has taken the
lease. So a holder that was stopped, and wakes up after others have gone on without it, overwrites nothing of theirs.
"""

import hashlib
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Protocol

LEASE_SECONDS: Final = 3.0
"""How long a lease, and what is published under it, outlives its last renewal: the time to notice a holder's death."""

WANT_SECONDS: Final = 2.0
"""How long a follower counts as one after it has last read."""

KEEP_SECONDS: Final = 5.0
"""How long what was published stays readable after its end."""

READ_PIECES: Final = 256
"""Most pieces that one reading gives."""

_FOREVER_MS: Final = 2**50


@dataclass(frozen=True, slots=True)
class Lease:
    """One call, and the gateway that makes it."""

    name: str
    """Its key in Redis: equal for equal calls, and in the slot of the entry that the call makes."""

    token: str
    mine: bool = True
    epoch: int = 0
    """The invalidation epoch in which the call began."""

    age_seconds: float = 0.0
    """How long the call had been going when the lease was claimed."""

    @property
    def pieces(self) -> str:
        """The key of what its holder publishes."""
        return f"{self.name}:{self.token}"

    @property
    def wanted(self) -> str:
        """The key that followers keep alive."""
        return f"{self.name}:{self.token}:wanted"


@dataclass(frozen=True, slots=True)
class Wish:
    """Which calls serve a request."""

    epoch: int = 0
    """Those that began in this invalidation epoch or later,"""

    max_age: float = math.inf
    """at most so many seconds ago (less than zero: none),"""

    came: float = math.inf
    """and were not over when it came, so many seconds ago."""


class Standing(NamedTuple):
    """How a lease stands for its holder."""

    held: bool
    """False: others take the holder for dead, or another call has taken the place of this one."""

    alive: bool
    """Whether what is published can still be read."""

    ttl: float | None
    """The shortest lifetime in seconds that its followers allow the entry; None while there are none."""


class LeaseKeeper(Protocol):
    """Keeps leases where all replicas see them. Every method may raise StoreError."""

    def lease(self, key: str, call: str) -> Lease:
        """Return a lease to claim, with a new token, on the call of that name which makes the entry of a key."""

    async def claim(self, lease: Lease, wish: Wish) -> Lease:
        """Take a lease, or return the one on a call whose answer serves a request."""

    async def renew(self, lease: Lease, *, over: bool) -> Standing:
        """Say that the holder is alive, and whether its call is over, and learn how its lease stands."""

    async def publish(self, lease: Lease, at: int, pieces: Sequence[bytes]) -> bool:
        """Append to the `at` pieces that can be read already; False when those are not there any more."""

    async def read(self, lease: Lease, at: int, ttl: float) -> list[bytes] | None:
        """Return what was published from position `at` on; None when it is gone, and its holder with it.

        Who reads is a follower, and allows the entry a lifetime of `ttl` seconds.
        """

    async def release(self, lease: Lease, last: Sequence[bytes]) -> None:
        """Let others claim the call again; `last` is appended to what can be read."""


# Every script's keys share the hash tag of the lease's name. A connection that breaks has commands sent again: each
# script does nothing twice.
_CLAIM: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local other = redis.call('HMGET', KEYS[1], 'token', 'epoch', 'began', 'ended')
if other[1] then
  local new = tonumber(other[2]) >= tonumber(ARGV[2]) and now - other[3] <= tonumber(ARGV[3])
  local serves = new and (other[4] == '' or now - other[4] <= tonumber(ARGV[5]))
  if serves or other[1] == ARGV[1] then return {other[1], other[2], now - other[3]} end
end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'epoch', ARGV[2], 'began', string.format('%.0f', now), 'ended', '')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('RPUSH', KEYS[2], '')
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {ARGV[1], ARGV[2], 0}
"""
_RENEW: Final = """
local held = redis.call('HGET', KEYS[1], 'token') == ARGV[1]
if held then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  if ARGV[3] == '1' and redis.call('HGET', KEYS[1], 'ended') == '' then
    local time = redis.call('TIME')
    redis.call('HSET', KEYS[1], 'ended', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
  end
end
return {held and 1 or 0, redis.call('PEXPIRE', KEYS[2], ARGV[2]), redis.call('GET', KEYS[3])}
"""
_PUBLISH: Final = """
local there = redis.call('LLEN', KEYS[1])
if there == ARGV[2] + #ARGV - 2 then return 1 end
if there ~= tonumber(ARGV[2]) then return 0 end
for at = 3, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[at]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""
_READ: Final = """
if redis.call('LLEN', KEYS[1]) == 0 then return false end
local ttl = redis.call('GET', KEYS[2])
if not ttl or tonumber(ARGV[3]) < tonumber(ttl) then ttl = ARGV[3] end
redis.call('SET', KEYS[2], ttl, 'PX', ARGV[4])
return redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])
"""
_RELEASE: Final = """
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then redis.call('DEL', KEYS[1]) end
if redis.call('PEXPIRE', KEYS[2], ARGV[2]) == 1 then
  for at = 3, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[at]) end
end
return 1
"""
_PUT: Final = """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
"""


class RedisLeases:
    """Leases in the Redis that holds the entries, under `{namespace}@flight…`.

    `evaluate` runs a script: (script, number of keys, keys and arguments) → its result; StoreError where it can't.
    """

    def __init__(self, evaluate: Callable[..., Any], namespace: str) -> None:
        self._evaluate = evaluate
        self._namespace = namespace

    def lease(self, key: str, call: str) -> Lease:
        digest = hashlib.sha256(call.encode()).hexdigest()[:32]
        return Lease(f"{self._namespace}@flight{{{self._namespace}{key}}}:{digest}", secrets.token_hex(16))

    async def claim(self, lease: Lease, wish: Wish) -> Lease:
        keys = (lease.name, lease.pieces)
        limits = map(_milliseconds, (wish.max_age, LEASE_SECONDS, wish.came))
        token, epoch, age = await self._evaluate(_CLAIM, 2, *keys, lease.token, str(wish.epoch), *limits)
        found = token.decode()
        return replace(lease, token=found, mine=found == lease.token, epoch=int(epoch), age_seconds=int(age) / 1000)

    async def renew(self, lease: Lease, *, over: bool) -> Standing:
        keys = (lease.name, lease.pieces, lease.wanted)
        said = (lease.token, _milliseconds(LEASE_SECONDS), str(int(over)))
        held, alive, ttl = await self._evaluate(_RENEW, 3, *keys, *said)
        return Standing(bool(held), bool(alive), None if ttl is None else _seconds(int(ttl)))

    async def publish(self, lease: Lease, at: int, pieces: Sequence[bytes]) -> bool:
        there = (_milliseconds(LEASE_SECONDS), str(at + 1))
        return bool(await self._evaluate(_PUBLISH, 1, lease.pieces, *there, *pieces))

    async def read(self, lease: Lease, at: int, ttl: float) -> list[bytes] | None:
        # The first is empty: a list without members would not be there, and say nothing of its holder.
        span = (str(at + 1), str(at + READ_PIECES))
        wish = (_milliseconds(ttl), _milliseconds(WANT_SECONDS))
        found: list[bytes] | None = await self._evaluate(_READ, 2, lease.pieces, lease.wanted, *span, *wish)
        return found

    async def release(self, lease: Lease, last: Sequence[bytes]) -> None:
        await self._evaluate(_RELEASE, 2, lease.name, lease.pieces, lease.token, _milliseconds(KEEP_SECONDS), *last)


async def put_while_held(evaluate: Callable[..., Any], lease: Lease, name: str, value: bytes, ttl_ms: int) -> bool:
    """Set a value unless the lease has been lost; say whether it was set. Both keys are in one slot."""
    return bool(await evaluate(_PUT, 2, lease.name, name, lease.token, value, str(ttl_ms)))


def _milliseconds(seconds: float) -> str:
    return str(_FOREVER_MS if math.isinf(seconds) else math.floor(seconds * 1000))


def _seconds(milliseconds: int) -> float:
    return math.inf if milliseconds >= _FOREVER_MS else milliseconds / 1000
