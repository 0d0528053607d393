"""How a new prefix version takes over. Carried out by the operator; a gateway by itself takes it over at once."""

from typing import Annotated, Literal

from msgspec import Meta, field

from llmcache_gateway.config.model import Model, described
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import Duration, Percent, SecretKey, SecretName, seconds

MAX_STEPS = 10
PROGRESS_DEADLINE = "1h"


class ConfigMapKey(Model, frozen=True, kw_only=True):
    """One text of a ConfigMap in the LLMCache's own namespace."""

    name: Annotated[SecretName, described("Name of the ConfigMap.")]
    key: Annotated[SecretKey, described("Key inside the ConfigMap.")]


class RequestsFrom(Model, frozen=True, kw_only=True):
    """Where a list of requests is."""

    config_map_ref: Annotated[
        ConfigMapKey, described("A text of one request a line, as `llmcache-gateway warm` reads it.")
    ]


class Warm(Model, frozen=True, kw_only=True):
    """What a new version is asked before its first client: at the rate given, by a Job."""

    RULES = (
        Rule(
            cel="has(self.topRequests) || has(self.requestsFrom)",
            holds=lambda warm: warm.top_requests is not None or warm.requests_from is not None,
            message="warm needs requests to warm with: set topRequests, such as 200, or requestsFrom, or remove warm",
        ),
        Rule(
            cel="self.timeout.matches('[1-9]')",
            holds=lambda warm: seconds(warm.timeout) > 0,
            message="timeout must be longer than zero, such as 10m; not to warm remove warm",
            field="timeout",
        ),
    )

    top_requests: Annotated[
        Annotated[int, Meta(ge=1, le=10_000)] | None,
        described("How many of the requests that the gateways are asked most."),
    ] = None
    requests_from: Annotated[RequestsFrom | None, described("A list of your own, asked after those.")] = None
    max_requests_per_second: Annotated[
        int, described("Most requests a second, over all gateways. Each may go to the provider.", ge=1, le=1000)
    ] = 5
    timeout: Annotated[
        Duration,
        described("Longest that warming may take. When it is over, or fails, the rollout goes on with what is warm."),
    ] = "10m"


class CanaryStep(Model, frozen=True, kw_only=True):
    """One step of a canary."""

    RULES = (
        Rule(
            cel="self.percent >= 1 && self.percent <= 99",
            holds=lambda step: 1 <= step.percent <= 99,
            message="percent must be from 1 to 99: what comes before is warm, and 100 percent is the promotion",
            field="percent",
        ),
    )

    percent: Annotated[int, described("Share of the requests that are given to the new version.")]
    pause: Annotated[
        Annotated[
            str,
            Meta(
                title="a duration (without pause, the step waits until a person promotes)",
                pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$",
                max_length=32,
                examples=["5m", "1h"],
            ),
        ]
        | None,
        described("Shortest time of this step. Without it, the step ends when a person promotes."),
    ] = None


_RISING = " && ".join(
    f"(self.steps.size() <= {at} || self.steps[{at - 1}].percent < self.steps[{at}].percent)"
    for at in range(1, MAX_STEPS)
)


class Canary(Model, frozen=True, kw_only=True):
    """By which steps a new version takes over."""

    RULES = (
        Rule(
            cel=_RISING,
            holds=lambda canary: all(
                one.percent < other.percent for one, other in zip(canary.steps, canary.steps[1:], strict=False)
            ),
            message="the percents of steps must rise, such as 5, 25, 50: a request never goes back to the old version",
            field="steps",
        ),
    )

    steps: Annotated[list[CanaryStep], described("The steps, in order.", min_length=1, max_length=MAX_STEPS)]


class Analysis(Model, frozen=True, kw_only=True):
    """What a version must show in each step, counted over all gateways since the step began."""

    max_error_rate: Annotated[
        Percent,
        described(
            "Share of the new version's misses whose upstream may fail. More of them abort the rollout, unless the "
            "active version's fail as well."
        ),
    ] = "5%"
    max_latency_ratio: Annotated[
        str,
        Meta(
            title="a number of at least 1, as a text",
            description=(
                "How many times as long as the active version's a miss may take until its first byte, nine in ten of "
                "them. More aborts the rollout."
            ),
            pattern=r"^[1-9][0-9]{0,3}(\.[0-9]{1,3})?$",
            max_length=16,
            examples=['"2.0"', '"1.5"'],
        ),
    ] = "2.0"
    min_requests: Annotated[
        int,
        described("Requests that the new version must have answered in a step. Fewer never promote.", ge=1, le=10**9),
    ] = 50


class Retain(Model, frozen=True, kw_only=True):
    """For how long the entries of former versions are kept. Going back to one of them is instant."""

    versions: Annotated[int, described("Most former versions that are kept.", ge=1, le=10)] = 2
    duration: Annotated[
        Duration, described("For how long one is kept; then its entries are purged. `0s` keeps none.")
    ] = "24h"


def _of_a_canary(name: str, attribute: str) -> Rule:
    return Rule(
        cel=f"self.strategy == 'Canary' || !has(self.{name})",
        holds=lambda rollout: rollout.strategy == "Canary" or getattr(rollout, attribute) is None,
        message=f"{name} has no effect with strategy Immediate: remove it, or set strategy: Canary",
        field=name,
    )


class Rollout(Model, frozen=True, kw_only=True):
    """How a new prefix version takes over. Carried out by the operator; standalone it is not in force."""

    RULES = (
        Rule(
            cel="self.strategy != 'Canary' || has(self.canary)",
            holds=lambda rollout: rollout.strategy != "Canary" or rollout.canary is not None,
            message="strategy Canary needs steps: set canary: {steps: [{percent: 5, pause: 5m}]}",
            field="canary",
        ),
        _of_a_canary("canary", "canary"),
        _of_a_canary("analysis", "analysis"),
        _of_a_canary("progressDeadline", "progress_deadline"),
        Rule(
            cel="!has(self.progressDeadline) || self.progressDeadline.matches('[1-9]')",
            holds=lambda rollout: rollout.progress_deadline is None or seconds(rollout.progress_deadline) > 0,
            message="progressDeadline must be longer than zero, such as 1h",
            field="progressDeadline",
        ),
    )

    strategy: Annotated[
        Literal["Immediate", "Canary"],
        described(
            "`Immediate`: every request belongs to the new version at once, or once it is warm; `Canary`: a growing "
            "share of them."
        ),
    ] = "Immediate"
    warm: Annotated[Warm | None, described("What a new version is asked before its first client.")] = None
    canary: Annotated[Canary | None, described("By which steps a new version takes over.")] = None
    analysis: Annotated[
        Analysis | None, described("What a version must show in each step. Without it, its defaults.")
    ] = None
    retain: Annotated[Retain, described("For how long former versions are kept.")] = field(default_factory=Retain)
    progress_deadline: Annotated[
        Duration | None,
        described(
            "Longest that a step may wait, after its pause, for gateways and requests; then the rollout is aborted. "
            f"Without it, {PROGRESS_DEADLINE}."
        ),
    ] = None
    wait_for_promotion: Annotated[
        bool,
        described(
            "Whether the resource counts as reconciling until the new version is promoted, so that Flux and "
            "`helm --wait` wait for it."
        ),
    ] = True
