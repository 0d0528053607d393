"""The managed Redis: one pod that keeps nothing on disk, because what it holds can be asked for again."""

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


def stateful_set(identity: Identity, asked: ManagedRedis, images: Images, values: Generated) -> Object:
    """Return Redis' StatefulSet; its pod is made anew with redis.conf or the password, which Redis reads once."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": identity.metadata(identity.redis, COMPONENT_REDIS),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "serviceName": identity.redis,
            "selector": {"matchLabels": identity.selector(COMPONENT_REDIS)},
            "template": {
                "metadata": {
                    "labels": identity.labels(COMPONENT_REDIS),
                    "annotations": {ANNOTATION: _digest(_configuration(asked) + redis_acl(values))},
                },
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": pods.pod_security(UID),
                    "terminationGracePeriodSeconds": 30,
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
                        {"name": "data", "emptyDir": {}},
                    ],
                },
            },
        },
    }


def _configuration(asked: ManagedRedis) -> str:
    settings = {
        "port": str(PORT),
        "protected-mode": "yes",
        "aclfile": "/etc/redis-acl/users.acl",
        "dir": "/data",
        "maxmemory": str(byte_count(asked.memory)),
        "maxmemory-policy": asked.maxmemory_policy,
        "save": '""',
        "appendonly": "no",
        # Dropping a large entry must not hold up the others.
        "lazyfree-lazy-eviction": "yes",
        "lazyfree-lazy-expire": "yes",
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _container(identity: Identity, asked: ManagedRedis, images: Images) -> Object:
    mebibytes = byte_count(asked.memory) // 2**20
    resources = Resources(
        requests={"cpu": "100m", "memory": f"{mebibytes}Mi"},
        limits={"memory": f"{mebibytes + (mebibytes + 1) // 2}Mi"},
    )
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
        "startupProbe": ping | {"periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 60},
        "readinessProbe": ping | {"periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 2},
        "livenessProbe": ping | {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/redis", "readOnly": True},
            {"name": "acl", "mountPath": "/etc/redis-acl", "readOnly": True},
            {"name": "data", "mountPath": "/data"},
        ],
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
