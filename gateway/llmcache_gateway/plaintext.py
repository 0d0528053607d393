"""What others wrote, as text for a terminal or a line of a log: read there, never obeyed."""

from typing import Final

MOST: Final = 300
"""Characters of a text that are shown: its reason, where there is one, stands at its beginning."""


def visible(text: str) -> str:
    """Return a text with what is no visible character escaped: controls, line breaks, turns of direction."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def brief(said: str | bytes | bytearray) -> str:
    """Return the beginning of what was said as one visible line; blanks and line breaks become one blank."""
    beginning = said[: 4 * MOST]
    text = beginning if isinstance(beginning, str) else beginning.decode(errors="replace")
    line = visible(" ".join(text.split()))
    return line if len(line) <= MOST else f"{line[: MOST - 1]}…"
