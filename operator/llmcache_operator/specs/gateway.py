"""The gateways: configuration, Deployment, disruption budget."""

import math
from typing import Final

import yaml

from llmcache_gateway.config import DiskStore, Gateway, GatewayConfig, byte_count, seconds
from llmcache_operator.specs import pods
from llmcache_operator.specs.autoscaler import autoscaled
from llmcache_operator.specs.expose import PORT
from llmcache_operator.specs.identity import COMPONENT_GATEWAY, Identity, Images, Object
from llmcache_operator.specs.plain import plain
from llmcache_operator.specs.secrets import referenced_secrets
from llmcache_operator.specs.template import merged

USER: Final = 10001
CONTAINER: Final = "gateway"
ADMIN_PORT: Final = 4001
CONFIG_KEY: Final = "gateway.yaml"
CONFIG_DIR: Final = "/etc/llmcache/config"
SECRETS_DIR: Final = "/etc/llmcache/secrets"
HOOKS_DIR: Final = "/etc/llmcache/hooks"
DATA_DIR: Final = "/var/lib/llmcache"

# What a pod's disk store may take beside its bound: a file that can't be read is kept aside, and the log of writes.
DATA_COPIES: Final = 2
DATA_SPARE_BYTES: Final = 64 * 2**20

# An endpoint that leaves a Service takes a moment to reach every node's proxy: the pod goes on serving for that long,
# then it has `drain` for the streams that it has begun, and some seconds to close what is open.
LEAVE_SECONDS: Final = 5
SPARE_SECONDS: Final = 15


def config_map(identity: Identity, config: GatewayConfig) -> Object:
    """Return the ConfigMap that the gateways read and watch."""
    text = yaml.safe_dump(config.to_dict(), sort_keys=False, width=120, allow_unicode=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": identity.metadata(identity.gateway, COMPONENT_GATEWAY),
        "data": {CONFIG_KEY: text},
    }


def disruption_budget(identity: Identity, asked: Gateway) -> Object:
    """Return the budget that lets a node be drained, one gateway at a time where nothing else is asked for.

    It never waits for a broken one.
    """
    budget = plain(asked.disruption_budget) if asked.disruption_budget is not None else {"maxUnavailable": "1"}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": identity.metadata(identity.name, COMPONENT_GATEWAY),
        "spec": {
            **{name: int(value) if value.isdecimal() else value for name, value in budget.items()},
            "selector": {"matchLabels": identity.selector(COMPONENT_GATEWAY)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def deployment(identity: Identity, asked: Gateway, config: GatewayConfig, images: Images) -> Object:
    """Return the gateways' Deployment.

    Its pods depend on the gateways' configuration in three ways only, through the Secrets and the ConfigMap of hooks
    that it names and the volume of a disk store: everything else is reloaded by the running gateways, so that a new
    prefix version restarts nothing.
    """
    hooks = config.spec.hooks
    drain = math.ceil(seconds(asked.drain))
    template: Object = {
        "metadata": {
            "labels": identity.labels(COMPONENT_GATEWAY),
            "annotations": {"kubectl.kubernetes.io/default-container": CONTAINER},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pods.pod_security(USER),
            "terminationGracePeriodSeconds": LEAVE_SECONDS + drain + SPARE_SECONDS,
            "topologySpreadConstraints": [_spread(identity)],
            "containers": [_container(identity, asked, config, images)],
            "volumes": [
                {"name": "config", "configMap": {"name": identity.gateway}},
                {"name": "secrets", "projected": {"sources": _secret_sources(identity, config)}},
                {"name": "tmp", "emptyDir": {}},
                *_data_volume(config),
                *([{"name": "hooks", "configMap": {"name": hooks.config_map_ref.name}}] if hooks else []),
            ],
        },
    }
    if asked.pod_template is not None:
        template = merged(template, {"metadata": plain(asked.pod_template.metadata), "spec": asked.pod_template.spec})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": identity.metadata(identity.name, COMPONENT_GATEWAY),
        "spec": {
            **({} if autoscaled(asked) else {"replicas": asked.replicas}),
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": identity.selector(COMPONENT_GATEWAY)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": template,
        },
    }


def _container(identity: Identity, asked: Gateway, config: GatewayConfig, images: Images) -> Object:
    own = f"{SECRETS_DIR}/{identity.gateway}"
    arguments = {
        "--config": f"{CONFIG_DIR}/{CONFIG_KEY}",
        "--secrets": SECRETS_DIR,
        "--admin-token-file": f"{own}/admin-token",
        "--tenant-key-file": f"{own}/tenant-key",
        "--host": "0.0.0.0",  # noqa: S104 - a pod's own address
        "--port": str(PORT),
        "--admin-port": str(ADMIN_PORT),
        "--drain": f"{math.ceil(seconds(asked.drain))}s",
    }
    on_disk = config.spec.cache.store.uses_disk
    if on_disk:
        arguments["--data"] = DATA_DIR
    if config.spec.hooks is not None:
        arguments["--hooks"] = HOOKS_DIR
    resources = pods.resources(asked.resources)
    return {
        "name": CONTAINER,
        "image": asked.image or images.gateway,
        **images.pull(),
        "args": ["serve", *(word for pair in arguments.items() for word in pair)],
        "ports": [
            {"name": "http", "containerPort": PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
        ],
        **({"resources": resources} if resources else {}),
        "securityContext": pods.container_security(),
        "startupProbe": pods.http_probe("/healthz", "admin", periodSeconds=1, timeoutSeconds=2, failureThreshold=60),
        "readinessProbe": pods.http_probe("/readyz", "admin", periodSeconds=5, timeoutSeconds=3, failureThreshold=2),
        "livenessProbe": pods.http_probe("/healthz", "admin", periodSeconds=10, timeoutSeconds=5, failureThreshold=6),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVE_SECONDS)]}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            # The folder, not the file: a file mounted by subPath never sees an update.
            {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
            {"name": "secrets", "mountPath": SECRETS_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
            *([{"name": "data", "mountPath": DATA_DIR}] if on_disk else []),
            *([{"name": "hooks", "mountPath": HOOKS_DIR, "readOnly": True}] if config.spec.hooks else []),
        ],
    }


def _data_volume(config: GatewayConfig) -> list[Object]:
    """Return the volume of a disk store: it outlives a container, not a pod, and is the pod's alone."""
    store = config.spec.cache.store
    if not store.uses_disk:
        return []
    size = byte_count((store.disk or DiskStore()).bytes) * DATA_COPIES + DATA_SPARE_BYTES
    # Not a whole number of any larger unit, so that the API server keeps it as it is written.
    return [{"name": "data", "emptyDir": {"sizeLimit": f"{size // 2**10 | 1}Ki"}}]


def _secret_sources(identity: Identity, config: GatewayConfig) -> list[Object]:
    """Return the sources of one volume that holds every Secret as NAME/KEY, and only the keys that are asked for."""
    wanted = referenced_secrets(config)
    own = wanted.setdefault(identity.gateway, [])
    own += [key for key in ("admin-token", "tenant-key") if key not in own]
    return [
        {"secret": {"name": name, "items": [{"key": key, "path": f"{name}/{key}"} for key in keys]}}
        for name, keys in sorted(wanted.items())
    ]


def _spread(identity: Identity) -> Object:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": identity.selector(COMPONENT_GATEWAY)},
        # Those of one template only: while a rollout is under way, the old pods say nothing of where the new ones fit.
        "matchLabelKeys": ["pod-template-hash"],
    }
