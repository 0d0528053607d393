"""An external Redis with its secrets: passwords, certificates, keys."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from llmcache_gateway.config import PEM, ExternalRedis, RedisLogin
from llmcache_gateway.secrets import Secrets


class PEMFile(NamedTuple):
    """A file and what it holds, so that a change of it is noticed."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """Equal for two that reach the same Redis in the same way."""

    config: ExternalRedis
    password: str | None = None
    sentinel_password: str | None = None
    ca: PEMFile | None = None
    certificate: PEMFile | None = None
    key: PEMFile | None = None


def read_access(config: ExternalRedis, secrets: Secrets) -> RedisAccess:
    """Read all that a configuration names; what can't be read is among the problems of `secrets`."""

    def password(login: RedisLogin | None, path: str) -> str | None:
        return secrets.secret(login.secret_ref, f"{path}.credential.secretRef") if login is not None else None

    def pem(source: PEM | None, path: str) -> PEMFile | None:
        read = secrets.file_of(source, f"spec.redis.tls.{path}") if source is not None else None
        return PEMFile(*read) if read is not None else None

    sentinel, tls = config.sentinel, config.tls
    own = tls.client_certificate if tls is not None else None
    return RedisAccess(
        config,
        password=password(config.credential, "spec.redis"),
        sentinel_password=password(sentinel.credential, "spec.redis.sentinel") if sentinel is not None else None,
        ca=pem(tls.ca, "ca") if tls is not None else None,
        certificate=pem(own.certificate, "clientCertificate.certificate") if own is not None else None,
        key=pem(own.key, "clientCertificate.key") if own is not None else None,
    )
