"""Every object of an LLMCache, in the order in which they are applied: what is mounted comes before the pods."""

from llmcache_gateway.config import (
    ExternalRedis,
    GatewayConfig,
    LLMCache,
    ManagedRedis,
    RedisLogin,
    SecretRef,
    gateway_config,
)
from llmcache_operator.specs import gateway, redis, secrets
from llmcache_operator.specs.identity import Identity, Images, Object
from llmcache_operator.specs.secrets import Generated


def children(manifest: LLMCache, identity: Identity, images: Images, values: Generated) -> list[Object]:
    """Return every object that the manifest asks for."""
    config = gateway_configuration(manifest, identity)
    objects = [secrets.gateway_secret(identity, values), gateway.config_map(identity, config)]
    managed = managed_redis(manifest)
    if managed is not None:
        objects += [
            secrets.redis_secret(identity, values),
            redis.config_map(identity, managed),
            redis.service(identity),
            redis.stateful_set(identity, managed, images, values),
        ]
    return [
        *objects,
        gateway.service(identity),
        gateway.disruption_budget(identity),
        gateway.deployment(identity, manifest.spec.gateway, config, images),
    ]


def former_children(manifest: LLMCache, identity: Identity) -> list[tuple[str, str]]:
    """Return kind and name of what an earlier state of the manifest may have asked for, and this one does not."""
    if managed_redis(manifest) is not None:
        return []
    return [(kind, identity.redis) for kind in ("StatefulSet", "Service", "ConfigMap", "Secret")]


def managed_redis(manifest: LLMCache) -> ManagedRedis | None:
    """Return the Redis that the operator is to run, if any."""
    return manifest.spec.redis.managed if manifest.spec.redis is not None else None


def gateway_configuration(manifest: LLMCache, identity: Identity) -> GatewayConfig:
    """Return the gateways' configuration; a managed Redis is to them an external one like any other."""
    address = f"redis://{identity.redis}.{identity.namespace}.svc:{redis.PORT}/0"
    login = RedisLogin(username=redis.USER, secret_ref=SecretRef(name=identity.redis, key="password"))
    return gateway_config(manifest, ExternalRedis(url=address, credential=login))
