"""Adds every LLMCache to the queue from time to time, so that no missed event is missed for long."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from llmcache_operator.errors import ApiError
from llmcache_operator.kube import Kube

log = logging.getLogger(__name__)

_RETRY_SECONDS = 5.0


class Resync:
    """The loop, and when it last went round."""

    def __init__(
        self,
        kube: Kube,
        namespaces: Sequence[str],
        add: Callable[[tuple[str, str], float], None],
        *,
        interval: float,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._kube = kube
        self._namespaces: Sequence[str | None] = namespaces or [None]
        self._add = add
        self._interval = interval
        self._clock = clock
        self._random = random
        self._ticked: float | None = None

    @property
    def silence(self) -> float | None:
        """Seconds since the last round; None before the first, and while it does not run."""
        return None if self._ticked is None else self._clock() - self._ticked

    async def run(self) -> None:
        """Go round until cancelled: at once, and then every interval."""
        try:
            await self._run()
        finally:
            self._ticked = None

    async def _run(self) -> None:
        first = True
        while True:
            try:
                names = await self._names()
            except ApiError as error:
                log.warning("resync: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for name in names:
                # Spread over a tenth of the interval: the API server has other clients.
                self._add(name, 0.0 if first else self._random() * self._interval / 10)
            self._ticked, first = self._clock(), False
            await asyncio.sleep(self._interval)

    async def _names(self) -> list[tuple[str, str]]:
        lists = [await self._kube.list("LLMCache", namespace) for namespace in self._namespaces]
        return [(item["metadata"]["namespace"], item["metadata"]["name"]) for items in lists for item in items]
