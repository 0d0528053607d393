"""What is to be done so that the cluster holds what is desired, and nothing else that is ours."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from llmcache_operator.compare import holds
from llmcache_operator.specs import FIELD_MANAGER, Key, Object

ANNOTATION = "llmcache.dev/applied"
"""Hash of the desired object that was last applied: shows that a field is no longer asked for, which `holds` can't."""


@dataclass(slots=True)
class Plan:
    """What is to be done for one LLMCache."""

    apply: list[Object] = field(default_factory=list)
    hand_over: dict[Key, Object] = field(default_factory=dict)
    """Parts of live objects that we give up, to be applied for somebody else first: a field that nobody owns goes."""
    delete: list[Object] = field(default_factory=list)
    taken: list[Key] = field(default_factory=list)
    """Children whose name belongs to an object of somebody else: they are left alone."""
    leaving: list[Key] = field(default_factory=list)
    """Children of an earlier LLMCache of the same name, which garbage collection is about to remove."""


def plan(
    desired: Iterable[Object],
    live: Mapping[Key, Object | None],
    former: Iterable[Key],
    uid: str | None,
    initial: Mapping[Key, Object] | None = None,
) -> Plan:
    """Compare what is desired with what is there.

    `live` holds every desired and former child by kind and name, None where there is none; `uid` is the
    LLMCache's. Former children are deleted, if they are its own. `initial` has what a child's spec gets beside when it
    is made, and is not ours afterwards.
    """
    beginnings = initial or {}
    made = Plan()
    for child in map(stamped, desired):
        key = (child["kind"], child["metadata"]["name"])
        there = live.get(key)
        if there is not None and "deletionTimestamp" in there["metadata"]:
            made.leaving.append(key)
        elif there is not None and not owned(there, uid):
            (made.leaving if _of_a_predecessor(there, child) else made.taken).append(key)
        elif there is None:
            made.apply.append(_begun(child, beginnings.get(key)))
        elif not holds(there, child):
            made.apply.append(child)
            part = _given_up(there, beginnings[key]) if key in beginnings else None
            if part is not None:
                made.hand_over[key] = part
    for key in former:
        there = live.get(key)
        if there is not None and owned(there, uid) and "deletionTimestamp" not in there["metadata"]:
            made.delete.append(there)
    return made


def stamped(desired: Object) -> Object:
    """Return a desired object with the hash of itself, which is how it is applied.

    The hash of a Secret's random values says nothing about them: there is no list of likely ones to try.
    """
    text = json.dumps(desired, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    annotations = desired["metadata"].get("annotations", {}) | {ANNOTATION: digest}
    return desired | {"metadata": desired["metadata"] | {"annotations": annotations}}


def owned(live: Object, uid: str | None) -> bool:
    """Return whether an object belongs to the LLMCache of that uid."""
    return any(owner.get("uid") == uid for owner in live["metadata"].get("ownerReferences", ()))


def _begun(child: Object, beginning: Object | None) -> Object:
    return child | {"spec": child["spec"] | beginning["spec"]} if beginning else child


def _given_up(live: Object, beginning: Object) -> Object | None:
    """Return the live fields of spec that we own of those that were ours in the beginning only, as a part to apply."""
    ours: set[str] = set()
    for entry in live["metadata"].get("managedFields", ()):
        if (entry.get("manager"), entry.get("operation")) == (FIELD_MANAGER, "Apply"):
            ours |= entry.get("fieldsV1", {}).get("f:spec", {}).keys()
    spec = {name: live["spec"][name] for name in beginning["spec"] if f"f:{name}" in ours}
    if not spec:
        return None
    metadata = {name: live["metadata"][name] for name in ("name", "namespace")}
    return {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata, "spec": spec}


def _of_a_predecessor(live: Object, desired: Object) -> bool:
    (ours,) = desired["metadata"]["ownerReferences"]
    owners = live["metadata"].get("ownerReferences", ())
    return any((owner["kind"], owner["name"]) == (ours["kind"], ours["name"]) for owner in owners)
