"""JSON of providers' answers, in and out, with lone surrogates kept.

msgspec is several times faster than the standard library but refuses a lone surrogate, which a provider that
cuts its text between the halves of an emoji does send.
"""

import json
import math
from typing import Any, NoReturn

import msgspec

RawMembers = dict[str, msgspec.Raw]

_raw_members = msgspec.json.Decoder(RawMembers)


def loads(data: bytes) -> Any:
    """Return JSON as plain data; ValueError when it is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(data, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")  # as infinity it would be written as null
    return number


def dumps(value: Any) -> bytes:
    """Return plain data as compact JSON."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def raw_members(data: bytes) -> RawMembers | None:
    """Return an object's members, each value as the bytes it came in; None when that can't be had."""
    try:
        return _raw_members.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
