"""What was found in the cluster for one LLMCache, as one snapshot that decisions are made from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from llmcache_operator.rollout.state import State
from llmcache_operator.rollout.turn import Note
from llmcache_operator.savings import Told
from llmcache_operator.specs import Identity, Object

_PULL_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_LONGEST = 400


class Trouble(NamedTuple):
    """Something that keeps the LLMCache from what it is to be.

    `reason` is one word for programs. A `lasting` trouble will not go away unless somebody acts.
    """

    reason: str
    message: str
    lasting: bool = False


class Pod(NamedTuple):
    """One pod of ours."""

    name: str
    address: str
    ready: bool
    trouble: Trouble | None = None


class HintNote(NamedTuple):
    """A model whose hints bring nothing, or are refused, and why: a word for programs, a sentence for people."""

    upstream: str
    model: str
    reason: str
    message: str


class Report(NamedTuple):
    """What a gateway says of itself. The errors are empty when there are none."""

    revision: str
    config_error: str = ""
    store_error: str = ""
    ineffective: tuple[HintNote, ...] = ()
    """Hints that never lead to a hit of the provider's."""
    refused: tuple[HintNote, ...] = ()
    """Hints that an upstream refused, which are not tried for now."""
    exact_only: tuple[str, ...] = ()
    """Policies whose hits by meaning were wrong too often, so that they serve equal requests only."""


class Rollout(NamedTuple):
    """How far a Deployment or StatefulSet is."""

    wanted: int
    replicas: int
    ready: int
    settled: bool
    """Every wanted pod is ready and made from the current template, and there are no others."""
    overdue: bool = False
    """Kubernetes has seen no progress for longer than its deadline."""
    refused: str = ""
    """Why pods can't even be created: a quota, a Pod Security Standard."""


class Turned(NamedTuple):
    """What has become of the managed Redis in this turn."""

    memory: str = ""
    """The maxmemory in force; empty when it could not be asked."""
    policy: str = ""
    set_live: str = ""
    """What the running one took, for people."""
    restarts: str = ""
    """Why its pod is made anew, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The snapshot. What depends on a readable spec is None where the spec can't be understood."""

    identity: Identity
    generation: int
    state: State | None = None
    """What the rollout is to remember from now on."""
    changed: bool = False
    """Whether that makes for more to do at once."""
    wait_for_promotion: bool = True
    """Whether a rollout under way counts as reconciling."""
    notes: tuple[Note, ...] = ()
    """What a rollout has to tell, once."""
    gateways: Rollout | None = None
    redis: Rollout | None = None
    redis_wanted: bool = False
    redis_turned: Turned = field(default_factory=Turned)
    pods: tuple[Pod, ...] = ()
    """The gateways' pods that are not on their way out."""
    revision: str = ""
    """The configuration that is asked for, by spec and by the rollout."""
    reports: Mapping[str, Report] = field(default_factory=dict)
    """What the ready gateways say of themselves, by pod."""
    told: Mapping[str, Told] = field(default_factory=dict)
    """What gateways have counted, by pod, where it was time to ask."""
    troubles: tuple[Trouble, ...] = ()
    """The gravest first."""
    waiting: Trouble | None = None
    """What the gateways' configuration and Deployment are held back for."""
    warnings: tuple[Trouble, ...] = ()
    """Parts of spec that have no effect here, though everything else goes on."""

    @property
    def ready(self) -> int:
        """Gateways that are ready."""
        return sum(pod.ready for pod in self.pods)

    @property
    def current(self) -> int:
        """Ready gateways that run the configuration that is asked for."""
        running = {name for name, report in self.reports.items() if report.revision == self.revision}
        return sum(pod.ready and pod.name in running for pod in self.pods)

    @property
    def everywhere(self) -> bool:
        """Whether every ready gateway runs that configuration, and there is one; or none is wanted."""
        nowhere = not self.pods and self.gateways is not None and self.gateways.wanted == 0
        return self.waiting is None and (nowhere or 0 < self.ready == self.current)

    @property
    def settled(self) -> bool:
        """Whether no pod can come back with another configuration: all of them are ready, and run this one."""
        return self.everywhere and self.gateways is not None and self.gateways.settled and len(self.pods) == self.ready


def kind_missing(kind: str) -> Trouble:
    """Return the warning about a kind that the cluster does not know."""
    return Trouble("KindMissing", f"the cluster has no kind {kind}: what spec asks for follows once it is installed")


def read_pods(pods: list[Object], component: str) -> tuple[Pod, ...]:
    """Return the pods that stay, by name; `component` is what they are called in a trouble: gateway, redis."""
    staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return tuple(_read_pod(pod, component) for pod in sorted(staying, key=lambda pod: str(pod["metadata"]["name"])))


def read_rollout(live: Object | None) -> Rollout | None:
    """Return how far a Deployment or StatefulSet is."""
    if live is None:
        return None
    status, wanted = live.get("status", {}), live["spec"].get("replicas", 1)
    replicas, ready, updated = (status.get(name, 0) for name in ("replicas", "readyReplicas", "updatedReplicas"))
    seen = status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0)
    refused = ""
    if live.get("kind") == "StatefulSet" and seen and not replicas and wanted:
        # Unlike a Deployment it has no condition for it. In a restart, the pod that goes counts until another is there.
        name = live["metadata"]["name"]
        refused = f"StatefulSet {name} can't make its pod; kubectl describe statefulset {name} says why"
    conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
    return Rollout(
        wanted=wanted,
        replicas=replicas,
        ready=ready,
        settled=seen and replicas == ready == updated == wanted,
        refused=refused or _short(conditions.get("ReplicaFailure", {}).get("message", "")),
        overdue=conditions.get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded",
    )


def _read_pod(pod: Object, component: str) -> Pod:
    status = pod.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
    return Pod(
        name=pod["metadata"]["name"],
        address=status.get("podIP", ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        trouble=next(_troubles(pod["metadata"]["name"], status, component), None),
    )


def _troubles(name: str, status: Object, component: str) -> Iterator[Trouble]:
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in _PULL_REASONS:
            # Kubernetes alternates between two messages about it; ours stands still.
            yield Trouble(
                "ImagePullFailed",
                f"the image {container['image']} can't be pulled; kubectl describe pod {name} says why",
            )
        elif waiting.get("reason") == "CreateContainerConfigError":
            yield Trouble("PodConfigError", f"pod {name} can't be started: {_short(waiting.get('message', ''))}")
        # Between two crashes the container runs for a moment: what counts is how often it has ended, and that it is
        # not ready now.
        ended = container.get("lastState", {}).get("terminated", container.get("state", {}).get("terminated"))
        if ended and not container.get("ready") and (container.get("restartCount", 0) >= 2 or waiting):
            yield Trouble(
                f"{component.capitalize()}CrashLooping",
                f"pod {name} keeps ending with exit code {ended.get('exitCode')}: "
                f"{_short(ended.get('message') or ended.get('reason', 'no message'))}",
            )


def _short(text: str) -> str:
    """Return the end of a text on one line: a log's last words are the ones that tell."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else "…" + line[-_LONGEST:]
