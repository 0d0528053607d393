"""What the objects of one LLMCache have in common: names, labels, owner."""

from dataclasses import dataclass
from typing import Any, Final

from llmcache_gateway.config import API_VERSION

Object = dict[str, Any]
"""A Kubernetes object as plain data."""

FIELD_MANAGER: Final = "llmcache-operator"
HANDED_OVER: Final = "llmcache-operator-initial"
"""Field manager of what we set once and left to others: until one of them sets it, the field must have an owner."""

COMPONENT_GATEWAY: Final = "gateway"
COMPONENT_REDIS: Final = "redis"
COMPONENT_WARM: Final = "warm"


@dataclass(frozen=True, slots=True)
class Images:
    """The images of the pods, where a manifest names none of its own."""

    gateway: str
    redis: str
    pull_policy: str | None = None

    def pull(self) -> Object:
        """Return a container's pull policy, or nothing where Kubernetes' own default is to hold."""
        return {"imagePullPolicy": self.pull_policy} if self.pull_policy else {}


@dataclass(frozen=True, slots=True)
class Identity:
    """Which LLMCache it is. `uid` is None where none is in a cluster: render."""

    name: str
    namespace: str
    uid: str | None = None

    @property
    def gateway(self) -> str:
        """Name of the gateways' Secret and ConfigMap."""
        return f"{self.name}-gateway"

    @property
    def redis(self) -> str:
        """Name of everything that belongs to the managed Redis."""
        return f"{self.name}-redis"

    @property
    def endpoint(self) -> str:
        """Where clients inside the cluster reach the gateways."""
        return f"http://{self.name}.{self.namespace}.svc:4000"

    def selector(self, component: str) -> dict[str, str]:
        """Return the labels that select a component's pods. They never change: a selector is immutable."""
        return {
            "app.kubernetes.io/name": f"llmcache-{component}",
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/component": component,
        }

    def labels(self, component: str) -> dict[str, str]:
        """Return the labels of every object of a component."""
        return self.selector(component) | {
            "app.kubernetes.io/part-of": "llmcache",
            "app.kubernetes.io/managed-by": FIELD_MANAGER,
        }

    def label_selector(self, component: str) -> str:
        """Return the selector in the notation of kubectl and of the scale subresource."""
        return ",".join(f"{key}={value}" for key, value in self.selector(component).items())

    def metadata(self, name: str, component: str) -> Object:
        """Return a child's metadata; garbage collection removes it with its owner."""
        metadata: Object = {"name": name, "namespace": self.namespace, "labels": self.labels(component)}
        if self.uid is not None:
            metadata["ownerReferences"] = [
                {
                    "apiVersion": API_VERSION,
                    "kind": "LLMCache",
                    "name": self.name,
                    "uid": self.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ]
        return metadata
