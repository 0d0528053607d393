"""Sending one request, and reading what came of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpx

from llmcache_gateway.dialects import google_paths
from llmcache_gateway.headers import CREDENTIAL_HEADERS
from llmcache_gateway.retry_after import LATER
from llmcache_gateway.trusted import ADMIN_HEADER, TENANT_HEADER, VERSION_HEADER
from llmcache_gateway.warm.lines import Line
from llmcache_gateway.warm.outcome import Outcome, outcome
from llmcache_gateway.warm.pace import Pace, wait_seconds

ATTEMPTS: Final = 5
"""Most times that a request is sent: an upstream that refuses for longer is not waited for."""

CONFIRM_SECONDS: Final = (0.0, 0.1, 0.4, 1.0)
"""Waits before asking whether a stream has been stored: a shared store is written to in the background."""

ANTHROPIC_VERSION: Final = "2023-06-01"
"""What Anthropic's SDKs send in `anthropic-version`, without which it refuses."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The gateway's admin token, and what it proves a right to: to name a version, and each line's own tenant."""

    token: str
    version: str | None = None
    as_tenant: bool = False

    def headers(self, line: Line) -> dict[str, str]:
        """Return the headers that say so."""
        headers = {ADMIN_HEADER.lower(): self.token}
        if self.version is not None:
            headers[VERSION_HEADER.lower()] = self.version
        if self.as_tenant and line.tenant is not None:
            headers[TENANT_HEADER.lower()] = line.tenant
        return headers


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends requests to one gateway. `stop` ends every wait."""

    client: httpx.AsyncClient
    url: str
    api_key: str | None
    pace: Pace
    stop: asyncio.Event
    clock: Callable[[], float]
    proof: Proof | None = None

    async def send(self, line: Line) -> Outcome | None:
        """Ask one request until it is answered; None when `stop` was set before it could be sent (again)."""
        headers = request_headers(line, self.api_key)
        if self.proof is not None:
            headers |= self.proof.headers(line)
        last = Outcome("failed", "not sent")
        for attempt in range(1, ATTEMPTS + 1):
            if not await self._wait_until(self.pace.take(self.clock())):
                return None
            try:
                status, answered = await self._ask(line, headers)
            except httpx.ConnectError as error:  # nothing was sent: it may be a gateway that is starting
                last, retry_after = Outcome("failed", f"can't connect: {error}"), None
            except httpx.HTTPError as error:
                return Outcome("failed", f"{type(error).__name__}: {error}".rstrip(": "))
            else:
                if status not in LATER:
                    one = outcome(status, answered)
                    return await self._confirmed(line, headers) if one.kind == "untold" else one
                last, retry_after = outcome(status, answered), answered.get("Retry-After")
            if attempt < ATTEMPTS:
                # Who is told to wait waits with everything: the others would be refused as well.
                self.pace.hold(self.clock() + wait_seconds(retry_after, attempt, datetime.now(UTC)))
        return last

    async def _ask(self, line: Line, headers: dict[str, str]) -> tuple[int, httpx.Headers]:
        request = self.client.stream("POST", self.url + line.path, content=line.body, headers=headers)
        async with request as response:
            async for _ in response.aiter_raw():
                pass
            return response.status_code, response.headers

    async def _confirmed(self, line: Line, headers: dict[str, str]) -> Outcome:
        """Say whether a stream that was read to its end is now in the cache."""
        for seconds in CONFIRM_SECONDS:
            await asyncio.sleep(seconds)
            status, _ = await self._ask(line, headers | {"Cache-Control": "only-if-cached"})
            if status == 200:
                return Outcome("stored")
        return Outcome("failed", "not stored: the stream was not whole, or may not be stored")

    async def _wait_until(self, at: float) -> bool:
        """Wait for a time; say whether to go on."""
        seconds = at - self.clock()
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self.stop.wait()
            except TimeoutError:
                pass
        return not self.stop.is_set()


def request_headers(line: Line, api_key: str | None) -> dict[str, str]:
    """Return the headers to send: the line's own, and what the provider's SDK would add."""
    headers = {name.lower(): value for name, value in line.headers.items()}
    headers.setdefault("content-type", "application/json")
    anthropic = line.path.partition("?")[0].startswith("/v1/messages")
    if anthropic:
        headers.setdefault("anthropic-version", ANTHROPIC_VERSION)
    if api_key is not None and not any(name.lower() in headers for name in CREDENTIAL_HEADERS):
        # One header only, as the SDKs do: two of them would be another tenant.
        if anthropic:
            headers["x-api-key"] = api_key
        elif google_paths.GOOGLES.match(line.path) and not google_paths.is_vertex(line.path):
            headers[google_paths.API_KEY] = api_key
        else:
            headers["authorization"] = f"Bearer {api_key}"
    return headers
