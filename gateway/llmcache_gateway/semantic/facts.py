"""What of a question's text its answer depends on: numbers, units, dates, identifiers, quotes, code, names.

Everything here is read off the text alone; `guards.py` compares it.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Final

from llmcache_gateway.semantic.lexicon import LEXICON, stem

ROMAN: Final = {
    "I": 1, "II": 2, "III": 3, "IV": 4, "VI": 6, "VII": 7, "VIII": 8, "IX": 9, "XI": 11, "XII": 12, "XIII": 13,
    "XIV": 14, "XV": 15, "XVI": 16, "XVII": 17, "XVIII": 18, "XIX": 19, "XX": 20, "XXI": 21, "XXII": 22, "XXIII": 23,
}  # fmt: skip
SHORT_UNITS: Final = frozenset({"km", "cm", "mm", "kg", "mg", "ml", "gb", "mb", "tb", "kb", "lb", "ft"})

_NUMBER = re.compile(r"(?<![\w.])(?<!\w-)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(st|nd|rd|th)?(?=\W|$|[a-zA-Z°%])")
_IDENTIFIER = re.compile(r"(?<![\w.-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*(?![\w-])")
_VERSION = re.compile(r"(?<![\w.])v?\d+(?:\.\d+){2,}(?!\w|\.\d)|(?<=v)\d+(?:\.\d+)+|(?<![\w.])\d+\.\d+(?!\w|\.\d|%)")
_QUOTE = re.compile(r"\"([^\"]+)\"|“([^”]+)”|«([^»]+)»|(?<!\w)['‘]([^'’]{2,}?)['’](?!\w)")
_CODE = re.compile(
    r"```.*?```|`[^`]+`"
    r"|https?://\S+|[\w.+-]+@[\w-]+\.[\w.]+"
    r"|(?<!\S)--?[a-zA-Z][\w-]*"  # options
    r"|\b\w+\([^()\s]*\)|\b[a-z0-9]+(?:_[a-z0-9]+)+\b|\b[A-Z0-9]+(?:_[A-Z0-9]+)+\b|\b[a-z]+(?:[A-Z][a-z0-9]+)+\b"
    r"|(?<!\w)(?:~|\.{1,2})?(?:/[\w.-]+){2,}|(?<!\w)\.[a-z]{2,5}\b",
    re.DOTALL,
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+(?:[.,]\d+)*|[$€£¥₹%]")
_UNIT_AFTER = re.compile(r"\s*-?\s*([a-zA-Z]+|%|°)")
_MONTH_OR_WORD = re.compile(
    r"(?<=\b(?:[Ii]n|[Oo]f|[Oo]n|[Bb]y) )(?:May|March)\b"
    r"|(?<=\b(?:[Ff]rom|[Tt]his|[Nn]ext|[Ll]ast|[Ll]ate) )(?:May|March)\b"
    r"|\b(?:May|March)(?= \d)|(?<=\d )(?:[Mm]ay|[Mm]arch)\b(?! (?:i|I|we|you|be)\b)"
)
_LETTER = re.compile(r"(?<=[a-z] )[A-HJ-Z](?![\w'’.&+-])")
_ARROW = re.compile(r"(?<=\w)\s+(?:->|→)\s+(?=\w)")
_WITHOUT = re.compile(r"\bw/o\b", re.IGNORECASE)
_BEFORE_NUMBER = r"(?=[$€£¥₹]?\d)"
_BOUNDS: Final = {
    "at most ": r"(?:<=|≤) ?|\b(?:no|not) more than ",
    "at least ": r"(?:>=|≥) ?|\b(?:no|not) (?:less|fewer) than ",
    "under ": r"< ?|\b(?:less|fewer) than ",
    "over ": r"> ?|\bmore than ",
}
_BOUND_SIGNS = [(put, re.compile(rf"(?<!\S)(?:{sign})(?=[$€£¥₹]?\d)", re.IGNORECASE)) for put, sign in _BOUNDS.items()]
_BOUNDED = re.compile(r"\b(at most|at least|under|over|exactly) [$€£¥₹]?(\d[\d.,]*)")
_OR_MORE = re.compile(r"(?<![\d.,])(\d[\d.,]*) or (more|less|fewer)\b")
_PLUS = re.compile(r"(?<=[a-z]{2}) (?:\+|&) (?=[a-z]{2})")
_WHAT_IS = re.compile(r"\b(what|where|who|how|when|that|there|here|it)['’]s\b", re.IGNORECASE)
_CONTRACTED = re.compile(r"(?<=\w)['’](m|re|ve|ll)\b", re.IGNORECASE)
_WRITTEN_OUT: Final = {"m": " am", "re": " are", "ve": " have", "ll": " will"}
_COUNTED = re.compile(r"\d+-([a-z]{3,})(?:-[a-z]+)*")
_SIGN_RUN = re.compile(r"(?<!\S)[^\w\s]{2,}(?!\S)")
_MINUS = re.compile(r"(?<![\w)\]])[-−](?=\.?\d)|(?<=\b[A-Z])-(?=\W|$)")
_EXPRESSION = re.compile(r"\d[\d.]*(?:(?:\s*[-+−–*/:^×÷]\s*|,(?!\d{3}\b))\d[\d.]*)+")
_NO_SIGNS: Final = frozenset("$€£¥₹°`´¨®™©")
"""Symbols that are units, quote, or adorn."""

_PUNCTUATION: Final = frozenset(".,;:?!¿¡'\"’‘“”«»()[]-–—…")


@dataclass(frozen=True)
class Facts:
    """One question and what stands in it."""

    text: str

    @cached_property
    def spelled(self) -> str:
        """The text with what people type for words written out: `png -> jpg`, `w/o`, `>= 5`, `salt + oil`, `I'm`."""
        text = _WITHOUT.sub("without", _ARROW.sub(" to ", self.text))
        for put, found in _BOUND_SIGNS:
            text = found.sub(put, text)
        text = _WHAT_IS.sub(r"\1 is", _PLUS.sub(" and ", text))
        return _CONTRACTED.sub(lambda match: _WRITTEN_OUT[match[1].lower()], text)

    @cached_property
    def words(self) -> list[str]:
        """In lower case, in order."""
        plain = unicodedata.normalize("NFKC", self.spelled).replace("’", "'")
        return [word.lower().removesuffix("'s") for word in _WORD.findall(plain)]

    @cached_property
    def stems(self) -> list[str]:
        """Of each word, what remains when its ending is taken off."""
        return [stem(word) for word in self.words]

    @cached_property
    def content(self) -> list[str]:
        """Stems of the words that are not too common to tell one question from another, in order."""
        return [stem for word, stem in zip(self.words, self.stems, strict=True) if word not in LEXICON.common]

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Words and their stems."""
        return frozenset(self.words) | frozenset(self.stems)

    @cached_property
    def quantities(self) -> list[tuple[str, float]]:
        """Numbers with the dimension of their unit, times in seconds and so on; "" without one. Sorted, each as often
        as it is said."""
        return sorted(_quantity(worth, unit) for worth, unit in self._numbers)

    @cached_property
    def ages(self) -> list[tuple[str, float]]:
        """The same with years as bare numbers: someone who is ten, or aged 10, is a ten-year-old."""
        return sorted(
            ("", worth) if _singular(unit) == "year" else _quantity(worth, unit) for worth, unit in self._numbers
        )

    @cached_property
    def _numbers(self) -> list[tuple[float, str]]:
        """Each number, in figures or in words, and what stands beside it where its unit would."""
        plain = re.sub(r"\b[\d.]+(?:\.\d+){2,}\b", " ", self.text)
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
        found += [
            (float(ROMAN[match]), "")
            for match in re.findall(
                r"(?<=[a-z] )(?:X{0,2}(?:I{2,3}|IV|VI{1,3}|IX)|X{1,2}[IV]|XX)\b|(?<=War )I\b", plain
            )
        ]
        for word, following in zip_longest(self.words, self.words[1:], fillvalue=""):
            if word in LEXICON.numbers:
                found.append((LEXICON.numbers[word], following))
        return found

    @cached_property
    def counts(self) -> frozenset[tuple[str, str]]:
        """What is counted, the stem of the word right after a number, and the number."""
        return frozenset(
            (self.stems[at + 1], "1" if word == "one" else str(LEXICON.numbers.get(word, word)).removesuffix(".0"))
            for at, word in enumerate(self.words[:-1])
            if (_is_number(word) or word == "one")
            and not _is_number(self.words[at + 1])
            and self.words[at + 1] not in LEXICON.common
        )

    @cached_property
    def bounds(self) -> frozenset[tuple[str, str]]:
        """Numbers in figures, and which way they bound: over, under, at least, at most, exactly."""
        text = self.spelled.lower()
        told = {(number.rstrip(".,"), how) for how, number in _BOUNDED.findall(text)}
        more = {(number, "at least" if how == "more" else "at most") for number, how in _OR_MORE.findall(text)}
        return frozenset(told | more)

    @cached_property
    def units(self) -> frozenset[str]:
        """Units that are named, each by one name."""
        return frozenset(f"{LEXICON.units[word][0]}:{LEXICON.units[word][1]}" for word in self._unit_words)

    @cached_property
    def _unit_words(self) -> list[str]:
        short = re.findall(r"(?<=\d)\s?°?\s?([a-zA-Z]{1,3})\b", self.text)
        long = [word for word in self.words if len(word) > 2 or word in SHORT_UNITS or not word.isalnum()]
        named = [unit for unit in map(_singular, [*map(str.lower, short), *long]) if unit in LEXICON.units]
        return [unit for unit in named if LEXICON.units[unit][0] != "part" or unit in self._counted]

    @cached_property
    def _counted(self) -> frozenset[str]:
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
        return frozenset(
            " ".join(filter(None, groups)).strip(" .,?!").lower() for groups in _QUOTE.findall(self.spelled)
        )

    @cached_property
    def code(self) -> frozenset[str]:
        """Code, options, paths, addresses and names in the manner of programs."""
        return frozenset(match.group().strip("`").strip().rstrip(".,?!") for match in _CODE.finditer(self.text)) - {""}

    @cached_property
    def signs(self) -> tuple[tuple[str, ...], frozenset[str]]:
        """Symbols in order (emoji, signs of mathematics, raised numbers, minus), and what is reckoned with numbers.

        The models' tokens know few of them: to a model, questions that differ in them alone are often equal.
        """
        text = unicodedata.normalize("NFC", self.spelled)
        runs = (run for run in _SIGN_RUN.findall(text) if not _PUNCTUATION.issuperset(run) or ")" in run or "(" in run)
        single = (sign for sign in text if sign not in _NO_SIGNS and _is_sign(sign))
        reckoned = frozenset(re.sub(r"\s", "", found).rstrip(".") for found in _EXPRESSION.findall(text))
        return (*single, *("-" for _ in _MINUS.findall(text)), *runs), reckoned

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
    def _known_names(self) -> frozenset[str]:
        """Names of the list, those of two words first; short ones only with a capital, for "us" is no country."""
        found: set[str] = set()
        capitals = {word.lower().removesuffix("'s") for word in re.findall(r"\b[A-Z][\w.'+#-]*", self.text)}
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
    return word in LEXICON.numbers or word[0].isdigit()


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
