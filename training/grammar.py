"""Question pairs made from `data/`: families of actions, attributes, relations and claims."""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

from training.pairs import Pair

DATA = Path(__file__).parent / "data"
HOW = [
    "How do I {}?",
    "How can I {}?",
    "how to {}",
    "What is the best way to {}?",
    "What are the steps to {}?",
    "How does one {}?",
    "I want to {}. How do I do that?",
    "What do I have to do to {}?",
    "Can you tell me how to {}?",
    "Please explain how to {}",
    "I need to {}, how does that work?",
    "What's the easiest way to {}?",
    "How would you {}?",
    "steps to {}",
    "Show me how to {}.",
    "How should I go about it if I want to {}?",
    "I'm trying to {}. What should I do?",
    "What is the procedure to {}?",
]
CAN = [
    "Can I {}?",
    "Is it possible to {}?",
    "Am I able to {}?",
    "Is there any possibility to {}?",
    "Could I {}?",
    "May I {}?",
]
WHY_NOT = [
    "Why can't I {}?",
    "Why am I unable to {}?",
    "What stops me when I try to {}?",
    "What's the reason that I can't {}?",
]
COST = ["How much does it cost to {}?", "What does it cost to {}?", "What do I pay to {}?", "Is it expensive to {}?"]
LONG = ["How long does it take to {}?", "How much time do I need to {}?", "What's the time needed to {}?"]
SHOULD = ["Should I {}?", "Is it a good idea to {}?", "Is it advisable to {}?", "Does it make sense to {}?"]
AFTER = ["What happens after I {}?", "What should I do after I {}?"]
BEFORE = ["What happens before I {}?", "What should I do before I {}?", "What do I have to check before I {}?"]
WHO = ["Who can {}?", "Who is allowed to {}?", "Who has the right to {}?"]
NOT_HOW = [CAN, WHY_NOT, COST, LONG, SHOULD, AFTER, BEFORE, WHO]
ASK_ATTRIBUTE = [
    "What is the {a} of {t}?",
    "What's {t}'s {a}?",
    "{t}: {a}?",
    "Tell me the {a} of {t}.",
    "Do you know the {a} of {t}?",
    "{a} of {t}",
    "I'd like to know the {a} of {t}",
    "Can you tell me what the {a} of {t} is?",
    "For {t}, what is the {a}?",
    "which {a} does {t} have",
]


def groups(text: str) -> list[list[str]]:
    """`a|b # c` as [[a, b], [c]]; an empty last group stands for nothing said."""
    return [[each.strip() for each in group.split("|")] for group in text.split("#")]


def blocks(file: str) -> Iterator[dict[str, list[list[str]]]]:
    text = "\n".join(line for line in (DATA / file).read_text().splitlines() if not line.startswith("#"))
    for block in re.split(r"\n\s*\n", text):
        if block.strip():
            yield {line.split(":", 1)[0]: groups(line.split(":", 1)[1]) for line in block.strip().splitlines()}


def families(random: Random, count: int) -> Iterator[Pair]:
    """Same action, object and scope in other words; or one of them, or what is asked, another."""
    known = list(blocks("families.txt"))
    for _ in range(count):
        family = random.choice(known)
        chosen = {slot: random.randrange(len(family[slot])) for slot in ("actions", "objects", "scopes")}
        frames = HOW if random.random() < 0.6 else random.choice(NOT_HOW)
        other_frames, other = frames, dict(chosen)
        roll = random.random()
        kind = "reworded"
        if roll > 0.45:
            kind = random.choices(["actions", "objects", "scopes", "question"], [0.4, 0.25, 0.2, 0.15])[0]
            if kind == "question":
                options = [
                    each
                    for each in [HOW, *NOT_HOW]
                    if each is not frames and {id(each), id(frames)} != {id(HOW), id(CAN)}
                ]
                other_frames = random.choice(options)
            else:
                other[kind] = random.choice([n for n in range(len(family[kind])) if n != chosen[kind]])
        similar = random.random() < 0.4  # traps that look alike: only what differs is said in other words

        def say(
            where: dict[str, int], frame: str, like: list[int] | None, family: dict[str, list[list[str]]] = family
        ) -> tuple[str, list[int]]:
            picks = []
            words = []
            for number, slot in enumerate(("actions", "objects", "scopes")):
                group = family[slot][where[slot]]
                pick = like[number] if like and like[number] < len(group) else random.randrange(len(group))
                picks.append(pick)
                words.append(group[pick])
            if words[2] and random.random() < 0.15:
                text = frame.format(" ".join(words[:2]))
                text = f"{words[2]}, {text[0].lower()}{text[1:]}".replace(", i ", ", I ").replace(", i'", ", I'")
                return text[0].upper() + text[1:], picks
            return frame.format(" ".join(words).strip()), picks

        frame = random.choice(frames)
        a, picks = say(chosen, frame, None)
        b, _ = say(
            other,
            frame if similar and kind not in ("question", "reworded") else random.choice(other_frames),
            picks if similar else None,
        )
        if a != b:
            yield Pair(a, b, kind == "reworded", "family-" + kind)


