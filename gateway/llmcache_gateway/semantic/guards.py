"""Refuses two questions as one when a fact that decides the answer differs. Pure, and each guard has a name.

Where two are worded alike, what differs is what is asked. Where they are worded otherwise throughout, a fact that only
one of them states may be said by the other in words that no list knows, or be told by the way: then a guard raises a
doubt, and a verifier decides. A fact that both state, and not the same, is never a matter of words.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.lexicon import LEXICON, stem
from llmcache_gateway.semantic.order import exchanged, sides

GuardName = Literal[
    "number",
    "unit",
    "date",
    "identifier",
    "sign",
    "accent",
    "quote",
    "code",
    "name",
    "negation",
    "opposite",
    "direction",
    "order",
    "question",
]
GUARDS: Final[tuple[GuardName, ...]] = get_args(GuardName)

_NEGATION = re.compile(
    r"\b(?:not|never|no|none|nobody|nothing|nowhere|neither|nor|cannot|without|\w+n['’]t|non)\b|\w-free\b"
)
_AUXILIARY = r"(?:is|are|do|does|did|was|were|should|could|would)"
_NO_NEGATION = re.compile(
    r"\byes (?:or|/) ?no\b|\b(?:why|or|if) not\b|\bnot (?:only|sure|the same)\b|\bno (?:matter|longer)\b"
    r"|\b(?:do not|don't|didn't) (?:know|understand|remember|get) |\bno\. ?\d"
    r"|\b(?:no|not) (?:over|under|(?:more|less|fewer) than)\b"
    rf"|,? {_AUXILIARY}n't (?:it|they|he|she|you|we)\?|^{_AUXILIARY}n't\b"
)
_OF_ALL_TIME = re.compile(r"\bof all time\b")
"""Here "all" is not the opposite of some."""

_WITHOUT_SAYING_NOT = re.compile(
    r"\b(?:forg[eo]t\w*|lack\w*|free|avoid\w*|fail\w*|refus\w*|unable|impossible|stop\w*|prevent\w*|miss\w*|unless"
    r"|except\w*|exclud\w*|outside|outsiders?|other than|instead|stuck|broken|den(?:y|ied|ies)|forbid\w*|forbidden"
    r"|ban(?:ned|s)?|illegal|absen\w+|skip\w*|late|overdue|un\w{4,}|dis\w{4,}|in(?:valid|active|visible|eligible|complete)"
    r"|\w{3,}less|hardly|rarely|no longer|keeps? .{1,30} from|trouble|problem\w*)\b"
)
_ASKS: Final = {
    "how many": r"how many|number of|count of",
    "how long": r"how long|how much time|what(?:'s| is) the time needed",
    "how much": r"how much|what does .{1,60} cost|price of|cost of",
    "how often": r"how often|how frequently",
    "how old": r"how old|what age|age of",
    "how far": r"how far|distance",
    "when": r"when (?!i |you |we |my |the )|what time|on (?:which|what) (?:date|day)|(?:which|what) year|from when",
    "where": r"where|in (?:which|what) (?:place|country|city)",
    "who": r"who|whom|by whom",
    "why": r"why|how come|what(?: is|'s| are|) the reasons?|what makes|for what reason|what causes",
    "how": r"how (?:do|can|could|should|would|to)\b",
}
_FIRST_ASKED = [(name, re.compile(rf"\b(?:{pattern})", re.IGNORECASE)) for name, pattern in _ASKS.items()]
_INTERCHANGEABLE: Final = (
    frozenset({"how", "where"}),
    frozenset({"how", "how much"}),
    frozenset({"how long", "when"}),
    frozenset({"how long", "how many"}),
    frozenset({"how long", "how far"}),
    frozenset({"how many", "how far"}),
)


_LISTED = re.compile(r"\b(?:and|or|vs|versus|between|compar\w*|differ\w*)\b", re.IGNORECASE)
_WAY: Final = {"over": "more", "at least": "more", "under": "less", "at most": "less", "exactly": "exactly"}

ALIKE: Final = 3
"""Content words that only one of two questions has, up to which they are worded alike."""

SHARED: Final = 0.5
"""The share of content words in both from which on they are worded alike."""

ENGLISH: Final = 3
"""Common English words that one of two questions has, at least, where anything is taken for a matter of words."""


@dataclass(frozen=True, slots=True)
class Differences:
    """What the guards found between two questions: each guard, in the order of GUARDS, and whether that decides."""

    found: tuple[tuple[GuardName, bool], ...] = ()

    def refusing(self, *, verified: bool) -> GuardName | None:
        """The guard that holds the two apart, None when none does. A doubt does, where no verifier decides it."""
        return next((name for name, firm in self.found if firm or not verified), None)


def differences(asked: str, stored: str) -> Differences:
    """All that the guards find between the two."""
    return differences_of(Facts(asked), Facts(stored))


def differences_of(one: Facts, other: Facts) -> Differences:
    """The same of what stands in them, which is read once of a question that many are compared with."""
    found = tuple(_found(one, other))
    if not found:
        return Differences()
    alike = _worded_alike(one, other)
    return Differences(tuple((name, alike or _decides(name, one, other)) for name in found))


def rejected_by(asked: str, stored: str) -> GuardName | None:
    """The first guard that finds a difference, or None when none does."""
    return next(_found(Facts(asked), Facts(stored)), None)


def _found(one: Facts, other: Facts) -> Iterator[GuardName]:
    """The guards that find a difference, looked for as far as is asked for."""
    if one.text != other.text:
        yield from (name for name in GUARDS if _CHECKS[name](one, other))


def _worded_alike(one: Facts, other: Facts) -> bool:
    """Whether their words are much the same. Where the words are not English nobody can tell, so they are."""
    if max(sum(word in LEXICON.common for word in facts.words) for facts in (one, other)) < ENGLISH:
        return True
    mine, yours = set(one.content), set(other.content)
    return len(mine ^ yours) <= ALIKE or len(mine & yours) >= SHARED * len(mine | yours)


def _decides(name: GuardName, one: Facts, other: Facts) -> bool:
    """Whether a difference holds even where the wording is another throughout: where both state the fact."""
    extra = _EXTRA.get(name)
    if extra is None:
        return name not in _SAID_BY_ONE
    return bool(extra(one, other)) and bool(extra(other, one))


def _numbers(one: Facts, other: Facts) -> bool:
    """Differs when the numbers do, or when two have changed places: "one desk for two people", "two desks for one"."""
    if one.quantities != other.quantities:
        ages_alone = one.ages == other.ages and one.aged == other.aged and one.bounds == other.bounds
        return not (one.aged and ages_alone)
    return bool(one.quantities) and _said_otherwise(one.counts, other.counts) > (1 if _listed(one, other) else 0)


def _listed(one: Facts, other: Facts) -> bool:
    """Whether either lists things, "Python 2 or Python 3", "UK and US taxes": which comes first says nothing then."""
    return any(_LISTED.search(facts.text) for facts in (one, other))


def _said_otherwise(mine: frozenset[tuple[Any, Any]], yours: frozenset[tuple[Any, Any]]) -> int:
    """Of how many things each says something that the other does not say. Of each: the thing, what is said of it."""
    return len({thing for thing, _ in mine - yours} & {thing for thing, _ in yours - mine})


def _units(one: Facts, other: Facts) -> bool:
    """Differs when each names a unit that the other does not, or writes one with another capital; times with a number
    are compared as numbers already.
    """
    if any(one.cased[word] != other.cased[word] for word in one.cased.keys() & other.cased.keys()):
        return True
    if any(dimension == "time" for dimension, _ in (*one.quantities, *other.quantities)):
        return False
    return bool(one.units - other.units) and bool(other.units - one.units)


def _dates(one: Facts, other: Facts) -> bool:
    apart = bool(one.dayparts - other.dayparts) and bool(other.dayparts - one.dayparts)
    return one.dates != other.dates or apart


def _identifiers(one: Facts, other: Facts) -> bool:
    return not (_written(one.identifiers, other) and _written(other.identifiers, one))


def _written(identifiers: frozenset[str], facts: Facts) -> bool:
    """Whether the text has them all; one word may be two there: "iphone14" and "iPhone 14"."""
    joined = {a + b for a, b in zip(facts.words, facts.words[1:], strict=False)}
    return identifiers <= facts.identifiers | joined | set(facts.words)


def _signs(one: Facts, other: Facts) -> bool:
    return one.signs != other.signs or bool(_signed(one, other)) or bool(_signed(other, one))


def _signed(one: Facts, other: Facts) -> frozenset[tuple[float, str]]:
    """How one bounds numbers, unlike the other, that both have and either writes with a sign."""
    signed = (one.bounded_by_sign | other.bounded_by_sign) & {number for number, _ in other.bounds}
    return frozenset(bound for bound in one.bounds - other.bounds if bound[0] in signed)


def _accents(one: Facts, other: Facts) -> bool:
    """Differs when a word of one is another's but for its accents, which the models take off."""
    mine, yours = frozenset(one.words) - frozenset(other.words), frozenset(other.words) - frozenset(one.words)
    return not {_bare(word) for word in mine}.isdisjoint(map(_bare, yours))


