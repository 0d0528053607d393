"""A client of the API server in a few lines, for the objects that a cluster has from the start."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .layout import Layout

_GROUP = "rbac.authorization.k8s.io"
PROVISIONER = "llmcache.dev/folder"

FIRST_OBJECTS: dict[str, dict[str, Any]] = {
    f"/apis/{_GROUP}/v1/clusterroles/system:coredns": {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRole",
        "rules": [
            {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    },
    f"/apis/{_GROUP}/v1/clusterrolebindings/system:coredns": {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": "system:coredns"},
        "subjects": [{"apiGroup": _GROUP, "kind": "User", "name": "system:coredns"}],
    },
    "/apis/storage.k8s.io/v1/storageclasses/standard": {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
        "volumeBindingMode": "Immediate",
        "reclaimPolicy": "Delete",
    },
}
"""What kubeadm or kind would have put there, by path."""


@dataclass(frozen=True, slots=True)
class Api:
    """The API server of one cluster, as its administrator."""

    server: str
    token: str
    context: ssl.SSLContext

    @classmethod
    def of(cls, layout: Layout, token: str, authority: Path) -> "Api":
        return cls(layout.api_server, token, ssl.create_default_context(cafile=str(authority)))

    def request(self, path: str, *, method: str = "GET", body: Any = None, content: str = "application/json") -> bytes:
        """The answer's body; urllib.error.URLError (an OSError) for a refusal or no connection."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content}
        request = urllib.request.Request(self.server + path, data=data, headers=headers, method=method)
        # An empty ProxyHandler: a proxy of the environment has no way to the cluster.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.context)
        )
        with opener.open(request, timeout=5) as response:
            return bytes(response.read())

    def is_ready(self) -> bool:
        return _holds(lambda: self.request("/readyz") == b"ok")

    def node_is_ready(self, name: str) -> bool:
        def ready() -> bool:
            node = json.loads(self.request(f"/api/v1/nodes/{name}"))
            return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in node["status"]["conditions"])

        return _holds(ready)

    def list(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.request(path))["items"]
        return items

    def delete(self, path: str) -> None:
        self.request(path, method="DELETE")

    def exists(self, path: str) -> bool:
        return _holds(lambda: bool(self.request(path)))

    def apply(self, path: str, obj: dict[str, Any]) -> None:
        """Server-side apply; JSON is YAML too."""
        name = path.rsplit("/", 1)[-1]
        named = {**obj, "metadata": {**obj.get("metadata", {}), "name": name}}
        query = "?fieldManager=e2e-cluster&force=true"
        self.request(path + query, method="PATCH", body=named, content="application/apply-patch+yaml")


def answers(url: str) -> bool:
    """Whether a plain HTTP address answers with success."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask() -> bool:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)

    return _holds(ask)


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except (OSError, KeyError, ValueError):
        return False
