"""Asks gateways on their admin port what they run."""

import httpx

from llmcache_operator.errors import GatewayUnreachable
from llmcache_operator.observed import Report

ADMIN_PORT = 4001


class Gateways:
    """The gateways' admin API, pod by pod: a Service would answer for one of them only."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def report(self, address: str, token: str) -> Report:
        """Return what the gateway at a pod's address says of itself; GatewayUnreachable when it says nothing usable."""
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{ADMIN_PORT}/admin/v1/status"
        try:
            response = await self._http.get(url, headers={"Authorization": f"Bearer {token}"})
            response.raise_for_status()
            told = response.json()
            return Report(
                revision=str(told["revision"]),
                config_error=str(told.get("configError") or ""),
                store_error=str((told.get("store") or {}).get("error") or ""),
            )
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise GatewayUnreachable(f"{url}: {error!r}") from error


def http_client() -> httpx.AsyncClient:
    """Return the HTTP client for pods: quick to give up, and never through a proxy."""
    return httpx.AsyncClient(timeout=httpx.Timeout(2.0), trust_env=False)