def _bare(word: str) -> str:
    return "".join(each for each in unicodedata.normalize("NFD", word) if not unicodedata.combining(each))


def _quotes(one: Facts, other: Facts) -> bool:
    if one.quotes and other.quotes:
        return one.quotes != other.quotes
    return any(
        not _says(facts, quote) for quotes, facts in ((one.quotes, other), (other.quotes, one)) for quote in quotes
    )


def _code(one: Facts, other: Facts) -> bool:
    return any(
        code.lower() not in facts.lower and code.lower().removesuffix("s") not in LEXICON.names
        for found, facts in ((one.code, other), (other.code, one))
        for code in found
    )


def _names(one: Facts, other: Facts) -> bool:
    """Differs when a known name is missing on one side, each side has a name that the other never says, or both say
    another one of the same: "Indian citizens in the US", "US citizens in India"."""
    missing, extra = _unsaid(one, other), _unsaid(other, one)
    if (missing and extra) or any(name in LEXICON.names for name in missing | extra):
        return True
    return not _listed(one, other) and _said_otherwise(one.named, other.named) > 0


def _negations(one: Facts, other: Facts) -> bool:
    """Differs when one side says "not" and the other has nothing that could say the same without it."""
    first, second = _negated(one), _negated(other)
    if (first > 0) == (second > 0):
        return (
            abs(first - second) == 1 and min(first, second) > 0 and len(one.words) == len(other.words) + first - second
        )
    positive = other if first else one
    negative = one if first else other
    return len(_WITHOUT_SAYING_NOT.findall(positive.lower)) <= len(_WITHOUT_SAYING_NOT.findall(negative.lower))


