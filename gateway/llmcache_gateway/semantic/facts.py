"""What of a question's text its answer depends on: numbers, units, dates, identifiers, quotes, code, names.

Everything here is read off the text alone; `guards.py` compares it.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, zip_longest
from typing import Final

from llmcache_gateway.semantic.lexicon import LEXICON, stem

ROMAN: Final = {"i": 1, "v": 5, "x": 10}
SHORT_UNITS: Final = frozenset({"km", "cm", "mm", "kg", "mg", "ml", "gb", "mb", "tb", "kb", "lb", "ft", "rs"})

_NUMBER = re.compile(r"(?<![\w.])(?<!\w-)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(st|nd|rd|th)?(?=\W|$|[a-zA-Z°%])")
_IDENTIFIER = re.compile(r"(?<![\w.-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*(?![\w-])")
_VERSION = re.compile(r"(?<![\w.])v?\d+(?:\.\d+){2,}(?!\w|\.\d)|(?<=v)\d+(?:\.\d+)+|(?<![\w.])\d+\.\d+(?!\w|\.\d|%)")
_QUOTE = re.compile(r"\"([^\"]+)\"|“([^”]+)”|«([^»]+)»|(?<!\w)['‘]([^'’]{2,}?)['’](?!\w)")
_CODE = re.compile(
    r"```.*?```|`[^`]+`"
    r"|https?://\S+|(?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.]+"
    r"|(?<=\n)[ \t]+\S[^\n]*"  # indented lines
    r"|(?<!\S)--?[a-zA-Z][\w-]*"  # options
    r"|\b\w+\([^()\s]*\)|\b[a-z0-9]+(?:_[a-z0-9]+)+\b|\b[A-Z0-9]+(?:_[A-Z0-9]+)+\b|\b[a-z]+(?:[A-Z][a-z0-9]+)+\b"
    r"|(?<!\w)(?:~|\.{1,2})?(?:/[\w.-]+){2,}|(?<!\w)\.[a-z]{2,5}\b",
    re.DOTALL,
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+(?:[.,]\d+)*|[$€£¥₹%]")
_UNIT_AFTER = re.compile(r"\+?\s{0,3}-?\s{0,3}([a-zA-Z]+|%|°)")
_MONTH_OR_WORD = re.compile(
    r"(?<=\b(?:[Ii]n|[Oo]f|[Oo]n|[Bb]y) )(?:May|March)\b"
    r"|(?<=\b[Dd]uring )(?:May|March)\b|(?<=\b(?:[Ff]rom|[Tt]his|[Nn]ext|[Ll]ast|[Ll]ate) )(?:May|March)\b"
    r"|\b(?:May|March)(?= \d)|(?<=\d )(?:May|March)\b"
    r"|(?<=\d )(?:may|march)\b(?=\s*(?:$|[?.!,;–-]|\d|(?:to|and|or|until)\b))"
)
_LETTER = re.compile(r"(?<=[a-z] )[A-HJ-Z](?![\w'’.&+-])")
_ARROW = re.compile(r"(?<=\w)\s+(?:->|→)\s+(?=\w)")
_WITHOUT = re.compile(r"\bw/o\b", re.IGNORECASE)
_BOUNDS: Final = [
    (put, re.compile(rf"(?:{sign})(?=[$€£¥₹]?\d)", re.IGNORECASE))
    for put, sign in (
        (" at most ", r" ?(?:(?<![-=<>])<=|≤) ?"),
        (" at least ", r" ?(?:(?<![-=<>])>=|≥) ?"),
        (" under ", r" ?(?<![-=<>])< ?| (?:less|fewer) than "),
        (" over ", r" ?(?<![-=<>])> ?| more than "),
    )
]
_OR_MORE = re.compile(r"(?<=\d)\+(?=\s+[a-z])")
_SIGN_OF_BOUND = re.compile(r"(?<![-=<>])(?:[<>]=?|[≤≥]) ?[$€£¥₹]?(\d[\d.,]*)|(?<![\d.,])(\d[\d.,]*)\+(?=\s+[a-z])")
_ROMAN = re.compile(
    r"(?<=[a-z] )(?:II|IV|VI|IX)\b|(?<=War )I\b"
    r"|\b(?=[IVXivx]{3,}\b)(?![Xx]+\b)[Xx]{0,3}(?:[Ii][Xx]|[Ii][Vv]|[Vv]?[Ii]{0,3})(?!\w)"
)
_AGED = re.compile(
    r"\b(\w+)[ -](?:years?|yrs?)[ -]olds?\b"
    r"|\b(?:aged?|age of|turn(?:ed|s)?|(?:child|kid|son|daughter|girl|boy|one|baby)(?: of| is|'s)) (\w+)",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"\d+-([a-z]{3,})(?:-[a-z]+)*")
_RUPEES = re.compile(r"\b(?:rs|inr)\.?\s?(?=\d)", re.IGNORECASE)
_SIGN_RUN = re.compile(r"(?<!\S)[^\w\s]{2,}(?!\S)")
_MINUS = re.compile(r"(?<![\w)\]])[-−](?=\.?\d)|(?<=\b[A-Z])-(?=\W|$)")
_EXPRESSION = re.compile(r"(?<![\d.])\d[\d.]*(?:(?:\s*[-+−–*/:^×÷]\s*|,(?!\d{3}\b))\d[\d.]*)+")
_LONE = re.compile(r"(?<=\d)!(?![=!])|(?<!\S)\.{1,2}(?!\S)")
"""Factorials, and dots that are a folder."""

_CASED = re.compile(r"(?<![^\W\d_])(?:[a-z][A-Z][a-zA-Z]?|(?<=\d)[A-Z][a-zA-Z]|(?<=\d )[A-Z][a-zA-Z])(?![^\W\d_])")
_MINE = re.compile(r"\b(?:my|mine|me|our|us)\b")
_DOES = re.compile(r"\b(?:do|did|can|could|will|would|should|may) (i|we|you)\b")
_BOUNDING: Final = {
    "over": "over", "above": "over", "more": "over", "under": "under", "below": "under", "less": "under",
    "fewer": "under", "exactly": "exactly", "larger": "over", "bigger": "over", "greater": "over", "higher": "over",
    "longer": "over", "older": "over", "smaller": "under", "lower": "under", "shorter": "under", "younger": "under",
}  # fmt: skip
_NO_SIGNS: Final = frozenset("$€£¥₹°`´¨®™©")
"""Symbols that are units, quote, or adorn."""

_PUNCTUATION: Final = frozenset(".,;:?!¿¡'\"’‘“”«»()[]-–—…")


@dataclass(frozen=True)
class Facts:
    """One question and what stands in it."""

    text: str

    @cached_property
    def spelled(self) -> str:
        """The text with what people type for words written out: `png -> jpg`, `w/o`, `>= 5`, `5+`."""
        text = _WITHOUT.sub("without", _ARROW.sub(" to ", self.text))
        for put, found in _BOUNDS:
            text = found.sub(put, text)
        return _OR_MORE.sub(" or more", text)

    @cached_property
    def words(self) -> list[str]:
        """In lower case, in order."""
        plain = unicodedata.normalize("NFKC", self.spelled).replace("’", "'")
        return [word.lower().removesuffix("'s") for word in _WORD.findall(plain)]

    @cached_property
    def stems(self) -> list[str]:
        """Of each word, what remains when its ending is taken off; names keep theirs."""
        return [word if word in LEXICON.names else stem(word) for word in self.words]

    @cached_property
    def content(self) -> list[str]:
        """Stems of the words that are not too common to tell one question from another, in order."""
        return [stem for word, stem in zip(self.words, self.stems, strict=True) if word not in LEXICON.common]

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Words and their stems."""
        return frozenset(self.words) | frozenset(self.stems)

    @cached_property
    def beginnings(self) -> frozenset[str]:
        """The first five letters of each word."""
        return frozenset(word[:5] for word in self.words)

    @cached_property
    def initials(self) -> str:
        """Of the words that are not too common, in order."""
        return "".join(word[0] for word in self.words if word not in LEXICON.common)

    @cached_property
    def abbreviated(self) -> frozenset[str]:
        """What words of more than two letters are short for."""
        return frozenset(LEXICON.aliases[word] for word in self.words if len(word) > 2 and word in LEXICON.aliases)

    @cached_property
    def quantities(self) -> list[tuple[str, float]]:
        """Numbers with the dimension of their unit, times in seconds and so on; "" without one. Sorted, each as often
        as it is said."""
        return sorted(_quantity(worth, unit) for worth, unit in self._numbers)

    @cached_property
    def ages(self) -> list[tuple[str, float]]:
        """The same with years as bare numbers, for where those of somebody are told: a ten-year-old is aged 10."""
        return sorted(
            ("" if _singular(unit) in ("year", "yr") else unit if _is_unit_or_several(unit) else "", worth)
            for worth, unit in self._numbers
        )

    @cached_property
    def aged(self) -> frozenset[float]:
        """How many years old somebody is: "a ten-year-old", "aged 10", "has turned ten"."""
        told = (before or after for before, after in _AGED.findall(self.lower))
        return frozenset(_worth(number) for number in told if _is_number(number))

    @cached_property
    def _numbers(self) -> list[tuple[float, str]]:
        """Each number, in figures or in words, and what stands beside it where its unit would."""
        plain = re.sub(r"\b[\d.]+(?:\.\d+){2,}\b", " ", _RUPEES.sub("₹", self.text))
        found: list[tuple[float, str]] = []
        for match in _NUMBER.finditer(plain):
            worth = float(match[1].replace(",", "") + (match[2] or ""))
            after = _UNIT_AFTER.match(plain, match.end())
            unit = after[1].lower() if after else ""
            if unit in LEXICON.scales and (len(unit) > 1 or plain[match.end() : match.end() + 1].lower() == unit):
                worth *= LEXICON.scales[unit]
                after = _UNIT_AFTER.match(plain, after.end()) if after else None
                unit = after[1].lower() if after else ""
            before = plain[: match.start()].rstrip()[-1:]
            found.append((worth, before if before in "$€£¥₹" and before else unit))
        found += [(_roman(match), "") for match in _ROMAN.findall(plain)]
        for word, following in zip_longest(self.words, self.words[1:], fillvalue=""):
            if word in LEXICON.numbers:
                found.append((LEXICON.numbers[word], following))
        return found

    @cached_property
    def counts(self) -> frozenset[tuple[str, float]]:
        """What is counted, the stem of the word right after a number, and the number."""
        return frozenset(
            (self.stems[at + 1], 1.0 if word == "one" else _worth(word))
            for at, (word, after) in enumerate(zip(self.words, self.words[1:], strict=False))
            if (_is_number(word) or word == "one")
            and not (_is_number(after) or after in LEXICON.common or after in LEXICON.dates)
        )

    @cached_property
    def bounds(self) -> frozenset[tuple[float, str]]:
        """Numbers, and how each is bounded: "over", "under", "at least", "at most", "exactly", or not: ""."""
        return frozenset(
            (_worth(word), _bound(self.words[max(at - 4, 0) : at], self.words[at + 1 : at + 6]))
            for at, word in enumerate(self.words)
            if _is_number(word)
        )

    @cached_property
    def bounded_by_sign(self) -> frozenset[float]:
        """Numbers beside `<`, `>`, `<=`, `>=` or `+`."""
        found = (before or after for before, after in _SIGN_OF_BOUND.findall(self.text))
        return frozenset(_worth(number.rstrip(".,")) for number in found)

    @cached_property
    def units(self) -> frozenset[str]:
        """Units that are named, each by one name."""
        return frozenset(f"{LEXICON.units[word][0]}:{LEXICON.units[word][1]}" for word in self._unit_words)

    @cached_property
    def _unit_words(self) -> list[str]:
        short = re.findall(r"(?<=\d)\s?°?\s?([a-zA-Z]{1,3})\b", self.text)
        long = [word for word in self.words if len(word) > 2 or word in SHORT_UNITS or not word.isalnum()]
        named = [unit for unit in map(_singular, [*map(str.lower, short), *long]) if unit in LEXICON.units]
        return [unit for unit in named if LEXICON.units[unit][0] != "part" or unit in self._after_numbers]

    @cached_property
    def _after_numbers(self) -> frozenset[str]:
        """The two words after each number, as one says them of one: what there is so many of."""
        return frozenset(
            _singular(following)
            for at, word in enumerate(self.words)
            if _is_number(word)
            for following in self.words[at + 1 : at + 3]
        )

    @cached_property
    def dates(self) -> frozenset[str]:
        """Months, days and relative days that are named."""
        found = {LEXICON.dates[word] for word in map(_singular, self.words) if word in LEXICON.dates}
        return frozenset(found | {match.lower() for match in _MONTH_OR_WORD.findall(self.text)})

    @cached_property
    def dayparts(self) -> frozenset[str]:
        """Seasons and parts of a day that are named; am and pm only after an hour."""
        named = {LEXICON.dayparts[word] for word in self.words if word in LEXICON.dayparts}
        hours = {hour.lower().replace(".", "") for hour in re.findall(r"\d\s*([ap]\.?m\b)", self.text, re.IGNORECASE)}
        return frozenset(named | hours)

    @cached_property
    def identifiers(self) -> frozenset[str]:
        """Words of letters and digits, versions, and single letters that name something (plan B), in lower case."""
        mixed = {match.group().lower() for match in _IDENTIFIER.finditer(self.text)}
        plain = {
            each
            for each in mixed
            if not (re.fullmatch(r"\d+(?:st|nd|rd|th|s|[a-z]{1,3})", each) or _is_count(each))
            or each in LEXICON.aliases
        }
        # What a fraction can't tell apart is no number, but one's name.
        long = re.findall(r"\d{16,}", self.text)
        return frozenset(LEXICON.aliases.get(each, each).replace("-", "") for each in plain) | frozenset(
            [*_VERSION.findall(self.text), *long, *map(str.lower, _LETTER.findall(self.text))]
        )

    @cached_property
    def quotes(self) -> frozenset[str]:
        """Quoted texts, in lower case, without punctuation at their ends."""
        return frozenset(" ".join(filter(None, groups)).strip(" .,?!").lower() for groups in _QUOTE.findall(self.text))

    @cached_property
    def code(self) -> frozenset[str]:
        """Code, options, paths, addresses and names in the manner of programs. Indented lines begin with a break."""
        found = (match.group() for match in _CODE.finditer(self.text))
        return frozenset(
            f"\n{each.rstrip()}" if each[0] in " \t" else each.strip("`").strip().rstrip(".,?!") for each in found
        ) - {""}

    @cached_property
    def signs(self) -> tuple[tuple[str, ...], frozenset[str]]:
        """Symbols in order (emoji, signs of mathematics, raised numbers, minus), and what is reckoned with numbers.

        The models' tokens know few of them: to a model, questions that differ in them alone are often equal.
        """
        text = unicodedata.normalize("NFC", self.spelled)
        runs = (run for run in _SIGN_RUN.findall(text) if not _PUNCTUATION.issuperset(run) or ")" in run or "(" in run)
        single = (sign for sign in text if sign not in _NO_SIGNS and _is_sign(sign))
        reckoned = frozenset(re.sub(r"\s", "", found).rstrip(".") for found in _EXPRESSION.findall(text))
        return (*single, *("-" for _ in _MINUS.findall(text)), *runs, *_LONE.findall(text)), reckoned

    @cached_property
    def lower(self) -> str:
        """The text in lower case."""
        return self.text.lower()

    @cached_property
    def cased(self) -> dict[str, str]:
        """Short words whose capitals may say what they are (mW and MW, Mb and MB), by how they are in lower case."""
        return {each.lower(): each for each in _CASED.findall(self.text)}

    @cached_property
    def asked_of(self) -> frozenset[str]:
        """Who is to do it, "i" or "you", where somebody's own is concerned: "Can you cancel my order?"."""
        if not _MINE.search(self.lower):
            return frozenset()
        return frozenset("you" if who == "you" else "i" for who in _DOES.findall(self.lower))

    @cached_property
    def names(self) -> frozenset[str]:
        """Proper names: known ones in any case, and words with a capital inside a sentence; each by one name."""
        known = self._known_names
        words = re.findall(r"[^\W\d_][\w'’-]*", self.text)
        capitals = [word for word in words if word[0].isupper()]
        if len(capitals) * 2 > len(words) + 2:  # a headline
            return known
        inside = re.findall(r"(?<=[\w,;:)] )[A-Z][\w'’-]*|\b[A-Z]{2,}\b", self.text)
        plain = (word.replace("’", "'").removesuffix("'s").lower() for word in inside)
        return known | frozenset(
            {
                LEXICON.aliases.get(word, word)
                for word in plain
                if len(word) > 1 and word not in LEXICON.common and word not in LEXICON.names
            }
        )

    @cached_property
    def currencies(self) -> frozenset[str]:
        """Those beside a number, as they are written: "rs" of "Rs. 500"; "Bitcoin" by itself is a name."""
        beside = pairwise(self.words)
        near = {word for one, other in beside for word, number in ((one, other), (other, one)) if _is_number(number)}
        return frozenset(word for word in near if LEXICON.units.get(_singular(word), ("", 0.0))[0] == "money")

    @cached_property
    def named(self) -> frozenset[tuple[str, str]]:
        """Stems of words right after a known name, which says whose or of what they are, and that name."""
        return frozenset(
            (self.stems[at + 1], LEXICON.names[word])
            for at, (word, after) in enumerate(zip(self.words, self.words[1:], strict=False))
            if LEXICON.names.get(word) in self._known_names
            and not {after, *self.words[max(at - 1, 0) : at]} & LEXICON.names.keys()
            and after not in LEXICON.common
        )

    @cached_property
    def _known_names(self) -> frozenset[str]:
        """Names of the list, those of two words first; short ones only with a capital, for "us" is no country."""
        found: set[str] = set()
        whole = [word.lower() for word in re.findall(r"\b[A-Z][\w.'+#-]*", self.text)]
        capitals = {word.removesuffix("'s") for each in whole for word in (each, *each.split("-"))}
        inside: set[str] = set()
        for first, second in zip(self.words, self.words[1:], strict=False):
            if (name := LEXICON.names.get(f"{first} {second}")) is not None:
                found.add(name)
                inside |= {first, second}
        singles = (word for word in self.words if word not in inside and (len(word) > 3 or word in capitals))
        return frozenset(found | {LEXICON.names[word] for word in singles if word in LEXICON.names})


