"""What watches the gateways. All but `compat` is carried out by an operator, and standalone not in force."""

from typing import Annotated, Literal

from msgspec import field

from llmcache_gateway.config.model import Model, described
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import Labels


class Monitoring(Model, frozen=True, kw_only=True):
    """Objects for Prometheus and Grafana. A kind that the cluster lacks is a warning in status until it is there."""

    RULES = (
        Rule(
            cel="self.serviceMonitor || self.alerts || self.dashboards || self.labels.size() == 0",
            holds=lambda m: m.service_monitor or m.alerts or m.dashboards or not m.labels,
            message="labels are for objects that are not asked for: set serviceMonitor, alerts or dashboards",
            field="labels",
        ),
        Rule(
            cel="self.labels.all(k, !k.startsWith('app.kubernetes.io/'))",
            holds=lambda m: not any(label.startswith("app.kubernetes.io/") for label in m.labels),
            message="labels below app.kubernetes.io/ are the operator's own",
            field="labels",
        ),
    )

    service_monitor: Annotated[bool, described("A ServiceMonitor of the Prometheus operator.")] = False
    alerts: Annotated[bool, described("A PrometheusRule with alerts about the gateways.")] = False
    dashboards: Annotated[bool, described('A ConfigMap with a Grafana dashboard, labelled grafana_dashboard: "1".')] = (
        False
    )
    compat: Annotated[
        Literal["litellm"] | None,
        described(
            "`litellm`: the gateways' /metrics has hits, misses and what they amount to under LiteLLM's names as well."
        ),
    ] = None
    labels: Annotated[
        Labels,
        described("Labels of these objects, which a Prometheus may select them by.", max_length=16),
    ] = field(default_factory=dict)
