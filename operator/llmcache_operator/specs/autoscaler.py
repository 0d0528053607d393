"""The HorizontalPodAutoscaler of the gateways.

It scales the Deployment, not the LLMCache: an autoscaler writes into what it scales, and spec is Git's.
"""

from llmcache_gateway.config import DEFAULT_TARGET_CPU, Autoscaling, Gateway
from llmcache_operator.specs.identity import COMPONENT_GATEWAY, Identity, Object


def autoscaled(asked: Gateway) -> bool:
    """Return whether the number of gateways is somebody else's to set."""
    return asked.autoscaling is not None and (asked.autoscaling.external or asked.replicas > 0)


def autoscaler(identity: Identity, asked: Gateway) -> list[Object]:
    """Return the autoscaler, where one is asked for. None of no gateways: it would be the only one to start them."""
    scaling = asked.autoscaling
    if scaling is None or scaling.max is None or not autoscaled(asked):
        return []
    return [
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": identity.metadata(identity.name, COMPONENT_GATEWAY),
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": identity.name},
                "minReplicas": asked.replicas,
                "maxReplicas": scaling.max,
                "metrics": [*_cpu(scaling), *scaling.metrics],
                **({"behavior": scaling.behavior} if scaling.behavior is not None else {}),
            },
        }
    ]


def _cpu(scaling: Autoscaling) -> list[Object]:
    if scaling.target_cpu is None and scaling.metrics:
        return []
    target = {"type": "Utilization", "averageUtilization": scaling.target_cpu or DEFAULT_TARGET_CPU}
    # Of the gateway's own container: a sidecar's idle CPU says nothing about the load.
    metric = {"name": "cpu", "container": "gateway", "target": target}
    return [{"type": "ContainerResource", "containerResource": metric}]
