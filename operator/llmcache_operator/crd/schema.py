"""Turns a msgspec type into a structural OpenAPI v3 schema, the form that a CRD holds.

Structural means: every level has a type, references are written out, nothing is `anyOf` or null. A field that
may be left out is one that is not required. Bounds stand everywhere, because the API server estimates the cost
of CEL rules from them.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, UNSET, Meta, Struct

from llmcache_gateway.config import Model, unwrap

Schema = dict[str, Any]

_SCALARS: Mapping[type, str] = {str: "string", datetime: "string", int: "integer", bool: "boolean", float: "number"}
_BOUNDS = {
    str: {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"},
    int: {"ge": "minimum", "le": "maximum"},
    float: {"ge": "minimum", "le": "maximum"},
    list: {"min_length": "minItems", "max_length": "maxItems"},
    dict: {"max_length": "maxProperties"},
}


def schema(kind: Any) -> Schema:
    """Return the schema of a type: a Struct, a scalar, a Literal of strings, or a list or dict of these.

    TypeError for what has no structural form, such as a union of two types.
    """
    bare, metas = unwrap(kind)
    metas.reverse()  # what is said outermost comes first
    if isinstance(bare, type) and issubclass(bare, Struct):
        node = _struct(bare)
    elif get_origin(bare) is Literal:
        node = {"type": "string", "enum": list(get_args(bare))}
    elif get_origin(bare) is list:
        node = _list(get_args(bare)[0], metas)
    elif get_origin(bare) is dict:
        key, item = get_args(bare)
        node = _mapping(key, item, metas)
    elif bare in _SCALARS:
        node = _scalar(bare, metas)
    else:
        raise TypeError(f"{kind!r} has no structural schema")
    for meta in metas:
        node |= meta.extra_json_schema or {}
    return _described(node, metas)


def _struct(kind: type[Struct]) -> Schema:
    hints = get_type_hints(kind, include_extras=True)
    properties: Schema = {}
    required = []
    for known in msgspec.structs.fields(kind):
        node = schema(hints[known.name])
        default = known.default if known.default_factory is NODEFAULT else known.default_factory()
        if default is NODEFAULT:
            required.append(known.encode_name)
        elif default is not None and default is not UNSET and issubclass(kind, Model):
            # Only what people write has defaults: in a status they would say what nobody has found out.
            node = {"default": _plain_default(default)} | node
        properties[known.encode_name] = node
    node = {"type": "object", "properties": properties}
    if required:
        node["required"] = required
    rules = _rules(kind, node)
    if rules:
        node["x-kubernetes-validations"] = rules
    return {"description": _docstring(kind)} | node


def _plain_default(value: Any) -> Any:
    """Return a default as plain data, whole.

    The API server would fill `{}` in from the defaults below it, but only when it meets an object: it checks the
    default itself as it stands, rules included, and refuses the CRD when a rule misses a field.
    """
    if not isinstance(value, Struct):
        return msgspec.to_builtins(value)
    fields = {known.encode_name: getattr(value, known.name) for known in msgspec.structs.fields(value)}
    return {name: _plain_default(item) for name, item in fields.items() if item is not None}


def _rules(kind: type[Struct], node: Schema) -> list[Schema]:
    if not issubclass(kind, Model):
        return []
    rules = []
    for rule in kind.RULES:
        written = {"rule": rule.cel, "message": rule.message}
        # The API server refuses a fieldPath that the schema doesn't know, metadata.name for one.
        if rule.field and _knows(node, rule.field):
            written["fieldPath"] = f".{rule.field}"
        rules.append(written)
    return rules


def _knows(node: Schema, path: str) -> bool:
    for part in path.split("."):
        if part not in node.get("properties", {}):
            return False
        node = node["properties"][part]
    return True


def _list(item: Any, metas: list[Meta]) -> Schema:
    node: Schema = {"type": "array", "items": schema(item)} | _bounds(list, metas)
    # Items with a name are merged by it, so that two appliers can own one each; other lists are one value.
    said = any("x-kubernetes-list-type" in (meta.extra_json_schema or {}) for meta in metas)
    if "name" in node["items"].get("required", ()) and not said:
        return node | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    return node | {"x-kubernetes-list-type": "atomic"}


def _mapping(key: Any, item: Any, metas: list[Meta]) -> Schema:
    bare, _ = unwrap(key)
    if get_origin(bare) is Literal and item is Any:
        # An object of Kubernetes' own whose fields have names here, so that a misspelt one is refused. null is for a
        # patch: it removes.
        return {
            "type": "object",
            "properties": {
                name: {"x-kubernetes-preserve-unknown-fields": True, "nullable": True} for name in get_args(bare)
            },
        }
    if get_origin(bare) is Literal:
        return {"type": "object", "properties": {name: schema(item) for name in get_args(bare)}}
    if item is Any:
        # Part of an object of Kubernetes' own, whose schema is not ours to write down: the API server that it is
        # applied to says what is wrong with it.
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    bounds = _bounds(dict, metas)
    if not bounds:
        raise TypeError("a mapping's size must be bounded: the cost of rules is estimated from it")
    return {"type": "object", "additionalProperties": schema(item)} | bounds


def _scalar(kind: type, metas: list[Meta]) -> Schema:
    node: Schema = {"type": _SCALARS[kind]} | _bounds(kind, metas)
    if kind is datetime:
        node |= {"format": "date-time", "maxLength": 64}
    such_as = _such_as(metas)
    if "pattern" in node and such_as:
        # `pattern` would answer with a regular expression; a rule answers with what to write instead. It has to
        # stand alone, because the API server runs rules only on what the rest of the schema accepts.
        rule = f"self.matches({_literal(node.pop('pattern'))})"
        message = f"expected {_title(metas) or 'something else'}{such_as}"
        node["x-kubernetes-validations"] = [{"rule": rule, "message": message}]
    return node


def _bounds(kind: type, metas: list[Meta]) -> Schema:
    found: Schema = {}
    for attribute, name in _BOUNDS.get(kind, {}).items():
        value = next((getattr(meta, attribute) for meta in metas if getattr(meta, attribute) is not None), None)
        if value is not None:
            found[name] = value
    return found


def _described(node: Schema, metas: list[Meta]) -> Schema:
    description = next((meta.description for meta in metas if meta.description), node.pop("description", None))
    if description and _title(metas) and _such_as(metas):
        description += f" Written as {_title(metas)}{_such_as(metas)}."
    return {"description": description} | node if description else node


def _title(metas: list[Meta]) -> str:
    return next((meta.title for meta in metas if meta.title), "")


def _such_as(metas: list[Meta]) -> str:
    examples = next((meta.examples for meta in metas if meta.examples), None)
    return f", such as {', '.join(str(example) for example in examples)}" if examples else ""


def _docstring(kind: type[Struct]) -> str:
    return " ".join((kind.__doc__ or "").split())


def _literal(text: str) -> str:
    """Return a text as a CEL string."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
