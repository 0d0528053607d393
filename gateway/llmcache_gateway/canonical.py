"""Reads JSON without losing anything, and writes it as bytes that are equal only for equal values.

The canonical form is JSON text of one shape: members sorted, no white space, every string escaped the same way, and
a number as its shortest exact decimal, so that 1, 1.0 and 10e-1 are one. JSON text delimits itself and says its
types: no text inside a value can imitate structure, and no two values have one text.
"""

import json
import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, NoReturn

import msgspec

from llmcache_gateway.errors import RequestError

MAX_INTEGER_EXPONENT: Final = 400
"""Up to which power of ten a number such as 1e400 is written out as an integer."""

MAX_VALUES: Final = 1_000_000
"""Most values in one body. In Python each takes some fifty bytes and a microsecond: a small compressed body of empty
lists would otherwise fill the memory and hold everybody up."""

CHECKED_CHARACTERS: Final = 1_000_000
"""Shorter bodies can't hold that many."""

MAX_DIGITS: Final = 1000
"""Most characters of one number with a fraction or an exponent; for integers Python itself has a bound."""

_WHITE_SPACE: Final = " \t\n\r"
"""RFC 8259, section 2."""

_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)

_ESCAPED_COLON: Final = re.compile(rb"\\u003[aA]")

_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="number")


def decode(body: bytes) -> Any:
    """Return a JSON body as plain data, numbers as int or Decimal; RequestError(400) when it is no JSON.

    Refused beside what is malformed: duplicate members (two readers may take different ones), NaN and
    Infinity (no JSON), nesting deeper than Python's stack, numbers of thousands of digits.
    """
    if len(body) <= CHECKED_CHARACTERS:
        try:
            value = _quick.decode(body)
            if _has_all_members(value, body):
                return value
        except (ValueError, RecursionError, msgspec.MsgspecError):
            pass  # it may still be JSON, with half an emoji in it; or else this says what is wrong
    return _decode_slowly(body)


def _decode_slowly(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(400, f"The body is not valid UTF-8 (byte {error.start}).", code="invalid_json") from None
    if len(text) > CHECKED_CHARACTERS and _values(text) > MAX_VALUES:
        raise RequestError(400, f"The body holds more than {MAX_VALUES} values.", code="too_many_values")
    try:
        # What the decoder's own `decode` does for white space takes half as long again as the parsing.
        value, end = _decoder.raw_decode(text, len(text) - len(text.lstrip(_WHITE_SPACE)))
        if end != len(text) and text[end:].strip(_WHITE_SPACE):
            raise json.JSONDecodeError("Extra data", text, end)
        return value
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        reason = str(error).split(";")[0]
        raise RequestError(400, f"The body could not be parsed as JSON: {reason}.", code="invalid_json") from None


def encode(value: Any) -> bytes:
    """Return plain data, as `decode` gives it, in the canonical form; RequestError(400) when it is nested too deeply.

    Other numbers than int are Decimals as `number` returns them.
    """
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        # A lone surrogate. With every string in hexadecimal and a first byte that begins no JSON text, this form
        # equals none of the others.
        return b"\\" + _encoder.encode(_in_hex(value))
    except RecursionError:
        raise _too_deep() from None


@lru_cache(maxsize=1024)  # a client's temperature is the same from request to request
def number(text: str) -> int | Decimal:
    """Return a number with a fraction or an exponent as the one value that all ways to write it share."""
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} characters")
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except InvalidOperation:
        raise ValueError(f"the number {text[:40]} is out of range") from None
    if not isinstance(exponent, int):
        raise ValueError(f"{text} is not JSON")
    kept = len(digits)
    while kept > 1 and digits[kept - 1] == 0:
        kept -= 1
    exponent += len(digits) - kept
    if digits == (0,) * len(digits):
        return 0
    if 0 <= exponent <= MAX_INTEGER_EXPONENT:
        return int(Decimal((sign, digits[:kept], exponent)))
    return Decimal((sign, digits[:kept], exponent))


def _values(text: str) -> int:
    """Return about how many values a JSON text holds: its separators and brackets outside strings."""
    separators = text.count(",") + text.count("[") + text.count("{")
    if separators <= MAX_VALUES:
        return separators
    bare = _STRING.sub("", text)
    return bare.count(",") + bare.count("[") + bare.count("{")


def _too_deep() -> RequestError:
    return RequestError(400, "The body is nested too deeply.", code="invalid_json")


def _in_hex(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").hex()
    if isinstance(value, dict):
        return {_in_hex(name): _in_hex(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_hex(item) for item in value]
    return value


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


def _has_all_members(value: Any, body: bytes) -> bool:
    """Say whether a value for certain has all members of the JSON text that it was read from.

    Of two with one name msgspec drops one. Each member has a colon, and all other colons stand in strings: a text from
    which some were dropped has more of them than what is left, written again, unless colons in strings are escaped.
    """
    return _ESCAPED_COLON.search(body) is None and _encoder.encode(value).count(b":") == body.count(b":")


_quick = msgspec.json.Decoder(float_hook=number)
"""Several times faster, but it neither sees members that stand twice nor reads lone surrogates."""

_decoder = json.JSONDecoder(object_pairs_hook=_members, parse_float=number, parse_constant=_refuse_constant)
