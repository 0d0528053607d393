"""Whether two questions name the same places and each says of one what the other says of the other: from and to, into,
instead of."""

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Final, Literal

from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.lexicon import LEXICON

Way = Literal["from", "to"]

SENTENCE: Final = re.compile(r"\b(?:is|are|was|were|do|does|did|can|could|may|might|must|should|will|would|has|have)\b")
LONGEST: Final = 40
"""Content words of a question up to which it is looked at word by word what stands on either side."""

_INSTEAD: Final = re.compile(r"\b(?:instead of|in place of|rather than) ")
_REPLACED: Final = re.compile(
    r"(?<![\w'’-])(?P<before>(?:[\w'’-]+ ){1,3})(?:be|is|are|been) replaced\b|\breplac(?:e|es|ing) "
)
_REPLACED_BY: Final = re.compile(r"\b(?:with|by|in|for|when|if|to|as)\b|[,.;?]")
_FROM_TO: Final = re.compile(r"\bfrom ((?:[\w'’-]+ ){1,3})to ((?:[\w'’-]+ ?){1,2})")
_ARTICLES: Final = frozenset({"a", "an", "the", "my", "your", "our", "their", "his", "her", "its"})
_FROM: Final = frozenset({"from", "off"})
_TO: Final = frozenset({"to", "into", "onto"})


def crossed(one: Facts, other: Facts) -> bool:
    """Whether a source, a target, or what something is taken for, has changed places with something else."""
    return (
        _ways_crossed(one, other)
        or _each_elsewhere(one, _sources(one), other, _sources(other))
        or _each_elsewhere(one, _targets(one), other, _targets(other))
        or _replaced_crossed(one, other)
        or _turned_around(one, other)
        or _named_in_turn(one, other)
        or _named_in_turn(other, one)
    )


def _ways_crossed(one: Facts, other: Facts) -> bool:
    """Where one goes to is where the other comes from."""
    source, target = _way(one)
    source2, target2 = _way(other)
    crossed = (source & target2) | (target & source2)
    return bool(crossed - (source & source2) - (target & target2))


def _each_elsewhere(one: Facts, mine: set[str], other: Facts, yours: set[str]) -> bool:
    """ "visit Mexico from Canada" and "visit Canada from Mexico": what only one has in a place stands elsewhere in the
    other, and the reverse."""
    here, there = set(one.stems) - mine, set(other.stems) - yours
    return bool((mine - yours) & there) and bool((yours - mine) & here)


def _opened(facts: Facts) -> Iterator[tuple[Way, int]]:
    """Of each "from", "off", "out of", "to", "into" and "onto": which way it says, and where the word after it is."""
    for at, word in enumerate(facts.words):
        if word in _FROM or (word == "of" and facts.words[at - 1 : at] == ["out"]):
            yield "from", at + 1
        elif word in _TO:
            yield "to", at + 1


def _sources(facts: Facts) -> set[str]:
    """Stems of all that is named after "from", "off" and "out of"."""
    return {stemmed for way, at in _opened(facts) if way == "from" for _, stemmed in phrase(facts, at)}


def _targets(facts: Facts) -> set[str]:
    """Stems of all that is named after "into" and "onto", and after "to" if a name is in it; else it may be a verb."""
    named = [(facts.words[at - 1], phrase(facts, at)) for way, at in _opened(facts) if way == "to"]
    return {
        stemmed
        for opener, words in named
        if opener != "to" or any(word in LEXICON.names for word, _ in words)
        for _, stemmed in words
    }


def phrase(facts: Facts, at: int) -> list[tuple[str, str]]:
    """Content words without numbers, and their stems, from a place on to the next word that is none; articles apart."""
    end = at + LONGEST
    words = list(zip(facts.words[at:end], facts.stems[at:end], strict=True))
    while words and words[0][0] in _ARTICLES:
        words.pop(0)
    found = takewhile(lambda each: each[0] not in LEXICON.common or each[0] in ("and", "or"), words)
    return [each for each in found if each[0] not in LEXICON.common and not each[0][0].isdecimal()]


def _replaced_crossed(one: Facts, other: Facts) -> bool:
    """ "oil instead of butter" and "butter replaces oil": each replaces what the other has in its place."""
    mine, yours = _replaced(one), _replaced(other)
    return bool(mine and yours) and _each_elsewhere(one, mine, other, yours)


def _replaced(facts: Facts) -> set[str]:
    """Stems of what something else is taken for, up to three content words without numbers."""
    text = facts.spelled.lower()
    match = _INSTEAD.search(text) or _REPLACED.search(text)
    if match is None:
        return set()
    told = match.groupdict().get("before") or _REPLACED_BY.split(text[match.end() :], maxsplit=1)[0]
    return set([word for word in Facts(told).content if not word[0].isdecimal()][:3])


def _way(facts: Facts) -> tuple[set[str], set[str]]:
    """Stems of what stands after "from" and of what stands after "to", up to two content words each."""
    found: dict[Way, set[str]] = {"from": set(), "to": set()}
    for way, at in _opened(facts):
        following = list(zip(facts.words[at : at + 4], facts.stems[at : at + 4], strict=True))
        verb_may_follow = way == "to" and following and following[0][0] not in LEXICON.common
        room = 1 if verb_may_follow else 2  # "to turn it" names no place
        for word, stemmed in following:
            if word in _FROM | _TO or room == 0:
                break
            if word not in LEXICON.common:
                found[way].add(stemmed)
                room -= 1
    return found["from"], found["to"]


def _turned_around(one: Facts, other: Facts) -> bool:
    """ "x to y" and "y into x": what is put somewhere, or made into something, has changed places with that."""
    return not _put(one).isdisjoint((target, thing) for thing, target in _put(other))


def _put(facts: Facts) -> set[tuple[str, str]]:
    """Stems of the content word before each "to", "into" and "onto", with each of the two after it."""
    told = list(zip(facts.words, facts.stems, strict=True))
    found: set[tuple[str, str]] = set()
    for at, word in enumerate(facts.words):
        if word not in _TO:
            continue
        before = [each for each in reversed(told[max(at - 3, 0) : at]) if each[0] not in LEXICON.common]
        after = [each for each in told[at + 1 : at + 4] if each[0] not in LEXICON.common]
        things = before[1:2] if before and before[0][0].endswith("ed") else before[:1]  # "get a merged into b"
        found |= {(thing, place) for _, thing in things for _, place in after[:2] if thing != place}
    return found


def _named_in_turn(one: Facts, other: Facts) -> bool:
    """ "vienna venice train" and "a train from Venice to Vienna": keywords name two in turn, the other way round."""
    if SENTENCE.search(one.lower) or not (_FROM | _TO).isdisjoint(one.words):
        return False
    places = {stem: at for at, stem in enumerate(one.stems) if one.words[at] not in LEXICON.common}
    for match in _FROM_TO.finditer(other.spelled.lower()):
        starts, ends = ([places[each] for each in Facts(part).content if each in places] for part in match.groups())
        if starts and ends and max(ends) < min(starts):
            return True
    return False
