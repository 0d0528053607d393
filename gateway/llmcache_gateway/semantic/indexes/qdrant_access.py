"""A Qdrant with its secrets, and the index that is in it. Nothing here needs the client until an index is opened."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmcache_gateway.config import Problem, VectorIndex
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.secrets import Secrets

if TYPE_CHECKING:
    from llmcache_gateway.semantic.indexes.base import Index


@dataclass(frozen=True, slots=True)
class QdrantAccess:
    """Equal for two that reach the same Qdrant in the same way."""

    url: str
    collection: str | None = None
    api_key: str | None = None
    ca: str | None = None


def read_qdrant_access(config: VectorIndex, secrets: Secrets) -> QdrantAccess | None:
    """Read all that a configuration names, None without a Qdrant; what can't be read is a problem of `secrets`."""
    if config.url is None:
        return None
    where = "spec.semantic.index"
    ca = secrets.file_of(config.ca, f"{where}.ca") if config.ca is not None else None
    login = config.credential
    return QdrantAccess(
        config.url,
        config.collection,
        api_key=secrets.secret(login.secret_ref, f"{where}.credential.secretRef") if login is not None else None,
        ca=ca[1] if ca is not None else None,
    )


def open_qdrant(
    access: QdrantAccess,
    *,
    namespace: str,
    model: str,
    max_points: int,
    max_of_tenant: int,
    clock: Callable[[], float],
) -> "Index":
    """Return the index; ConfigError where its client, an extra, is not installed, or the certificates are none."""
    try:
        from llmcache_gateway.semantic.indexes.qdrant import QdrantIndex, connect, owner
    except ModuleNotFoundError as error:
        if error.name != "qdrant_client":
            raise
        message = "this index needs qdrant-client, which is not installed: install llmcache-operator[gateway,qdrant]"
        raise ConfigError([Problem("spec.semantic.index", message)]) from None
    if access.collection is None:
        named = re.sub(r"[^a-z0-9-]+", "_", namespace).strip("_")
        access = replace(access, collection=f"{named}_{owner(namespace, model)[:16]}")
    return QdrantIndex(
        connect(access),
        collection=access.collection or "",
        owner=owner(namespace, model),
        max_points=max_points,
        max_of_tenant=max_of_tenant,
        clock=clock,
    )