def _opposites(one: Facts, other: Facts) -> bool:
    if _compared_the_other_way(one, other):
        return False
    mine, yours = (
        words - {"all"} if facts.words.count("all") == len(_OF_ALL_TIME.findall(facts.lower)) else words
        for facts, words in zip((one, other), _apart(one, other), strict=True)
    )
    return any(LEXICON.opposed(a, b) for a in mine for b in yours)


def _directions(one: Facts, other: Facts) -> bool:
    mine, yours = _apart(one, other)
    if _compared_the_other_way(one, other):
        return False
    if any(b in LEXICON.directions.get(a, ()) for a in mine for b in yours):
        return True
    return _said_otherwise(_ways(one), _ways(other)) > 0


def _ways(facts: Facts) -> frozenset[tuple[float, str]]:
    """Which way each bounded number is bounded; whether it is itself within, people seldom mean to say in words."""
    return frozenset((number, _WAY[how]) for number, how in facts.bounds if how)


def _order(one: Facts, other: Facts) -> bool:
    return exchanged(one, other)


def _question(one: Facts, other: Facts) -> bool:
    first, second = _asks(one.text), _asks(other.text)
    if first is None or second is None or first == second:
        return False
    return not any({first, second} <= pair for pair in _INTERCHANGEABLE)


