"""Whether two questions say of the same two things that each is the other's: from x to y, x before y, x beats y."""

import re
from collections import Counter
from itertools import combinations
from typing import Final

from llmcache_gateway.semantic.facts import Facts
from llmcache_gateway.semantic.lexicon import LEXICON, stem
from llmcache_gateway.semantic.places import LONGEST, SENTENCE, crossed, phrase

_SYMMETRIC: Final = re.compile(
    r"\b(?:and|or|vs|versus|between|both|differ\w*|compar\w*|same|together|combine\w*|&)\b|,"
)
_TOGETHER: Final = re.compile(r"\b(?:differ\w*|compar\w*|combin\w*|together|compatible|vs|versus|between|both)\b")
_PASSIVE: Final = re.compile(
    r"\b(?:is|was|were|are|be|been|being)\b(?:(?!\bto\b).){1,40}\bby\b|\bg[eo]t\b(?:(?!\b(?:to|from|into)\b).){1,40}\bby\b"
)
_BEING_DONE: Final = re.compile(r"\b(?:is|was|were|are|be|been|being|get|got)\b.{1,30}\w(?:ed|en)\b|\bbe \w")
_AUXILIARY: Final = r"(?:is|are|was|were|did|do|does|has|have|had|can|could|will|would|should)\b"
_ASKS_WHO_DID: Final = re.compile(
    rf"\bby whom\b|\bwho (?!{_AUXILIARY})[a-z]+|\bwho (?:has|have|had) \w+(?:ed|en)\b", re.IGNORECASE
)
_ASKS_TO_WHOM: Final = re.compile(
    r"(?<!\bby )(?<!\bfrom )\bwhom\b|\bwho (?:did|do|does)\b|\bwho (?:was|were) \w+ by\b"
    r"|\bwhose(?: \w+){1,2} (?:did|do|does)\b",
    re.IGNORECASE,
)
_CLAUSE_ENDS: Final = re.compile(r"[;.?!:,](?=\s)|\b(?:if|when|so that|because|while)\b", re.IGNORECASE)
"""What parts a text into clauses, which may stand in either order."""

_MUTUAL_VERBS: Final = (
    "marry", "meet", "met", "border", "resemble", "equal", "differ", "match", "mix", "combine", "pair", "share",
    "mean",
)  # fmt: skip
_MUTUAL: Final = frozenset(map(stem, _MUTUAL_VERBS))
"""Verbs that say the same of both, whichever comes first."""

GROUP: Final = 3
"""Most content words that change places together."""

_MANY_TOGETHER: Final = frozenset({"and", "or", "plus", "times", "by", "with", "x", "vs", "versus", "compared"})
"""What stands between numbers that are all the same to what is asked."""

_PERCENT: Final = r"(?:%|per ?cent(?:age)?\b|pct\b)"
_SHARE_TOLD: Final = re.compile(rf"(?:\d|\b(?:five|ten|twelve|[a-z]+teen|[a-z]+ty)) ?{_PERCENT} of\b", re.IGNORECASE)
_SHARE_ASKED: Final = re.compile(rf"\b(?:what|which|how many|how much|the|as an?) {_PERCENT}", re.IGNORECASE)

_WHAT: Final = re.compile(r"^\W*(?:which|what) ", re.IGNORECASE)
_WHAT_DOES: Final = re.compile(
    r"^\W*(?:which|what)(?: \w+){0,2} (?:does|do|did) (?!(?:i|we|you|one|it|they|he|she)\b)", re.IGNORECASE
)
_ALLOWED: Final = r"(?:allowed|permitted|able) to\b"
_ASKS_FOR_ME: Final = re.compile(
    rf"\b(?:do|does|can|could|may|must|should|will|would) (?:i|we|you|one)\b|\b(?:am|are) (?:i|we|you) {_ALLOWED}",
    re.IGNORECASE,
)
_OTHERS: Final = r"(?! (?:i|we|you|one|it|they|he|she)\b)"
_ASKS_FOR_ANOTHER: Final = re.compile(
    rf"\b(?:do|does|can|could|may|must|should|will|would){_OTHERS}\b"
    rf"|\b(?:is|are){_OTHERS}(?= [\w' ]{{2,40}} {_ALLOWED})",
    re.IGNORECASE,
)
_MAY: Final = frozenset(map(stem, ("allowed", "permitted", "able")))

