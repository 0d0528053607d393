"""Where what sampled hits have told is kept, for all replicas and for those to come."""

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from llmcache_gateway.errors import BadEntryError
from llmcache_gateway.labels import Told, from_bytes, to_bytes
from llmcache_gateway.stores.news import NEWS, TELL

log = logging.getLogger(__name__)

MAX_KEPT: Final = 20_000
"""About how many are kept, of all policies together: a megabyte or two. The oldest leave."""

READ_TOGETHER: Final = 1000
"""Most that are read at once."""


class LabelKeeper(Protocol):
    """Keeps what was told, in the order in which it came. Both methods may raise StoreError."""

    async def add(self, told: Told) -> None:
        """Keep it."""

    async def news(self) -> list[Told]:
        """Return what has come since the last call, this process' own included; at first all that is kept."""


class RedisLabels:
    """In a stream of a Redis. `evaluate` runs a script there; it raises StoreError."""

    def __init__(self, evaluate: Callable[..., Any], namespace: str) -> None:
        self._evaluate = evaluate
        self._name = f"{namespace}@labels"
        self._read_to = b"0-0"

    async def add(self, told: Told) -> None:
        await self._evaluate(TELL, 1, self._name, MAX_KEPT, "told", to_bytes(told))

    async def news(self) -> list[Told]:
        news: list[Told] = []
        read_to = self._read_to
        while found := await self._evaluate(NEWS, 1, self._name, b"(" + read_to, READ_TOGETHER):
            for _, fields in found:
                try:
                    news.append(from_bytes(fields[1]))
                except BadEntryError as error:
                    log.warning("a label was of no use: %s", error)
            read_to = found[-1][0]
        self._read_to = read_to  # only now: what was read before a failure is read again
        return news