def _is_sign(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "S" or category == "No"


def _is_number(word: str) -> bool:
    return word in LEXICON.numbers or word[0].isdecimal()


def _worth(number: str) -> float:
    """Of a word that is a number, in figures or not."""
    if number in LEXICON.numbers:
        return LEXICON.numbers[number]
    try:
        return float(number.replace(",", ""))
    except ValueError:  # a date or a version
        return float("".join(filter(str.isdecimal, number)))


def _bound(before: list[str], after: list[str]) -> str:
    """How the words around a number bound it, "" if they don't."""
    for or_, more in pairwise(after):
        if or_ == "or" and more in ("more", "less", "fewer"):
            return "at least" if more == "more" else "at most"
    words = [word for word in before if word not in "$€£¥₹"]
    if words[-2:-1] == ["at"] and words[-1] in ("least", "most"):
        return f"at {words[-1]}"
    if words[-1:] == ["than"]:
        words.pop()
    how = _BOUNDING.get(words[-1], "") if words else ""
    if how in ("over", "under") and words[-2:-1] in (["no"], ["not"]):
        return "at most" if how == "over" else "at least"
    return how


def _roman(numeral: str) -> float:
    values = [ROMAN[letter] for letter in numeral.lower()]
    return float(sum(-one if one < then else one for one, then in zip_longest(values, values[1:], fillvalue=0)))


def _is_unit_or_several(unit: str) -> bool:
    """Whether what stands after a number is a unit, or more than one of something."""
    return _singular(unit) in LEXICON.units or unit.endswith("s") or unit in ("people", "children", "men", "women")


def _is_count(word: str) -> bool:
    """Whether it is a number and what is counted: "12-month" and "5-star", not "2-butanol"."""
    counted = _COUNTED.fullmatch(word)
    return counted is not None and (_singular(counted[1]) in LEXICON.units or counted[1] in LEXICON.counted)


def _quantity(worth: float, unit: str) -> tuple[str, float]:
    """Times in seconds, so that two weeks are 14 days; which other unit it is, the guard of units compares."""
    dimension, factor = LEXICON.units.get(_singular(unit), ("", 1.0))
    return ("time", round(worth * factor, 6)) if dimension == "time" else ("", worth)


def _singular(word: str) -> str:
    if word in LEXICON.units or not word.endswith("s"):
        return word
    if word == "inches":
        return "inch"
    return "century" if word == "centuries" else word[:-1]
