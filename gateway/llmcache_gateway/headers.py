"""HTTP headers with a meaning of their own to the gateway."""

from typing import Final

CREDENTIAL_HEADERS: Final = ("Authorization", "x-api-key", "api-key")
"""Every header in which a client of one of the providers sends its credential."""

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of one connection only (RFC 9110, section 7.6.1)."""
