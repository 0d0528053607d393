"""Writes the antonyms of WordNet for the guards: `python opposites.py FOLDER_OF_WORDNET > wordnet-opposites.txt`.

Debian's package wordnet-base has the folder at /usr/share/wordnet.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

_WORDS = (
    "be have do man girl well get go give take say come mine day back people now then here there yours "
    "call answer question issue point light right"
)
TOO_GENERAL = set(_WORDS.split())
NOTICE = """\
# Antonyms of WordNet 3.0, Copyright 2006 by Princeton University. All rights reserved.
# Used under its licence (https://wordnet.princeton.edu/license-and-commercial-use), which allows use, copying and
# distribution for any purpose, provided that this notice stays: THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND
# PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS OR WARRANTIES, EXPRESS OR IMPLIED.
# Made by training/opposites.py. `word: antonym antonym`, both ways."""


def antonyms(folder: Path) -> dict[str, set[str]]:
    """Of each word, its antonyms, from WordNet's data files (wndb(5WN) describes them)."""
    found: dict[str, set[str]] = defaultdict(set)
    for part, letter in (("adj", "a"), ("adv", "r"), ("noun", "n"), ("verb", "v")):
        synsets = {}
        for line in (folder / f"data.{part}").read_text("latin1").splitlines():
            if line.startswith("  "):
                continue
            fields = line.split("|")[0].split()
            count = int(fields[3], 16)
            words = [re.sub(r"\(.*\)", "", fields[4 + 2 * at]).lower() for at in range(count)]
            start = 4 + 2 * count
            pointers = [fields[start + 1 + 4 * at : start + 5 + 4 * at] for at in range(int(fields[start]))]
            synsets[letter, fields[0]] = (words, pointers)
        for words, pointers in synsets.values():
            for symbol, offset, other_part, places in pointers:
                target = synsets.get((other_part.replace("s", "a"), offset))
                if symbol == "!" and target is not None:
                    found[words[int(places[:2], 16) - 1]].add(target[0][int(places[2:], 16) - 1])
    return found


def main() -> None:
    found = antonyms(Path(sys.argv[1]))
    print(NOTICE)
    seen: set[tuple[str, str]] = set()
    for word in sorted(found):
        if not word.isalpha() or len(word) < 3 or word in TOO_GENERAL:
            continue
        others = [
            other
            for other in sorted(found[word])
            if other.isalpha() and len(other) > 2 and other not in TOO_GENERAL and (other, word) not in seen
        ]
        seen.update((word, other) for other in others)
        if others:
            print(f"{word}: {' '.join(others)}")


if __name__ == "__main__":
    main()
