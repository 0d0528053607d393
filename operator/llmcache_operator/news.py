"""Tells news from echoes: whether what a watch says of an object is something that no look has read yet.

Every child that a look applies comes back as an event, and Kubernetes' controllers write statuses of which a look reads
little. Without this, each of these would be one more look at everything. A look itself always reads what is there: what
is remembered here decides only whether there is one.
"""

import hashlib
import json
from collections.abc import Callable
from functools import partial

from llmcache_operator.observed import read_rollout
from llmcache_operator.specs import Key, Object

Name = tuple[str, str]
"""Namespace and name of an LLMCache."""

STATUS = "LLMCacheStatus"
"""An LLMCache's status counts as an object of its own: we write it, and the rest is written by others."""

_PODS = frozenset({"Deployment", "StatefulSet"})
_COUNTED = ("resourceVersion", "managedFields", "generation")
_CONTROLLERS = "deployment.kubernetes.io/"


class News:
    """What looks have last read of each object, as digests.

    `add` gives an LLMCache a turn; `later` is an event loop's call_later.
    """

    def __init__(self, add: Callable[[Name], None], later: Callable[[float, Callable[[], None]], object]) -> None:
        self._add = add
        self._later = later
        self._read: dict[Name, dict[Key, bytes]] = {}
        self._heard: dict[tuple[Name, Key], bytes] = {}

    def read(self, of: Name, key: Key, live: Object | None) -> None:
        """Note what a look at an LLMCache has read, or written, of one of its objects; None where there is none."""
        self._read.setdefault(of, {})[key] = gist(key[0], live)

    def forget(self, of: Name) -> None:
        """Note that an LLMCache is gone."""
        self._read.pop(of, None)

    def heard(self, of: Name, key: Key, live: Object | None, delay: float) -> None:
        """Give an LLMCache a turn if, after `delay` seconds, no look has read what a watch says of one of its objects.

        In the meantime, the answer to a write of ours comes to be read, and further events of the same object to be
        heard.
        """
        waits = (of, key) in self._heard
        self._heard[of, key] = gist(key[0], live)
        if not waits:
            self._later(delay, partial(self._weigh, of, key))

    def _weigh(self, of: Name, key: Key) -> None:
        if self._heard.pop((of, key)) != self._read.get(of, {}).get(key, b""):
            self._add(of)


def gist(kind: str, live: Object | None) -> bytes:
    """Return a digest of all that a look could read of an object; nothing where there is no object."""
    if live is None:
        return b""
    if kind == STATUS:
        return _digest(live.get("status"))
    metadata = {name: value for name, value in live["metadata"].items() if name not in _COUNTED}
    noted = metadata.get("annotations") or {}
    metadata["annotations"] = {name: value for name, value in noted.items() if not name.startswith(_CONTROLLERS)}
    content = {name: value for name, value in live.items() if name not in {"metadata", "status", "kind", "apiVersion"}}
    return _digest([metadata, content, read_rollout(live) if kind in _PODS else None])


def _digest(plain: object) -> bytes:
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=16).digest()