_CHECKS: Final[dict[GuardName, Callable[[Facts, Facts], bool]]] = {
    "number": _numbers,
    "unit": _units,
    "date": _dates,
    "identifier": _identifiers,
    "sign": _signs,
    "accent": _accents,
    "quote": _quotes,
    "code": _code,
    "name": _names,
    "negation": _negations,
    "opposite": _opposites,
    "direction": _directions,
    "order": _order,
    "question": _question,
}

_EXTRA: Final[dict[GuardName, Callable[[Facts, Facts], object]]] = {
    "number": lambda one, other: (
        one.counts - other.counts if one.quantities == other.quantities else _more(one.quantities, other.quantities)
    ),
    "date": lambda one, other: (one.dates | one.dayparts) - (other.dates | other.dayparts),
    "identifier": lambda one, other: one.identifiers - other.identifiers,
    "sign": lambda one, other: (
        _more(one.signs[0], other.signs[0]) or one.signs[1] - other.signs[1] or _signed(one, other)
    ),
    "quote": lambda one, other: one.quotes - other.quotes,
    "code": lambda one, other: one.code - other.code,
    "name": lambda one, other: _unsaid(one, other) or (one.named - other.named if one.names == other.names else ()),
}
"""What one question states and the other does not, of facts that may be stated by one alone."""

_SAID_BY_ONE: Final[frozenset[GuardName]] = frozenset({"negation"})
"""Guards that look for a word in one question only. Those in neither table find something in both."""


def _more(mine: Iterable[Any], yours: Iterable[Any]) -> Counter[Any]:
    """What one has more often than the other."""
    return Counter(mine) - Counter(yours)


def _says(facts: Facts, quote: str) -> bool:
    return quote in facts.lower or all(stem(word) in facts.vocabulary for word in re.findall(r"\w+", quote))


def _unsaid(one: Facts, other: Facts) -> set[str]:
    """Names that only one of them says, but for those beside a name that both say (a first name, a maker), and for the
    currency of an amount where the other states an amount, too."""
    missing = {name for name in one.names if not _mentions(other, name)}
    if any(unit.startswith("money:") for unit in other.units):  # then amounts are compared by their units
        missing -= one.currencies
    shared = one.names - missing
    beside = {a for a, b in zip(one.words, one.words[1:], strict=False) if b in shared}
    beside |= {b for a, b in zip(one.words, one.words[1:], strict=False) if a in shared}
    return missing - beside


def _mentions(facts: Facts, name: str) -> bool:
    if name in facts.names or name in facts.vocabulary or stem(name) in facts.vocabulary:
        return True
    text = facts.lower
    if name in text or name.replace("-", " ") in text:
        return True
    if name in facts.abbreviated:
        return True
    if len(name) > 4 and name[:5] in facts.beginnings:  # Mexico and Mexican
        return True
    return len(name) > 2 and name.isalpha() and name in facts.initials


def _negated(facts: Facts) -> int:
    text = _NO_NEGATION.sub(" ", facts.spelled.lower().replace("’", "'").strip())
    return len(_NEGATION.findall(text))


def _apart(one: Facts, other: Facts) -> tuple[frozenset[str], frozenset[str]]:
    """Stems that only one of them has."""
    mine, yours = frozenset(one.stems), frozenset(other.stems)
    return mine - yours, yours - mine


def _compared_the_other_way(one: Facts, other: Facts) -> bool:
    """ "Is a bigger than b" and "is b smaller than a": opposite words, and the sides exchanged."""
    if "than" not in one.words or "than" not in other.words:
        return False
    left, right = sides(one)
    left2, right2 = sides(other)
    return bool(left & right2) and bool(right & left2)


def _asks(text: str) -> str | None:
    """What kind of answer is wanted, by the first words that say so; None when nothing does."""
    found = [
        (match.start(), number, name)
        for number, (name, pattern) in enumerate(_FIRST_ASKED)
        if (match := pattern.search(text[:80]))
    ]
    return min(found)[2] if found and min(found)[0] < 25 else None
