"""Labelled pairs of questions, from JSON lines."""

import codecs
from collections.abc import Iterable
from typing import Final

import msgspec

from llmcache_gateway.errors import ConfigError

MAX_PROBLEMS: Final = 20
"""How many lines are complained of at once."""

OTHER: Final = "other"
"""The kind of pairs that name none."""


class Pair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two questions, and whether one answer serves both. `kind` groups pairs in the report, `line` is its place."""

    line: int
    a: str
    b: str
    same: bool
    kind: str = OTHER


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    a: str
    b: str
    same: bool | int
    kind: str | None = None


def read_pairs(lines: Iterable[bytes], name: str) -> list[Pair]:
    """Every pair; ConfigError with all that is wrong, by line."""
    pairs: list[Pair] = []
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)  # some editors write it
            if line.lstrip().startswith(b"["):
                raise ConfigError(
                    [f"{name}: line 1: a list; write one JSON object a line, without commas between them"]
                )
        if not line.strip():
            continue
        try:
            read = msgspec.json.decode(line, type=_Line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            problems.append(
                f'{name}: line {number}: {error}; a line is {{"a": text, "b": text, "same": true, "kind": text}}'
            )
            continue
        if read.same not in (0, 1):
            problems.append(f"{name}: line {number}: same is {read.same}; it is true or false, 1 or 0")
        elif not read.a.strip() or not read.b.strip():
            problems.append(f"{name}: line {number}: {'a' if not read.a.strip() else 'b'} is empty")
        else:
            pairs.append(Pair(line=number, a=read.a, b=read.b, same=bool(read.same), kind=read.kind or OTHER))
    if not problems and not pairs:
        problems.append(f"{name}: holds no pair; write one JSON object a line")
    if problems:
        more = [f"{name}: and {len(problems) - MAX_PROBLEMS} more lines"] if len(problems) > MAX_PROBLEMS else []
        raise ConfigError([*problems[:MAX_PROBLEMS], *more])
    return pairs
