"""Adding up the deltas of a streamed answer."""

from typing import Any, Final

# What a provider says once, or says again in full, instead of in pieces.
_WHOLE: Final = frozenset({"role", "id", "type", "name", "index", "object", "status", "signature", "format"})


def merge_delta(target: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add one delta to what has come so far, in place.

    Texts are appended, except the names in `_WHOLE`, which are set; objects are merged; items of a list that
    carry an `index` are merged with the item of that index, others appended; null never undoes a value.
    """
    for name, value in delta.items():
        old = target.get(name)
        if value is None:
            target.setdefault(name, None)
        elif old is None:
            target[name] = _indexed([], value) if isinstance(value, list) else value
        elif isinstance(value, str) and isinstance(old, str):
            target[name] = (value or old) if name in _WHOLE else old + value
        elif isinstance(value, dict) and isinstance(old, dict):
            merge_delta(old, value)
        elif isinstance(value, list) and isinstance(old, list):
            _indexed(old, value)
        else:
            target[name] = value


def _indexed(items: list[Any], new: list[Any]) -> list[Any]:
    for item in new:
        index = item.get("index") if isinstance(item, dict) else None
        known = next((one for one in items if isinstance(one, dict) and one.get("index") == index), None)
        if index is None or known is None:
            items.append(item)
        else:
            merge_delta(known, item)
    return items
