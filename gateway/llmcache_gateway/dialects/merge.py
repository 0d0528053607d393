"""Adding up the deltas of a streamed answer."""

from typing import Any, Final

# What a provider says once, or says again in full, instead of in pieces.
_WHOLE: Final = frozenset({"role", "id", "type", "name", "index", "object", "status", "signature", "format"})

_TEXT: Final = frozenset(
    {
        "content", "text", "refusal", "arguments", "input", "reasoning", "reasoning_content", "reasoning_text",
        "thinking", "summary", "transcript", "data", "partial_json",
    }
)  # fmt: skip
"""Texts that come in pieces, to be appended."""


def merge_delta(target: dict[str, Any], delta: dict[str, Any], *, indexed: bool = True) -> None:
    """Add one delta to what has come so far, in place.

    Texts known to come in pieces are appended, those in `_WHOLE` are set, and any other must be said the same each
    time: ValueError when it is not, or when a value changes its type, for then nobody knows what the whole is.
    Objects are merged; items of a list that
    carry an `index` are merged with the item of that index (unless `indexed` is false: then it is a value like any
    other), others appended; null never undoes a value.
    """
    for name, value in delta.items():
        old = target.get(name)
        if value is None:
            target.setdefault(name, None)
        elif old is None:
            target[name] = _added([], value, indexed) if isinstance(value, list) else value
        elif isinstance(value, str) and isinstance(old, str):
            target[name] = _text(name, old, value)
        elif isinstance(value, dict) and isinstance(old, dict):
            merge_delta(old, value, indexed=indexed)
        elif isinstance(value, list) and isinstance(old, list):
            _added(old, value, indexed)
        elif isinstance(value, str | dict | list) or isinstance(old, str | dict | list):
            raise ValueError(f"{name!r} is a {type(old).__name__} first and a {type(value).__name__} later")
        else:
            target[name] = value


def _text(name: str, old: str, value: str) -> str:
    if name in _TEXT:
        return old + value
    if name in _WHOLE or not old or not value or old == value:
        return value or old
    raise ValueError(f"{name!r} comes in pieces, and nothing says how they go together")


def _added(items: list[Any], new: list[Any], indexed: bool) -> list[Any]:
    for item in new:
        index = item.get("index") if indexed and isinstance(item, dict) else None
        known = next((one for one in items if isinstance(one, dict) and one.get("index") == index), None)
        if index is None or known is None:
            items.append(item)
        elif _is_another(known, item):
            raise ValueError(f"two calls have the number {index}")
        else:
            merge_delta(known, item)
    return items


def _is_another(known: dict[str, Any], item: dict[str, Any]) -> bool:
    """Say whether an item begins a tool call of its own, though its number is that of another: some count wrongly."""
    begins = isinstance(item.get("function"), dict) and bool(item["function"].get("name"))
    return begins and bool(known.get("id")) and bool(item.get("id")) and known["id"] != item["id"]
