"""Requests that fill the cache for others (`llmcache-gateway warm`): proven by the admin token, they may name whose
entries of which version they fill. No client names either."""

import hmac
from dataclasses import dataclass
from typing import Final

from llmcache_gateway.errors import RequestError
from llmcache_gateway.headers import Headers

ADMIN_HEADER: Final = "X-LLMCache-Admin"
VERSION_HEADER: Final = "X-LLMCache-Version"
TENANT_HEADER: Final = "X-LLMCache-Tenant"
TRUSTED_HEADERS: Final = (ADMIN_HEADER, VERSION_HEADER, TENANT_HEADER)

MIN_TOKEN: Final = 16
"""Fewest characters of an admin token that proves something where clients can guess it."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a request names: the version and the tenant whose entry it fills; None where it names none."""

    version: str | None = None
    tenant: str | None = None
    proven: bool = True


CLIENT: Final = Named(proven=False)
"""What a client's request names: nothing."""


def read_named(headers: Headers, *, token: bytes, versions: tuple[str, ...], of_the_front: tuple[str, ...]) -> Named:
    """Return what a proven request names, CLIENT for a client's; RequestError for a client that names something.

    `of_the_front` are headers that a trusted front sends, whose own proof is looked at elsewhere.
    """
    if ADMIN_HEADER not in headers:
        for name in (VERSION_HEADER, TENANT_HEADER):
            if name in headers and name.lower() not in map(str.lower, of_the_front):
                message = f"{name} is for requests that fill the cache, with {ADMIN_HEADER}: no client names it."
                raise RequestError(403, message, code="not_for_clients", param=name)
        return CLIENT
    given = headers.getall(ADMIN_HEADER)
    # The bytes are compared, all of them, whatever they are; a header's bytes beyond ASCII come as surrogates.
    same = hmac.compare_digest("\n".join(given).encode("utf-8", "surrogateescape"), token)
    if not same or len(token) < MIN_TOKEN:
        message = f"{ADMIN_HEADER} must be this gateway's admin token, and that one of at least {MIN_TOKEN} characters."
        raise RequestError(401, message, code="invalid_admin_token", param=ADMIN_HEADER)
    version = _one(headers, VERSION_HEADER)
    if version is not None and version not in versions:
        there = " and ".join(versions)
        message = f"{VERSION_HEADER}: {version[:80]!r} is not in use; in use: {there} (active first, then next)."
        raise RequestError(409, message, code="unknown_version", param=VERSION_HEADER)
    return Named(version, _one(headers, TENANT_HEADER))


def _one(headers: Headers, name: str) -> str | None:
    values = headers.getall(name, [])
    if len(values) > 1:
        raise RequestError(400, f"{name} was sent {len(values)} times: send it once.", code="bad_header", param=name)
    return values[0] if values else None


def refuse_borrowed_credential(named: Named, upstream: str, passthrough: bool) -> None:
    """Refuse to fill a tenant's entries with answers to the credential of somebody else: RequestError(409)."""
    if named.tenant is not None and passthrough:
        message = (
            f"{TENANT_HEADER}: upstream {upstream!r} is asked with each client's own credential, so only "
            f"that client can fill its entries: send its credential, and no {TENANT_HEADER}."
        )
        raise RequestError(409, message, code="no_own_credential", param=TENANT_HEADER)
