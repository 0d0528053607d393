"""Who shares entries with whom."""

import re
from typing import Annotated, Literal

from msgspec import Meta

from llmcache_gateway.config.model import Model, SecretRef, described
from llmcache_gateway.config.rules import Rule

Isolation = Literal["Credential", "Header", "Shared"]
HEADER_NAME = Meta(title="a header name", pattern=r"^[A-Za-z0-9-]+$", max_length=64, examples=["X-Tenant"])

_RESERVED = re.compile("x-llmcache-(admin|version)", re.IGNORECASE)


def _not_reserved(field: str) -> Rule:
    return Rule(
        cel=f"!self.{field}.matches('(?i)^{_RESERVED.pattern}$')",
        holds=lambda header: not _RESERVED.fullmatch(getattr(header, field)),
        message="X-LLMCache-Admin and X-LLMCache-Version are for requests that fill the cache: name another header",
        field=field,
    )


class TenantHeader(Model, frozen=True, kw_only=True):
    """A header in which a trusted front names the tenant, and the secret by which that front is known."""

    RULES = (_not_reserved("name"), _not_reserved("proof"))

    secret_ref: Annotated[SecretRef, described("Secret that the front sends; without it a request is refused.")]
    name: Annotated[Annotated[str, HEADER_NAME], described("Header that names the tenant.")] = "X-LLMCache-Tenant"
    proof: Annotated[Annotated[str, HEADER_NAME], described("Header in which the front sends the secret.")] = (
        "X-LLMCache-Front-Secret"
    )


class GatewayKeys(Model, frozen=True, kw_only=True):
    """The keys that this gateway gave to its clients."""

    secret_ref: Annotated[
        SecretRef,
        described(
            "A Secret's value in YAML: tenants' names, each with its clients' keys, such as `red: [sk-1, sk-2]`. A "
            "change of it is picked up without a restart."
        ),
    ]


class Tenancy(Model, frozen=True, kw_only=True):
    """Who shares entries with whom."""

    RULES = (
        Rule(
            cel="(self.isolation == 'Header') == has(self.header)",
            holds=lambda t: (t.isolation == "Header") == (t.header is not None),
            message="isolation Header and the settings under header belong together: set both or neither",
            field="header",
        ),
        Rule(
            cel="self.isolation == 'Credential' || !has(self.keys)",
            holds=lambda t: t.isolation == "Credential" or t.keys is None,
            message="keys name tenants by credential: they need isolation: Credential",
            field="keys",
        ),
    )

    isolation: Annotated[
        Isolation,
        described(
            "`Credential`: clients share entries only when they send the same credential. `Header`: a trusted front "
            "names the tenant. `Shared`: all clients share all entries."
        ),
    ] = "Credential"
    header: Annotated[TenantHeader | None, described("How a trusted front names the tenant.")] = None
    keys: Annotated[
        GatewayKeys | None,
        described("Keys that this gateway gives to its clients. A request without one of them is refused with 401."),
    ] = None
