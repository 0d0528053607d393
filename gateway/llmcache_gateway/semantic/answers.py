"""Whether two answers say the same: what a judge, and the error budget, go by. Pure."""

import re
import unicodedata
from typing import Final

from llmcache_gateway.config import Semantic
from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.entry import Entry
from llmcache_gateway.plainjson import loads
from llmcache_gateway.semantic.suitability import is_foreign

ANSWERS_ALIKE: Final = 0.85
"""Cosine of two answers from which on they say the same."""

MOST_CHARACTERS: Final = 2**16
"""Longest answer that is compared: to read a longer one would hold up requests, and fill the memory with tokens."""

_PIECES: Final = re.compile(r"[^\W_]+|(?<!\w)-(?=\d)|[^\w\s-]")
"""Words, the minus of a number, and any other character that is none of a word."""

_SYMBOLS: Final = frozenset({"Sm", "Sc", "So"})
"""Categories of signs that say something: of mathematics, of money, and others, emoji among them."""


def answer_of(dialect: Dialect, entry: Entry | None) -> object:
    """Return a stored answer as the body of an unstreamed call; None where there is none, or it makes none."""
    if entry is None:
        return None
    try:
        return dialect.assemble(entry.blocks) if entry.form == "sse" else loads(entry.blocks[0])
    except ValueError:
        return None


def text_of(dialect: Dialect, entry: Entry | None) -> str | None:
    """Return what a stored answer says; None where there is none, or it is more, or other, than one text."""
    return dialect.answer_text(answer_of(dialect, entry))


def whole_text(dialect: Dialect, request: Request, answer: object) -> str | None:
    """Return what an answer says; None also where it is cut off, filtered or refused, which a policy may store."""
    return dialect.answer_text(answer) if dialect.judge(answer, request).store else None


def say_the_same(one: str, other: str) -> bool:
    """Say whether two answers are equal but for case, space and punctuation."""
    return one == other or _evened(one) == _evened(other) != []


def is_legible(answer: str, semantic: Semantic) -> bool:
    """Say whether an answer's vector tells what it says: not where it has no words, or letters of another script."""
    return any(map(str.isalnum, answer)) and not is_foreign(answer, semantic)


def _evened(text: str) -> list[str]:
    return [piece for piece in _PIECES.findall(text.casefold()) if _says_something(piece[0])]


def _says_something(character: str) -> bool:
    return character.isalnum() or character == "-" or unicodedata.category(character) in _SYMBOLS
