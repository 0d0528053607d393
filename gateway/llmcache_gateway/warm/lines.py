"""The requests to warm with: JSON lines, each checked before the first one is sent."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from llmcache_gateway.headers import HOP_BY_HOP

MAX_LINE_BYTES: Final = 32 * 1024 * 1024
"""Longest line that is read: what a gateway takes as a request by default."""

MAX_PROBLEMS: Final = 20
"""Most bad lines that are named one by one."""

_OF_THE_CONNECTION: Final = HOP_BY_HOP | {"content-length", "expect", "host"}

EXPECTED: Final = 'expected {"path": "/v1/chat/completions", "body": {…}}'


@dataclass(frozen=True, slots=True)
class Line:
    """One request. `number` counts the file's lines from 1; `body` is JSON as it stands in the file."""

    number: int
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    tenant: str | None = None
    """Whose request it is, where the list says so."""


class BadLine(ValueError):
    """A line that is no request; says what is wrong and what is expected."""


def parse_line(number: int, text: bytes) -> Line | None:
    """Return the request of a line, None for an empty one; BadLine when it is none."""
    if len(text) > MAX_LINE_BYTES:
        raise BadLine(f"line {number}: longer than {MAX_LINE_BYTES} bytes")
    if not text.strip():
        return None
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        values: dict[str, Any] = {
            name: None if name == "body" else msgspec.json.decode(raw) for name, raw in members.items()
        }
        # The body's own bytes are sent; decoded it is looked at only.
        body_is_object = isinstance(msgspec.json.decode(members["body"]), dict) if "body" in members else False
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadLine(f"line {number}: not a JSON object ({error}); {EXPECTED}") from None
    wrong = _wrong(values, body_is_object)
    if wrong is not None:
        raise BadLine(f"line {number}: {wrong}; {EXPECTED}")
    headers, tenant = values.get("headers") or {}, values.get("tenant")
    return Line(number, values["path"], bytes(members["body"]), headers, tenant)


def read_lines(source: Iterable[bytes]) -> Iterator[Line]:
    """Yield the requests of JSON lines that have been checked."""
    for number, text in enumerate(source, 1):
        line = parse_line(number, text)
        if line is not None:
            yield line


def check_lines(source: Iterable[bytes], *, tenants: bool = False, empty: bool = False) -> tuple[int, list[str]]:
    """Return how many requests JSON lines hold, and what is wrong with the others; holds one line at a time.

    `tenants` wants each to name its tenant; `empty` says that there may be none.
    """
    count, problems, bad = 0, [], 0
    for number, text in enumerate(source, 1):
        try:
            line = parse_line(number, text)
            count += line is not None
            if tenants and line is not None and not line.tenant:
                raise BadLine(f"line {number}: 'tenant' is missing, which --as-tenant fills the entry of")
        except BadLine as error:
            bad += 1
            if bad <= MAX_PROBLEMS:
                problems.append(str(error))
    if bad > MAX_PROBLEMS:
        problems.append(f"and {bad - MAX_PROBLEMS} further bad lines")
    if not count and not problems and not empty:
        problems.append(f"no request in it; {EXPECTED} on each line")
    return count, problems


def _wrong(values: dict[str, Any], body_is_object: bool) -> str | None:
    unknown = sorted(set(values) - {"path", "body", "headers", "tenant", "model", "count", "error", "digest"})
    if unknown:
        return f"unknown member {unknown[0]!r}"
    for name in ("path", "body"):
        if name not in values:
            return f"{name!r} is missing"
    path = values["path"]
    if not (
        isinstance(path, str) and path.startswith("/") and path.isascii() and path.isprintable() and " " not in path
    ):
        return f"'path' must be a path such as /v1/chat/completions, not {str(path)[:80]!r}"
    if not body_is_object:
        return "'body' must be a JSON object"
    headers = values.get("headers")
    if headers is not None and not _are_headers(headers):
        return "'headers' must be an object of header names and texts of ASCII"
    fixed = sorted(name for name in headers or () if name.lower() in _OF_THE_CONNECTION)
    if fixed:
        return f"'headers' can't hold {fixed[0]!r}, which belongs to a connection"
    if not isinstance(values.get("tenant"), str | None):
        return "'tenant' must be a text"
    return None


def _are_headers(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(text, str)
        and name
        and text.isascii()
        and text.isprintable()
        and name.isascii()
        and name.replace("-", "").replace("_", "").isalnum()
        for name, text in value.items()
    )