_MEANS: Final = frozenset({"by", "with", "using", "through", "as", "on", "in"})
_PASSIVE_OR_LET: Final = frozenset({"be", "been", "get", "let", "lets", "allow", "allows", "me", "us"})

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
        "when",
        "if",
        "while",
    }
)


def exchanged(one: Facts, other: Facts) -> bool:
    """Whether the same things have changed places, and their places matter; who is to do it, too."""
    return (
        crossed(one, other)
        or _attributes_exchanged(one, other)
        or _around_a_word(one, other)
        or _asks_for_the_other(one, other)
        or _asks_for_the_other(other, one)
        or _asks_what_does_it(one, other)
        or _asks_what_does_it(other, one)
        or _compared(one, other)
        or _swapped(one, other)
        or _numbers_exchanged(one, other)
        or _share_or_amount(one, other)
        or _share_or_amount(other, one)
        or _done_by(one, other)
        or _done_by(other, one)
        or _done_to_me(one, other)
        or _done_to_me(other, one)
        or _asked_of_another(one, other)
    )


def _attributes_exchanged(one: Facts, other: Facts) -> bool:
    """ "red wine on a white shirt" and "white wine on a red shirt"."""
    mine, yours = _attributes(one), _attributes(other)
    apart = [thing for thing in mine if thing in yours and mine[thing] != yours[thing]]
    return any(mine[a] == yours[b] and mine[b] == yours[a] for a, b in combinations(apart[:LONGEST], 2))


def _attributes(facts: Facts) -> dict[str, str]:
    """The content word right before each content word, of the first of each."""
    found: dict[str, str] = {}
    for at, word in enumerate(facts.words[1:], 1):
        if word not in LEXICON.common and facts.words[at - 1] not in LEXICON.common:
            found.setdefault(facts.stems[at], facts.stems[at - 1])
    return found


def _around_a_word(one: Facts, other: Facts) -> bool:
    """ "May a doctor refuse a patient" and "can a patient refuse his doctor": all around a word has changed sides."""
    if any(
        _PASSIVE.search(text) or _BEING_DONE.search(text) or not SENTENCE.search(text)
        for text in (one.lower, other.lower)
    ):
        return False  # neither another voice nor a row of keywords tells by its order who does what
    if max(len(one.content), len(other.content)) > LONGEST:
        return False
    return any(_crossed(mine, yours) for mine in _clauses(one) for yours in _clauses(other))


def _clauses(facts: Facts) -> list[list[str]]:
    """The content words of each clause that has one with others on either side."""
    found = (Facts(clause).content for clause in _CLAUSE_ENDS.split(facts.spelled))
    return [content for content in found if len(content) > 2]


def _crossed(mine: list[str], yours: list[str]) -> bool:
    """Whether of two clauses all around a word has changed sides, or what stands right beside it."""
    for word in set(mine) & set(yours) - _MUTUAL:
        before, after = _parted(mine, word)
        before2, after2 = _parted(yours, word)
        crossed = before & after2 and after & before2 and not before & after | before2 & after2
        stayed = (before & before2) | (after & after2)
        if crossed and (not stayed or _beside(mine, word) == _beside(yours, word)[::-1]):
            return True
    return False


def _beside(content: list[str], word: str) -> list[str]:
    """The words before and after one that is there."""
    at = content.index(word)
    return [*content[max(at - 1, 0) : at], *content[at + 1 : at + 2]]


def _parted(content: list[str], word: str) -> tuple[set[str], set[str]]:
    at = content.index(word)
    return set(content[:at]), set(content[at + 1 :])


def _asks_for_the_other(one: Facts, other: Facts) -> bool:
    """ "Who succeeded her?" and "Whom did she succeed?": one asks who did it, the other to whom, or what."""
    if not (_ASKS_WHO_DID.search(one.text) and _ASKS_TO_WHOM.search(other.text)):
        return False
    return len(set(one.content) & set(other.content)) >= 2


