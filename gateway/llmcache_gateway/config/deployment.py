"""The gateways' Deployment and what stands around it: carried out by an operator, standalone not in force."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from llmcache_gateway.config.expose import Expose, GatewayService
from llmcache_gateway.config.model import Model, described
from llmcache_gateway.config.network import NetworkPolicy
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import Annotations, Count, Duration, Labels, Quantity, seconds

DEFAULT_TARGET_CPU = 80

PodField = Literal[
    "activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "containers", "dnsConfig", "dnsPolicy",
    "enableServiceLinks", "evictionResponders", "hostAliases", "hostIPC", "hostNetwork", "hostPID", "hostUsers",
    "hostname", "hostnameOverride", "imagePullSecrets", "initContainers", "nodeName", "nodeSelector", "os",
    "overhead", "preemptionPolicy", "priority", "priorityClassName", "readinessGates", "resourceClaims", "resources",
    "restartPolicy", "runtimeClassName", "schedulerName", "schedulingGates", "schedulingGroup", "securityContext",
    "serviceAccount", "serviceAccountName", "setHostnameAsFQDN", "shareProcessNamespace", "subdomain",
    "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints", "volumes", "workloadRef",
]  # fmt: skip
"""The fields of a pod's spec as of Kubernetes 1.37, but for ephemeralContainers, which no template may have."""


class Resources(Model, frozen=True, kw_only=True):
    """Requests and limits of a container, as in a pod."""

    requests: Annotated[
        dict[Literal["cpu", "memory"], Quantity], described("What the scheduler sets aside.", max_length=2)
    ] = field(default_factory=dict)
    limits: Annotated[
        dict[Literal["cpu", "memory"], Quantity], described("What the container may use at most.", max_length=2)
    ] = field(default_factory=dict)


class Autoscaling(Model, frozen=True, kw_only=True):
    """Who changes the number of gateways: a HorizontalPodAutoscaler of ours, or an autoscaler of yours."""

    RULES = (
        Rule(
            cel="has(self.max) != self.external",
            holds=lambda a: (a.max is not None) != a.external,
            message="set max; or external: true, which leaves the number of gateways to an autoscaler of yours",
        ),
        Rule(
            cel="!self.external || !(has(self.targetCPU) || has(self.behavior) || self.metrics.size() > 0)",
            holds=lambda a: not (a.external and (a.target_cpu or a.behavior is not None or a.metrics)),
            message="an external autoscaler has its own metrics: remove targetCPU, metrics and behavior, or external",
            field="external",
        ),
    )

    max: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None, described("Most gateways. The fewest are gateway.replicas.")
    ] = None
    target_cpu: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None,
        described(f"Percent of the requested CPU to aim at. Without it and without metrics, {DEFAULT_TARGET_CPU}."),
    ] = field(default=None, name="targetCPU")
    metrics: Annotated[
        list[dict[str, Any]],
        described("More metrics to scale by, each as in a HorizontalPodAutoscaler (autoscaling/v2).", max_length=16),
    ] = field(default_factory=list)
    behavior: Annotated[
        dict[str, Any] | None, described("How fast to scale, as in a HorizontalPodAutoscaler (autoscaling/v2).")
    ] = None
    external: Annotated[
        bool,
        described("Leave the Deployment's number of gateways alone: something else sets it, a KEDA ScaledObject say."),
    ] = False


class DisruptionBudget(Model, frozen=True, kw_only=True):
    """How many gateways may be away while nodes are drained."""

    RULES = (
        Rule(
            cel="has(self.minAvailable) != has(self.maxUnavailable)",
            holds=lambda b: (b.min_available is None) != (b.max_unavailable is None),
            message="set exactly one of minAvailable or maxUnavailable",
        ),
    )

    min_available: Annotated[Count | None, described("How many must stay. '100%' stops every drain.")] = None
    max_unavailable: Annotated[Count | None, described("How many may be away at once.")] = None