def attributes(random: Random, count: int) -> Iterator[Pair]:
    """The attribute of a thing; another attribute, or another thing."""
    known = list(blocks("attributes.txt"))
    for _ in range(count):
        block = random.choice(known)
        attribute, thing = random.choice(block["attributes"]), random.choice(block["things"])
        kind = random.choices(["reworded", "attribute", "thing"], [0.45, 0.3, 0.25])[0]
        attribute2 = (
            random.choice([x for x in block["attributes"] if x is not attribute]) if kind == "attribute" else attribute
        )
        thing2 = random.choice([x for x in block["things"] if x is not thing]) if kind == "thing" else thing
        frame = random.choice(ASK_ATTRIBUTE)
        frame2 = frame if kind != "reworded" and random.random() < 0.4 else random.choice(ASK_ATTRIBUTE)
        a = frame.format(a=random.choice(attribute), t=random.choice(thing))
        b = frame2.format(a=random.choice(attribute2), t=random.choice(thing2))
        if a != b:
            yield Pair(a, b, kind == "reworded", "attribute-" + kind)


def relations(random: Random, count: int) -> Iterator[Pair]:
    """What is done with x and y: reworded, exchanged, or with another y."""
    lines = [line for line in (DATA / "relations.txt").read_text().splitlines() if line and line[0] != "#"]
    known = [
        (groups(line.split("::")[0])[0], [x[0].split(", ") for x in groups(line.split("::")[1])]) for line in lines
    ]
    for _ in range(count):
        ways, things = random.choice(known)
        picked = random.choice(things)
        x, y = random.sample(picked, 2)
        frames = HOW if random.random() < 0.7 else random.choice([CAN, LONG, SHOULD, COST])
        yield from _two(
            random, [f.replace("{}", w) for f in frames for w in ways], x, y, picked, both=False, name="relation"
        )


def claims(random: Random, count: int) -> Iterator[Pair]:
    """Questions that compare x and y, or say what one did to the other."""
    lines = (DATA / "claims.txt").read_text().splitlines()
    things = [
        x[0].split(", ") for x in groups(next(line for line in lines if line.startswith("things:")).split(":", 1)[1])
    ]
    known = [
        (line[:4] == "both", groups(line.split(":", 1)[1])[0])
        for line in lines
        if line[:5] in ("both:", "one: ") or line[:4] == "one:"
    ]
    for _ in range(count):
        both, ways = random.choice(known)
        picked = random.choice(things)
        x, y = random.sample(picked, 2)
        yield from _two(random, [way[0].upper() + way[1:] + "?" for way in ways], x, y, picked, both=both, name="claim")


def _two(
    random: Random, ways: list[str], x: str, y: str, others: list[str], *, both: bool, name: str
) -> Iterator[Pair]:
    way = random.choice(ways)
    a = way.format(x=x, y=y)
    kind = random.choices(["reworded", "exchanged", "other"], [0.4, 0.4, 0.2])[0]
    if kind == "other":
        rest = [each for each in others if each not in (x, y)]
        if not rest:
            return
        b = random.choice(ways).format(x=x, y=random.choice(rest))
    else:
        way2 = way if kind == "exchanged" and random.random() < 0.4 else random.choice(ways)
        b = way2.format(x=y, y=x) if kind == "exchanged" else way2.format(x=x, y=y)
    if a != b:
        yield Pair(a, b, kind == "reworded" or (kind == "exchanged" and both), f"{name}-{kind}")
