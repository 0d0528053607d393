"""Which tenant a request belongs to."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from llmcache_gateway.canonical import encode
from llmcache_gateway.config import load_yaml
from llmcache_gateway.errors import ConfigError, RequestError
from llmcache_gateway.headers import CREDENTIAL_HEADERS, is_signed

Headers = CIMultiDict[str] | CIMultiDictProxy[str]

SHARED: Final = "shared"
ANONYMOUS: Final = "anonymous"
"""The tenant of all requests without a credential. Its name can't be that of another: those are hex digits."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""What a tenant may be called, by a front or in the Secret of keys: no ':', which separates the parts of a key."""


_CREDENTIAL: Final = re.compile(r"[0-9a-f]{32}")

KEY_HEADERS: Final = ("Authorization", "x-api-key", "api-key", "x-goog-api-key")
"""Where a client sends the key that this gateway gave it: where the providers' SDKs send theirs."""

MIN_KEY: Final = 8
"""Fewest characters of a client's key: a shorter one is guessed."""


_SIGNED: Final = (
    "This request is signed for AWS (SigV4). The gateway can't check a signature, so it names no tenant: send a key "
    "as bearer token (AWS_BEARER_TOKEN_BEDROCK, which boto3 sends over https only) or in x-api-key, or have the cache "
    "tell tenants otherwise (spec.tenancy: isolation Shared or Header)."
)
"""What is said to a client whose tenant its credential is to name, and who signs instead of sending one."""


@dataclass(frozen=True, slots=True)
class Front:
    """How a trusted front names the tenant: in `name`, proven by `secret` in `proof`."""

    name: str
    proof: str
    secret: str


class TenantResolver:
    """Names the tenant of a request.

    `key` makes names of credentials: without it nobody can tell from a stored key whose credential it was, nor
    make one up. All replicas that share a store need the same key. `front` is given for isolation Header,
    `client_keys` (tenant's name → its clients' keys) where the gateway knows its clients.
    """

    def __init__(
        self,
        isolation: str,
        key: bytes,
        front: Front | None = None,
        client_keys: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._isolation = isolation
        self._key = key
        self._front = front
        self._tenants = None
        if client_keys is not None:
            self._tenants = {self._digest(one): name for name, keys in client_keys.items() for one in keys}

    def tenant(self, headers: Headers, isolation: str | None = None) -> str:
        """Return the tenant of a request with these headers; `isolation` is a policy's, in place of the cache's.

        RequestError(401) when a client has no key of this gateway, a front no proof, or names no tenant. That is
        checked whatever a policy says of isolation.
        """
        named = None
        if self._tenants is not None:
            named = "key-" + self._by_key(headers)
        elif self._front is not None:
            named = "front-" + self._by_front(headers, self._front)
        if (isolation or self._isolation) == "Shared":
            return SHARED
        return named or self.credential(headers)

    def named(self, tenant: str) -> str:
        """Return a tenant that is named by its whole name, as keys show it; RequestError(409) if no client has it."""
        if tenant != SHARED and not self._can_be(tenant):
            message = f"No client has the tenant {tenant[:80]!r}: name one by the third part of its keys."
            raise RequestError(409, message, code="unknown_tenant")
        return tenant

    def _can_be(self, tenant: str) -> bool:
        if self._tenants is not None:
            return tenant in {f"key-{name}" for name in self._tenants.values()}
        if self._front is not None:
            return tenant.startswith("front-") and NAME.fullmatch(tenant.removeprefix("front-")) is not None
        return tenant == ANONYMOUS or _CREDENTIAL.fullmatch(tenant) is not None

    def credential(self, headers: Headers) -> str:
        """Return a name for the credentials of a request, which does not tell them.

        RequestError(403) for a signature: what can be told of it is an access key's ID, which is no secret.
        """
        if is_signed(headers):
            raise RequestError(403, _SIGNED, code="signature_names_no_tenant")
        # Every header that may carry a credential counts, so that one more or one less is another tenant.
        credentials = [[name, headers.getall(name)] for name in CREDENTIAL_HEADERS if name in headers]
        if not credentials:
            return ANONYMOUS
        return hmac.new(self._key, encode(credentials), hashlib.sha256).hexdigest()[:32]

    def _by_key(self, headers: Headers) -> str:
        given = [value for name in KEY_HEADERS for value in headers.getall(name, ())]
        if len(given) != 1:
            raise _refused("send one API key" if given else "no API key was sent")
        scheme, _, key = given[0].partition(" ")
        digest = self._digest(key.strip() if scheme.lower() == "bearer" else given[0].strip())
        found = None
        # All are looked at, whichever matches: how long it takes says nothing of the keys.
        for known, name in (self._tenants or {}).items():
            if hmac.compare_digest(known, digest):
                found = name
        if found is None:
            raise _refused("the API key is not known here")
        return found

    def _by_front(self, headers: Headers, front: Front) -> str:
        if not hmac.compare_digest(_bytes(headers.get(front.proof, "")), front.secret.encode()):
            raise _refused(f"requests must come through the front that sends {front.proof}")
        names = headers.getall(front.name, [])
        if len(names) != 1 or not NAME.fullmatch(names[0]):
            raise _refused(f"{front.name} must name one tenant, of letters, digits, '.', '_' and '-'")
        return names[0]

    def _digest(self, client_key: str) -> bytes:
        return hmac.new(self._key, _bytes(client_key), hashlib.sha256).digest()


def _bytes(value: str) -> bytes:
    # A header's bytes beyond ASCII come as surrogates.
    return value.encode("utf-8", "surrogateescape")


def client_keys(text: str) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return a YAML text of tenants' names and their clients' keys, and what is wrong with it.

    A tenant has one key, or a list of them. No problem says what a key is.
    """
    try:
        documents = load_yaml(text)
    except ConfigError:
        return {}, ["it is not readable as YAML"]
    if len(documents) != 1 or not isinstance(documents[0], dict) or not documents[0]:
        return {}, ["it must be a mapping of tenants' names to keys, such as red: [sk-1, sk-2]"]
    found: dict[str, tuple[str, ...]] = {}
    problems = []
    for name, keys in documents[0].items():
        listed = keys if isinstance(keys, list) else [keys]
        if not isinstance(name, str) or not NAME.fullmatch(name):
            problems.append(f"{str(name)[:80]!r} can't be a tenant's name: use letters, digits, '.', '_' and '-'")
        elif not listed or not all(map(_is_key, listed)):
            problems.append(f"the keys of {name} must be texts of at least {MIN_KEY} characters, each on one line")
        else:
            found[name] = tuple(listed)
    every = [key for keys in found.values() for key in keys]
    if len(set(every)) != len(every):
        problems.append("one key stands under two tenants, or twice under one")
    return found, problems


def _is_key(value: object) -> bool:
    return isinstance(value, str) and len(value) >= MIN_KEY and value.isprintable()


def _refused(message: str) -> RequestError:
    return RequestError(401, f"{message[0].upper()}{message[1:]}.", code="invalid_api_key")
