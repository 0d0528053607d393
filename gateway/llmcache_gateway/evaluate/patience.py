"""An upstream that is asked again when it says "later": nobody waits for an evaluation but who started it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Final

from llmcache_gateway.errors import UpstreamError
from llmcache_gateway.plaintext import brief
from llmcache_gateway.retry_after import LATER, grown_seconds, told_seconds
from llmcache_gateway.upstreams.base import Answer, Call, Upstream

MOST_SECONDS: Final = 300.0
"""Longest that an evaluation waits for an upstream, all its pauses together."""

LEAST_SECONDS: Final = 1.0
"""Shortest pause: a Retry-After of 0 must not become a stream of calls."""

JITTER: Final = 0.25
"""By what share a pause is longer at most, so that evaluations that were refused together don't come back together."""

MOST_READ: Final = 2**16
"""Bytes of a refusal that are read."""

_FOR_GOOD: Final = b"insufficient_quota"
"""The `type` of OpenAI's 429 when there is nothing left to spend: that is not over in minutes."""


class Patience:
    """How long calls wait. Those that are refused meanwhile wait together, and it counts once."""

    def __init__(self, seconds: float) -> None:
        self.until = 0.0
        self._left = seconds

    def hold(self, seconds: float, longer: float, now: float) -> float | None:
        """Let no call be sent for so many seconds; return by how many the pause grows, None when fewer are left.

        A pause that is long enough already stays as it is; one that grows does so by `longer` seconds in addition,
        as far as there are so many left.
        """
        if now + seconds <= self.until:
            return 0.0
        begins = max(self.until, now)
        least = now + seconds - begins
        if least > self._left:
            return None
        more = min(least + longer, self._left)
        self._left -= more
        self.until = begins + more
        return more


class PatientUpstream:
    """Gives the answer of another upstream, after pauses for as long as that answers 429 or 503.

    UpstreamError, with what the upstream says, when the pauses would be longer than `MOST_SECONDS` in all. `say` is
    told of each; `random` gives numbers from 0 to 1, `clock` tells the seconds that `sleep` lets pass.
    """

    def __init__(
        self,
        upstream: Upstream,
        say: Callable[[str], None],
        *,
        random: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = upstream.name
        self.provider = upstream.provider
        self.translates = upstream.translates
        self.identity = upstream.identity
        self.passthrough = upstream.passthrough
        self.serves = upstream.serves
        self._upstream = upstream
        self._say = say
        self._random = random
        self._clock = clock
        self._sleep = sleep
        self._patience = Patience(MOST_SECONDS)

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Answer]:
        for attempt in count(1):
            while (seconds := self._patience.until - self._clock()) > 0:
                await self._sleep(seconds)
            async with self._upstream.send(call) as answer:
                if answer.status not in LATER:
                    yield answer
                    return
                refusal = await _beginning(answer)
            self._pause(answer, refusal, attempt)

    def _pause(self, answer: Answer, refusal: bytes, attempt: int) -> None:
        """Begin a pause after a refusal, and say so; UpstreamError when there is to be none."""
        refused, said = f"upstream {self.name!r} answered {answer.status}", brief(refusal)
        if _FOR_GOOD in refusal:
            raise UpstreamError(refused, said=said)
        told = told_seconds(answer.headers.get("Retry-After"), datetime.now(UTC))
        seconds = max(grown_seconds(attempt) if told is None else told, LEAST_SECONDS)
        now = self._clock()
        more = self._patience.hold(seconds, self._random() * JITTER * seconds, now)
        if more is None:
            message = (
                f"{refused}; to ask again after {seconds:.0f} s would be to wait more than {MOST_SECONDS:g} s in all"
            )
            raise UpstreamError(message, said=said)
        if more > 0:
            self._say(f"{refused}; asking again in {self._patience.until - now:.0f} s" + (f": {said}" if said else ""))


async def _beginning(answer: Answer) -> bytes:
    held = bytearray()
    async for chunk in answer.chunks:
        held += chunk
        if len(held) > MOST_READ:
            break
    return bytes(held)
