"""Turns a stored entry into the bytes that this client asked for."""

from collections.abc import Iterable, Iterator
from itertools import accumulate

from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.dialects.framing import Framing
from llmcache_gateway.entry import Entry
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.policy import Pace
from llmcache_gateway.sse import CONTENT_TYPE

JSON_TYPE = "application/json"


def replay(entry: Entry, dialect: Dialect, request: Request) -> tuple[str, bytes]:
    """Return content type and body of a hit: streamed or not, as the request has it, whatever was recorded."""
    if request.stream and entry.form == "sse":
        blocks = dialect.personal_blocks(entry.blocks, request)
        return Framing(request).content_type(entry.content_type), _stream(blocks, dialect, request)
    if not request.stream and entry.form == "json" and not dialect.echoes:
        return entry.content_type, entry.blocks[0]
    answer = dialect.assemble(entry.blocks) if entry.form == "sse" else loads(entry.blocks[0])
    answer = dialect.personal(answer, request)
    if request.stream:
        return Framing(request).content_type(CONTENT_TYPE), _stream(dialect.replay(answer), dialect, request)
    return JSON_TYPE, dumps(answer)


def is_paced(entry: Entry, request: Request, pace: Pace | None) -> bool:
    """Say whether a hit takes time, because it is given with pauses."""
    return pace is not None and request.stream and entry.form == "sse" and any(entry.pauses)


def paced(entry: Entry, dialect: Dialect, request: Request, pace: Pace) -> tuple[str, list[tuple[float, bytes]]]:
    """Return content type and pieces of a hit that is paced, each with the seconds before it.

    Pieces are those in which the recorded stream came, as far as they end with an event.
    """
    due = _due(entry.pauses, pace)
    framing = Framing(request)
    pieces: list[tuple[float, bytes]] = []
    given = 0.0
    for at, block in zip(due, dialect.personal_blocks(entry.blocks, request), strict=True):
        shown = dialect.for_client(block, request)
        if shown is None:
            continue
        piece = framing.pieces([shown])
        if pieces and at == given:
            pieces[-1] = (pieces[-1][0], pieces[-1][1] + piece)
        else:
            pieces.append((at - given, piece))
            given = at
    if end := framing.end():
        pieces.append((0.0, end))
    return framing.content_type(entry.content_type), pieces


def _due(pauses: bytes, pace: Pace) -> Iterator[float]:
    """Return for each event when it is due, in seconds from the beginning."""
    bounded = [
        min(int.from_bytes(pauses[at : at + 2], "big") / 1000, pace.max_pause) for at in range(0, len(pauses), 2)
    ]
    total = sum(bounded)
    share = min(1.0, pace.max_total / total) if total else 1.0
    return accumulate(pause * share for pause in bounded)


def _stream(blocks: Iterable[bytes], dialect: Dialect, request: Request) -> bytes:
    shown = [block for block in (dialect.for_client(block, request) for block in blocks) if block is not None]
    framing = Framing(request)
    return framing.pieces(shown) + framing.end()
