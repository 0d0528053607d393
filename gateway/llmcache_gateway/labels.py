"""What sampled hits have told: kept for a while, and shared by replicas where they share a Redis."""

import math

import msgspec

from llmcache_gateway.errors import BadEntryError


class Label(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """One sampled hit: how similar the questions were, whether its answer was wrong, and when that was found out."""

    similarity: float
    wrong: bool
    at: float
    id: str
    """Tells it from others, wherever they were found out."""


class Drift(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A change of what hits are like: labels from before `since` say nothing of what is served now."""

    since: float
    held: float
    """The threshold that was in force, infinite where nothing was served: held until there are labels enough again."""

    at: float


class Told(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A label, or a drift, and what it belongs to."""

    policy: str
    judged_by: str
    """Identity of what decides: labels of another embedding model, or verifier, say nothing of this one's hits."""

    what: Label | Drift


_decoder = msgspec.msgpack.Decoder(Told)


def to_bytes(told: Told) -> bytes:
    """Return it as it is kept outside this process."""
    return msgspec.msgpack.encode(told)


def from_bytes(value: bytes) -> Told:
    """Return what was kept; BadEntryError, and no other, when it is nothing of the kind."""
    try:
        told = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadEntryError(f"the kept label can't be read: {error}") from None
    what = told.what
    sound = (
        0.0 <= what.similarity <= 1.01 and math.isfinite(what.at)
        if isinstance(what, Label)
        else math.isfinite(what.since) and what.since <= what.at < math.inf and what.held >= 0.0
    )
    if not sound:
        raise BadEntryError("the kept label has numbers that none can have")
    return told
