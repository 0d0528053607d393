"""Request headers: which carry a credential, which go upstream, and which of those can change the answer."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

Headers = CIMultiDict[str] | CIMultiDictProxy[str]

CREDENTIAL_HEADERS: Final = (
    "Authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "Ocp-Apim-Subscription-Key",
    "x-litellm-api-key",
    "x-portkey-api-key",
    "cf-aig-authorization",
    "Helicone-Auth",
    "X-Amz-Security-Token",
    "Cookie",
)
"""Every header in which a client of a provider, or of a gateway in front of one, sends its credential."""

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "http2-settings",
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

_NOT_SENT_ON: Final = frozenset({"host", "content-length", "expect", "x-amz-date", "x-amz-content-sha256"})
"""Headers of the request to the gateway; those of AWS are part of a signature, which holds for it alone."""

_OWN: Final = "x-llmcache-"

UNCOUNTED: Final = (
    # who asks, and for what representation
    "user-agent", "accept", "accept-*", "content-type", "content-encoding", "origin", "referer", "sec-*", "dnt",
    "priority", "from", "x-stainless-*", "x-goog-api-client", "x-title", "x-openrouter-title", "http-referer",
    # at which of the provider's machines a prompt may be cached already
    "x-grok-conv-id", "x-session-affinity",
    # how the request came here
    "via", "forwarded", "x-forwarded-*", "x-real-ip", "x-envoy-*", "x-original-*", "cf-ray", "cf-connecting-ip",
    "cf-ipcountry", "cf-visitor", "cdn-loop", "true-client-ip", "x-client-ip", "x-cluster-client-ip",
    # tracing, and what tells one attempt from another
    "traceparent", "tracestate", "baggage", "b3", "x-b3-*", "x-request-id", "x-correlation-id", "x-amzn-trace-id",
    "x-ms-client-request-id",
    "x-cloud-trace-context", "x-datadog-*", "sentry-trace", "uber-trace-id", "x-client-request-id", "idempotency-key",
    "amz-sdk-*", "x-amz-user-agent",
    "x-request-start", "x-queue-start", "date",
    # what Bedrock has in headers that others have in the body: form of the answer, labels, speed and price
    "x-amzn-bedrock-accept", "x-amzn-bedrock-content-type", "x-amzn-bedrock-request-metadata",
    "x-amzn-bedrock-performanceconfig-latency", "x-amzn-bedrock-service-tier",
    # for how long the client waits
    "x-server-timeout",
    # freshness, which has its own rules
    "cache-control", "pragma", "if-*", "age",
)  # fmt: skip
"""Patterns of headers that go upstream and don't change the answer. Every other one counts, known or not."""


_SECRET: Final = re.compile(r"auth|token|secret|key|passw|cookie|session|signature|credential|sig\b", re.IGNORECASE)


def may_be_secret(name: str) -> bool:
    """Say whether a header or a query field of this name may hold a secret: its value is kept and shown nowhere."""
    return _SECRET.search(name) is not None


def is_signed(headers: Headers) -> bool:
    """Say whether a request has a signature of AWS's (SigV4) for a credential."""
    return any(value.lstrip()[:5].upper() == "AWS4-" for value in headers.getall("Authorization", ()))


def hop_headers(headers: Headers) -> frozenset[str]:
    """Return the names, in lower case, of the headers that belong to this connection only."""
    if "Connection" not in headers:
        return HOP_BY_HOP
    return HOP_BY_HOP | {name.strip().lower() for line in headers.getall("Connection") for name in line.split(",")}


def sent_on(headers: Headers) -> Iterator[tuple[str, str]]:
    """Yield the client's headers that go upstream, its credentials among them."""
    hop = hop_headers(headers)
    for name, value in headers.items():
        lower = name.lower()
        if lower not in hop and lower not in _NOT_SENT_ON and not lower.startswith(_OWN):
            yield name, value


def counted(headers: Headers, ignore: frozenset[str]) -> dict[str, list[str]]:
    """Return the headers that can change the answer, by name in lower case: those sent on, less the uncounted.

    Credentials are not among them: they make the tenant. `ignore` holds further patterns.
    """
    found: dict[str, list[str]] = {}
    for name, value in sent_on(headers):
        lower = name.lower()
        if _never_counts(lower) or any(fnmatchcase(lower, pattern) for pattern in ignore):
            continue
        found.setdefault(lower, []).append(value)
    return found


_uncounted: Final = re.compile("|".join(translate(pattern) for pattern in UNCOUNTED)).match
_CREDENTIALS: Final = frozenset(name.lower() for name in CREDENTIAL_HEADERS)


@lru_cache(maxsize=1024)  # the names that clients use are few, and each comes with every request
def _never_counts(lower: str) -> bool:
    return lower in _CREDENTIALS or _uncounted(lower) is not None
