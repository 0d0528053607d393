"""The types of an LLMCache's `status`. They are also its schema in the CRD."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from llmcache_gateway.config import described
from llmcache_operator.rollout.state import PrefixStatus, RolloutStatus, State
from llmcache_operator.savings import CacheStatus
from llmcache_operator.status_part import StatusPart, Text

Timestamp = Annotated[str, Meta(max_length=64, extra_json_schema={"format": "date-time"})]


class Condition(StatusPart, frozen=True, kw_only=True):
    """One aspect of the state, as Kubernetes' own types have them."""

    type: Annotated[
        Literal[
            "Ready",
            "Progressing",
            "Degraded",
            "Promoted",
            "Reconciling",
            "Stalled",
            "HintsIneffective",
            "HintsRefused",
            "SemanticExactOnly",
        ],
        described("Which aspect it is."),
    ]
    status: Annotated[Literal["True", "False", "Unknown"], described("Whether it holds.")]
    reason: Annotated[str, described("One word for programs.", max_length=128)]
    message: Annotated[Text, described("What it is about, for people.")]
    last_transition_time: Annotated[Timestamp, described("When `status` last changed.")]
    observed_generation: Annotated[int, described("The generation of spec that it speaks of.")]


class GatewaysStatus(StatusPart, frozen=True, kw_only=True):
    """How far the gateways are."""

    ready: Annotated[int, described("Gateways that are ready.")]
    on_current_config: Annotated[int, described("Ready gateways that run the current configuration.")]


class RedisChange(StatusPart, frozen=True, kw_only=True):
    """A change of the managed Redis."""

    how: Annotated[
        Literal["Live", "Restart"],
        described(
            "Live: the running Redis took it. Restart: its pod was made anew, which empties one without persistence."
        ),
    ]
    message: Annotated[Text, described("What was changed, for people.")]
    time: Annotated[Timestamp, described("When it began.")]


class RedisState(StatusPart, frozen=True, kw_only=True):
    """The managed Redis."""

    ready: Annotated[bool, described("Whether it takes requests.")] = False
    memory: Annotated[
        Annotated[str, Meta(max_length=32)] | None, described("The maxmemory in force, as it was last seen.")
    ] = None
    maxmemory_policy: Annotated[
        Annotated[str, Meta(max_length=32)] | None, described("The policy in force, as it was last seen.")
    ] = None
    last_change: Annotated[RedisChange | None, described("The last change, and what it took.")] = None


class Warned(StatusPart, frozen=True, kw_only=True):
    """A part of spec that has no effect here."""

    reason: Annotated[str, described("One word for programs.", max_length=128)]
    message: Annotated[Text, described("What it is about, for people.")]


class Status(StatusPart, frozen=True, kw_only=True):
    """What the operator found and did. It is never read from Git."""

    observed_generation: Annotated[int, described("The generation of spec that was last acted on.")]
    endpoint: Annotated[
        Annotated[str, Meta(max_length=256)] | None,
        described("Where clients inside the cluster reach the gateways; SDKs of OpenAI's shape append /v1."),
    ] = None
    conditions: Annotated[
        list[Condition],
        described(
            "Ready, Progressing, Degraded and Promoted always; the others only while they hold.",
            max_length=16,
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = msgspec.field(default_factory=list)
    prefix: Annotated[PrefixStatus | None, described("Which generation of entries is in use.")] = None
    rollout: Annotated[RolloutStatus | None, described("How far the rollout of `prefix.target` is.")] = None
    replicas: Annotated[int | None, described("Number of gateway pods.")] = None
    ready_replicas: Annotated[int | None, described("Number of gateway pods that are ready.")] = None
    selector: Annotated[
        Annotated[str, Meta(max_length=512)] | None, described("Label selector of the gateway pods, for autoscalers.")
    ] = None
    gateways: Annotated[GatewaysStatus | None, described("How far the gateways are.")] = None
    cache: Annotated[CacheStatus | None, described("What the cache is worth.")] = None
    redis: Annotated[RedisState | None, described("The Redis that the operator runs, if it does.")] = None
    warnings: Annotated[
        list[Warned],
        described("Parts of spec that have no effect here, while everything else goes on.", max_length=16),
    ] = msgspec.field(default_factory=list)

    @property
    def state(self) -> State | None:
        """What a rollout remembers; None before the first."""
        if self.prefix is None:
            return None
        return State(self.prefix, self.rollout or RolloutStatus(phase="Stable"))

    @property
    def undisturbed(self) -> bool:
        """Whether the last look found nothing wrong."""
        degraded = self.condition("Degraded")
        return degraded is not None and degraded.status == "False"

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of a type, or None."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for the API."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def read_status(plain: Any) -> Status:
    """Return the status of a live object; a blank one where there is none, or one that can't be understood."""
    try:
        return msgspec.convert(plain, Status)
    except msgspec.ValidationError:
        return Status(observed_generation=-1)
