"""Network policies: who may reach the gateways, and who the managed Redis."""

from llmcache_gateway.config import NetworkPolicy, Peer
from llmcache_operator.specs.identity import COMPONENT_GATEWAY, COMPONENT_REDIS, Identity, Object
from llmcache_operator.specs.plain import plain

# The operator's pod as the chart labels it. In which namespace it is, an LLMCache doesn't know.
OPERATOR: Object = {
    "namespaceSelector": {},
    "podSelector": {
        "matchLabels": {"app.kubernetes.io/part-of": "llmcache", "app.kubernetes.io/component": "operator"}
    },
}


def gateway_policy(identity: Identity, asked: NetworkPolicy, port: int, admin_port: int) -> Object:
    """Return the policy of the gateways: requests from the clients that are named, metrics to the scrapers."""
    own = _pods({"app.kubernetes.io/part-of": "llmcache", "app.kubernetes.io/instance": identity.name})
    rules = [
        _rule(port, [own, *map(_peer, asked.clients)]),
        _rule(admin_port, [own, OPERATOR, *map(_peer, asked.scrapers)]),
    ]
    return _policy(identity, identity.name, COMPONENT_GATEWAY, rules)


def redis_policy(identity: Identity, port: int) -> Object:
    """Return the policy of the managed Redis: its gateways, the operator that sets it up, and nobody else."""
    rules = [_rule(port, [_pods(identity.selector(COMPONENT_GATEWAY)), OPERATOR])]
    return _policy(identity, identity.redis, COMPONENT_REDIS, rules)


def _policy(identity: Identity, name: str, component: str, rules: list[Object]) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": identity.metadata(name, component),
        "spec": {
            "podSelector": {"matchLabels": identity.selector(component)},
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    }


def _rule(port: int, peers: list[Object]) -> Object:
    return {"from": peers, "ports": [{"port": port, "protocol": "TCP"}]}


def _pods(labels: dict[str, str]) -> Object:
    return {"podSelector": {"matchLabels": labels}}


def _peer(peer: Peer) -> Object:
    return plain(peer)
