"""Whether two questions say of the same two things that each is the other's: from x to y, x before y, x beats y."""

import re
from collections import Counter
from itertools import combinations
from typing import Final

from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.lexicon import LEXICON, stem

_SYMMETRIC: Final = re.compile(
    r"\b(?:and|or|vs|versus|between|both|differ\w*|compar\w*|same|together|combine\w*|&)\b|,"
)
_TOGETHER: Final = re.compile(r"\b(?:differ\w*|compar\w*|combin\w*|together|compatible|vs|versus|between|both)\b")
_PASSIVE: Final = re.compile(r"\b(?:is|was|were|are|be|been|being|get|got)\b.{1,40}\bby\b")
_FROM: Final = frozenset({"from", "off"})
_TO: Final = frozenset({"to", "into", "onto"})
_AROUND: Final = frozenset(
    {
        "than",
        "before",
        "after",
        "over",
        "under",
        "above",
        "below",
        "by",
        "to",
        "for",
        "from",
        "into",
        "in",
        "with",
        "of",
    }
)


def exchanged(one: Facts, other: Facts) -> bool:
    """Whether the same things have changed places, and their places matter."""
    return (
        _ways_crossed(one, other)
        or _turned_around(one, other)
        or _compared(one, other)
        or _swapped(one, other)
        or _done_to_me(one, other)
        or _done_to_me(other, one)
    )


def _ways_crossed(one: Facts, other: Facts) -> bool:
    """Where one goes to is where the other comes from."""
    source, target = _way(one)
    source2, target2 = _way(other)
    crossed = (source & target2) | (target & source2)
    return bool(crossed - (source & source2) - (target & target2))


def _way(facts: Facts) -> tuple[set[str], set[str]]:
    """Stems of what stands after "from" and of what stands after "to", up to two content words each."""
    found: tuple[set[str], set[str]] = set(), set()
    for at, word in enumerate(facts.words):
        out_of = word == "of" and at > 0 and facts.words[at - 1] == "out"
        place = 0 if word in _FROM or out_of else 1 if word in _TO else None
        if place is None:
            continue
        room = (
            1 if facts.words[at + 1 : at + 2] and facts.words[at + 1] not in LEXICON.common else 2
        )  # "to turn it" names no place
        for following in facts.words[at + 1 : at + 5]:
            if following in _FROM | _TO or room == 0:
                break
            if following not in LEXICON.common:
                found[place].add(stem(following))
                room -= 1
    return found


def _turned_around(one: Facts, other: Facts) -> bool:
    """ "x to y" and "y into x": what is put somewhere, or made into something, has changed places with that."""
    return not _put(one).isdisjoint((target, thing) for thing, target in _put(other))


def _put(facts: Facts) -> set[tuple[str, str]]:
    """Stems of the content word before each "to", "into" and "onto", with each of the two after it."""
    found: set[tuple[str, str]] = set()
    for at, word in enumerate(facts.words):
        if word not in _TO:
            continue
        before = [each for each in reversed(facts.words[max(at - 2, 0) : at]) if each not in LEXICON.common]
        after = [each for each in facts.words[at + 1 : at + 4] if each not in LEXICON.common]
        found |= {(stem(each), stem(place)) for each in before[:1] for place in after[:2]}
    return found


def _done_to_me(one: Facts, other: Facts) -> bool:
    """ "Can I bring a guest" and "can a guest bring me": who does it is the other's whom it is done to."""
    if "i" not in one.words or "me" not in other.words or "i" in other.words:
        return False
    mine, whom = one.stems[one.words.index("i") + 1 :], other.words.index("me")
    doing = other.stems[whom - 1] if whom else ""
    if doing not in mine or other.words[whom - 1] in LEXICON.common:
        return False
    objects = {word for word in mine[mine.index(doing) + 1 :] if word not in LEXICON.common}
    return not objects.isdisjoint(other.stems[: whom - 1])


def _compared(one: Facts, other: Facts) -> bool:
    """Both compare with "than", by the same word, and the sides are exchanged."""
    if "than" not in one.words or "than" not in other.words:
        return False
    (left, right), (left2, right2) = _sides(one), _sides(other)
    shared = left & left2
    return bool((left - left2) & right2) and bool((left2 - left) & right) and bool(shared)


def _sides(facts: Facts) -> tuple[set[str], set[str]]:
    at = facts.words.index("than")
    content = ["" if word in LEXICON.common and word not in ("more", "most") else stem(word) for word in facts.words]
    return set(content[:at]) - {""}, set(content[at + 1 :]) - {""}


def _swapped(one: Facts, other: Facts) -> bool:
    """The same content words but for two that changed places, with one that holds them apart between them."""
    mine, yours = _content(one), _content(other)
    if len(mine) < 2 or Counter(mine) != Counter(yours):
        return _turned_passive(one, other)
    differing = [at for at, (a, b) in enumerate(zip(mine, yours, strict=True)) if a != b]
    if len(differing) != 2:
        return False
    first, second = differing
    if mine[first] != yours[second] or mine[second] != yours[first]:
        return False
    between, between2 = _between(one, mine[first], mine[second]), _between(other, mine[first], mine[second])
    if _SYMMETRIC.search(" ".join(between)) or _TOGETHER.search(one.text.lower()):
        return False
    held_apart = second - first > 1 or any(word in _AROUND for word in between)
    return held_apart and between == between2 and not _moved_along(one, other, mine[first], mine[second])


def _moved_along(one: Facts, other: Facts, first: str, second: str) -> bool:
    """Whether each took the word before it along, as in "for a in b" and "in b for a": then nothing changed."""
    return all(_before(one, word) == _before(other, word) and _before(one, word) in _AROUND for word in (first, second))


def _before(facts: Facts, word: str) -> str:
    at = facts.stems.index(word)
    return facts.words[at - 1] if at else ""


def _turned_passive(one: Facts, other: Facts) -> bool:
    """ "x bought y" and "x was bought by y": the same order of two names around one verb, in two voices."""
    if bool(_PASSIVE.search(one.text.lower())) == bool(_PASSIVE.search(other.text.lower())):
        return False
    mine, yours = _content(one), _content(other)
    verbs = {word for word in mine if word in yours}
    if len(verbs) < 3 or len(mine) > 5 or len(yours) > 5:
        return False
    for a, b in combinations([word for word in mine if word in verbs], 2):
        if yours.index(a) < yours.index(b) and mine.index(b) - mine.index(a) > 1:
            return True
    return False


def _content(facts: Facts) -> list[str]:
    return [stem(word) for word in facts.words if word not in LEXICON.common]


def _between(facts: Facts, first: str, second: str) -> list[str]:
    stems = facts.stems
    at, to = stems.index(first), len(stems) - 1 - stems[::-1].index(second)
    return [word for word in facts.words[min(at, to) + 1 : max(at, to)] if word not in ("a", "an", "the")]
