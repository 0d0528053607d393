"""The managed Redis: one pod. It keeps nothing on disk unless asked to: what it holds can be asked for again."""

import hashlib
from typing import Final

from llmcache_gateway.config import ManagedRedis, Resources, byte_count
from llmcache_operator.specs import pods
from llmcache_operator.specs.identity import COMPONENT_REDIS, Identity, Images, Object
from llmcache_operator.specs.secrets import Generated, redis_acl

USER: Final = "llmcache"
UID: Final = 999
PORT: Final = 6379
ANNOTATION: Final = "llmcache.dev/redis-config"
DATA_DIR: Final = "/data"

SMALLEST_MEBIBYTES: Final = 64
"""Redis alone takes some megabytes, whatever it may keep."""
LOADING_SECONDS: Final = 600
"""How long reading what was kept may take at start."""
_SAVE = {"Snapshots": "3600 1 300 100 60 10000"}


def config_map(identity: Identity, asked: ManagedRedis) -> Object:
    """Return the ConfigMap with redis.conf."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": identity.metadata(identity.redis, COMPONENT_REDIS),
        "data": {"redis.conf": _configuration(asked)},
    }


def service(identity: Identity) -> Object:
    """Return the Service of Redis: one address that outlives its pod."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": identity.metadata(identity.redis, COMPONENT_REDIS),
        "spec": {
            "selector": identity.selector(COMPONENT_REDIS),
            "ports": [{"name": "redis", "port": PORT, "targetPort": "redis", "protocol": "TCP"}],
        },
    }


def claim(identity: Identity, asked: ManagedRedis) -> list[Object]:
    """Return the claim of the volume that entries are kept on, if they are to be.

    It is a child of its own and no template of the StatefulSet's: a template can never be changed.
    """
    wanted = asked.persistence
    if wanted is None:
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": identity.metadata(identity.redis, COMPONENT_REDIS),
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": wanted.size}},
                **({"storageClassName": wanted.storage_class} if wanted.storage_class else {}),
            },
        }
    ]


def stateful_set(identity: Identity, asked: ManagedRedis, images: Images, values: Generated) -> Object:
    """Return Redis' StatefulSet; its pod is made anew for what Redis reads once only: some settings, the passwords."""
    volume = {"persistentVolumeClaim": {"claimName": identity.redis}} if asked.persistence else {"emptyDir": {}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": identity.metadata(identity.redis, COMPONENT_REDIS),
        "spec": {
            "replicas": 1,
            # Otherwise a pod that can't start, for its image, say, would never make room for one that can.
            "podManagementPolicy": "Parallel",
            "revisionHistoryLimit": 3,
            "serviceName": identity.redis,
            "selector": {"matchLabels": identity.selector(COMPONENT_REDIS)},
            "template": {
                "metadata": {
                    "labels": identity.labels(COMPONENT_REDIS),
                    "annotations": {ANNOTATION: _digest(_lines(_lasting(asked)) + redis_acl(values))},
                },
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": pods.pod_security(UID),
                    # What is kept is written on the way out.
                    "terminationGracePeriodSeconds": 120 if asked.persistence else 30,
                    "containers": [_container(identity, asked, images)],
                    "volumes": [
                        {"name": "config", "configMap": {"name": identity.redis}},
                        {
                            "name": "acl",
                            "secret": {
                                "secretName": identity.redis,
                                "items": [{"key": "users.acl", "path": "users.acl"}],
                            },
                        },
                        {"name": "data", **volume},
                    ],
                },
            },
        },
    }


def live_settings(asked: ManagedRedis) -> dict[str, str]:
    """Return the settings that a running Redis takes, as it tells them itself (CONFIG GET)."""
    mode = asked.persistence.mode if asked.persistence else None
    return {
        "maxmemory": str(byte_count(asked.memory)),
        "maxmemory-policy": asked.maxmemory_policy,
        "save": _SAVE.get(mode or "", ""),
        "appendonly": "yes" if mode == "AppendOnly" else "no",
    }


def _lasting(asked: ManagedRedis) -> list[tuple[str, str]]:
    """Return the settings that Redis reads at its start."""
    return [
        ("port", str(PORT)),
        ("protected-mode", "yes"),
        ("aclfile", "/etc/redis-acl/users.acl"),
        ("dir", DATA_DIR),
        ("appendfsync", "everysec"),
        # Dropping a large entry must not hold up the others.
        ("lazyfree-lazy-eviction", "yes"),
        ("lazyfree-lazy-expire", "yes"),
        *(("loadmodule", path) for path in asked.modules),
    ]


def _configuration(asked: ManagedRedis) -> str:
    live = live_settings(asked)
    times = live.pop("save").split()
    # Before version 7, a line takes one pair only.
    saves = [("save", " ".join(times[at : at + 2])) for at in range(0, len(times), 2)] or [("save", '""')]
    return _lines([*_lasting(asked), *live.items(), *saves])


def _lines(settings: list[tuple[str, str]]) -> str:
    return "".join(f"{name} {value}\n" for name, value in settings)


def pod_mebibytes(memory: str) -> tuple[int, int]:
    """Return what Redis' pod asks for and what it may have, in mebibytes.

    The limit leaves half of `memory` for overhead, and comes in steps (64, 96, 128, 192, 256, ...): a change of
    `memory` within one leaves the pod alone.
    """
    need = byte_count(memory) * 3 / 2 / 2**20
    limit = SMALLEST_MEBIBYTES
    while limit < need:
        limit = limit * 3 // 2 if limit.bit_count() == 1 else limit * 4 // 3
    return limit * 2 // 3, limit


def _container(identity: Identity, asked: ManagedRedis, images: Images) -> Object:
    request, limit = pod_mebibytes(asked.memory)
    resources = Resources(requests={"cpu": "100m", "memory": f"{request}Mi"}, limits={"memory": f"{limit}Mi"})
    starting = LOADING_SECONDS if asked.persistence else 60
    # redis-cli before version 7 exits with 0 on an error answer: the answer is what counts.
    ping = {"exec": {"command": ["sh", "-c", f"redis-cli -h 127.0.0.1 --user {USER} ping | grep -q PONG"]}}
    return {
        "name": "redis",
        "image": asked.image or images.redis,
        **images.pull(),
        "command": ["redis-server", "/etc/redis/redis.conf"],
        "env": [
            {"name": "REDISCLI_AUTH", "valueFrom": {"secretKeyRef": {"name": identity.redis, "key": "password"}}},
        ],
        "ports": [{"name": "redis", "containerPort": PORT, "protocol": "TCP"}],
        "resources": pods.resources(resources),
        "securityContext": pods.container_security(),
        "startupProbe": ping | {"periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": starting},
        "readinessProbe": ping | {"periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 2},
        "livenessProbe": ping | {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/redis", "readOnly": True},
            {"name": "acl", "mountPath": "/etc/redis-acl", "readOnly": True},
            {"name": "data", "mountPath": DATA_DIR},
        ],
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
