"""The Job that warms a prefix version, and what is read from it."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmcache_gateway.config import GatewayConfig, Warm, seconds
from llmcache_operator.rollout.turn import NOT_WARMED, Warmed
from llmcache_operator.specs import pods
from llmcache_operator.specs.expose import PORT
from llmcache_operator.specs.gateway import ADMIN_PORT, CONTAINER, SECRETS_DIR
from llmcache_operator.specs.identity import COMPONENT_WARM, Identity, Images, Object

REQUESTS_DIR: Final = "/etc/llmcache/requests"
SUMMARY_FILE: Final = "/dev/termination-log"

KEPT_SECONDS: Final = 3600
"""How long a finished Job stays, for who wants to see its log."""

MOST_ASKED: Final = 32
"""Gateways whose most asked requests are put together: more would hardly say anything else."""

NUMBERS: Final = {"stored": "stored", "alreadyThere": "already there", "failed": "failed", "notSent": "not sent"}

# Where a gateway's pod may run, and how its image is got, holds for the Job's pod as well.
SHARED_FIELDS: Final = ("imagePullSecrets", "nodeSelector", "tolerations", "securityContext", "priorityClassName")


def job_name(identity: Identity, key: str) -> str:
    """Return the name of the Job of a warming. `key` is that of the state that it belongs to."""
    return f"{identity.name}-warm-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def job(
    identity: Identity,
    warm: Warm,
    name: str,
    version: str,
    deployment: Object,
    config: GatewayConfig,
    images: Images,
    addresses: Sequence[str],
) -> Object:
    """Return the Job.

    `addresses` are those of the ready gateways. Where they have one store, all of it is sent to their Service; where
    each has its own, to each of them.
    """
    shared = config.spec.cache.store.shared
    template = deployment["spec"]["template"]["spec"]
    (gateway,) = [container for container in template["containers"] if container["name"] == CONTAINER]
    urls = [identity.endpoint] if shared else [f"http://{pods.url_host(address)}:{PORT}" for address in addresses]
    sources: list[tuple[str, list[str]]] = []
    if warm.top_requests is not None:
        hot = [f"http://{pods.url_host(address)}:{ADMIN_PORT}" for address in addresses[:MOST_ASKED]]
        words = [word for url in hot for word in ("--from-hot", url)]
        sources.append(("top", [*words, "--top", str(warm.top_requests), "--as-tenant"]))
    if warm.requests_from is not None:
        # Where all share their entries, a list need not say whose they are.
        tenants = [] if config.spec.tenancy.isolation == "Shared" else ["--as-tenant"]
        sources.append(("list", ["--requests", f"{REQUESTS_DIR}/{warm.requests_from.config_map_ref.key}", *tenants]))
    rate = max(1, math.floor(warm.max_requests_per_second * 3600 / len(urls) / len(sources)))
    containers = [
        _container(f"{kind}-{at}", url, source, rate, version, gateway["image"], images)
        for at, url in enumerate(urls)
        for kind, source in sources
    ]
    metadata = identity.metadata(name, COMPONENT_WARM)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata | {"annotations": {"llmcache.dev/version": version}},
        "spec": {
            "backoffLimit": 1,
            # A list that can't be read is no better the second time.
            "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2]}}]},
            "activeDeadlineSeconds": max(1, math.ceil(seconds(warm.timeout))),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {
                "metadata": {"labels": identity.labels(COMPONENT_WARM)},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "restartPolicy": "Never",
                    **{name: template[name] for name in SHARED_FIELDS if name in template},
                    "containers": containers,
                    "volumes": _volumes(identity, warm),
                },
            },
        },
    }


def read_job(live: Object | None, own_pods: Sequence[Object]) -> Warmed:
    """Return how far a warming is, and what it says of itself."""
    if live is None:
        return NOT_WARMED
    ended = {
        condition["type"]: condition
        for condition in live.get("status", {}).get("conditions", ())
        if condition["status"] == "True"
    }
    mine = [pod for pod in own_pods if pod["metadata"]["labels"].get("job-name") == live["metadata"]["name"]]
    mine.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
    text = _summary(mine[-1]) if mine else ""
    if "Complete" in ended:
        return Warmed("done", text)
    if "Failed" in ended:
        return Warmed("failed", text or str(ended["Failed"].get("message", "")))
    return Warmed("running", text)


def _summary(pod: Object) -> str:
    """Return what the containers of a pod have written as they ended, added up."""
    told: list[Mapping[str, Any]] = []
    for container in pod.get("status", {}).get("containerStatuses", ()):
        try:
            told.append(json.loads(container.get("state", {}).get("terminated", {}).get("message", "")))
        except ValueError:
            continue  # it has not ended, or not in its own words
    told = [one for one in told if isinstance(one, dict)]
    errors = [str(error) for one in told for error in one.get("error", ())][:2]
    numbers = {name: sum(int(one.get(name, 0)) for one in told) for name in NUMBERS}
    counted = [f"{numbers[name]} {word}" for name, word in NUMBERS.items() if numbers[name] or name == "stored"]
    reasons = [str(reason) for one in told for reason in one.get("failures", {})]
    return "; ".join([", ".join(counted) if told else "", *errors, *reasons[:3]]).strip("; ")[:400]


def _container(name: str, url: str, source: list[str], rate: int, version: str, image: str, images: Images) -> Object:
    token = f"{SECRETS_DIR}/admin-token"
    return {
        "name": name,
        "image": image,
        **images.pull(),
        "args": [
            *("warm", "--url", url, *source, "--rate", f"{rate}/h", "--version", version),
            *("--admin-token-file", token, "--summary", "json", "--summary-file", SUMMARY_FILE),
        ],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": pods.container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "terminationMessagePath": SUMMARY_FILE,
        "volumeMounts": [
            {"name": "secrets", "mountPath": SECRETS_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
            *([{"name": "requests", "mountPath": REQUESTS_DIR, "readOnly": True}] if "--requests" in source else []),
        ],
    }


def _volumes(identity: Identity, warm: Warm) -> list[Object]:
    token = {"secretName": identity.gateway, "items": [{"key": "admin-token", "path": "admin-token"}]}
    volumes: list[Object] = [{"name": "secrets", "secret": token}, {"name": "tmp", "emptyDir": {}}]
    if warm.requests_from is not None:
        wanted = warm.requests_from.config_map_ref
        items = [{"key": wanted.key, "path": wanted.key}]
        volumes.append({"name": "requests", "configMap": {"name": wanted.name, "items": items}})
    return volumes
