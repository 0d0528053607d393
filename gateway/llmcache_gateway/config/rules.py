"""Rules between the fields of one type, which no field's own schema can say."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec import NODEFAULT, Struct


class Rule(NamedTuple):
    """One rule, told twice: to the API server in CEL, to the gateway in Python.

    Both run on the same values (`self`, with defaults filled in) and tests hold them against each other over
    a common table. `message` says what to write instead. `field` is the path below `self` that the error names.
    """

    cel: str
    holds: Callable[[Any], bool]
    message: str
    field: str = ""


def at_defaults(kind: type[Struct], path: str) -> str:
    """Return CEL that holds when every field of the type below `path` is at its default."""
    return " && ".join(_at_default(field, f"{path}.{field.encode_name}") for field in msgspec.structs.fields(kind))


def _at_default(field: Any, path: str) -> str:
    default = field.default if field.default_factory is NODEFAULT else field.default_factory()
    if default is None:
        return f"!has({path})"
    if isinstance(default, Struct):
        return at_defaults(type(default), path)
    if default == []:
        return f"size({path}) == 0"
    return f"{path} == {json.dumps(default)}"
