"""Who may reach a pod, as in a NetworkPolicy."""

from typing import Annotated, Literal

from msgspec import Meta, field

from llmcache_gateway.config.model import Model, described
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import LabelKey, Labels, LabelValue

Cidr = Annotated[
    str,
    Meta(
        title="a range of addresses",
        pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$",
        max_length=64,
        examples=["10.0.0.0/8", "fd00::/8"],
    ),
]


class Expression(Model, frozen=True, kw_only=True):
    """One condition on a label."""

    RULES = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (self.values.size() > 0)",
            holds=lambda e: (e.operator in ("In", "NotIn")) == bool(e.values),
            message="In and NotIn need values; Exists and DoesNotExist have none",
            field="values",
        ),
    )

    key: Annotated[LabelKey, described("The label.")]
    operator: Annotated[Literal["In", "NotIn", "Exists", "DoesNotExist"], described("What must hold of it.")]
    values: Annotated[list[LabelValue], described("The values that In and NotIn look at.", max_length=32)] = field(
        default_factory=list
    )


class Selector(Model, frozen=True, kw_only=True):
    """Objects by their labels; `{}` selects all."""

    match_labels: Annotated[Labels, described("Labels that must have these values.", max_length=16)] = field(
        default_factory=dict
    )
    match_expressions: Annotated[list[Expression], described("Conditions that must hold.", max_length=16)] = field(
        default_factory=list
    )


class IPBlock(Model, frozen=True, kw_only=True):
    """A range of addresses."""

    cidr: Annotated[Cidr, described("The range.")]
    except_: Annotated[list[Cidr], described("Parts of it that are left out.", max_length=16)] = field(
        default_factory=list, name="except"
    )


class Peer(Model, frozen=True, kw_only=True):
    """Somebody who may call, as in a NetworkPolicy."""

    RULES = (
        Rule(
            cel="has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",
            holds=lambda p: (
                (p.ip_block is not None) != (p.pod_selector is not None or p.namespace_selector is not None)
            ),
            message="set podSelector, namespaceSelector or both; or ipBlock alone",
        ),
    )

    pod_selector: Annotated[
        Selector | None, described("Pods; without namespaceSelector, those of the LLMCache's own namespace.")
    ] = None
    namespace_selector: Annotated[Selector | None, described("The pods of these namespaces.")] = None
    ip_block: Annotated[IPBlock | None, described("Addresses, for callers outside the cluster.")] = None


class NetworkPolicy(Model, frozen=True, kw_only=True):
    """Who may reach the gateways. What they may reach is not bounded: providers are somewhere on the internet."""

    clients: Annotated[
        list[Peer],
        described(
            "Who may send requests (port 4000), an ingress controller included. `[{podSelector: {}}]` is the "
            "LLMCache's own namespace.",
            min_length=1,
            max_length=32,
        ),
    ]
    scrapers: Annotated[
        list[Peer],
        described(
            "Who may read metrics (port 4001), where all but /metrics and health needs the admin token. The operator "
            "always may.",
            max_length=32,
        ),
    ] = field(default_factory=list)
