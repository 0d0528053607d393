"""Every object of an LLMCache, in the order in which they are applied: what is mounted comes before the pods."""

from msgspec.structs import replace

from llmcache_gateway.config import (
    ActivePrefix,
    ExternalRedis,
    GatewayConfig,
    LLMCache,
    ManagedRedis,
    NextPrefix,
    RedisLogin,
    SecretRef,
    gateway_config,
)
from llmcache_operator.rollout.state import Served
from llmcache_operator.specs import autoscaler, expose, gateway, monitoring, network, redis, secrets
from llmcache_operator.specs.identity import Identity, Images, Object
from llmcache_operator.specs.secrets import Generated

Key = tuple[str, str]
"""Kind and name of a child."""

REDIS_KINDS = ("StatefulSet", "Service", "ConfigMap", "Secret", "NetworkPolicy")
"""Kinds that every managed Redis has one of."""

OPTIONAL_KINDS = frozenset({"HTTPRoute", "PrometheusRule", "ServiceMonitor"})
"""Kinds that a cluster may lack: each comes with a CustomResourceDefinition of somebody else's."""


def children(
    manifest: LLMCache, identity: Identity, images: Images, values: Generated, prefix: ActivePrefix | None = None
) -> list[Object]:
    """Return every object that the manifest asks for; `prefix` is what a rollout gives to the gateways."""
    config = gateway_configuration(manifest, identity, prefix)
    objects = [secrets.gateway_secret(identity, values), gateway.config_map(identity, config)]
    managed = managed_redis(manifest)
    if managed is not None:
        objects += [
            secrets.redis_secret(identity, values),
            redis.config_map(identity, managed),
            network.redis_policy(identity, redis.PORT),
            redis.service(identity),
            *redis.claim(identity, managed),
            redis.stateful_set(identity, managed, images, values),
        ]
    asked = manifest.spec.gateway
    if asked.network_policy is not None:
        objects.append(network.gateway_policy(identity, asked.network_policy, expose.PORT, gateway.ADMIN_PORT))
    return [
        *objects,
        expose.service(identity, asked),
        gateway.disruption_budget(identity, asked),
        gateway.deployment(identity, asked, config, images),
        *autoscaler.autoscaler(identity, asked),
        *expose.ways_in(identity, asked),
        *monitoring.watchers(identity, manifest.spec.monitoring, asked),
    ]


def former_children(manifest: LLMCache, identity: Identity) -> list[Key]:
    """Return kind and name of what an earlier state of the manifest may have asked for, and this one does not."""
    asked, watched = manifest.spec.gateway, manifest.spec.monitoring
    ways = asked.expose
    wanted = {
        ("HorizontalPodAutoscaler", identity.name): bool(autoscaler.autoscaler(identity, asked)),
        ("NetworkPolicy", identity.name): asked.network_policy is not None,
        ("Ingress", identity.name): ways is not None and ways.ingress is not None,
        ("HTTPRoute", identity.name): ways is not None and ways.http_route is not None,
        ("ServiceMonitor", identity.name): watched is not None and watched.service_monitor,
        ("PrometheusRule", identity.name): watched is not None and watched.alerts,
        ("ConfigMap", monitoring.dashboard_name(identity)): watched is not None and watched.dashboards,
    }
    managed = managed_redis(manifest)
    wanted |= {(kind, identity.redis): managed is not None for kind in REDIS_KINDS}
    wanted["PersistentVolumeClaim", identity.redis] = managed is not None and managed.persistence is not None
    return [key for key, asked_for in wanted.items() if not asked_for]


def initial(manifest: LLMCache, identity: Identity) -> dict[Key, Object]:
    """Return what children get when they are made and is somebody else's from then on: the number of gateways."""
    asked = manifest.spec.gateway
    if not autoscaler.autoscaled(asked):
        return {}
    return {("Deployment", identity.name): {"spec": {"replicas": asked.replicas}}}


def managed_redis(manifest: LLMCache) -> ManagedRedis | None:
    """Return the Redis that the operator is to run, if any."""
    return manifest.spec.redis.managed if manifest.spec.redis is not None else None


def active_prefix(name: str, served: Served) -> ActivePrefix:
    """Return the prefix that gateways are given."""
    following = NextPrefix(version=served.next, percent=served.percent) if served.next is not None else None
    return ActivePrefix(name=name, version=served.version, next=following)


def gateway_configuration(manifest: LLMCache, identity: Identity, prefix: ActivePrefix | None = None) -> GatewayConfig:
    """Return the gateways' configuration; a managed Redis is to them an external one like any other.

    `prefix` is what a rollout gives to them; without it, every request belongs to the version of the manifest.
    """
    address = f"redis://{identity.redis}.{identity.namespace}.svc:{redis.PORT}/0"
    login = RedisLogin(username=redis.USER, secret_ref=SecretRef(name=identity.redis, key="password"))
    config = gateway_config(manifest, ExternalRedis(url=address, credential=login))
    return config if prefix is None else replace(config, spec=replace(config.spec, prefix=prefix))
