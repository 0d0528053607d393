"""One reconciliation: gather, plan, apply, decide, and write the status last."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

from llmcache_gateway.config import ConfigError, LLMCache, ManagedRedis
from llmcache_operator import events, gather, specs
from llmcache_operator.decide import decide
from llmcache_operator.errors import ApiError, Conflict, NotFound, RedisUnreachable, Refused
from llmcache_operator.gateways import Gateways
from llmcache_operator.kube import Kube
from llmcache_operator.manifests import read
from llmcache_operator.metrics import Metrics
from llmcache_operator.news import STATUS, Name, News
from llmcache_operator.observed import Observed, Pod, Trouble, Turned, kind_missing, read_pods, read_rollout
from llmcache_operator.plan import Plan, owned, plan
from llmcache_operator.redis_changes import claim_refused, in_force, restarts
from llmcache_operator.rolling import Rolling
from llmcache_operator.rollout import steer
from llmcache_operator.rollout.stages import first
from llmcache_operator.rollout.state import served
from llmcache_operator.rollout.turn import Asked, Note
from llmcache_operator.savings import due
from llmcache_operator.specs import HANDED_OVER, Identity, Key, Object
from llmcache_operator.specs.redis import live_settings
from llmcache_operator.status import Status, read_status
from llmcache_operator.work import Outcome

CONFLICT_SECONDS = 0.5
"""When to look again at an LLMCache that has changed while it was being looked at."""

log = logging.getLogger(__name__)

_INTERNAL = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Brings the cluster to what an LLMCache asks for; called with its name, as often as anybody likes."""

    kube: Kube
    gateways: Gateways
    configure_redis: Callable[[str, str, Mapping[str, str]], Awaitable[dict[str, str]]]
    """Brings the Redis at an address, with a password, to settings; returns what those were that it had otherwise."""
    images: specs.Images
    metrics: Metrics
    news: News
    clock: Callable[[], datetime]
    random: Callable[[], str]
    """Returns a new secret value: 32 random bytes, URL-safe."""
    instance: str
    """Name of this process, for Events."""

    async def __call__(self, name: Name) -> Outcome:
        """Reconcile one LLMCache, and say when it wants to be looked at again."""
        started = perf_counter()
        try:
            outcome = await self._reconcile(name)
        except ApiError as error:
            log.warning("%s/%s: %s", *name, error)
            self.metrics.reconciles.labels("error").inc()
            return Outcome(backoff=True, after=error.retry_after)
        self.metrics.reconciles.labels("retry" if outcome.backoff else "ok").inc()
        self.metrics.seconds.observe(perf_counter() - started)
        return outcome

    async def _reconcile(self, name: Name) -> Outcome:
        live = await self.kube.get("LLMCache", *name)
        if live is None or "deletionTimestamp" in live["metadata"]:
            self.news.forget(name)
            return Outcome()  # garbage collection takes the children
        self._note(live)
        identity = Identity(live["metadata"]["name"], live["metadata"]["namespace"], live["metadata"]["uid"])
        generation, previous = live["metadata"]["generation"], read_status(live.get("status"))
        try:
            said = live["metadata"].get("annotations", {}).get(steer.ANNOTATION, "")
            seen = await self._carry_out(read(live), identity, generation, previous, said)
        except ConfigError as error:
            trouble = Trouble("InvalidSpec", "; ".join(map(str, error.problems)), lasting=True)
            seen = await self._look_only(identity, generation, trouble, previous)
        except Refused as error:
            trouble = Trouble("ApplyFailed", error.message, lasting=True)
            seen = await self._look_only(identity, generation, trouble, previous)
        decision = decide(seen, previous, self.clock())
        if not await self._tell(live, identity, previous, decision.status, seen.notes):
            return Outcome(after=CONFLICT_SECONDS)
        return decision.outcome

    async def _carry_out(
        self, manifest: LLMCache, identity: Identity, generation: int, previous: Status, annotation: str
    ) -> Observed:
        now = self.clock().replace(microsecond=0)
        asked = Asked(manifest.spec.prefix.name or identity.name, manifest.spec.prefix.version, manifest.spec.rollout)
        # What gateways are to run follows from what is stored: nothing is begun that the next operator would not know.
        state = previous.state or first(asked, now)
        prefix = specs.active_prefix(state.prefix.name, served(state))
        config = specs.gateway_configuration(manifest, identity, prefix)
        managed = specs.managed_redis(manifest)
        own = [("Secret", identity.gateway), *([("Secret", identity.redis)] if managed is not None else [])]
        live = await gather.objects(self.kube, identity.namespace, own)
        values = specs.generated(live[own[0]], live.get(("Secret", identity.redis)), self.random)

        desired = specs.children(manifest, identity, self.images, values, prefix)
        keys = [_key(child) for child in desired]
        live |= await gather.objects(self.kube, identity.namespace, [key for key in keys if key not in live])
        # What is no longer asked for can be there only after a change of spec that has not been carried out, and only
        # where anything was ever carried out.
        settled = previous.observed_generation == generation and previous.undisturbed
        new = previous.observed_generation < 0 and not any(
            found and owned(found, identity.uid) for found in live.values()
        )
        former = [] if settled or new else specs.former_children(manifest, identity)
        live |= await gather.objects(self.kube, identity.namespace, former)
        self._note_children(identity, live)
        absent = await gather.absent_kinds(self.kube, {key: live[key] for key in keys})
        desired = [child for child in desired if child["kind"] not in absent]
        made = {identity.gateway, identity.redis} if managed is not None else {identity.gateway}
        wanted = {key: keys for key, keys in specs.referred_to(config).items() if key[1] not in made}
        missing = await gather.missing(self.kube, identity.namespace, wanted)

        stateful = ("StatefulSet", identity.redis)
        before = live.get(stateful)
        refused = claim_refused(live.get(("PersistentVolumeClaim", identity.redis)), managed) if managed else ""
        if refused:
            desired = [child for child in desired if child["kind"] != "PersistentVolumeClaim"]

        todo = plan(desired, live, former, identity.uid, specs.initial(manifest, identity))
        waiting = missing
        if missing is not None:
            held = {("ConfigMap", identity.gateway), ("Deployment", identity.name)}
            todo.apply = [child for child in todo.apply if _key(child) not in held]
        elif todo.leaving:
            waiting = Trouble("WaitingForDeletion", f"the former {_list(todo.leaving)} must be gone first")
        troubles = await self._execute(todo, live, identity)
        troubles += [Trouble("VolumeImmutable", refused, lasting=True)] if refused else []

        pods = await gather.pods(self.kube, identity)
        gateways = read_pods(pods.get("gateway", []), "gateway")
        others = read_pods(pods.get("redis", []), "redis") if managed is not None else ()
        redis = read_rollout(live.get(stateful)) if managed is not None else None
        troubles += [missing] if missing is not None else []
        troubles += [pod.trouble for pod in (*gateways, *others) if pod.trouble is not None]
        turned = Turned(restarts=next((restarts(before, one) for one in todo.apply if _key(one) == stateful), ""))
        if managed is not None and redis is not None and redis.settled:
            turned, trouble = await self._configure(managed, others, values.redis_admin_password)
            troubles += [trouble] if trouble is not None else []
        seen = Observed(
            identity=identity,
            generation=generation,
            state=state,
            wait_for_promotion=manifest.spec.rollout.wait_for_promotion,
            gateways=read_rollout(live.get(("Deployment", identity.name))),
            redis=redis,
            redis_wanted=managed is not None,
            redis_turned=turned,
            notes=tuple(_redis_notes(turned)),
            pods=gateways,
            revision=config.revision,
            reports=await gather.reports(self.gateways, gateways, values.admin_token),
            told=await gather.told(self.gateways, gateways, values.admin_token) if due(previous.cache, now) else {},
            troubles=tuple(troubles),
            waiting=waiting,
            warnings=tuple(map(kind_missing, absent)),
        )
        rolling = Rolling(
            kube=self.kube,
            gateways=self.gateways,
            images=self.images,
            identity=identity,
            asked=asked,
            token=values.admin_token,
            deployment=next(child for child in desired if child["kind"] == "Deployment"),
            config=config,
            pods=pods,
        )
        return await rolling.turn(seen, state, annotation, now)

    async def _configure(
        self, asked: ManagedRedis, pods: Sequence[Pod], password: str
    ) -> tuple[Turned, Trouble | None]:
        """Bring the running Redis to what is asked for: whoever changed it, and whatever a restart has read."""
        ready = next((pod for pod in pods if pod.ready and pod.address), None)
        if ready is None:
            return Turned(), None
        try:
            before = await self.configure_redis(ready.address, password, live_settings(asked))
        except RedisUnreachable as error:
            return Turned(), Trouble("RedisNotConfigured", f"pod {ready.name} may run with other settings: {error}")
        return Turned(asked.memory, asked.maxmemory_policy, in_force(before, asked)), None

    async def _execute(self, todo: Plan, live: dict[Key, Object | None], identity: Identity) -> list[Trouble]:
        """Carry a plan out; put into `live` what came of it, and return what went wrong for good."""
        troubles = []
        for child in todo.apply:
            key = _key(child)
            try:
                if key in todo.hand_over:
                    await self.kube.apply(todo.hand_over[key], manager=HANDED_OVER)
                live[key] = await self.kube.apply(child)
                self._note_children(identity, {key: live[key]})
            except Refused as error:
                self.metrics.applies.labels(child["kind"], "refused").inc()
                troubles.append(Trouble("ApplyFailed", error.message, lasting=True))
            except ApiError as error:
                self.metrics.applies.labels(child["kind"], "error").inc()
                if error.status != _INTERNAL:
                    raise
                # Such as no address left for a Service: tried again, and the rest goes on.
                troubles.append(Trouble("ApplyFailed", error.message))
            else:
                self.metrics.applies.labels(child["kind"], "ok").inc()
                log.info("%s/%s: applied %s", child["metadata"]["namespace"], key[1], key[0])
        for child in todo.delete:
            await self.kube.delete(child["kind"], child)
            self.metrics.applies.labels(child["kind"], "deleted").inc()
            log.info("%s/%s: deleted %s", child["metadata"]["namespace"], child["metadata"]["name"], child["kind"])
        if todo.taken:
            message = f"{_list(todo.taken)} is there already and not this LLMCache's: delete it, or rename this"
            troubles.append(Trouble("NameTaken", message, lasting=True))
        return troubles

    async def _look_only(self, identity: Identity, generation: int, trouble: Trouble, previous: Status) -> Observed:
        """Observe without touching anything: what runs goes on as it is."""
        live = await gather.objects(self.kube, identity.namespace, [("Deployment", identity.name)])
        self._note_children(identity, live)
        pods = await gather.pods(self.kube, identity)
        return Observed(
            identity=identity,
            generation=generation,
            state=previous.state,
            gateways=read_rollout(live["Deployment", identity.name]),
            pods=read_pods(pods.get("gateway", []), "gateway"),
            troubles=(trouble,),
        )

    async def _tell(
        self, live: Object, identity: Identity, previous: Status, status: Status, notes: Sequence[Note]
    ) -> bool:
        """Write the status, and Events about what is new in it. False when the LLMCache is another one since."""
        plain = status.to_dict()
        if live.get("status") == plain:
            return True
        # The uid makes the API server refuse the status of an LLMCache that was deleted and made anew meanwhile; the
        # version, one that was decided on before somebody else wrote: a rollout must not fall back to an earlier state.
        metadata = {name: live["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion")}
        told = {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata, "status": plain}
        try:
            self._note(await self.kube.apply(told, "status"))
        except (NotFound, Conflict):
            return False
        self.metrics.applies.labels("LLMCacheStatus", "ok").inc()
        for past in events.happened(previous, status):
            self.metrics.rollouts.labels(past.what.lower()).inc()
        for turn in (*map(events.told, notes), *events.turns(previous, status)):
            await self._post(turn, identity)
        return True

    def _note(self, live: Object) -> None:
        of = live["metadata"]["namespace"], live["metadata"]["name"]
        self.news.read(of, ("LLMCache", of[1]), live)
        self.news.read(of, (STATUS, of[1]), live)

    def _note_children(self, identity: Identity, live: Mapping[Key, Object | None]) -> None:
        for key, found in live.items():
            self.news.read((identity.namespace, identity.name), key, found)

    async def _post(self, turn: events.Turn, identity: Identity) -> None:
        now = self.clock()
        unique = f"{int(now.timestamp() * 1_000_000):x}"
        stamp = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        log.info("%s/%s: %s: %s", identity.namespace, identity.name, turn.reason, turn.note)
        try:
            await self.kube.create(events.event(turn, identity, self.instance, stamp, unique))
        except ApiError as error:
            # The status says it too: an Event is not worth another try.
            log.warning("%s/%s: %s", identity.namespace, identity.name, error)


def _key(child: Object) -> Key:
    return child["kind"], child["metadata"]["name"]


def _redis_notes(turned: Turned) -> list[Note]:
    told = {"RedisReconfigured": turned.set_live, "RedisRestarting": turned.restarts}
    return [Note(False, reason, text) for reason, text in told.items() if text]


def _list(keys: list[Key]) -> str:
    return ", ".join(f"{kind} {name}" for kind, name in keys)
