"""Who asks for cached contents, and pays: a model of an upstream's, with one credential."""

import asyncio
import re
from dataclasses import dataclass
from typing import Final

from multidict import CIMultiDict

from llmcache_gateway.contents import google
from llmcache_gateway.contents.google import Home, Made
from llmcache_gateway.errors import ContentError, UpstreamError
from llmcache_gateway.hint_stats import Side
from llmcache_gateway.hints import gemini
from llmcache_gateway.hints.contents import Route
from llmcache_gateway.hints.prompt import Place
from llmcache_gateway.upstreams.base import Call, Upstream

CALL_SECONDS: Final = 60.0
"""Longest that the provider may take to make a content: some hold an hour of video."""

MAX_ANSWER_BYTES: Final = 2**20

GONE: Final = frozenset({403, 404})
"""What the provider says of a content that it does not have, or not for this credential."""

_STATUS: Final = re.compile(rb'"status":\s*"([A-Z_]{1,40})"')


@dataclass(frozen=True, slots=True)
class Account:
    """Who is charged, by which prices, in multiples of that of a token of uncached input.

    `read` is that of one that a request has of a content, `storage` that of one that is kept for an hour.
    """

    policy: str
    side: Side
    read: float
    storage: float
    usd_per_token: float
    must_pay: bool
    """Whether none is to be made for a while where they cost more than they bring."""

    def making(self, tokens: int, ttl: float) -> float:
        """Return what a content costs that is made, in tokens of uncached input."""
        return tokens + self.keeping(tokens, ttl)

    def keeping(self, tokens: int, seconds: float) -> float:
        """Return what it costs to keep a content for so long."""
        return tokens * self.storage * seconds / 3600

    def brought(self, tokens: int, uses: int, paid: float) -> float:
        """Return what a content has brought that was used so often and paid for so long, less what it cost."""
        return uses * tokens * (1 - self.read) - self.making(tokens, paid)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose contents these are, and how the provider is asked about them. `speaker` are the headers that say who asks.

    Each method raises ContentError when the provider does not do it.
    """

    upstream: Upstream
    model: str
    home: Home
    speaker: CIMultiDict[str]
    account: Account

    @property
    def route(self) -> Route:
        """What a refusal is about that is not the prefix's."""
        return self.upstream.name, self.home.parent, self.home.model

    async def make(self, place: Place, body: bytes, ttl: float) -> Made:
        """Have a content made of a request's beginning up to a place."""
        said = {"model": self.home.model, "displayName": f"llmcache-{place.prefix.hex()}", "ttl": google.ttl(ttl)}
        try:
            wanted = gemini.creation(body, place, **said)
            return google.made(await self._ask(google.creating(self.home, self.speaker, wanted)))
        except ValueError as error:
            raise ContentError(str(error)) from None

    async def renew(self, name: str, ttl: float) -> None:
        """Have a content kept for so long from now."""
        await self._ask(google.renewing(self.home, self.speaker, name, ttl))

    async def delete(self, name: str) -> None:
        """Have a content deleted."""
        await self._ask(google.deleting(self.home, self.speaker, name))

    async def _ask(self, call: Call) -> bytes:
        held, name = bytearray(), self.upstream.name
        try:
            async with asyncio.timeout(CALL_SECONDS), self.upstream.send(call) as answer:
                async for chunk in answer.chunks:
                    held += chunk
                    if len(held) > MAX_ANSWER_BYTES:
                        raise ContentError(f"the answer of upstream {name!r} is too long")
        except TimeoutError:
            raise ContentError(f"upstream {name!r} has not answered within {CALL_SECONDS:g} s") from None
        except UpstreamError as error:
            raise ContentError(error.message) from None
        if answer.status != 200:
            raise ContentError(f"upstream {name!r} says {_said(answer.status, held)}", status=answer.status)
        return bytes(held)


def _said(status: int, answer: bytes | bytearray) -> str:
    """Return what the provider says, without its own words: they may repeat some of the prompt."""
    found = _STATUS.search(answer)
    reason = found[1].decode() if found is not None else "for no reason that is known"
    return f"{status} {reason}{', it is too short' if b'too small' in answer else ''}"
