"""How clients reach the gateways: the Service, and from outside the cluster an Ingress or an HTTPRoute."""

from typing import Annotated, Literal

from msgspec import Meta, field

from llmcache_gateway.config.model import Model, described
from llmcache_gateway.config.network import Cidr
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import Annotations, LabelKey, Name, SecretName

Host = Annotated[
    str,
    Meta(
        title="a host name",
        pattern=r"^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
        max_length=253,
        examples=["llm.example.com", "*.example.com"],
    ),
]


class GatewayService(Model, frozen=True, kw_only=True):
    """The Service for clients: port 4000. The admin port is never in it."""

    RULES = (
        Rule(
            cel=(
                "self.type == 'LoadBalancer' || "
                "!(has(self.loadBalancerClass) || self.loadBalancerSourceRanges.size() > 0)"
            ),
            holds=lambda s: (
                s.type == "LoadBalancer" or (s.load_balancer_class is None and not s.load_balancer_source_ranges)
            ),
            message="loadBalancerClass and loadBalancerSourceRanges need type: LoadBalancer",
            field="type",
        ),
    )

    type: Annotated[Literal["ClusterIP", "NodePort", "LoadBalancer"], described("As in a Service.")] = "ClusterIP"
    annotations: Annotated[Annotations, described("What a cloud's load balancer or a mesh reads.", max_length=32)] = (
        field(default_factory=dict)
    )
    load_balancer_class: Annotated[LabelKey | None, described("Which load balancer, where there are several.")] = None
    load_balancer_source_ranges: Annotated[
        list[Cidr], described("Addresses that the load balancer lets in.", max_length=32)
    ] = field(default_factory=list)


class Ingress(Model, frozen=True, kw_only=True):
    """An Ingress to the gateways. Its controller must not buffer or end long streams: that is in its annotations."""

    host: Annotated[Host, described("Name that clients call.")]
    class_name: Annotated[Name | None, described("Which ingress controller. Without it, the cluster's default.")] = None
    tls_secret: Annotated[
        SecretName | None, described("Secret with the host's certificate. Without it, HTTP only.")
    ] = None
    annotations: Annotated[Annotations, described("Settings of the ingress controller.", max_length=32)] = field(
        default_factory=dict
    )


class ParentRef(Model, frozen=True, kw_only=True):
    """A Gateway (of the Gateway API) that a route belongs to."""

    name: Annotated[SecretName, described("Name of the Gateway.")]
    namespace: Annotated[Name | None, described("Its namespace. Without it, the LLMCache's own.")] = None
    section_name: Annotated[SecretName | None, described("One listener of it. Without it, all.")] = None


class HTTPRoute(Model, frozen=True, kw_only=True):
    """An HTTPRoute of the Gateway API to the gateways."""

    parent_refs: Annotated[
        list[ParentRef],
        Meta(
            description="The Gateways that serve it.",
            min_length=1,
            max_length=8,
            extra_json_schema={"x-kubernetes-list-type": "atomic"},
        ),
    ]
    hostnames: Annotated[
        list[Host], described("Names that clients call. Without any, those of the listener.", max_length=16)
    ] = field(default_factory=list)
    annotations: Annotated[Annotations, described("Settings of the Gateway's implementation.", max_length=32)] = field(
        default_factory=dict
    )


class Expose(Model, frozen=True, kw_only=True):
    """How clients outside the cluster come in."""

    RULES = (
        Rule(
            cel="has(self.ingress) || has(self.httpRoute)",
            holds=lambda e: e.ingress is not None or e.http_route is not None,
            message="set ingress, httpRoute or both; or remove expose",
        ),
    )

    ingress: Annotated[Ingress | None, described("An Ingress.")] = None
    http_route: Annotated[
        HTTPRoute | None, described("An HTTPRoute; a warning in status where the cluster has no such kind.")
    ] = None
