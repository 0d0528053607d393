"""What Azure's content filter says in an answer: of the prompt once, of each choice as a whole or piece by piece.

Format: `content_filter_results` is an object of categories, each with `filtered` and, by its kind, `severity` or
`detected`; `error` stands there when the filter did not run.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_SEVERITIES: Final = ("safe", "low", "medium", "high")


def graver(old: Any, new: Any) -> Any:
    """Return what two findings come to: the graver of each."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {name: graver(old.get(name), value) for name, value in new.items()}
    if isinstance(old, bool) and isinstance(new, bool):
        return old or new
    if old in _SEVERITIES and new in _SEVERITIES:
        return max(old, new, key=_SEVERITIES.index)
    return old if new is None else new


def flaws(found: Any) -> Iterator[str]:
    """Yield what findings say against storing an answer, as the words of a verdict."""
    categories = found.items() if isinstance(found, dict) else ()
    for name, category in categories:
        if name == "error" and category:
            yield "incomplete"  # nobody has looked at it
        elif isinstance(category, dict) and category.get("filtered"):
            yield "filtered"


def prompt_flaws(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the findings of the prompts say against storing an answer."""
    prompts = answer.get("prompt_filter_results")
    for prompt in prompts if isinstance(prompts, list) else ():
        if isinstance(prompt, dict):
            yield from flaws(prompt.get("content_filter_results"))
