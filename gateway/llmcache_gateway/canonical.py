"""Reads JSON without losing anything, and writes it as bytes that are equal only for equal values.

The canonical form is typed and length-delimited, so that no text inside a value can imitate structure:

    null → n    true → t    false → f
    number → d LENGTH : TEXT          string → s LENGTH : TEXT, its length in code points
    array  → a COUNT : ITEM…          object → o COUNT : (KEY VALUE)…, sorted by the keys' code points

A number's text is its sign, its digits without leading or trailing zeros, and its power of ten, so 1, 1.0 and
10e-1 are one number, exactly, at any size. A lone surrogate keeps its own three bytes (WTF-8).
"""

import json
from decimal import Decimal
from typing import Any, Final, NoReturn

from llmcache_gateway.errors import RequestError

MAX_DEPTH: Final = 200
"""Deepest nesting accepted. Python's own limit would end the request somewhere in the middle of the work."""


def decode(body: bytes) -> Any:
    """Return a JSON body as plain data, fractions as Decimal; RequestError(400) when it is no JSON.

    Refused beside what is malformed: duplicate members (two readers may take different ones), NaN and
    Infinity (no JSON), nesting beyond MAX_DEPTH, numbers of thousands of digits.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(400, f"The body is not valid UTF-8 (byte {error.start}).", code="invalid_json") from None
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise RequestError(400, "The body is nested too deeply.", code="invalid_json") from None
    except ValueError as error:
        reason = str(error).split(";")[0]
        raise RequestError(400, f"The body could not be parsed as JSON: {reason}.", code="invalid_json") from None


def encode(value: Any) -> bytes:
    """Return plain data in the canonical form; RequestError(400) when it is nested beyond MAX_DEPTH."""
    parts: list[str] = []
    _write(value, parts, 0)
    return "".join(parts).encode("utf-8", "surrogatepass")


def _write(value: Any, parts: list[str], depth: int) -> None:
    # Ordered by how often each type occurs in a request: this is most of the time that a hit takes.
    kind = type(value)
    if kind is str:
        parts.append(f"s{len(value)}:{value}")
    elif kind is dict:
        if depth >= MAX_DEPTH:
            raise _too_deep()
        parts.append(f"o{len(value)}:")
        for name in sorted(value):
            parts.append(f"s{len(name)}:{name}")
            _write(value[name], parts, depth + 1)
    elif kind is list or kind is tuple:
        if depth >= MAX_DEPTH:
            raise _too_deep()
        parts.append(f"a{len(value)}:")
        for item in value:
            _write(item, parts, depth + 1)
    elif value is True:
        parts.append("t")
    elif value is False:
        parts.append("f")
    elif value is None:
        parts.append("n")
    elif kind is int or kind is Decimal:
        text = _number(value)
        parts.append(f"d{len(text)}:{text}")
    else:
        raise TypeError(f"{kind.__name__} is not a JSON type")


def _too_deep() -> RequestError:
    return RequestError(400, f"The body is nested deeper than {MAX_DEPTH} levels.", code="invalid_json")


def _number(value: int | Decimal) -> str:
    if type(value) is int and -1_000_000 < value < 1_000_000 and value % 10:
        return f"{value}e0"
    sign, digits, exponent = Decimal(value).as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    stripped = text.rstrip("0")
    if not stripped:
        return "0e0"
    if not isinstance(exponent, int):
        raise TypeError("NaN and Infinity are not JSON")
    return f"{'-' if sign else ''}{stripped}e{exponent + len(text) - len(stripped)}"


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise RequestError(
                    400, f"The member {name[:100]!r} stands twice in one JSON object.", code="duplicate_member"
                )
            seen.add(name)
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_members, parse_float=Decimal, parse_constant=_refuse_constant)