class PodMetadata(Model, frozen=True, kw_only=True):
    """Labels and annotations of the gateways' pods, beside those that they have."""

    RULES = (
        Rule(
            cel="self.labels.all(k, !k.startsWith('app.kubernetes.io/'))",
            holds=lambda m: not any(label.startswith("app.kubernetes.io/") for label in m.labels),
            message="labels below app.kubernetes.io/ are the operator's: Services find the pods by them",
            field="labels",
        ),
    )

    labels: Annotated[Labels, described("More labels.", max_length=32)] = field(default_factory=dict)
    annotations: Annotated[Annotations, described("More annotations.", max_length=32)] = field(default_factory=dict)


class PodTemplate(Model, frozen=True, kw_only=True):
    """What the gateways' pods are to have beside what they have, as a strategic merge patch."""

    metadata: Annotated[PodMetadata, described("Labels and annotations.")] = field(default_factory=PodMetadata)
    spec: Annotated[
        dict[PodField, Any],
        described(
            "Merged into the pod's spec as `kubectl patch` does: lists of things with a name by that name (the "
            "gateway's container is `gateway`), others replaced, null removes. What a field of spec.gateway says, "
            "and what keeps tenants and ports apart, is refused here."
        ),
    ] = field(default_factory=dict)


class Gateway(Model, frozen=True, kw_only=True):
    """The gateway's Deployment. Carried out by the operator; standalone it is not in force."""

    RULES = (
        Rule(
            cel="!has(self.autoscaling) || !has(self.autoscaling.max) || self.autoscaling.max >= self.replicas",
            holds=lambda g: g.autoscaling is None or (g.autoscaling.max or g.replicas) >= g.replicas,
            message="autoscaling.max must be at least replicas, which are the fewest gateways",
            field="autoscaling",
        ),
        Rule(
            cel=(
                "!has(self.autoscaling) || self.autoscaling.external || has(self.resources.requests.cpu) || "
                "(self.autoscaling.metrics.size() > 0 && !has(self.autoscaling.targetCPU))"
            ),
            holds=lambda g: (
                g.autoscaling is None
                or g.autoscaling.external
                or "cpu" in g.resources.requests
                or (bool(g.autoscaling.metrics) and g.autoscaling.target_cpu is None)
            ),
            message="to scale by CPU takes a request of it: set resources.requests.cpu, or autoscaling.metrics",
            field="resources",
        ),
        Rule(
            # CEL's durations know no days: they would be an error that says nothing.
            cel=(
                "!self.drain.contains('d') && duration(self.drain) >= duration('1s') && "
                "duration(self.drain) <= duration('1h')"
            ),
            holds=lambda g: 1 <= seconds(g.drain) <= 3600,
            message="drain must be between 1s and 1h",
            field="drain",
        ),
    )

    replicas: Annotated[
        int,
        described(
            "Number of gateway pods; with autoscaling the fewest of them, and 0 stops all. With an external "
            "autoscaler, the number to begin with.",
            ge=0,
            le=1000,
        ),
    ] = 2
    image: Annotated[
        Annotated[str, Meta(min_length=1, max_length=512)] | None,
        described("Image of the gateway. Without it, the operator's default."),
    ] = None
    resources: Annotated[Resources, described("Requests and limits of the gateway container.")] = field(
        default_factory=lambda: Resources(requests={"cpu": "250m", "memory": "256Mi"}, limits={"memory": "1Gi"})
    )
    drain: Annotated[
        Duration,
        described("Time that requests in flight, long streams above all, have when their pod is to end."),
    ] = "60s"
    autoscaling: Annotated[Autoscaling | None, described("Let the number of gateways follow the load.")] = None
    disruption_budget: Annotated[
        DisruptionBudget | None, described("How many may be away at once. Without it, one.")
    ] = None
    network_policy: Annotated[
        NetworkPolicy | None,
        described(
            "Let nobody reach the gateways but those who are named. Without it, every pod of the cluster may, and the "
            "credential alone decides."
        ),
    ] = None
    service: Annotated[GatewayService | None, described("The Service for clients. Without it, a ClusterIP.")] = None
    expose: Annotated[Expose | None, described("Let clients outside the cluster in.")] = None
    pod_template: Annotated[PodTemplate | None, described("What the pods are to have that no field here is for.")] = (
        None
    )
