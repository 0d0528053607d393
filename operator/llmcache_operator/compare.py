"""Whether a live object holds everything that is desired of it.

The API server fills in what an object leaves open and writes some values differently (0.5 CPU comes back as 500m),
and others may add to it. None of this is drift; a desired value that is gone or changed is.
"""

import re
from decimal import Decimal
from typing import Any

from llmcache_operator.specs.template import MERGE_KEYS

# The lists that Kubernetes merges by a key: others may add items of their own. All other lists are one value.
_KEYS = dict(MERGE_KEYS) | {"ownerReferences": "uid", "ports": "name"}
# Fields whose members are quantities: of a container's resources, an emptyDir, an autoscaler's metric.
_QUANTITIES = {"emptyDir", "limits", "requests", "target"}
# What the API server leaves out where it is empty, so that it is the same as not there.
_OMITTED = {"hostIPC", "hostNetwork", "hostPID", "readOnly", "stdin", "stdinOnce", "tty", "value"}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|Ki|Mi|Gi|Ti|k|M|G|T)?")
_FACTORS: dict[str | None, Decimal] = {
    None: Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGT", 1)},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti"), 1)},
}


def holds(live: Any, desired: Any, field: str = "") -> bool:
    """Return whether everything desired is there in the live value; `field` is the name of the field it is in."""
    if isinstance(desired, dict):
        if not isinstance(live, dict):
            return not desired and live is None
        if field in _QUANTITIES:
            return all(name in live and _same_quantity(live[name], value) for name, value in desired.items())
        return all(holds(live.get(name), value, name) for name, value in desired.items())
    if isinstance(desired, list):
        return _list_holds(live or [], desired, field)
    if live is None and not desired and field in _OMITTED:
        return True
    return type(live) is type(desired) and bool(live == desired)


def _list_holds(live: Any, desired: list[Any], field: str) -> bool:
    if not isinstance(live, list):
        return False
    key = _KEYS.get(field)
    if key is not None and all(isinstance(item, dict) and key in item for item in (*live, *desired)):
        found = {item.get(key): item for item in live}
        return all(item.get(key) in found and holds(found[item.get(key)], item) for item in desired)
    return len(live) == len(desired) and all(holds(*pair) for pair in zip(live, desired, strict=True))


def _same_quantity(live: Any, desired: Any) -> bool:
    one, other = _quantity(str(live)), _quantity(str(desired))
    return bool(live == desired) or (one is not None and one == other)


def _quantity(text: str) -> Decimal | None:
    match = _QUANTITY.fullmatch(text)
    return Decimal(match[1]) * _FACTORS[match[2]] if match else None
