"""The key of a request: equal for requests that must get the same answer, and for no others."""

import hashlib
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from llmcache_gateway.canonical import encode
from llmcache_gateway.dialects.base import Dialect, Request

SCHEMA: Final = 1
"""Version of what goes into a key. It grows with every change here, so that old entries are never found again."""


def digest(
    *,
    dialect: Dialect,
    request: Request,
    query: str,
    headers: CIMultiDict[str] | CIMultiDictProxy[str],
    upstream: tuple[str, ...],
    tenant: str,
) -> str:
    """Return the digest of a request, 64 hex digits.

    SHA-256 over the canonical form of everything that can change the answer: schema version, dialect,
    upstream, tenant, the query string, the answer-changing headers, and every member of the body that the
    dialect counts.
    """
    named = {name: _items(headers.getall(name)) for name in dialect.key_headers if name in headers}
    parts = [SCHEMA, dialect.name, upstream, tenant, query, named, dialect.counted(request)]
    return hashlib.sha256(encode(parts)).hexdigest()


def _items(values: list[str]) -> list[str]:
    """Return a header as a set: these are lists of flags, or one value. A list may come in several lines (RFC 9110)."""
    return sorted({item.strip() for value in values for item in value.split(",")})


def stored_key(prefix_name: str, prefix_version: str, tenant: str, digest_hex: str) -> str:
    """Return the key under which an entry stands in a store."""
    return f"{prefix_name}:{prefix_version}:{tenant}:{digest_hex}"
