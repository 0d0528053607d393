"""How clients come in: the Service, and from outside the cluster an Ingress or an HTTPRoute."""

from typing import Final

from llmcache_gateway.config import Gateway, GatewayService, HTTPRoute, Ingress
from llmcache_operator.specs.identity import COMPONENT_GATEWAY, Identity, Object
from llmcache_operator.specs.plain import plain

PORT: Final = 4000


def service(identity: Identity, asked: Gateway) -> Object:
    """Return the Service for clients. The admin port is never in it."""
    wanted = asked.service or GatewayService()
    settings = plain(wanted)
    annotations = settings.pop("annotations", {})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _annotated(identity.metadata(identity.name, COMPONENT_GATEWAY), annotations),
        "spec": {
            **settings,
            "selector": identity.selector(COMPONENT_GATEWAY),
            "ports": [
                {"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"},
            ],
        },
    }


def ways_in(identity: Identity, asked: Gateway) -> list[Object]:
    """Return what lets clients outside the cluster in, where that is asked for."""
    expose = asked.expose
    if expose is None:
        return []
    found = []
    if expose.ingress is not None:
        found.append(_ingress(identity, expose.ingress))
    if expose.http_route is not None:
        found.append(_http_route(identity, expose.http_route))
    return found


def _ingress(identity: Identity, asked: Ingress) -> Object:
    backend = {"service": {"name": identity.name, "port": {"name": "http"}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": _annotated(identity.metadata(identity.name, COMPONENT_GATEWAY), asked.annotations),
        "spec": {
            **({"ingressClassName": asked.class_name} if asked.class_name else {}),
            "rules": [{"host": asked.host, "http": {"paths": paths}}],
            **({"tls": [{"hosts": [asked.host], "secretName": asked.tls_secret}]} if asked.tls_secret else {}),
        },
    }


def _http_route(identity: Identity, asked: HTTPRoute) -> Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": _annotated(identity.metadata(identity.name, COMPONENT_GATEWAY), asked.annotations),
        "spec": {
            "parentRefs": [plain(parent) for parent in asked.parent_refs],
            **({"hostnames": asked.hostnames} if asked.hostnames else {}),
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "backendRefs": [{"name": identity.name, "port": PORT}],
                }
            ],
        },
    }


def _annotated(metadata: Object, annotations: dict[str, str]) -> Object:
    return metadata | {"annotations": annotations} if annotations else metadata
