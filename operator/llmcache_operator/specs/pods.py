"""What every pod of ours has in common: it meets the `restricted` Pod Security Standard."""

from llmcache_gateway.config import Resources
from llmcache_operator.specs.identity import Object


def pod_security(user: int) -> Object:
    """Return a pod's security context; its volumes belong to the same number, so that the user can read them."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    """Return a container's security context: no way up, and nothing to write to but mounted volumes."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def resources(asked: Resources) -> Object:
    """Return a container's resources, without what is empty."""
    return {
        name: dict(sorted(values.items()))
        for name, values in (("requests", asked.requests), ("limits", asked.limits))
        if values
    }


def http_probe(path: str, port: str, **timing: int) -> Object:
    """Return a probe that asks a port by its name."""
    return {"httpGet": {"path": path, "port": port}, **timing}


def url_host(address: str) -> str:
    """Return a pod's address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address
