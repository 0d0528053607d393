"""Watches the cluster. The one module that knows kopf, which is used as a watcher only.

kopf's handlers for creation, update and deletion would put annotations and a finalizer on every object and keep
their own idea of what has changed. Its event handlers write nothing: an event that is news becomes a key in our queue.
"""

import logging
from collections.abc import Sequence
from typing import Any

import kopf

from llmcache_operator.news import STATUS, News
from llmcache_operator.specs import FIELD_MANAGER, Object

log = logging.getLogger(__name__)

# Several events of one change become one turn, and an answer to our own write is read before its event is weighed.
_SETTLE = 0.2
_LABEL = f"app.kubernetes.io/managed-by={FIELD_MANAGER}"
# Not Secrets: to watch them is to be handed all of them. A deleted one comes back with the next resync.
_CHILDREN = {
    "Deployment": ("apps", "v1", "deployments"),
    "StatefulSet": ("apps", "v1", "statefulsets"),
    "Service": ("", "v1", "services"),
    "ConfigMap": ("", "v1", "configmaps"),
    "PersistentVolumeClaim": ("", "v1", "persistentvolumeclaims"),
    "PodDisruptionBudget": ("policy", "v1", "poddisruptionbudgets"),
    "HorizontalPodAutoscaler": ("autoscaling", "v2", "horizontalpodautoscalers"),
    "NetworkPolicy": ("networking.k8s.io", "v1", "networkpolicies"),
    "Ingress": ("networking.k8s.io", "v1", "ingresses"),
}


async def watch(namespaces: Sequence[str], news: News, ready: Any) -> None:
    """Watch LLMCaches and their children until SIGTERM or SIGINT; `news` hears of each that may have changed.

    `ready` is an asyncio.Event that is set when the watches begin. No namespaces means all of them.
    """
    kopf_identity: Any = FIELD_MANAGER
    await kopf.operator(
        registry=_registry(news),
        settings=_settings(),
        namespaces=list(namespaces),
        clusterwide=not namespaces,
        standalone=True,
        # kopf would ask for the user's name, which a user that is only a number (as on OpenShift) has not.
        identity=kopf_identity,
        ready_flag=ready,
    )


def owner(body: Any) -> tuple[str, str] | None:
    """Return namespace and name of the LLMCache that a child belongs to."""
    metadata = body.get("metadata", {})
    for reference in metadata.get("ownerReferences", ()):
        if reference.get("kind") == "LLMCache" and reference.get("controller"):
            return metadata["namespace"], reference["name"]
    return None


def _registry(news: News) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**context: Any) -> Any:
        # Called again whenever the API server answers 401: it then reads the token that has replaced the old one.
        return kopf.login_via_client(**context)

    @kopf.on.event("llmcache.dev", "v1alpha1", "llmcaches", registry=registry)
    async def resource(event: Any, **_: Any) -> None:
        body, live = event["object"], _live(event)
        name = (body["metadata"]["namespace"], body["metadata"]["name"])
        news.heard(name, ("LLMCache", name[1]), live, 0.0)
        news.heard(name, (STATUS, name[1]), live, _SETTLE)

    def watch_kind(kind: str, group: str, version: str, plural: str) -> None:
        @kopf.on.event(group=group, version=version, plural=plural, id=f"child-{plural}", registry=registry)
        async def child(event: Any, **_: Any) -> None:
            body = event["object"]
            of = owner(body)
            if of is not None:
                news.heard(of, (kind, body["metadata"]["name"]), _live(event), _SETTLE)

    for kind, resource_kind in _CHILDREN.items():
        watch_kind(kind, *resource_kind)
    return registry


def _live(event: Any) -> Object | None:
    """Return the object that an event says is there; None when it says that it is there no longer."""
    return None if event["type"] == "DELETED" else event["object"]


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 60
    # When it has none left it ends the process. An API server may be away for longer than a minute: for a day, say.
    settings.networking.error_backoffs = (1, 1, 2, 3, 5, 8, 13, 21, *[30] * 2880)
    # A watch that has gone silent is given up: bookmarks come every minute.
    settings.watching.server_timeout = 10 * 60
    settings.watching.client_timeout = 11 * 60
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 500
    for group, version, plural in _CHILDREN.values():
        settings.watching.label_selectors[group, version, plural] = _LABEL
    settings.queueing.worker_limit = 64
    settings.posting.enabled = False
    # Nothing appears later that is not watched from the start, so that kopf needs to read neither
    # CustomResourceDefinitions nor Namespaces.
    settings.scanning.disabled = True
    return settings
