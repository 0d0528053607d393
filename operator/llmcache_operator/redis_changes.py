"""What a change of the managed Redis comes to: in force at once, with a restart, or not at all."""

from collections.abc import Iterator, Mapping

from llmcache_gateway.config import ManagedRedis, byte_count
from llmcache_operator.compare import holds
from llmcache_operator.specs import Object
from llmcache_operator.specs.redis import ANNOTATION, live_settings


def in_force(before: Mapping[str, str], asked: ManagedRedis) -> str:
    """Return what was changed in a running Redis, for people; `before` has what it was. Nothing where nothing was."""
    wanted = live_settings(asked)
    turned = [
        f"{name} from {_shown(name, was)} to {_shown(name, wanted[name])}" for name, was in sorted(before.items())
    ]
    return f"set without a restart: {', '.join(turned)}" if turned else ""


def claim_refused(live: Object | None, asked: ManagedRedis) -> str:
    """Return what spec asks of a volume that is there and can't be done, and what to do; nothing where it can."""
    wanted = asked.persistence
    if live is None or wanted is None:
        return ""
    name, spec = live["metadata"]["name"], live["spec"]
    instead = f"write {{}}, or delete PersistentVolumeClaim {name} and pod {name}-0, and with them what is kept"
    size, kind = spec["resources"]["requests"]["storage"], spec.get("storageClassName", "")
    if byte_count(wanted.size) < byte_count(size):
        ours = instead.format(f"size: {size}")
        return f"redis.managed.persistence.size: a volume can't shrink from {size} to {wanted.size}: {ours}"
    if wanted.storage_class not in (None, kind):
        ours = instead.format(f"storageClass: {kind}")
        return f"redis.managed.persistence.storageClass: a volume stays in its class, {kind}: {ours}"
    return ""


def restarts(live: Object | None, desired: Object) -> str:
    """Return why a StatefulSet's pod will be made anew, or nothing where it stays, or is the first."""
    if live is None or holds(live["spec"]["template"], desired["spec"]["template"], "template"):
        return ""
    return "; ".join(_differences(live["spec"]["template"], desired["spec"]["template"])) or "its pod was changed"


def _shown(name: str, value: str) -> str:
    if name == "maxmemory" and value.isdecimal():
        return f"{int(value) // 2**20}Mi"
    return value or "none"


def _differences(live: Object, desired: Object) -> Iterator[str]:
    was, now = (template["spec"]["containers"][0] for template in (live, desired))
    if was.get("image") != now["image"]:
        yield f"its image is {now['image']}"
    limits = [container.get("resources", {}).get("limits", {}).get("memory") for container in (was, now)]
    if limits[0] != limits[1]:
        yield f"its pod's memory limit goes from {limits[0]} to {limits[1]}"
    if _volume(live) != _volume(desired):
        yield f"it keeps entries {'on a volume' if _volume(desired) else 'in memory only'}"
    if (live["metadata"].get("annotations") or {}).get(ANNOTATION) != desired["metadata"]["annotations"][ANNOTATION]:
        yield "its modules, its passwords or settings that it reads at its start are others"


def _volume(template: Object) -> str:
    volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", ())}
    name: str = volumes.get("data", {}).get("persistentVolumeClaim", {}).get("claimName", "")
    return name
