"""Checks plain data against a configuration type and reports every error at once, each with its path.

msgspec stops at the first error; a person who fixes a manifest wants all of them. This walks the same type
hints, lets msgspec judge each leaf, and applies a type's rules where its fields can be read: as the API server
does, also where a rule of one of them is broken.
"""

import difflib
import re
import types
from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Meta, Struct, UnsetType

from llmcache_gateway.config.model import Model
from llmcache_gateway.plaintext import visible

_PLAINLY = {str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "an object with fields"}


class Problem(NamedTuple):
    """One error: where it is, and what is wrong and what to write instead; `of_rule` when the fields can be read."""

    path: str
    message: str
    of_rule: bool = False

    def __str__(self) -> str:
        return visible(f"{self.path}: {self.message}")  # either may repeat what the file says


def problems(value: Any, kind: Any, path: str = "") -> Iterator[Problem]:
    """Yield every way in which plain data is not of a type (a Struct, or what stands in one's hints)."""
    kind, metas = unwrap(kind)
    if _is_struct(kind):
        yield from _struct_problems(value, kind, path)
    elif get_origin(kind) is list and isinstance(value, list):
        (item_kind,) = get_args(kind)
        yield from _leaf_problems(value, list[Any], metas, path)
        for index, item in enumerate(value):
            yield from problems(item, item_kind, f"{path}[{index}]")
    elif get_origin(kind) is dict and isinstance(value, dict):
        key_kind, item_kind = get_args(kind)
        yield from _leaf_problems(value, dict[Any, Any], metas, path)
        named = get_args(key_kind) if get_origin(key_kind) is Literal else None
        for key, item in value.items():
            if named is not None and key not in named:
                yield _unknown(path, str(key), named)
                continue
            yield from problems(key, key_kind, _join(path, str(key)))
            yield from problems(item, item_kind, _join(path, str(key)))
    else:
        yield from _leaf_problems(value, kind, metas, path)


def _struct_problems(value: Any, kind: type[Struct], path: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(path or "(document)", f"expected an object with fields, not {_show(value)}")
        return
    hints = get_type_hints(kind, include_extras=True)
    fields = {f.encode_name: f for f in msgspec.structs.fields(kind)}
    found: list[Problem] = []
    for key in value:
        if key not in fields and kind.__struct_config__.forbid_unknown_fields:
            found.append(_unknown(path, str(key), fields))
    for name, known in fields.items():
        if name in value:
            found.extend(problems(value[name], hints[known.name], _join(path, name)))
        elif known.default is NODEFAULT and known.default_factory is NODEFAULT:
            found.append(Problem(_join(path, name), "required, but not set"))
    if all(problem.of_rule for problem in found) and issubclass(kind, Model):
        instance = msgspec.convert(value, kind)
        found.extend(
            Problem(_join(path, rule.field) or "(document)", rule.message, of_rule=True)
            for rule in kind.RULES
            if not rule.holds(instance)
        )
    yield from found


def _unknown(path: str, name: str, known: Collection[str]) -> Problem:
    close = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"known fields: {', '.join(known)}"
    return Problem(_join(path, name), f"unknown field; {advice}")


def _leaf_problems(value: Any, kind: Any, metas: list[Meta], path: str) -> Iterator[Problem]:
    if isinstance(value, str) and value.endswith("\n") and any(meta.pattern for meta in metas):
        # Python's $ also stands before a line break at the end; the API server's does not.
        yield Problem(path, f"{_show(value)} ends with a line break: remove it")
        return
    annotated = kind
    for meta in metas:
        annotated = Annotated[annotated, meta]
    try:
        msgspec.convert(value, annotated)
    except msgspec.ValidationError:
        yield Problem(path or "(document)", _explain(value, kind, metas))


def _explain(value: Any, kind: Any, metas: list[Meta]) -> str:
    if get_origin(kind) is Literal:
        choices = [str(choice) for choice in get_args(kind)]
        bare = "; YAML reads a bare off as false: put it in quotes" if value is False and "off" in choices else ""
        return f"expected one of {', '.join(choices)}, not {_show(value)}{bare}"
    title = next((meta.title for meta in metas if meta.title), None)
    examples = next((meta.examples for meta in metas if meta.examples), None)
    such_as = f", such as {' or '.join(str(example) for example in examples)}" if examples else ""
    if title:
        return f"expected {title}{such_as}, not {_show(value)}"
    if kind is bool:
        return f"expected true or false, not {_show(value)}"
    if any(meta.pattern and isinstance(value, str) for meta in metas):
        return f"{_show(value)} is not accepted here{such_as and '; write something' + such_as[1:]}"
    return f"expected {_PLAINLY[get_origin(kind) or kind]}{_bounds(kind, metas)}{such_as}, not {_show(value)}"


def _bounds(kind: Any, metas: list[Meta]) -> str:
    least = [f"at least {bound}" for meta in metas for bound in (meta.ge, meta.min_length) if bound is not None]
    most = [f"at most {bound}" for meta in metas for bound in (meta.le, meta.max_length) if bound is not None]
    unit = "" if kind in (int, float) else " characters" if kind is str else " items"
    return f" of {' and '.join((*least, *most))}{unit}" if least or most else ""


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "nothing"
    text = re.sub(r"://\S*@", "://…@", repr(value))  # before an address's @ stands a password
    return text if len(text) <= 60 else text[:57] + "..."


def unwrap(kind: Any) -> tuple[Any, list[Meta]]:
    """Strip Annotated and `| None` from a hint; return the type below and all Meta found, the innermost first."""
    metas: list[Meta] = []
    while True:
        if get_origin(kind) is Annotated:
            kind, *extras = get_args(kind)
            metas = [extra for extra in extras if isinstance(extra, Meta)] + metas
        elif get_origin(kind) in (Union, types.UnionType):
            choices = [arg for arg in get_args(kind) if arg not in (type(None), UnsetType)]
            if len(choices) != 1:
                raise TypeError(f"a configuration field is one type, not {kind}")
            kind = choices[0]
        else:
            return kind, metas


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _join(path: str, name: str) -> str:
    if not name:
        return path
    return f"{path}.{name}" if path else name
