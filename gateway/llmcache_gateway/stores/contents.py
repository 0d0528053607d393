"""Who makes a provider's cached contents, who uses them, and when they are deleted: for all gateways of a cache.

A content costs by the hour, so there is one of each prefix: whoever claims it first makes it, and others learn of it.
All times are lengths, so that the gateways' clocks don't matter. What is noted ends with the content.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

MAKING_SECONDS: Final = 10.0
"""How long a claim outlives its last renewal: the time to notice that who makes a content has died."""

RENEWING_SECONDS: Final = 15.0
"""How long one gateway has to renew a content at the provider, before another may."""

ALIVE_SECONDS: Final = 30.0
"""How long a gateway counts as a user after it has last said so."""


class Noted(NamedTuple):
    """A content that is there. Times are in seconds; `idle` is how long no request of any gateway's has used it."""

    name: str
    tokens: int
    left: float
    idle: float
    renew: bool = False
    """Whether who asked is to renew it at the provider."""


class Life(NamedTuple):
    """What became of a content: how many requests used it, and for how many seconds it was paid."""

    uses: int
    paid: float


class ContentLedger(Protocol):
    """Notes contents by their prefix. Every method may raise StoreError. `who` is a gateway, `token` one claim."""

    async def claim(self, prefix: str, token: str, who: str) -> Noted | bool:
        """Return the content of a prefix; True where this caller is to make it, False where another does."""

    async def renew_claim(self, prefix: str, token: str) -> bool:
        """Say that it is still being made; False where another has taken that over."""

    async def keep(self, prefix: str, token: str, who: str, content: Noted) -> bool:
        """Note the content that was made; False, and it is not noted, where the claim has been lost."""

    async def give_up(self, prefix: str, token: str) -> None:
        """Let others make it."""

    async def touch(
        self, prefix: str, name: str, who: str, *, idle: float, renew_below: float, uses: int = 0
    ) -> Noted | None:
        """Say that a gateway uses a content, last so long ago, and return it; None when it is no more.

        `uses` are those since it last said so. Of those who ask while less than `renew_below` is left, one is told to
        renew it.
        """

    async def extend(self, prefix: str, name: str, left: float) -> None:
        """Note that a content was renewed."""

    async def retire(self, prefix: str, name: str, who: str, *, idle: float | None) -> Life | None:
        """Take a content out that nobody has used for so long, for the caller to delete it; None where that is not so.

        With `idle` None a gateway ends: it is taken out where no other uses it.
        """

    async def forget(self, prefix: str, name: str) -> None:
        """Take out a content that the provider does not have any more."""


@dataclass(slots=True)
class _Local:
    holder: str = ""
    until: float = 0.0
    name: str = ""
    tokens: int = 0
    ends: float = 0.0
    used: float = 0.0
    renewing: float = 0.0
    uses: int = 0
    paid: float = 0.0
    users: dict[str, float] = field(default_factory=dict)


