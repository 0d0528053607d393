"""What a rollout asks of gateways, over real sockets: their counters, and the removal of a version's entries."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest
from aiohttp import web

from llmcache_gateway.config import Rollout as RolloutSettings
from llmcache_gateway.config import gateway_config
from llmcache_operator import gateways, gather
from llmcache_operator.errors import GatewayUnreachable, Refused
from llmcache_operator.kube import Kube
from llmcache_operator.manifests import read
from llmcache_operator.observed import HintNote, Observed, Pod, Report, Rollout
from llmcache_operator.rolling import Rolling
from llmcache_operator.rollout.state import Counts, PrefixStatus, Purging, RolloutStatus, State
from llmcache_operator.rollout.turn import Asked
from llmcache_operator.savings import Served, Told
from llmcache_operator.specs import Identity, Images

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ADDRESSES = ("127.77.1.1", "127.77.1.2")
ALL = {
    "hits": 5, "stale": 1, "coalesced": 1, "misses": 3, "savedUSD": 1.25,
    "savedTokens": {"input": 9, "output": 9, "unpriced": 2},
}  # fmt: skip
VERSION = {
    "requests": 9, "hits": 2, "stale": 0, "coalesced": 0, "misses": 7, "bypasses": 0, "errors": 0, "missErrors": 1,
    "missLatency": {"le": [0.5, None], "counts": [4, 6], "sumSeconds": 3.5},
}  # fmt: skip


@dataclass
class Admin:
    """One gateway's admin port, as far as a rollout uses it."""

    state: str = "done"
    broken: bool = False
    removed: list[Any] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    stats: Any = field(
        default_factory=lambda: {"instance": "x", "startedAt": 1, "all": ALL, "versions": {"v1": VERSION}}
    )

    status: Any = field(default_factory=lambda: {"revision": "r"})

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/admin/v1/status", self.on_status)
        app.router.add_get("/admin/v1/stats", self.on_stats)
        app.router.add_post("/admin/v1/invalidate", self.on_invalidate)
        app.router.add_get("/admin/v1/invalidations/{id}", self.on_look)
        return app

    async def on_stats(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer token"
        return web.json_response(self.stats, status=503 if self.broken else 200)

    async def on_status(self, _: web.Request) -> web.Response:
        return web.json_response(self.status)

    async def on_invalidate(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.json_response({"error": "the store can't do it now"}, status=503)
        self.removed.append(await request.json())
        status = 202 if self.state == "running" else 200
        return web.json_response({"id": f"job{len(self.removed)}", "state": self.state}, status=status)

    async def on_look(self, request: web.Request) -> web.Response:
        self.looked.append(request.match_info["id"])
        return web.json_response({"id": request.match_info["id"], "state": self.state})


@pytest.fixture
async def admins() -> AsyncIterator[list[Admin]]:
    served, runners = [Admin(), Admin()], []
    for admin, address in zip(served, ADDRESSES, strict=True):
        runner = web.AppRunner(admin.app())
        await runner.setup()
        await web.TCPSite(runner, address, gateways.ADMIN_PORT).start()
        runners.append(runner)
    yield served
    for runner in runners:
        await runner.cleanup()


def _observed(*names: str) -> Observed:
    pods = tuple(Pod(name, address, True) for name, address in zip("ab", ADDRESSES, strict=True) if name in names)
    reports = {pod.name: Report("r") for pod in pods}
    settled = Rollout(len(pods), len(pods), len(pods), settled=True)
    return Observed(
        identity=Identity("demo", "ai"), generation=1, gateways=settled, pods=pods, revision="r", reports=reports
    )


class Refusing:
    """An API server that has no such Job and makes none."""

    async def get(self, *_: str) -> None:
        return None

    async def create(self, made: dict[str, Any]) -> None:
        assert made["kind"] == "Job"
        raise Refused(403, "exceeded quota: pods")


async def _turn(
    state: State, shared: bool, *names: str, settings: dict[str, Any] | None = None, kube: Any = None
) -> State:
    store = {"cache": {"store": {"type": "redis"}}, "redis": {"external": {"url": "redis://r:6379/0"}}}
    document = {
        "apiVersion": "llmcache.dev/v1alpha1",
        "kind": "LLMCache",
        "metadata": {"name": "demo", "namespace": "ai"},
        "spec": {"upstreams": [{"name": "echo", "provider": "echo"}], "prefix": {"version": "v2"}}
        | (store if shared else {}),
    }
    async with gateways.http_client() as http:
        rolling = Rolling(
            kube=cast("Kube", kube),  # Jobs that are made are in e2e/test_rollout.py
            gateways=gateways.Gateways(http),
            images=Images("gateway", "redis"),
            identity=Identity("demo", "ai"),
            asked=Asked("demo", "v2", msgspec.convert(settings or {}, RolloutSettings)),
            token="token",
            deployment={"spec": {"template": {"spec": {"containers": [{"name": "gateway", "image": "i"}]}}}},
            config=gateway_config(read(document), None),
            pods={},
        )
        found = (await rolling.turn(_observed(*names), state, "", NOW)).state
        assert found is not None
        return found


def _purging(*jobs: str) -> State:
    leaving = [Purging(version="v1", jobs=list(jobs))]
    return State(
        PrefixStatus(name="demo", target="v2", active="v2", purging=leaving),
        RolloutStatus(phase="Purging", message="the entries of v1 are being removed"),
    )


async def test_one_gateway_removes_what_all_of_them_share(admins: list[Admin]) -> None:
    state = await _turn(_purging(), True, "a", "b")
    assert [admin.removed for admin in admins] == [[{"version": "v1"}], []]
    assert state.prefix.purging == []
    assert (state.prefix.history[0].version, state.prefix.history[0].what) == ("v1", "Purged")


async def test_each_gateway_removes_what_is_its_own(admins: list[Admin]) -> None:
    assert (await _turn(_purging(), False, "a", "b")).prefix.purging == []
    assert [admin.removed for admin in admins] == [[{"version": "v1"}]] * 2


async def test_a_purge_that_takes_long_is_looked_after_until_it_is_done(admins: list[Admin]) -> None:
    admins[0].state = "running"
    state = await _turn(_purging(), True, "a", "b")
    assert state.prefix.purging[0].jobs == ["a/job1"]
    state = await _turn(state, True, "a", "b")
    assert (state.prefix.purging[0].jobs, len(admins[0].removed)) == (["a/job1"], 1)
    admins[0].state = "done"
    assert (await _turn(state, True, "a", "b")).prefix.purging == []
    assert admins[0].looked == ["job1", "job1"]


async def test_without_a_gateway_what_they_share_stays_and_says_so() -> None:
    for state in (_purging(), _purging("a/job1")):
        found = await _turn(state, True)
        assert (found.prefix.purging, found.rollout.reason) == (state.prefix.purging, "NoGateway")


async def test_without_a_gateway_what_was_its_own_is_gone() -> None:
    assert (await _turn(_purging(), False)).prefix.purging == []


async def test_another_gateway_takes_over_when_the_one_that_purged_is_gone(admins: list[Admin]) -> None:
    state = await _turn(_purging("a/job1"), True, "b")
    assert admins[1].removed == [{"version": "v1"}]
    assert state.prefix.purging == []


async def test_a_purge_that_the_store_refuses_is_tried_again(admins: list[Admin]) -> None:
    admins[0].broken = True
    state = await _turn(_purging(), True, "a", "b")
    assert state.prefix.purging_versions == ["v1"]
    admins[0].broken = False
    assert (await _turn(state, True, "a", "b")).prefix.purging == []


async def test_what_the_cache_is_worth_is_read_of_those_who_can_say_it(admins: list[Admin]) -> None:
    pods = _observed("a", "b").pods
    del admins[1].stats["all"]  # a gateway of an earlier build
    async with gateways.http_client() as http:
        told = await gather.told(gateways.Gateways(http), pods, "token")
        admins[0].stats["startedAt"] = 1e300
        unusable = await gather.told(gateways.Gateways(http), pods, "token")
    served = Served(asked=10, hits=6, micro_usd=1_250_000, unpriced=2)
    assert told == {"a": Told("x", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), served)}
    assert unusable == {}


async def test_what_gateways_say_of_hints_is_read(admins: list[Admin]) -> None:
    volatile = {"upstream": "main", "model": "claude", "reason": "PrefixVolatile", "message": "it changes"}
    refused = {"upstream": "main", "model": "gpt", "refused": "prompt_cache_key", "seconds": 9}
    admins[0].status = {"revision": "r", "hints": {"standDowns": [refused], "paused": [], "ineffective": [volatile]}}
    admins[0].status |= {"semantic": {"exactOnly": [{"policy": "faq", "sampled": 9, "wrong": 5}]}}
    async with gateways.http_client() as http:
        reports = await gather.reports(gateways.Gateways(http), _observed("a", "b").pods, "token")
    told = HintNote("main", "claude", "PrefixVolatile", "it changes")
    stood_down = HintNote("main", "gpt", "StandDown", "prompt_cache_key was refused")
    assert reports == {
        "a": Report("r", ineffective=(told,), refused=(stood_down,), exact_only=("faq",)),
        "b": Report("r"),
    }


async def test_counters_are_read(admins: list[Admin]) -> None:
    async with gateways.http_client() as http:
        stats = await gateways.Gateways(http).stats(ADDRESSES[0], "token")
    assert stats.instance == "x"
    assert stats.versions == {"v1": Counts(requests=9, misses=7, failed=1, within=[4, 6])}
    assert stats.le == (0.5, float("inf"))


@pytest.mark.parametrize("told", [[], {"versions": {}}, {"instance": "x", "versions": {"v1": {}}}, {"versions": 5}])
async def test_counters_that_make_no_sense_are_none(told: Any, admins: list[Admin]) -> None:
    admins[0].stats = told
    async with gateways.http_client() as http:
        with pytest.raises(GatewayUnreachable, match=r"stats|object"):
            await gateways.Gateways(http).stats(ADDRESSES[0], "token")


async def test_a_step_begins_only_when_every_ready_gateway_has_told_its_counters(admins: list[Admin]) -> None:
    settings = {"strategy": "Canary", "canary": {"steps": [{"percent": 5, "pause": "1m"}]}}
    rollout = RolloutStatus(phase="Canary", step=1, steps=1, percent=5, since=NOW)
    state = State(PrefixStatus(name="demo", target="v2", active="v1"), rollout)

    admins[1].broken = True
    assert not (await _turn(state, True, "a", "b", settings=settings)).rollout.reached
    admins[1].broken = False
    begun = (await _turn(state, True, "a", "b", settings=settings)).rollout
    assert begun.reached
    assert begun.evidence is not None
    assert [mark.active.requests for mark in begun.evidence.marks] == [9, 9]


async def test_a_job_that_may_not_be_made_holds_no_rollout_up() -> None:
    settings = {"warm": {"topRequests": 5}}
    warming = RolloutStatus(phase="Warming", since=NOW, reached=True)
    state = State(PrefixStatus(name="demo", target="v2", active="v1"), warming)
    rollout = (await _turn(state, True, "a", "b", settings=settings, kube=Refusing())).rollout
    assert (rollout.phase, rollout.shown) == ("Promoting", ["0%: exceeded quota: pods"])
