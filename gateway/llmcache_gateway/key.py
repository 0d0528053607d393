"""The key of a request: equal for requests that must get the same answer, and for no others."""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any, Final

from llmcache_gateway.canonical import encode
from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.heads import Head
from llmcache_gateway.normalize import normalize
from llmcache_gateway.policy import Settings

log = logging.getLogger(__name__)

SCHEMA: Final = 1
"""Version of what goes into a key. It grows with every change here, so that old entries are never found again."""


def digest(
    *,
    dialect: Dialect,
    request: Request,
    settings: Settings,
    head: Head,
    upstream: Sequence[str],
    tenant: str,
    namespace: str,
    built: str | None = None,
) -> str:
    """Return the digest of a request, 64 hex digits.

    SHA-256 over the canonical form of everything that can change the answer: schema version, dialect,
    upstream, tenant, namespace, what the settings let share an entry, the query string, every header that goes
    upstream and is not known to leave the answer as it is, and every member of the body that the dialect counts
    and the settings do not ignore. A key builder of the settings may replace query, headers and body; one that
    fails leaves the default key, which shares less. `built` is what a hook made of the default key, and takes the
    place of all that but what stands in front of it here: tenant and namespace always count.
    """
    where = [SCHEMA, dialect.name, list(upstream), tenant, namespace, settings.shares]
    if built is not None:
        return _hash([*where, "hook", built])
    said = _of_head(dialect, settings, head)
    standard = _hash([*where, *said, counted_members(dialect, request, settings)])
    if settings.builder is None:
        return standard
    try:
        built = settings.builder(request, standard)
        if not isinstance(built, str):
            raise TypeError(f"it returned {type(built).__name__}, not a string")
    except Exception:
        log.exception("the key builder of policy %s failed; the default key is used", settings.policy)
        return standard
    return standard if built == standard else _hash([*where, "built", built])


def scope_digest(
    *,
    dialect: Dialect,
    rest: dict[str, Any],
    settings: Settings,
    head: Head,
    upstream: Sequence[str],
    tenant: str,
    namespace: str,
    prefix: str,
    embedding: str,
) -> str:
    """Return the digest of all that must be equal in two requests whose last user turns may mean the same.

    It is over what the key is made of, with `rest` in place of the members of the body, and the prefix, with its
    version, and the embedding model, whose vectors another's can't be compared with.
    """
    where = [SCHEMA, dialect.name, list(upstream), tenant, namespace, settings.shares]
    said = _of_head(dialect, settings, head)
    return _hash(["scope", prefix, embedding, *where, *said, normalize(rest, settings.normalize)])


def stored_key(prefix_name: str, prefix_version: str, tenant: str, digest_hex: str) -> str:
    """Return the key under which an entry stands in a store."""
    return f"{prefix_name}:{prefix_version}:{tenant}:{digest_hex}"


def counted_members(dialect: Dialect, request: Request, settings: Settings) -> dict[str, Any]:
    """Return the members of a body that count, as they count."""
    members = read_members(dialect, request, settings)
    return normalize(members, settings.normalize) if settings.normalize else members


def read_members(dialect: Dialect, request: Request, settings: Settings) -> dict[str, Any]:
    """Return the members of a body that count, their texts as they came."""
    members = dialect.counted(request)
    if settings.ignore:
        members = {name: value for name, value in members.items() if name not in settings.ignore}
    return members


def _of_head(dialect: Dialect, settings: Settings, head: Head) -> list[Any]:
    named = head.counted(dialect.key_headers, settings.ignore_headers)
    return [head.counted_query(dialect.uncounted_fields), named]


def _hash(parts: list[Any]) -> str:
    return hashlib.sha256(encode(parts)).hexdigest()