class LocalContents:
    """Contents of one gateway that shares its entries with no other. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[str, _Local] = {}

    async def claim(self, prefix: str, token: str, who: str) -> Noted | bool:
        now, known = self._clock(), self._known.get(prefix)
        if known is not None and known.name and known.ends > now:
            known.users[who] = now
            return self._noted(known, now)
        if known is not None and known.holder not in ("", token) and known.until > now:
            return False
        self._known[prefix] = _Local(holder=token, until=now + MAKING_SECONDS)
        return True

    async def renew_claim(self, prefix: str, token: str) -> bool:
        known = self._known.get(prefix)
        if known is None or known.holder != token:
            return False
        known.until = self._clock() + MAKING_SECONDS
        return True

    async def keep(self, prefix: str, token: str, who: str, content: Noted) -> bool:
        now, known = self._clock(), self._known.get(prefix)
        if known is None or known.holder != token:
            return False
        made = _Local(name=content.name, tokens=content.tokens, ends=now + content.left, used=now, users={who: now})
        made.paid = content.left
        self._known[prefix] = made
        return True

    async def give_up(self, prefix: str, token: str) -> None:
        known = self._known.get(prefix)
        if known is not None and known.holder == token:
            del self._known[prefix]

    async def touch(
        self, prefix: str, name: str, who: str, *, idle: float, renew_below: float, uses: int = 0
    ) -> Noted | None:
        now, known = self._clock(), self._of(prefix, name)
        if known is None or known.ends <= now:
            return None
        known.uses += uses
        known.users[who] = now
        known.used = max(known.used, now - idle)
        renew = known.ends - now < renew_below and known.renewing <= now
        if renew:
            known.renewing = now + RENEWING_SECONDS
        return self._noted(known, now)._replace(renew=renew)

    async def extend(self, prefix: str, name: str, left: float) -> None:
        known = self._of(prefix, name)
        if known is not None:
            ends = self._clock() + left
            known.paid += ends - known.ends
            known.ends, known.renewing = ends, 0.0

    async def retire(self, prefix: str, name: str, who: str, *, idle: float | None) -> Life | None:
        now, known = self._clock(), self._of(prefix, name)
        if known is None:
            return None
        known.users.pop(who, None)
        in_use = any(now - seen < ALIVE_SECONDS for seen in known.users.values())
        if in_use if idle is None else now - known.used < idle:
            return None
        del self._known[prefix]
        return Life(known.uses, known.paid)

    async def forget(self, prefix: str, name: str) -> None:
        if self._of(prefix, name) is not None:
            del self._known[prefix]

    def _of(self, prefix: str, name: str) -> _Local | None:
        known = self._known.get(prefix)
        return known if known is not None and known.name == name else None

    @staticmethod
    def _noted(known: _Local, now: float) -> Noted:
        return Noted(known.name, known.tokens, known.ends - now, now - known.used)


# The keys of a script share the hash tag of the prefix. A connection that breaks has commands sent again: no script
# does anything twice. Numbers are written out: Lua would write a time as 1.8e+12.
_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%.0f', number) end
"""
_CLAIM: Final = f"""{_NOW}
local known = redis.call('HMGET', KEYS[1], 'name', 'tokens', 'ends', 'used', 'holder', 'until')
if known[1] and tonumber(known[3]) > now then
  redis.call('ZADD', KEYS[2], text(now), ARGV[2])
  redis.call('PEXPIRE', KEYS[2], text(known[3] - now))
  return {{known[1], known[2], text(known[3] - now), text(now - known[4])}}
end
if known[5] and known[5] ~= ARGV[1] and tonumber(known[6]) > now then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'until', text(now + ARGV[3]))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
_RENEW_CLAIM: Final = f"""{_NOW}
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'until', text(now + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
_KEEP: Final = f"""{_NOW}
local known = redis.call('HMGET', KEYS[1], 'holder', 'name')
if known[1] ~= ARGV[1] and known[2] ~= ARGV[3] then return 0 end
redis.call('DEL', KEYS[1])
local ends = text(now + ARGV[5])
redis.call('HSET', KEYS[1], 'name', ARGV[3], 'tokens', ARGV[4], 'ends', ends, 'used', text(now), 'renewing', '0')
redis.call('HSET', KEYS[1], 'uses', '0', 'paid', ARGV[5])
redis.call('ZADD', KEYS[2], text(now), ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 1
"""
_GIVE_UP: Final = """
if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
_TOUCH: Final = f"""{_NOW}
local known = redis.call('HMGET', KEYS[1], 'name', 'tokens', 'ends', 'used', 'renewing', 'uses')
if known[1] ~= ARGV[1] or tonumber(known[3]) <= now then return false end
local left, used = known[3] - now, tonumber(known[4])
redis.call('ZADD', KEYS[2], text(now), ARGV[2])
redis.call('PEXPIRE', KEYS[2], text(left))
if now - ARGV[3] > used then
  used = now - ARGV[3]
  redis.call('HSET', KEYS[1], 'used', text(used))
end
if ARGV[6] ~= '0' then redis.call('HSET', KEYS[1], 'uses', text(known[6] + ARGV[6])) end
local renew = left < tonumber(ARGV[4]) and tonumber(known[5]) <= now
if renew then redis.call('HSET', KEYS[1], 'renewing', text(now + ARGV[5])) end
return {{known[1], known[2], text(left), text(now - used), renew and '1' or '0'}}
"""
_EXTEND: Final = f"""{_NOW}
local known = redis.call('HMGET', KEYS[1], 'name', 'ends', 'paid')
if known[1] ~= ARGV[1] then return 0 end
local ends = now + ARGV[2]
redis.call('HSET', KEYS[1], 'ends', text(ends), 'renewing', '0', 'paid', text(known[3] + ends - known[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
"""
_RETIRE: Final = f"""{_NOW}
local known = redis.call('HMGET', KEYS[1], 'name', 'used', 'uses', 'paid')
if known[1] ~= ARGV[1] then return false end
redis.call('ZADD', KEYS[2], '0', ARGV[2])
if ARGV[3] == '' then
  if #redis.call('ZRANGEBYSCORE', KEYS[2], text(now - ARGV[4]), '+inf') > 0 then return false end
elseif now - known[2] < tonumber(ARGV[3]) then
  return false
end
redis.call('DEL', KEYS[1], KEYS[2])
return {{known[3], known[4]}}
"""
_FORGET: Final = """
if redis.call('HGET', KEYS[1], 'name') == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2]) end
return 1
"""


class RedisContents:
    """Contents in the Redis that holds the entries, under `{namespace}@content…`. `evaluate` runs a script."""

    def __init__(self, evaluate: Callable[..., Any], namespace: str) -> None:
        self._evaluate = evaluate
        self._namespace = namespace

    async def claim(self, prefix: str, token: str, who: str) -> Noted | bool:
        found = await self._run(_CLAIM, prefix, token, who, _milliseconds(MAKING_SECONDS))
        return _noted(found) if isinstance(found, list) else bool(found)

    async def renew_claim(self, prefix: str, token: str) -> bool:
        return bool(await self._run(_RENEW_CLAIM, prefix, token, _milliseconds(MAKING_SECONDS)))

    async def keep(self, prefix: str, token: str, who: str, content: Noted) -> bool:
        said = (token, who, content.name, str(content.tokens), _milliseconds(content.left))
        return bool(await self._run(_KEEP, prefix, *said))

    async def give_up(self, prefix: str, token: str) -> None:
        await self._run(_GIVE_UP, prefix, token)

    async def touch(
        self, prefix: str, name: str, who: str, *, idle: float, renew_below: float, uses: int = 0
    ) -> Noted | None:
        times = map(_milliseconds, (idle, renew_below, RENEWING_SECONDS))
        found = await self._run(_TOUCH, prefix, name, who, *times, str(uses))
        return None if found is None else _noted(found)

    async def extend(self, prefix: str, name: str, left: float) -> None:
        await self._run(_EXTEND, prefix, name, _milliseconds(left))

    async def retire(self, prefix: str, name: str, who: str, *, idle: float | None) -> Life | None:
        bound = "" if idle is None else _milliseconds(idle)
        found = await self._run(_RETIRE, prefix, name, who, bound, _milliseconds(ALIVE_SECONDS))
        return None if found is None else Life(int(found[0]), int(found[1]) / 1000)

    async def forget(self, prefix: str, name: str) -> None:
        await self._run(_FORGET, prefix, name)

    async def _run(self, script: str, prefix: str, *arguments: str) -> Any:
        key = f"{self._namespace}@content{{{prefix}}}"
        return await self._evaluate(script, 2, key, f"{key}:users", *arguments)


def _noted(found: list[bytes]) -> Noted:
    name, tokens, left, idle = found[:4]
    return Noted(name.decode(), int(tokens), int(left) / 1000, int(idle) / 1000, found[4:] == [b"1"])


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
