"""Asks gateways on their admin port what they run and count, and tells them what to remove."""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import httpx

from llmcache_operator.errors import GatewayUnreachable
from llmcache_operator.observed import HintNote, Report
from llmcache_operator.rollout.evidence import Stats
from llmcache_operator.rollout.state import Counts
from llmcache_operator.savings import Told, read_served
from llmcache_operator.specs.pods import url_host

T = TypeVar("T")

log = logging.getLogger(__name__)

ADMIN_PORT = 4001


class Removal(NamedTuple):
    """An invalidation of one gateway. Its mark is in force; `running` says that room is still being reclaimed."""

    id: str
    running: bool


class Gateways:
    """The gateways' admin API, pod by pod: a Service would answer for one of them only."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def report(self, address: str, token: str) -> Report:
        """Return what the gateway at a pod's address says of itself; GatewayUnreachable when it says nothing usable."""
        told = await self._ask("GET", address, token, "status")
        try:
            return Report(
                revision=str(told["revision"]),
                config_error=str(told.get("configError") or ""),
                store_error=str((told.get("store") or {}).get("error") or ""),
                ineffective=tuple(
                    HintNote(str(one["upstream"]), str(one["model"]), str(one["reason"]), str(one["message"]))
                    for one in (told.get("hints") or {}).get("ineffective", ())
                ),
                refused=tuple(
                    HintNote(str(one["upstream"]), str(one["model"]), "StandDown", f"{one['refused']} was refused")
                    for one in (told.get("hints") or {}).get("standDowns", ())
                ),
                exact_only=tuple(str(one["policy"]) for one in (told.get("semantic") or {}).get("exactOnly", ())),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise GatewayUnreachable(f"{address}: status: {error!r}") from error

    async def stats(self, address: str, token: str) -> Stats:
        """Return what a gateway has counted by prefix version."""
        told = await self._ask("GET", address, token, "stats")
        try:
            versions = {str(version): _counts(counted) for version, counted in told["versions"].items()}
            bounds = next((counted["missLatency"]["le"] for counted in told["versions"].values()), ())
            le = tuple(float("inf") if bound is None else float(bound) for bound in bounds)
            return Stats(str(told["instance"]), versions, le)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GatewayUnreachable(f"{address}: stats: {error!r}") from error

    async def told(self, address: str, token: str) -> Told:
        """Return what a gateway has counted of all its requests."""
        told = await self._ask("GET", address, token, "stats")
        try:
            started_at = datetime.fromtimestamp(float(told["startedAt"]), UTC)
            return Told(str(told["instance"])[:64], started_at, read_served(told["all"]))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
            raise GatewayUnreachable(f"{address}: stats: {error!r}") from error

    async def remove(self, address: str, token: str, version: str) -> Removal:
        """Take back every entry of a prefix version."""
        return _removal(address, await self._ask("POST", address, token, "invalidate", {"version": version}))

    async def removal(self, address: str, token: str, name: str) -> Removal:
        """Return how far an invalidation is. GatewayUnreachable when the gateway has been restarted since."""
        return _removal(address, await self._ask("GET", address, token, f"invalidations/{name}"))

    async def _ask(
        self, method: str, address: str, token: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        url = f"http://{url_host(address)}:{ADMIN_PORT}/admin/v1/{path}"
        try:
            response = await self._http.request(method, url, headers={"Authorization": f"Bearer {token}"}, json=body)
            response.raise_for_status()
            told: dict[str, Any] = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise GatewayUnreachable(f"{url}: {error!r}") from error
        if not isinstance(told, dict):
            raise GatewayUnreachable(f"{url}: an object was expected, not {type(told).__name__}")
        return told


async def heard(asked: Mapping[str, Awaitable[T]]) -> dict[str, T]:
    """Return the answers of those who could be asked, by name."""

    async def ask(name: str, answer: Awaitable[T]) -> tuple[str, T] | None:
        try:
            return name, await answer
        except GatewayUnreachable as error:
            log.debug("%s", error)
            return None

    answers = await asyncio.gather(*(ask(name, answer) for name, answer in asked.items()))
    return dict(answer for answer in answers if answer is not None)


def http_client() -> httpx.AsyncClient:
    """Return the HTTP client for pods: quick to give up, and never through a proxy."""
    return httpx.AsyncClient(timeout=httpx.Timeout(2.0), trust_env=False)


def _counts(told: Mapping[str, Any]) -> Counts:
    return Counts(
        requests=int(told["requests"]),
        misses=int(told["misses"]),
        failed=int(told["missErrors"]),
        within=[int(count) for count in told["missLatency"]["counts"]],
    )


def _removal(address: str, told: Mapping[str, Any]) -> Removal:
    try:
        return Removal(str(told["id"]), told["state"] == "running")
    except (KeyError, TypeError) as error:
        raise GatewayUnreachable(f"{address}: invalidation: {error!r}") from error
