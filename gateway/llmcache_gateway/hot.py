"""The requests that are asked most, in bounded memory, in a form that can be asked again (`llmcache-gateway warm`).

They hold what clients wrote: they are shown on the admin port only, to who has its token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from multidict import CIMultiDict, CIMultiDictProxy

from llmcache_gateway.freshness import FOREVER, NAMESPACE_HEADER, TAGS_HEADER, TTL_HEADER, Controls
from llmcache_gateway.headers import counted, may_be_secret
from llmcache_gateway.plainjson import raw_members
from llmcache_gateway.sketch import Counter, SpaceSaving

COUNTERS_EACH: Final = 10
"""Counters for each request that is shown: what comes more often than one in that many times it has a counter."""

MAX_REQUEST_BYTES: Final = 128 * 1024
"""Longest request that is kept."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Most bytes of requests that are kept together."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it can be asked again, without its credential."""

    tenant: str
    model: str | None
    path: str
    headers: Mapping[str, str]
    body: bytes
    digest: str = ""
    """That of its key, equal on all gateways."""

    @property
    def weight(self) -> int:
        """About how many bytes it holds."""
        return len(self.body) + len(self.path) + sum(len(name) + len(value) for name, value in self.headers.items())


class HotRequests:
    """Counts requests by the digest of their key, which the prefix version is no part of.

    A request is kept from the second time on that it is seen: a scan over requests that never come again counts them,
    and keeps none. When there is no room left, those that came least often are let go.
    """

    def __init__(self, requests: int, max_bytes: int = MAX_BYTES) -> None:
        self.requests = requests
        self._max_bytes = max_bytes
        self._sketch: SpaceSaving[Asked] = SpaceSaving(requests * COUNTERS_EACH)
        self._bytes = 0
        self._floor = 0  # there was no room for a request that came so often

    @property
    def bytes(self) -> int:
        """How many bytes of requests are kept."""
        return self._bytes

    def count(self, key: str) -> bool:
        """Count a request by its stored key; say whether it is to be kept now."""
        if not self.requests:
            return False
        counter, lost = self._sketch.add(key.rpartition(":")[2])
        if lost is not None and lost.item is not None:
            self._bytes -= lost.item.weight
            self._floor = 0
        return (
            counter.item is None
            and not counter.unfit
            and counter.count > self._floor
            and counter.count - counter.error > 1
        )

    def keep(self, key: str, asked: Asked | None) -> None:
        """Keep a request that was counted, if there is room or those that came less often make some.

        None says that it can't be asked again: it is not offered any more.
        """
        counter = self._sketch.get(key.rpartition(":")[2])
        if counter is None or counter.item is not None:
            return
        if asked is None or asked.weight > min(MAX_REQUEST_BYTES, self._max_bytes):
            counter.unfit = True
            return
        weight = asked.weight
        if self._bytes + weight > self._max_bytes and not self._make_room(counter, weight):
            self._floor = counter.count
            return
        counter.item = asked
        self._bytes += weight

    def top(self, limit: int) -> list[tuple[Asked, Counter[Asked]]]:
        """Return the requests that were asked most, first the most, at most as many as are wanted."""
        kept = [(counter.item, counter) for counter in self._sketch.top() if counter.item is not None]
        return kept[: min(limit, self.requests)]

    def _make_room(self, counter: Counter[Asked], weight: int) -> bool:
        """Let go of requests that came less often than one, half of all room at once where there are so many."""
        for other in reversed(self._sketch.top()):
            if other.count >= counter.count or self._bytes <= self._max_bytes // 2:
                break
            if other.item is not None:
                self._bytes -= other.item.weight
                other.item = None
        return self._bytes + weight <= self._max_bytes


def asked(
    *,
    target: str,
    body: bytes,
    headers: CIMultiDict[str] | CIMultiDictProxy[str],
    controls: Controls,
    tenant: str,
    model: str | None,
    dropped: tuple[str, ...],
    digest: str,
) -> Asked | None:
    """Return a request as it can be asked again; None where it can't, would take a secret, or make another key."""
    fields = parse_qsl(target.partition("?")[2], keep_blank_values=True)
    own = {name.lower() for name in dropped}
    named = {name: ", ".join(values) for name, values in counted(headers, frozenset()).items() if name not in own}
    if any(map(may_be_secret, [*named, *(name for name, _ in fields)])):
        return None
    if controls.namespace:
        named[NAMESPACE_HEADER] = controls.namespace
    if controls.ttl != FOREVER:
        named[TTL_HEADER] = f"{int(controls.ttl)}"
    if controls.tags:
        named[TAGS_HEADER] = ", ".join(controls.tags)
    if controls.use_cache:
        members = raw_members(body)
        if members is None:
            return None
        body = msgspec.json.encode({**members, "cache": {"use-cache": True}})
    if not _can_be_told(named, body):
        return None
    return Asked(tenant, model, target, named, body, digest)


def _can_be_told(headers: Mapping[str, str], body: bytes) -> bool:
    """Say whether a request can stand in a list, so that one client's can't spoil the list for all the others.

    Bytes beyond ASCII in a header, and halves of surrogate pairs, are taken from clients, but not by every reader.
    """
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        return False
    try:
        msgspec.json.decode(b"[[[[%b]]]]" % body)  # as deep as a list has it
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def shown(requests: list[tuple[Asked, Counter[Asked]]]) -> list[dict[str, Any]]:
    """Return requests as the admin port shows them; each, without its counts, is a line for `warm`."""
    return [
        {
            "tenant": one.tenant,
            "model": one.model,
            "count": counter.count,
            "error": counter.error,
            "digest": one.digest,
            "path": one.path,
            "headers": one.headers,
            "body": msgspec.Raw(one.body),
        }
        for one, counter in requests
    ]
