"""Secrets: those that the operator makes itself, and those that a configuration refers to."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from llmcache_gateway.config import GatewayConfig, SecretRef
from llmcache_operator.specs.identity import COMPONENT_GATEWAY, COMPONENT_REDIS, Identity, Object

# The gateway reads, writes, scans, deletes, publishes, subscribes and runs scripts. `client` is dangerous as a whole
# up to Redis 6.2; what is let in again by name is what a client library says when it connects.
REDIS_RIGHTS = "~* &* +@all -@admin -@dangerous +info +client|id +client|setname +client|getname"
REDIS_ADMIN: Final = "llmcache-operator"
# The operator reads and changes settings of a running Redis, and sees no entry.
REDIS_ADMIN_RIGHTS = "resetkeys resetchannels -@all +config|get +config|set"


@dataclass(frozen=True, slots=True)
class Generated:
    """Values that are made once and then kept: they live in Secrets, and only there."""

    admin_token: str
    tenant_key: str
    redis_password: str
    redis_admin_password: str


def generated(gateway: Object | None, redis: Object | None, random: Callable[[], str]) -> Generated:
    """Return the values of the live Secrets, and new ones for what is not there."""
    return Generated(
        admin_token=_value(gateway, "admin-token") or random(),
        tenant_key=_value(gateway, "tenant-key") or random(),
        redis_password=_value(redis, "password") or random(),
        redis_admin_password=_value(redis, "admin-password") or random(),
    )


def gateway_secret(identity: Identity, values: Generated) -> Object:
    """Return the Secret of the gateways: the admin port's token and the key that tenants' names are hashed with."""
    data = {"admin-token": values.admin_token, "tenant-key": values.tenant_key}
    return _secret(identity, identity.gateway, COMPONENT_GATEWAY, data)


def redis_secret(identity: Identity, values: Generated) -> Object:
    """Return the Secret of the managed Redis: the gateways' password, ours, and the ACL file that has their hashes."""
    data = {
        "password": values.redis_password,
        "admin-password": values.redis_admin_password,
        "users.acl": redis_acl(values),
    }
    return _secret(identity, identity.redis, COMPONENT_REDIS, data)


def redis_acl(values: Generated) -> str:
    """Return Redis' ACL file: a user with what a gateway does, one with what the operator does, and nobody else."""
    gateway, admin = (
        hashlib.sha256(password.encode()).hexdigest()
        for password in (values.redis_password, values.redis_admin_password)
    )
    return (
        "user default off\n"
        f"user llmcache on #{gateway} {REDIS_RIGHTS}\n"
        f"user {REDIS_ADMIN} on #{admin} {REDIS_ADMIN_RIGHTS}\n"
    )


def referenced_secrets(config: GatewayConfig) -> dict[str, list[str]]:
    """Return the Secrets that a configuration refers to, each with its keys, sorted."""
    found: dict[str, set[str]] = {}
    for reference in _references(config):
        found.setdefault(reference.name, set()).add(reference.key)
    return {name: sorted(keys) for name, keys in sorted(found.items())}


def referred_to(config: GatewayConfig) -> dict[tuple[str, str], list[str]]:
    """Return what pods can't start without: Secrets with their keys, and the ConfigMap of hooks."""
    found = {("Secret", name): keys for name, keys in referenced_secrets(config).items()}
    hooks = config.spec.hooks
    return found | ({("ConfigMap", hooks.config_map_ref.name): []} if hooks is not None else {})


def _references(value: Any) -> Iterator[SecretRef]:
    if isinstance(value, SecretRef):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _references(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _value(secret: Object | None, key: str) -> str:
    encoded = ((secret or {}).get("data") or {}).get(key, "")
    return base64.b64decode(encoded).decode(errors="replace")


def _secret(identity: Identity, name: str, component: str, data: dict[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": identity.metadata(name, component),
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }
