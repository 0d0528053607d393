"""The Kubernetes API, as far as the operator needs it: plain data in, plain data out, errors of our own."""

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from llmcache_operator.errors import ApiError, Conflict, NotFound, Refused
from llmcache_operator.specs import FIELD_MANAGER, Object

_PATHS: Mapping[str, tuple[str, str]] = {
    "HTTPRoute": ("/apis/gateway.networking.k8s.io/v1", "httproutes"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "Ingress": ("/apis/networking.k8s.io/v1", "ingresses"),
    "Job": ("/apis/batch/v1", "jobs"),
    "LLMCache": ("/apis/llmcache.dev/v1alpha1", "llmcaches"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Pod": ("/api/v1", "pods"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "PrometheusRule": ("/apis/monitoring.coreos.com/v1", "prometheusrules"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "ServiceMonitor": ("/apis/monitoring.coreos.com/v1", "servicemonitors"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
}
_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
_PAGE = 500
# Of what an API server asks for with Retry-After: whatever it says, it is asked again.
_LONGEST_WAIT = 60.0
# Server-side apply answers with 500 to a field that the kind does not have, and will again.
_UNDECLARED = "field not declared in schema"


async def connect() -> client.ApiClient:
    """Return a client for the cluster that the process runs in, else for the one that the kubeconfig names.

    A service account's token is read anew every minute: it is replaced about once an hour.
    """
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.connection_pool_maxsize = 100
    api = client.ApiClient(configuration)
    api.user_agent = FIELD_MANAGER
    return api


class Kube:
    """Reads and writes objects. Every method raises ApiError, or one of its kinds, when it can't."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    async def served(self, kind: str) -> bool:
        """Return whether the API server knows a kind: a CustomResourceDefinition may be missing yet."""
        group, plural = _PATHS[kind]
        try:
            found = await self._request("GET", group)
        except NotFound:
            return False
        return any(resource["name"] == plural for resource in found.get("resources", ()))

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object, or None where there is none."""
        try:
            found: Object = await self._request("GET", _path(kind, namespace, name))
        except NotFound:
            return None
        return found

    async def list(self, kind: str, namespace: str | None, selector: str = "") -> list[Object]:
        """Return the objects of a namespace, or of all of them, that a label selector matches."""
        found: list[Object] = []
        query = {"limit": str(_PAGE), "labelSelector": selector}
        while True:
            page = await self._request("GET", _path(kind, namespace), query)
            found += page["items"]
            more = page["metadata"].get("continue")
            if not more:
                return found
            query["continue"] = more

    async def apply(self, desired: Object, subresource: str = "", manager: str = FIELD_MANAGER) -> Object:
        """Create or change an object by server-side apply: what it holds is the manager's from then on."""
        metadata = desired["metadata"]
        path = _path(desired["kind"], metadata["namespace"], metadata["name"], subresource)
        query = {"fieldManager": manager, "force": "true"}
        applied: Object = await self._request("PATCH", path, query, desired, "application/apply-patch+yaml")
        return applied

    async def create(self, new: Object) -> None:
        """Create an object; Conflict where there is one of that name."""
        await self._request("POST", _path(new["kind"], new["metadata"]["namespace"]), None, new)

    async def replace(self, changed: Object) -> None:
        """Replace an object that was read before; Conflict when somebody else has written it since."""
        metadata = changed["metadata"]
        await self._request("PUT", _path(changed["kind"], metadata["namespace"], metadata["name"]), None, changed)

    async def delete(self, kind: str, live: Object) -> None:
        """Delete this very object: not another that has taken its name since."""
        metadata = live["metadata"]
        options = {"preconditions": {"uid": metadata["uid"]}, "propagationPolicy": "Background"}
        try:
            await self._request("DELETE", _path(kind, metadata["namespace"], metadata["name"]), None, options)
        except (NotFound, Conflict):
            return

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Any:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        pairs = [(name, value) for name, value in (query or {}).items() if value]
        try:
            request = await self._api.param_serialize(
                method, path, query_params=pairs, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            response = await self._api.call_api(*request, _request_timeout=_TIMEOUT)
            data: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, f"{method} {path}: no answer from the API server ({error!r})") from error
        if response.status >= 400:
            raise _error(response.status, f"{method} {path}", data, response.headers.get("Retry-After", ""))
        return json.loads(data)


def _path(kind: str, namespace: str | None, name: str = "", subresource: str = "") -> str:
    group, plural = _PATHS[kind]
    within = f"/namespaces/{namespace}" if namespace else ""
    return "/".join(filter(None, (f"{group}{within}/{plural}", name, subresource)))


def _error(status: int, request: str, data: bytes, retry_after: str) -> ApiError:
    try:
        message = str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        message = data[:200].decode(errors="replace")
    kinds: dict[int, type[ApiError]] = {403: Refused, 404: NotFound, 409: Conflict, 422: Refused, 400: Refused}
    if _UNDECLARED in message:
        return Refused(status, f"{request}: {message}")
    wait = min(float(retry_after), _LONGEST_WAIT) if retry_after.isdecimal() else None
    return kinds.get(status, ApiError)(status, f"{request}: {message}", wait)
