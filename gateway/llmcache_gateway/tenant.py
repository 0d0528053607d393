"""Which tenant a request belongs to."""

import hashlib
import hmac
from typing import Final, Literal

from multidict import CIMultiDict, CIMultiDictProxy

from llmcache_gateway.canonical import encode
from llmcache_gateway.headers import CREDENTIAL_HEADERS

SHARED: Final = "shared"
ANONYMOUS: Final = "anonymous"
"""The tenant of all requests without a credential. Its name can't be that of another: those are hex digits."""


class TenantResolver:
    """Names the tenant of a request from its credential.

    `key` makes the names: without it nobody can tell from a stored key whose credential it was, nor make one
    up. All replicas that share a store need the same key.
    """

    def __init__(self, isolation: Literal["Credential", "Shared"], key: bytes) -> None:
        self._isolation = isolation
        self._key = key

    def tenant(self, headers: CIMultiDict[str] | CIMultiDictProxy[str]) -> str:
        """Return the tenant of a request with these headers.

        Every header that may carry a credential counts, so that one more or one less is another tenant.
        """
        if self._isolation == "Shared":
            return SHARED
        credentials = [[name, headers.getall(name)] for name in CREDENTIAL_HEADERS if name in headers]
        if not credentials:
            return ANONYMOUS
        return hmac.new(self._key, encode(credentials), hashlib.sha256).hexdigest()[:32]
