"""Pairs made from labelled ones: an edit that changes what is asked, and one that does not."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random

from training.grammar import DATA
from training.pairs import Pair


def _lines(file: str) -> list[str]:
    return [line for line in (DATA / file).read_text("utf-8").splitlines() if line and not line.startswith("#")]


WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*|\d[\d.,]*|\S")
NUMBER_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
SCOPES = _lines("scopes.txt")
QUESTION_WORDS = {
    "how": ["why", "when", "where"],
    "why": ["how", "when"],
    "when": ["where", "why", "how"],
    "where": ["when", "why"],
    "who": ["when", "why"],
    "which": ["how many"],
    "what": ["who"],
}
WRAPS = _lines("wraps.txt")
FRAMES = [
    (
        r"^how (?:do|can|could|should|would) (?:i|we|you|one) ",
        [
            "how do i ",
            "how can i ",
            "how to ",
            "what is the best way to ",
            "what's a good way to ",
            "how does one ",
            "how would you ",
            "tell me how to ",
        ],
    ),
    (
        r"^what (?:is|are) the best way(?:s)? to ",
        ["how do i ", "how can i ", "what is a good way to ", "how should i ", "what's the best method to "],
    ),
    (r"^what is ", ["what's ", "what exactly is ", "tell me what is ", "can you explain what is "]),
    (r"^what are (?:some|the) ", ["what are ", "which are the ", "list the ", "what are some "]),
    (r"^why (?:do|does|is|are|did) ", [r"what is the reason that \g<0>"]),
    (r"^is it possible to ", ["can i ", "can you ", "is there a way to "]),
    (r"^can (?:i|you|we) ", ["is it possible to ", "could i ", "is there a way to "]),
    (r"^should i ", ["is it a good idea to ", "do you think i should ", "would you advise me to "]),
]
SYNONYMS = _lines("synonyms.txt")


class Edits:
    """Changes questions. `opposites` has words with their opposites, `near` words that stand in for others."""

    def __init__(
        self, random: Random, opposites: dict[str, list[str]], near: dict[str, list[str]], names: list[str]
    ) -> None:
        self._random, self._opposites, self._near, self._names = random, opposites, near, names
        self._synonyms: dict[str, list[str]] = {}
        for line in SYNONYMS:
            words = line.split()
            for word in words:
                self._synonyms[word] = [each for each in words if each != word]
        self._directions: dict[str, str] = {}
        for line in _lines("directions.txt"):
            x, y = line.split(" ", 1)
            self._directions[x] = y
            if " " not in y:
                self._directions[y] = x
        self.different: dict[str, tuple[float, Callable[[str], str | None]]] = {
            "number": (3, self.number),
            "name": (3, self.name),
            "opposite": (5, self.opposite),
            "negation": (3, self.negation),
            "word": (4, self.word),
            "scope": (2, self.scope),
            "question": (1.5, self.question),
            "order": (3, self.order),
            "direction": (2, self.direction),
        }

    def number(self, text: str) -> str | None:
        found = [*re.finditer(r"\d+(?:[.,]\d+)*", text), *re.finditer(rf"\b(?:{'|'.join(NUMBER_WORDS)})\b", text)]
        if not found:
            return None
        at = self._random.choice(found)
        old = at.group()
        if old in NUMBER_WORDS:
            new = self._random.choice(NUMBER_WORDS[1:])
        else:
            number = float(old.replace(",", "")) if re.fullmatch(r"[\d,]+(?:\.\d+)?", old) else 7
            factor = self._random.choice(
                [0.1, 0.5, 2, 3, 10, 1 + 1 / max(number, 1), 1 + 2 / max(number, 1), 1 - 1 / max(number, 2)]
            )
            new = f"{round(number * factor):d}" if "." not in old else f"{number * factor:.1f}"
        return None if new == old else text[: at.start()] + new + text[at.end() :]

    def name(self, text: str) -> str | None:
        found = list(re.finditer(r"(?<=[a-z,] )[A-Z][A-Za-z+#.]{1,}\b", text))
        if not found:
            return None
        at = self._random.choice(found)
        new = self._random.choice(self._names)
        return None if new.lower() == at.group().lower() else text[: at.start()] + new + text[at.end() :]

    def opposite(self, text: str) -> str | None:
        found = [m for m in re.finditer(r"[A-Za-z]+", text) if m.group().lower() in self._opposites]
        if not found:
            return None
        at = self._random.choice(found)
        new = self._random.choice(self._opposites[at.group().lower()])
        return text[: at.start()] + new + text[at.end() :]

    def negation(self, text: str) -> str | None:
        without = re.sub(
            r"\b(do|does|did|is|are|was|were|should|could|would|ca|can|has|have|wo)n['’]t\b",
            lambda m: {"ca": "can", "wo": "will"}.get(m.group(1), m.group(1)),
            text,
        )
        without = without if without != text else re.sub(r" (?:not|never)\b", "", text, count=1)
        if without != text:
            return without
        if re.search(r"\bwithout\b", text):
            return text.replace("without", "with", 1)
        if re.search(r" with ", text) and self._random.random() < 0.7:
            return text.replace(" with ", " without ", 1)
        aux = re.search(r"\b(do|does|did|is|are|was|were|should|could|would|can|has|have)\b", text, re.IGNORECASE)
        if aux is None:
            return None
        if self._random.random() < 0.5:
            return (
                text[: aux.start()]
                + aux.group()
                + ("n't" if aux.group().lower() != "can" else "'t")
                + text[aux.end() :]
            )
        if re.match(r"(?:is|are|was|were)$", aux.group(), re.IGNORECASE):
            return text[: aux.end()] + " not" + text[aux.end() :]
        after = re.match(
            r"(.*?\b(?:do|does|did|should|could|would|can) (?:i|we|you|they|he|she|it|people|one)\b)(.*)",
            text,
            re.IGNORECASE | re.DOTALL,
        )
        return after.group(1) + " not" + after.group(2) if after else None

    def word(self, text: str) -> str | None:
        found = [m for m in re.finditer(r"[A-Za-z]{3,}", text) if m.group().lower() in self._near]
        if not found:
            return None
        at = self._random.choice(found)
        return text[: at.start()] + self._random.choice(self._near[at.group().lower()]) + text[at.end() :]

    def scope(self, text: str) -> str | None:
        cut = re.match(r"(.{15,}) (?:in|for|on|at|without|during|after|before|with) [^?]{3,30}\?$", text)
        if cut and self._random.random() < 0.3:
            return cut.group(1) + "?"
        return None if text.count("?") != 1 or not text.endswith("?") else f"{text[:-1]} {self._random.choice(SCOPES)}?"

    def question(self, text: str) -> str | None:
        first = text.split(" ", 1)
        if len(first) < 2 or first[0].lower() not in QUESTION_WORDS:
            return None
        if first[0].lower() == "how" and re.match(r"(?:many|much|long|far|old|often|tall|big)\b", first[1]):
            return (
                "How " + self._random.choice(["many", "long", "often", "old", "big"]) + first[1][first[1].index(" ") :]
            )
        return self._random.choice(QUESTION_WORDS[first[0].lower()]).capitalize() + " " + first[1]

    def order(self, text: str) -> str | None:
        between = re.search(r"\bfrom (\w[\w+#. ]{1,20}?) to (\w[\w+#.]{1,20}(?: \w+)?)", text)
        than = re.search(
            r"\b(?:(?:is|are|do|does) )(\w[\w' ]{1,25}?) ((?:more |less |so much )?\w+ than) (\w[\w']{1,20}(?: \w+)?)",
            text,
            re.IGNORECASE,
        )
        at = than or between
        if at is not None:
            one, two = (1, 3) if than else (1, 2)
            x, y = at.span(one), at.span(two)
            return text[: x[0]] + at.group(two) + text[x[1] : y[0]] + at.group(one) + text[y[1] :]
        names = list(re.finditer(r"(?<=[a-z,] )[A-Z][A-Za-z+#.]{1,}\b", text))
        if len(names) < 2 or re.search(r"\b(?:differen|between|versus|vs|and|or|both)\b|differ", text):
            return None
        x, y = names[0].span(), names[-1].span()
        return text[: x[0]] + names[-1].group() + text[x[1] : y[0]] + names[0].group() + text[y[1] :]

    def direction(self, text: str) -> str | None:
        found = [
            m
            for m in re.finditer(r"[A-Za-z]+", text)
            if m.group().lower() in self._directions and m.group().lower() not in ("to", "from", "over")
        ]
        if not found:
            return None
        at = self._random.choice(found)
        return text[: at.start()] + self._directions[at.group().lower()] + text[at.end() :]

    def reworded(self, text: str) -> str:
        """The same question in another dress."""
        random = self._random
        new = text
        for pattern, heads in FRAMES:
            if re.match(pattern, new, re.IGNORECASE) and "\\g" not in heads[0]:
                if random.random() < 0.7:
                    head = random.choice(heads)
                    new = head[0].upper() + head[1:] + re.sub(pattern, "", new, flags=re.IGNORECASE)
                break
        if random.random() < 0.5:
            found = [m for m in re.finditer(r"[A-Za-z]+", new) if m.group() in self._synonyms]
            if found:
                at = random.choice(found)
                new = new[: at.start()] + random.choice(self._synonyms[at.group()]) + new[at.end() :]
        roll = random.random()
        if roll < 0.25:
            new = random.choice(WRAPS).format(new)
        elif roll < 0.4:
            new = new.lower().rstrip("?")
        elif roll < 0.55 and len(new) > 20:
            place = random.randrange(5, len(new) - 5)
            if new[place].islower() and new[place + 1].islower():
                new = new[:place] + new[place + 1] + new[place] + new[place + 2 :]
        elif roll < 0.65:
            new = (
                new.replace("do not", "don't")
                .replace("What is", "What's")
                .replace("I am", "I'm")
                .replace("can not", "can't")
            )
        return new


def edited(labelled: Sequence[Pair], edits: Edits, random: Random, count: int) -> Iterator[Pair]:
    """Traps and rewordings out of labelled pairs; a third keeps the other wording of a pair that is one."""
    same = [(pair.a, pair.b) for pair in labelled if pair.same]
    texts = sorted({text for pair in labelled for text in pair[:2]})
    names, weights = list(edits.different), [weight for weight, _ in edits.different.values()]
    made: Counter[str] = Counter()
    while sum(made.values()) < count:
        a, b = random.choice(same) if random.random() < 0.5 else (random.choice(texts),) * 2
        if random.random() < 0.5:
            a, b = b, a
        if len(a) > 160 or len(b) > 160:
            continue
        if random.random() < 0.3:
            new = edits.reworded(b)
            pair = Pair(a, new, True, "edit-reworded")
        else:
            kind = random.choices(names, weights)[0]
            changed = edits.different[kind][1](b)
            if changed is None:
                continue
            # What the edit brought in may be what the other wording says already: then it is no trap.
            pair = Pair(a, edits.reworded(changed) if random.random() < 0.3 else changed, False, "edit-" + kind)
        if pair.a.lower() != pair.b.lower():
            made[pair.kind] += 1
            yield pair


def harvest(labelled: Sequence[Pair]) -> list[str]:
    """Names that stand inside questions often."""
    seen: Counter[str] = Counter()
    for pair in labelled:
        seen.update(re.findall(r"(?<=[a-z,] )[A-Z][A-Za-z+#]{2,}\b", f"{pair.a} {pair.b}"))
    return sorted(name for name, times in seen.items() if times >= 8)
