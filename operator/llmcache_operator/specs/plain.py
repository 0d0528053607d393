"""Configuration types that are spelt as Kubernetes spells them, as parts of its objects."""

from typing import Any

import msgspec

from llmcache_gateway.config import Model
from llmcache_operator.specs.identity import Object


def plain(value: Model) -> Object:
    """Return a value's fields as Kubernetes writes them: those that are set, without empty lists and mappings.

    An object that is there and empty stays: a selector `{}` selects everything, and none selects nothing.
    """
    fields = {known.encode_name: getattr(value, known.name) for known in msgspec.structs.fields(value)}
    return {name: _plain(item) for name, item in fields.items() if item is not None and item not in ([], {})}


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        return plain(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
