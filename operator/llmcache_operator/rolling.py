"""Carries a rollout out: asks the gateways and the Job that warms, takes one step, and does what it says."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from llmcache_gateway.config import GatewayConfig
from llmcache_operator.errors import Conflict, Refused
from llmcache_operator.gateways import Gateways, heard
from llmcache_operator.kube import Kube
from llmcache_operator.observed import Observed, Pod
from llmcache_operator.rollout import keeping
from llmcache_operator.rollout.machine import goes_on, step, wants_stats, warming_key
from llmcache_operator.rollout.state import MAX_ANNOTATION, Purging, State
from llmcache_operator.rollout.turn import Asked, Purge, Seen, Start, Step, Warmed
from llmcache_operator.specs import COMPONENT_WARM, Identity, Images, Object, warming

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """One turn of one LLMCache's rollout."""

    kube: Kube
    gateways: Gateways
    images: Images
    identity: Identity
    asked: Asked
    token: str
    deployment: Object
    """The gateways' Deployment as it is desired."""
    config: GatewayConfig
    """The gateways' configuration."""
    pods: Mapping[str, Sequence[Object]]
    """All pods by component."""

    @property
    def shared(self) -> bool:
        """Whether the gateways have one store, or each its own."""
        return self.config.spec.cache.store.shared

    async def turn(self, seen: Observed, state: State, annotation: str, now: datetime) -> Observed:
        """Return what was observed, with the state that follows from it and what there is to tell."""
        ready = {pod.name: pod for pod in seen.pods if pod.ready and pod.address}
        found = Seen(
            everywhere=seen.everywhere,
            settled=seen.settled,
            removable=bool(ready) or not self.shared,
            pods=frozenset(pod.name for pod in seen.pods),
            ready=frozenset(pod.name for pod in seen.pods if pod.ready),
            annotation=annotation[:MAX_ANNOTATION],
        )
        if wants_stats(state, now):
            asked = {name: self.gateways.stats(pod.address, self.token) for name, pod in ready.items()}
            found = replace(found, stats=await heard(asked))
        job = None
        if state.rollout.phase in ("Warming", "Paused") and state.rollout.step == 0:
            name = warming.job_name(self.identity, warming_key(state))
            job = await self.kube.get("Job", self.identity.namespace, name)
            found = replace(found, warmed=warming.read_job(job, self.pods.get(COMPONENT_WARM, ())))
        done = step(state, self.asked, found, now)
        try:
            await self._act(done, ready, job if found.warmed.state == "running" else None, now)
        except Refused as error:
            # A quota, or a right that is missing: warming only helps, so that the rollout goes on without.
            done = step(state, self.asked, replace(found, warmed=Warmed("failed", error.message)), now)
        return replace(seen, state=done.state, notes=(*seen.notes, *done.notes), changed=goes_on(state, done.state))

    async def _act(self, done: Step, ready: Mapping[str, Pod], job: Object | None, now: datetime) -> None:
        for action in done.actions:
            if isinstance(action, Start):
                await self._warm(action, ready)
            elif isinstance(action, Purge):
                jobs = await self._purge(action.leaving, ready)
                if jobs is not None:
                    prefix = keeping.purged(done.state.prefix, action.leaving.version, jobs, now)
                    done.state = State(prefix, done.state.rollout)
            elif job is not None:
                await self.kube.delete("Job", job)

    async def _warm(self, start: Start, ready: Mapping[str, Pod]) -> None:
        warm = self.asked.rollout.warm
        addresses = [pod.address for _, pod in sorted(ready.items())]
        if warm is None or not addresses:
            return
        name = warming.job_name(self.identity, start.key)
        made = warming.job(
            self.identity, warm, name, start.version, self.deployment, self.config, self.images, addresses
        )
        try:
            await self.kube.create(made)
        except Conflict:
            return  # it was made by a turn whose state was not stored
        log.info("%s/%s: created Job", self.identity.namespace, name)

    async def _purge(self, leaving: Purging, ready: Mapping[str, Pod]) -> list[str] | None:
        """Carry a purge on; return what gateways are still at, nothing when it is done, None when it did not begin."""
        if leaving.jobs:
            return await self._purge_state(leaving, ready)
        if not ready:
            return []  # what each had of its own went with it
        # One gateway removes what all of them share.
        chosen = dict(sorted(ready.items())[: 1 if self.shared else None])
        asked = {name: self.gateways.remove(pod.address, self.token, leaving.version) for name, pod in chosen.items()}
        answers = await heard(asked)
        if len(answers) < len(chosen):
            return None
        return [f"{name}/{removal.id}" for name, removal in answers.items() if removal.running]

    async def _purge_state(self, leaving: Purging, ready: Mapping[str, Pod]) -> list[str] | None:
        known = {job: ready.get(job.partition("/")[0]) for job in leaving.jobs}
        asked = {
            job: self.gateways.removal(pod.address, self.token, job.partition("/")[2])
            for job, pod in known.items()
            if pod is not None
        }
        answers = await heard(asked)
        if self.shared and len(answers) < len(known):
            # Who was at it is gone: another one does it anew, the next time.
            return await self._purge(Purging(version=leaving.version), ready)
        return [job for job in known if job in answers and answers[job].running]
