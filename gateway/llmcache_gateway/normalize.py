"""Evening out texts for the key: opt-in, and for texts only.

What is evened out are the texts that people write: prompts, and the `content` and `text` of messages and their
parts. Tool definitions, calls and their arguments, names, identifiers and schemas are never touched.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

TEXT_MEMBERS: Final = (
    "messages", "input", "prompt", "system", "instructions", "contents", "systemInstruction", "system_instruction",
)  # fmt: skip
"""The top-level members in which texts are looked for."""

_TEXT_KEYS: Final = ("content", "text", "parts")
_RUN_OF_SPACE: Final = re.compile(r"\s+")
_END: Final = re.compile(r"[\s.,;:!?…。！？]+$")

STEPS: Final[dict[str, Callable[[str], str]]] = {
    "whitespace": lambda text: _RUN_OF_SPACE.sub(" ", text).strip(),
    "case": str.casefold,
    "punctuation": lambda text: _END.sub("", text),
}


def normalize(members: dict[str, Any], steps: Sequence[str]) -> dict[str, Any]:
    """Return a request's members with their texts evened out by the named steps, in the order of STEPS."""
    functions = [function for name, function in STEPS.items() if name in steps]

    def even(text: str) -> str:
        for function in functions:
            text = function(text)
        return text

    return {name: _walk(value, even) if name in TEXT_MEMBERS else value for name, value in members.items()}


def _walk(value: Any, even: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return even(value)
    if isinstance(value, list):
        return [_walk(item, even) for item in value]
    if isinstance(value, dict):
        return {name: _walk(item, even) if name in _TEXT_KEYS else item for name, item in value.items()}
    return value
