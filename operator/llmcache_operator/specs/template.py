"""A pod's template with what somebody adds to it, by the rules of Kubernetes' strategic merge patch.

Objects are merged field by field, null removes a field, and the lists below are merged item by item, by their key.
All other lists are replaced. `$patch: delete` removes an item, `$patch: replace` puts an object in another's place.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from llmcache_operator.specs.identity import Object

MERGE_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "env": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "resourceClaims": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
_PATCH: Final = "$patch"


class Refusal(NamedTuple):
    """What an override may not say: where, and what to do instead."""

    path: str
    message: str


def merged(base: Object, patch: Object) -> Object:
    """Return an object with a strategic merge patch applied. The patch must be free of what `malformed` finds."""
    if patch.get(_PATCH) == "replace":
        return {name: value for name, value in patch.items() if name != _PATCH}
    result = dict(base)
    for name, value in patch.items():
        if value is None or (isinstance(value, dict) and value.get(_PATCH) == "delete"):
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merged(result.get(name) or {}, value)
        elif isinstance(value, list) and name in MERGE_KEYS:
            result[name] = _merged_list(result.get(name) or [], value, MERGE_KEYS[name])
        else:
            result[name] = value
    return result


def malformed(patch: Any, path: str) -> Iterator[Refusal]:
    """Yield what can't be merged: a list whose items lack their key, a directive that is not understood."""
    if isinstance(patch, list):
        for index, item in enumerate(patch):
            yield from malformed(item, f"{path}[{index}]")
        return
    if not isinstance(patch, dict):
        return
    for name, value in patch.items():
        here = f"{path}.{name}"
        if name == _PATCH and value not in ("delete", "replace"):
            yield Refusal(here, f"is delete or replace, not {value!r}")
        elif name.startswith("$") and name != _PATCH:
            yield Refusal(here, f"is not understood: of the directives there is {_PATCH}: delete and replace")
        elif name in MERGE_KEYS and not _mergeable(value, MERGE_KEYS[name]):
            yield Refusal(here, f"is merged item by item: write a list of objects that each have {MERGE_KEYS[name]}")
        else:
            yield from malformed(value, here)


def _mergeable(value: Any, key: str) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and all(isinstance(item, dict) and key in item for item in value)


def _merged_list(base: list[Object], patch: list[Object], key: str) -> list[Object]:
    result = {item[key]: item for item in base}
    for item in patch:
        if item.get(_PATCH) == "delete":
            result.pop(item[key], None)
        else:
            result[item[key]] = merged(result.get(item[key], {}), item)
    return list(result.values())
