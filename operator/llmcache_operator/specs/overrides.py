"""What an override of the gateways' pods may not say.

There are other fields for some of it, and the rest would make settings untrue: who a tenant is, which ports are open,
what a gateway reads.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmcache_operator.specs.expose import PORT
from llmcache_operator.specs.gateway import (
    ADMIN_PORT,
    CONFIG_DIR,
    CONTAINER,
    DATA_DIR,
    HOOKS_DIR,
    SECRETS_DIR,
)
from llmcache_operator.specs.identity import Object
from llmcache_operator.specs.template import Refusal, malformed

_POD: Final[Mapping[str, str]] = {
    "hostNetwork": "would put the admin port on the node",
    "hostPID": "would show the gateways' memory to the node's other processes",
    "hostIPC": "would share memory with the node's other processes",
    "terminationGracePeriodSeconds": "follows from spec.gateway.drain: set that",
}
_CONTAINER: Final[Mapping[str, str]] = {
    "image": "set spec.gateway.image",
    "resources": "set spec.gateway.resources",
    "command": "what the gateway is started with follows from spec",
    "args": "what the gateway is started with follows from spec",
    "ports": "are 4000 and the admin port 4001, which Services, probes and network policies rely on",
    "livenessProbe": "is the operator's",
    "readinessProbe": "is the operator's: a Service takes a gateway in by it",
    "startupProbe": "is the operator's",
    "lifecycle": "is the operator's: a gateway leaves its Service before it ends. Set spec.gateway.drain",
    "$patch": "the gateway's container can't be left out or replaced",
}
_VOLUMES: Final = frozenset({"config", "secrets", "tmp", "data", "hooks"})
_FOLDERS: Final = (CONFIG_DIR, SECRETS_DIR, HOOKS_DIR, DATA_DIR, "/tmp")  # noqa: S108 - a volume of the pod's own


def refusals(spec: Mapping[Any, Any]) -> Iterator[Refusal]:
    """Yield what an override of a pod's spec may not say; paths begin below it."""
    wrong = list(malformed(spec, ""))
    if wrong:
        yield from wrong
        return
    for name, why in _POD.items():
        if spec.get(name):
            yield Refusal(f".{name}", why)
    for volume in spec.get("volumes") or ():
        if volume["name"] in _VOLUMES:
            yield Refusal(".volumes", f"the volume {volume['name']} is the operator's: choose another name")
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            path = f".{field}[{index}]"
            found = _of_ours(container, path) if container["name"] == CONTAINER else _of_theirs(container, path)
            yield from found


def _of_ours(container: Object, path: str) -> Iterator[Refusal]:
    for name, why in _CONTAINER.items():
        if name in container:
            yield Refusal(f"{path}.{name}", why)
    for mount in container.get("volumeMounts") or ():
        if _hides(str(mount["mountPath"])):
            yield Refusal(f"{path}.volumeMounts", f"{mount['mountPath']} would hide what the gateway reads there")


def _of_theirs(container: Object, path: str) -> Iterator[Refusal]:
    taken: tuple[Any, ...] = (PORT, ADMIN_PORT)
    for port in container.get("ports") or ():
        if port["containerPort"] in taken:
            yield Refusal(f"{path}.ports", f"{port['containerPort']} is the gateway's: containers of a pod share ports")
    for mount in container.get("volumeMounts") or ():
        if mount.get("name") == "secrets":
            yield Refusal(f"{path}.volumeMounts", "the volume secrets has the credentials of upstreams and tenants")


def _hides(path: str) -> bool:
    folder = path.rstrip("/") + "/"
    return any(f"{ours}/".startswith(folder) or folder.startswith(f"{ours}/") for ours in _FOLDERS)
