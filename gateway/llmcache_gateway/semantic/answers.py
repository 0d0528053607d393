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

MOST_GUARDED: Final = 2**13
"""Longest answer that guards read, which find the more to compare the longer it is."""

_PIECES: Final = re.compile(
    r"(?P<told>[^\W_]+|(?<!\w)-(?=\d)"
    r"|%|(?<=\w)#|@+(?=\w)|(?<=\w)&(?=\w)"  # 50%, C#, @@name, R&D
    r"|(?<=\d)[.*:](?=\d)|(?<=\d)!|(?<=\b[^\W\d_])-(?!\w))"  # 1.2, 2*3, 5!, and A- as a mark
    r"|(?P<other>[^\w\s])"
)
"""Words, what else says something, and any other character that is none of a word."""

_FRACTION: Final = re.compile(r"(?<![\w/.-])(\d+)/(\d+)(?![\w/])")
"""Not of a date, which may be written with slashes or without."""

_SYMBOLS: Final = frozenset({"Sm", "Sc", "So", "Mn", "Mc", "Me"})
"""Categories of signs that say something: of mathematics, of money, others (emoji among them), and vowels and accents
that are written as marks."""


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
    plain = _FRACTION.sub(r"\1÷\2", unicodedata.normalize("NFC", text.casefold()))
    pieces = _PIECES.finditer(plain)
    return [
        each.group() for each in pieces if each.lastgroup == "told" or unicodedata.category(each.group()) in _SYMBOLS
    ]
