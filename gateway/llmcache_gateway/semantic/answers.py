"""Whether two answers say the same: what a judge, and the error budget, go by. Pure."""

from typing import Final

from llmcache_gateway.dialects.base import Dialect
from llmcache_gateway.entry import Entry
from llmcache_gateway.plainjson import loads

ANSWERS_ALIKE: Final = 0.85
"""Cosine of two answers from which on they say the same."""


def text_of(dialect: Dialect, entry: Entry | None) -> str | None:
    """Return what a stored answer says; None where there is none, or it is more, or other, than one text."""
    if entry is None:
        return None
    try:
        return dialect.answer_text(dialect.assemble(entry.blocks) if entry.form == "sse" else loads(entry.blocks[0]))
    except ValueError:
        return None


def say_the_same(one: str, other: str) -> bool:
    """Say whether two answers are equal but for case, space and punctuation."""
    return _evened(one) == _evened(other)


def _evened(text: str) -> str:
    return " ".join("".join(one if one.isalnum() else " " for one in text.casefold()).split())
