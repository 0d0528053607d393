"""The heads of the express lane's answers, each kept for as long as it says the truth: a second at most."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from aiohttp.http import SERVER_SOFTWARE

from llmcache_gateway.entry import Entry
from llmcache_gateway.exchange import Exchange, Question
from llmcache_gateway.freshness import steady_seconds
from llmcache_gateway.policy import Settings
from llmcache_gateway.server import Handler
from llmcache_gateway.stores.base import Found

MAX_KEPT: Final = 500
"""Most heads that are kept, each of the latest hit under one key."""

MAX_KEPT_ANSWER: Final = 64 * 1024
"""Longest answer whose head is kept: with it, its entry is."""


@dataclass(slots=True)
class _Kept:
    head: bytes
    entry: Entry
    settings: Settings
    what: tuple[str, str, int]
    second: int
    begun: float
    until: float


class HitHeads:
    """Writes the heads of hits. `clock` is the handler's: it tells ages, `time.time` the date."""

    def __init__(self, handler: Handler, clock: Callable[[], float]) -> None:
        self._handler = handler
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._date = (0, "")

    def head(
        self, exchange: Exchange, question: Question, found: Found, content_type: str, length: int
    ) -> bytes | None:
        """Return a fresh hit's head with the blank line behind it, and note the hit in the exchange.

        None for one with a value of two lines, which aiohttp would refuse too.
        """
        entry, tier = found
        key, settings, what = exchange.key or "", question.settings, (tier, content_type, length)
        now, second = self._clock(), int(time.time())
        kept = self._kept.get(key)
        # Prefix and version stand in the key; all else that a head tells of is compared.
        if (
            kept is not None
            and kept.entry is entry
            and kept.settings is settings
            and kept.what == what
            and kept.second == second
            and kept.begun <= now < kept.until
            and not exchange.explained
        ):
            self._handler.note_hit(exchange, entry, tier)
            return kept.head
        head = self._written(exchange, question, entry, what, second)
        if head is not None and length <= MAX_KEPT_ANSWER and not exchange.explained:
            until = now + steady_seconds(entry, now, settings.ttl)
            self._kept.pop(key, None)
            self._kept[key] = _Kept(head, entry, settings, what, second, now, until)
            if len(self._kept) > MAX_KEPT:
                del self._kept[next(iter(self._kept))]
        return head

    def forget(self) -> None:
        """Let go of all heads, and of the entries that they tell of."""
        self._kept.clear()

    def _written(
        self, exchange: Exchange, question: Question, entry: Entry, what: tuple[str, str, int], second: int
    ) -> bytes | None:
        tier, content_type, length = what
        headers = self._handler.hit_headers(exchange, question, entry, tier)
        headers["Content-Type"] = content_type
        lines = "\r\n".join([f"{name}: {value}" for name, value in headers.items()])
        if lines.count("\r") != len(headers) - 1 or lines.count("\n") != len(headers) - 1:
            return None
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return (
            f"HTTP/1.1 200 OK\r\n{lines}\r\nContent-Length: {length}\r\n"
            f"Date: {self._date[1]}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
        ).encode()
