"""A bucket with its secrets, and the store that is in it. Nothing here needs the S3 client until a store is opened."""

from collections.abc import Callable
from dataclasses import dataclass

from llmcache_gateway.config import S3, Problem
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.secrets import Secrets
from llmcache_gateway.stores.base import Store
from llmcache_gateway.values import ValueFormat


@dataclass(frozen=True, slots=True)
class S3Access:
    """Equal for two that reach the same bucket in the same way."""

    config: S3
    key_id: str | None = None
    secret: str | None = None
    ca: str | None = None


def read_s3_access(config: S3, secrets: Secrets) -> S3Access:
    """Read all that a configuration names; what can't be read is among the problems of `secrets`."""
    login = config.credential
    ca = secrets.file_of(config.ca, "spec.s3.ca") if config.ca is not None else None
    return S3Access(
        config,
        key_id=secrets.secret(login.access_key_id, "spec.s3.credential.accessKeyId") if login is not None else None,
        secret=secrets.secret(login.secret_access_key, "spec.s3.credential.secretAccessKey")
        if login is not None
        else None,
        ca=ca[1] if ca is not None else None,
    )


def open_s3(access: S3Access, *, owner: str, clock: Callable[[], float], values: ValueFormat) -> Store:
    """Return the store; ConfigError where its client, an extra, is not installed."""
    try:
        from llmcache_gateway.stores.s3 import S3Store
        from llmcache_gateway.stores.s3_bucket import Bucket
    except ModuleNotFoundError as error:
        if error.name != "obstore":
            raise
        message = "this store needs the package obstore, which is not installed: install llmcache-operator[gateway,s3]"
        raise ConfigError([Problem("spec.cache.store", message)]) from None
    return S3Store(Bucket(access), prefix=access.config.prefix, owner=owner, clock=clock, values=values)