def _asks_what_does_it(one: Facts, other: Facts) -> bool:
    """ "Which tables use users?" and "Which tables does users use?": what does it, and what it is done to."""
    if SENTENCE.search(one.lower) or not _WHAT.search(one.text):
        return False
    does = _WHAT_DOES.search(other.text)
    doing = set() if does is None else set(Facts(other.text[does.end() :]).content)
    return len(doing) >= 2 and doing <= set(one.content) and doing.isdisjoint(_MUTUAL)


def _done_to_me(one: Facts, other: Facts) -> bool:
    """ "Can I bring a guest" and "can a guest bring me", "which shops do we owe" and "which shops owe us": who does it
    is the other's whom it is done to."""
    return any(_done_to(who, whom, one, other) for who, whom in (("i", "me"), ("we", "us")))


def _done_to(who: str, whom: str, one: Facts, other: Facts) -> bool:
    if who not in one.words or whom not in other.words or who in other.words:
        return False
    at, to = one.words.index(who), other.words.index(whom)
    mine, doing = one.stems[at + 1 :], other.stems[to - 1] if to else ""
    if doing not in mine or other.words[to - 1] in LEXICON.common:
        return False
    objects = {word for word in mine[mine.index(doing) + 1 :] if word not in LEXICON.common}
    if _WHAT.search(one.text):
        objects.update(word for word in one.stems[1:at] if word not in LEXICON.common)
    return not objects.isdisjoint(other.stems[: to - 1])


def _asked_of_another(one: Facts, other: Facts) -> bool:
    """ "Can you cancel my order?" and "Can I cancel my order?": the same words, and another is to do it."""
    return one.asked_of ^ other.asked_of == {"i", "you"} and set(one.content) == set(other.content)


def _numbers_exchanged(one: Facts, other: Facts) -> bool:
    """ "What percentage of 60 is 240?" and "What percentage of 240 is 60?": the same but for where two numbers are."""
    mine, yours = one.words, other.words
    if len(mine) != len(yours) or Counter(mine) != Counter(yours):
        return False
    apart = [at for at, (a, b) in enumerate(zip(mine, yours, strict=True)) if a != b]
    if len(apart) != 2 or not all(mine[at][0].isdecimal() for at in apart):
        return False
    between = mine[apart[0] + 1 : apart[1]]
    return bool(between) and not _MANY_TOGETHER.intersection(between)


def _share_or_amount(one: Facts, other: Facts) -> bool:
    """ "What is 15 percent of 80?" and "What percent of 15 is 80?": one tells the share, the other asks for it."""
    return bool(
        _SHARE_TOLD.search(one.text)
        and _SHARE_ASKED.search(other.text)
        and not _SHARE_ASKED.search(one.text)
        and not _SHARE_TOLD.search(other.text)
    )


def _done_by(one: Facts, other: Facts) -> bool:
    """ "How do I cancel my stay at a hotel?" and "How can a hotel cancel my stay?": who does it is what I did it to."""
    mine, yours = _ASKS_FOR_ME.search(one.text), _ASKS_FOR_ANOTHER.search(other.text)
    if mine is None or yours is None or _ASKS_FOR_ME.search(other.text):
        return False
    if not _MEANS.isdisjoint(one.words) or not _PASSIVE_OR_LET.isdisjoint(other.words):
        return False
    doing = Facts(one.text[mine.end() :]).content
    if not doing:
        return False
    theirs = [word for word in Facts(other.text[yours.end() :]).content if word not in _MAY]
    if doing[0] not in theirs[1:]:
        return False
    subject = theirs[: theirs.index(doing[0])]
    # What comes right after the verb may do it by itself: "do I cook rice", "does rice cook".
    return len(subject) <= GROUP and set(subject) <= set(doing[2:])


def _compared(one: Facts, other: Facts) -> bool:
    """Both compare with "than", by much the same word, and the sides are exchanged."""
    if "than" not in one.words or "than" not in other.words:
        return False
    (left, right), (left2, right2) = sides(one), sides(other)
    alike = any(a == b or (len(a) > 4 and a[:5] == b[:5]) for a in left for b in left2)
    opposed = ("less" in one.words) != ("less" in other.words)
    return bool((left - left2) & right2) and bool((left2 - left) & right) and alike and not opposed


def sides(facts: Facts) -> tuple[set[str], set[str]]:
    """Stems of the content words before "than" and after it."""
    at = facts.words.index("than")
    content = ["" if word in LEXICON.common and word not in ("more", "most") else stem(word) for word in facts.words]
    return set(content[:at]) - {""}, set(content[at + 1 :]) - {""}


def _swapped(one: Facts, other: Facts) -> bool:
    """The same content words but for two, or two groups, that changed places around what holds them apart."""
    mine, yours = _placed(one), _placed(other)
    names, names2 = [name for name, _ in mine], [name for name, _ in yours]
    if len(mine) < 2 or names == names2 or Counter(names) != Counter(names2):
        return _turned_passive(one, other)
    changed = [at for at, (a, b) in enumerate(zip(names, names2, strict=True)) if a != b]
    mine, yours = mine[changed[0] : changed[-1] + 1], yours[changed[0] : changed[-1] + 1]
    groups = _exchanged_groups([name for name, _ in mine], [name for name, _ in yours])
    if groups is None:
        return False
    first, last = groups
    between, between2 = _between(one, mine, first, last), _between(other, yours, last, first)
    if _SYMMETRIC.search(" ".join(between)) or any(_TOGETHER.search(each.lower) for each in (one, other)):
        return False
    held_apart = first + last < len(mine) or any(word in _AROUND for word in between)
    moved_along = _along(one, mine[0], other, yours[-first]) and _along(one, mine[-last], other, yours[0])
    return held_apart and between == between2 and not moved_along


Placed = tuple[str, int]


def _placed(facts: Facts) -> list[Placed]:
    """Its content words, names each by one name, and the places where they stand."""
    return [
        (LEXICON.names.get(word, facts.stems[at]), at)
        for at, word in enumerate(facts.words)
        if word not in LEXICON.common
    ]


def _exchanged_groups(mine: list[str], yours: list[str]) -> tuple[int, int] | None:
    """Lengths of the first and the last words of one that are the last and the first of the other; None if none are."""
    length = len(mine)
    sizes = [(a, b) for a in range(1, GROUP + 1) for b in range(1, GROUP + 1) if a + b <= length]
    return next(
        ((a, b) for a, b in sorted(sizes, key=sum) if [*mine[length - b :], *mine[a : length - b], *mine[:a]] == yours),
        None,
    )


def _between(facts: Facts, placed: list[Placed], first: int, last: int) -> list[str]:
    """The words between so many at the beginning and so many at the end, without articles."""
    words = facts.words[placed[first - 1][1] + 1 : placed[-last][1]]
    return [word for word in words if word not in ("a", "an", "the")]


def _along(one: Facts, here: Placed, other: Facts, there: Placed) -> bool:
    """Whether it took the word before it along, as in "for a in b" and "in b for a": then nothing changed."""
    before = one.words[here[1] - 1] if here[1] else ""
    return before in _AROUND and there[1] > 0 and other.words[there[1] - 1] == before


def _turned_passive(one: Facts, other: Facts) -> bool:
    """ "x bought y" and "x was bought by y": the same order of two names around one verb, in two voices."""
    voices = [_PASSIVE.search(facts.lower) for facts in (one, other)]
    if (voices[0] is None) == (voices[1] is None):
        return False
    passive = other if voices[0] is None else one
    after = Facts(passive.text[next(voice.end() for voice in voices if voice) :])
    agent = {stemmed for _, stemmed in phrase(after, 0)}
    mine, yours = one.content, other.content
    both = [word for word in mine if word in yours]
    if len(set(both)) < 3 or len(mine) > 5 or len(yours) > 5:
        return False
    return any(
        b in agent and mine.index(b) - mine.index(a) > 1 and yours.index(b) - yours.index(a) > 1
        for a, b in combinations(dict.fromkeys(both), 2)
    )
