"""Google's tokens, made for the gateway from a key of a service account or from what its pod is.

The one module that imports google-auth; without the extra `google` it can't be imported.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final

from google.auth import compute_engine, identity_pool
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from llmcache_gateway.errors import ConfigError, UpstreamError

log = logging.getLogger(__name__)

SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)

EARLY_SECONDS: Final = 300.0
"""So long before its end a token is renewed, while requests go on with it."""

AGAIN_SECONDS: Final = 20.0
"""After a renewal that failed the next one waits so long, while the token still holds."""

TIMEOUT_SECONDS: Final = 10.0
"""Longest silence of who makes tokens."""


class GoogleToken:
    """Proves who asks by a token that is renewed before it ends, beside the requests.

    Only the first request, and one that comes when no token holds, wait for it. `credentials` are google-auth's;
    `clock` returns seconds since the epoch.
    """

    reads_body = False

    def __init__(self, credentials: Any, clock: Callable[[], float]) -> None:
        self._credentials = credentials
        self._clock = clock
        self._token = ""
        self._ends = 0.0
        self._not_before = 0.0
        self._error = ""
        self._renewal: asyncio.Task[None] | None = None

    async def sign(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return the header that carries the token; UpstreamError when there is none."""
        now = self._clock()
        if (
            self._renewal is None
            and self._ends - now < EARLY_SECONDS
            and (now >= self._not_before or now >= self._ends)
        ):
            self._renewal = asyncio.create_task(self._renew())
        if self._ends <= now:
            if self._renewal is not None:
                await asyncio.shield(self._renewal)
            if self._ends <= self._clock():
                raise UpstreamError(f"the gateway's Google token can't be had: {self._error}")
        return {"Authorization": f"Bearer {self._token}"}

    async def _renew(self) -> None:
        try:
            self._token, self._ends = await asyncio.to_thread(self._asked)
            self._error = ""
        except (GoogleAuthError, OSError, ValueError) as error:
            self._error = str(error)
            self._not_before = self._clock() + AGAIN_SECONDS
            log.warning("a Google token can't be renewed: %s", self._error)
        finally:
            self._renewal = None

    def _asked(self) -> tuple[str, float]:
        """Ask for a token; return it, and when it ends."""
        self._credentials.refresh(_Request())
        ends = self._credentials.expiry
        if not self._credentials.token or ends is None:
            raise ValueError("what makes tokens gave none, or none that ends")
        return self._credentials.token, ends.replace(tzinfo=UTC).timestamp()


class _Request(Request):
    """Google's transport, which waits less long."""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **more: Any,
    ) -> Any:
        seconds = min(timeout or TIMEOUT_SECONDS, TIMEOUT_SECONDS)
        return super().__call__(url, method, body, headers, seconds, **more)  # type: ignore[no-untyped-call]


def credentials_of(key: str | None) -> Any:
    """Return google-auth's credentials of a key file's text, or of what the pod is; ConfigError for what is no key."""
    if key is None:
        return compute_engine.Credentials(scopes=SCOPES)  # type: ignore[no-untyped-call]
    try:
        info = json.loads(key)
        kind = info["type"]
        if kind == "service_account":
            return service_account.Credentials.from_service_account_info(info, scopes=SCOPES)  # type: ignore[no-untyped-call]
        if kind == "external_account":
            return identity_pool.Credentials.from_info(info, scopes=SCOPES)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, KeyError, GoogleAuthError):
        # What is wrong may be told with parts of the key.
        raise ConfigError(["it is no key of a Google service account: give the JSON file as Google made it"]) from None
    wanted = "give a key of a service account, or a file of workload identity federation"
    raise ConfigError([f"it is of type {str(kind)[:40]!r}: {wanted}"])
