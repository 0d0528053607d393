"""Reads JSON without losing anything, and writes it as bytes that are equal only for equal values.

The canonical form is typed and length-delimited, so that no text inside a value can imitate structure:

    null → n    true → t    false → f
    number → d LENGTH : TEXT          string → s LENGTH : UTF-8
    array  → a COUNT : ITEM…          object → o COUNT : (KEY VALUE)…, sorted by the key's UTF-8

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
        value = json.loads(text, object_pairs_hook=_members, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError:
        raise RequestError(400, "The body is nested too deeply.", code="invalid_json") from None
    except ValueError as error:
        reason = str(error).split(";")[0]
        raise RequestError(400, f"The body could not be parsed as JSON: {reason}.", code="invalid_json") from None
    return value


def encode(value: Any) -> bytes:
    """Return plain data in the canonical form; RequestError(400) when it is nested beyond MAX_DEPTH."""
    out = bytearray()
    _write(value, out, 0)
    return bytes(out)


def _write(value: Any, out: bytearray, depth: int) -> None:
    # Ordered by how often each type occurs in a request.
    kind = type(value)
    if kind is str:
        encoded = value.encode("utf-8", "surrogatepass")
        out += b"s%d:" % len(encoded)
        out += encoded
    elif kind is dict:
        if depth >= MAX_DEPTH:
            raise RequestError(400, f"The body is nested deeper than {MAX_DEPTH} levels.", code="invalid_json")
        members = _sorted_members(value)
        out += b"o%d:" % len(members)
        for name, item in members:
            out += b"s%d:" % len(name)
            out += name
            _write(item, out, depth + 1)
    elif kind is list or kind is tuple:
        if depth >= MAX_DEPTH:
            raise RequestError(400, f"The body is nested deeper than {MAX_DEPTH} levels.", code="invalid_json")
        out += b"a%d:" % len(value)
        for item in value:
            _write(item, out, depth + 1)
    elif value is True:
        out += b"t"
    elif value is False:
        out += b"f"
    elif value is None:
        out += b"n"
    elif kind is int or kind is Decimal or kind is float:
        text = _number(value)
        out += b"d%d:" % len(text)
        out += text
    else:
        raise TypeError(f"{kind.__name__} is not a JSON type")


def _sorted_members(value: dict[str, Any]) -> list[tuple[bytes, Any]]:
    return sorted(
        ((key.encode("utf-8", "surrogatepass"), item) for key, item in value.items()), key=lambda member: member[0]
    )


def _number(value: int | Decimal | float) -> bytes:
    if type(value) is int and -1_000_000 < value < 1_000_000 and value % 10:
        return b"%de0" % value
    sign, digits, exponent = Decimal(value).as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    stripped = text.rstrip("0")
    if not stripped:
        return b"0e0"
    if not isinstance(exponent, int):
        raise TypeError("NaN and Infinity are not JSON")
    return f"{'-' if sign else ''}{stripped}e{exponent + len(text) - len(stripped)}".encode()


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
