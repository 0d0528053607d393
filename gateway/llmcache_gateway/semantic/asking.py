"""Asking an upstream for something of the gateway's own: a small question in JSON, an answer that is held whole."""

from typing import Any, Final

from multidict import CIMultiDict

from llmcache_gateway.errors import UpstreamError
from llmcache_gateway.plainjson import dumps
from llmcache_gateway.plaintext import brief
from llmcache_gateway.upstreams.base import Call, Upstream

_OF_CREDENTIALS: Final = frozenset({401, 403})
"""Refusals that may repeat the credential: nothing of them is kept."""


async def ask(upstream: Upstream, target: str, asked: dict[str, Any], *, what: str, most: int) -> bytes:
    """Return the body of a good answer, of `most` bytes at most; UpstreamError, which says for `what`, otherwise."""
    headers = CIMultiDict({"Content-Type": "application/json"})
    held = bytearray()
    async with upstream.send(Call("POST", target, headers, dumps(asked), decoded=True)) as answer:
        async for chunk in answer.chunks:
            held += chunk
            if len(held) > most:
                raise UpstreamError(f"upstream {upstream.name!r} gave too large an answer for {what}")
        if answer.status != 200:
            said = "" if answer.status in _OF_CREDENTIALS else brief(held)
            raise UpstreamError(f"upstream {upstream.name!r} answered {answer.status} for {what}", said=said)
    return bytes(held)
