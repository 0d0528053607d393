"""Takes and holds a Lease, so that of several operators one works. What to do is decided in `lease`."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from llmcache_operator.errors import ApiError, Conflict, LeaseLost
from llmcache_operator.kube import Kube
from llmcache_operator.lease import Move, Sighting, Timing, move, released, sighted, written

log = logging.getLogger(__name__)

# Of the time to renew in, what one request to the API server may take: a silent one is tried again.
_REQUEST_SHARE = 0.4


class Election:
    """One candidate for a Lease."""

    def __init__(
        self,
        kube: Kube,
        key: tuple[str, str],
        me: str,
        *,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        timing: Timing | None = None,
    ) -> None:
        self._kube = kube
        self._key = key
        self._me = me
        self._clock = clock
        self._wall = wall
        self._timing = timing or Timing()
        self._seen: Sighting | None = None
        self._renewed: float | None = None
        self.trouble = ""
        """Why the Lease could not be read or written the last time; nothing while it can, whoever holds it."""

    @property
    def leading(self) -> bool:
        """Whether this candidate may work now."""
        return self._renewed is not None and self._clock() < self._renewed + self._timing.renew_deadline

    async def won(self, stopped: asyncio.Event) -> bool:
        """Wait until this candidate leads; False when the process is to stop before that."""
        told = False
        while not stopped.is_set():
            if await self._attempt():
                log.info("leading: this operator, %s, holds the Lease %s/%s", self._me, *self._key)
                return True
            if not told and self._seen is not None:
                log.info("standing by: %s holds the Lease %s/%s", self._seen.spec.get("holderIdentity"), *self._key)
                told = True
            try:
                await asyncio.wait_for(stopped.wait(), self._timing.retry)
            except TimeoutError:
                continue
        return False

    async def hold(self) -> None:
        """Renew the Lease until cancelled; LeaseLost when that can't be done in time, or somebody else has it."""
        while True:
            await asyncio.sleep(self._timing.retry)
            if await self._attempt():
                continue
            holder = self._seen.spec.get("holderIdentity") if self._seen is not None else None
            if holder and holder != self._me:
                self._renewed = None
                raise LeaseLost(f"{holder} has taken the Lease {'/'.join(self._key)}")
            if not self.leading:
                raise LeaseLost(f"the Lease {'/'.join(self._key)} could not be renewed in time")

    async def release(self) -> None:
        """Let somebody else lead at once. The work must have ended."""
        if not self.leading:
            return
        self._renewed = None
        try:
            async with asyncio.timeout(self._timing.retry):
                lease = await self._kube.get("Lease", *self._key)
                if lease is not None and lease["spec"].get("holderIdentity") == self._me:
                    await self._kube.replace(released(lease, self._stamp()))
                    log.info("released the Lease %s/%s", *self._key)
        except (ApiError, TimeoutError) as error:
            log.warning("the Lease %s/%s is not released and will run out: %r", *self._key, error)

    async def _attempt(self) -> bool:
        """Take or renew the Lease, and return whether that was done."""
        began = self._clock()
        try:
            async with asyncio.timeout(self._timing.renew_deadline * _REQUEST_SHARE):
                lease = await self._kube.get("Lease", *self._key)
                self._seen = sighted(lease, self._seen, self._clock())
                chosen = move(self._seen, self._me, self._timing, self._clock())
                if chosen is Move.WAIT:
                    return self._went(False)
                mine = written(lease, self._key, self._me, self._timing, self._stamp())
                await (self._kube.create(mine) if chosen is Move.CREATE else self._kube.replace(mine))
        except Conflict:
            return self._went(False)
        except (ApiError, TimeoutError) as error:
            return self._went(
                False, f"the Lease {'/'.join(self._key)} can't be had: {str(error) or 'no answer in time'}"
            )
        # Counted from before the request: by the time that others count from, it had not been sent.
        self._renewed = began
        return self._went(True)

    def _went(self, done: bool, trouble: str = "") -> bool:
        if trouble and trouble != self.trouble:
            log.warning("%s", trouble)
        self.trouble = trouble
        return done

    def _stamp(self) -> str:
        return self._wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
