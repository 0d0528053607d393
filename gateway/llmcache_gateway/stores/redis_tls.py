"""TLS to Redis: one context for all connections, made of a configuration's PEM files."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Connection
from redis.asyncio.sentinel import SentinelManagedConnection

from llmcache_gateway.config import Problem, RedisTLS
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.stores.redis_access import PEMFile, RedisAccess


class TLS(NamedTuple):
    """How a connection is encrypted. Without `server_name` the certificate must carry the host connected to."""

    context: ssl.SSLContext
    server_name: str | None


def client_tls(access: RedisAccess) -> TLS | None:
    """Return how connections to a Redis are encrypted, if they are; ConfigError when a file is no such thing.

    With an authority of its own, no other is trusted.
    """
    if not access.config.uses_tls:
        return None
    wanted = access.config.tls or RedisTLS()
    if access.ca is not None and not access.ca.text.strip():  # ssl would take the system's instead
        raise _unusable("ca", f"{access.ca.path} holds no certificates in PEM", ValueError("it is empty"))
    try:
        context = ssl.create_default_context(cadata=access.ca.text if access.ca is not None else None)
    except (ssl.SSLError, ValueError) as error:
        raise _unusable("ca", f"{_path(access.ca)} holds no certificates in PEM", error) from None
    if not wanted.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.certificate is not None and access.key is not None:
        try:
            context.load_cert_chain(access.certificate.path, access.key.path, password=_no_passphrase)
        except (ssl.SSLError, ValueError, OSError) as error:
            what = f"{access.certificate.path} and {access.key.path} are no certificate and its key"
            raise _unusable("clientCertificate", what, error) from None
    return TLS(context, wanted.server_name)


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")  # else OpenSSL would ask at the terminal


def _path(file: PEMFile | None) -> Path | None:
    return file.path if file is not None else None


def _unusable(field: str, what: str, error: Exception) -> ConfigError:
    return ConfigError([Problem(f"spec.redis.tls.{field}", f"{what}: {error}")])


class _Encrypted(Connection):
    """A connection with a context that it shares with others, where redis-py makes one for each."""

    def __init__(self, *, tls: TLS, **options: Any) -> None:
        super().__init__(**options)
        self._tls = tls

    def _connection_arguments(self) -> Mapping[str, Any]:
        name = {"server_hostname": self._tls.server_name} if self._tls.server_name is not None else {}
        return {**super()._connection_arguments(), "ssl": self._tls.context, **name}


class TLSConnection(_Encrypted):
    """An encrypted connection to a host."""


class SentinelTLSConnection(SentinelManagedConnection, _Encrypted):
    """An encrypted connection to the primary that Sentinels name."""
