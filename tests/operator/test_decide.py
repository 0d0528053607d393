"""What the status says of what was found, case by case."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llmcache_operator import events
from llmcache_operator.decide import Decision, decide
from llmcache_operator.observed import HintNote, Observed, Pod, Report, Rollout, Trouble, Turned, kind_missing
from llmcache_operator.rollout.state import Phase, PrefixStatus, RolloutStatus, State
from llmcache_operator.specs import Identity
from llmcache_operator.status import RedisChange, RedisState, Status, read_status
from llmcache_operator.work import Outcome

BLANK = Status(observed_generation=-1)
NOW, LATER = datetime(2026, 11, 23, 12, tzinfo=UTC), datetime(2026, 11, 23, 13, tzinfo=UTC)
IDENTITY = Identity("demo", "ai", "uid-1")
SETTLED = Rollout(wanted=2, replicas=2, ready=2, settled=True)
PODS = (Pod("demo-a", "10.0.0.1", True), Pod("demo-b", "10.0.0.2", True))
BOTH = {"demo-a": Report("new"), "demo-b": Report("new")}
STABLE = State(PrefixStatus(name="demo", target="v2", active="v2"), RolloutStatus(phase="Stable"))
HEALTHY = Observed(
    identity=IDENTITY,
    generation=3,
    state=STABLE,
    gateways=SETTLED,
    pods=PODS,
    revision="new",
    reports=BOTH,
)
MISSING = Trouble("SecretMissing", "Secret openai is not there")
UNPULLED = Trouble("ImagePullFailed", "the image nowhere can't be pulled")
INVALID = Trouble("InvalidSpec", "spec.upstreams: required", lasting=True)


def _conditions(decision: Decision) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in decision.status.conditions if c.type != "Promoted"}


VOLATILE = HintNote("main", "claude", "PrefixVolatile", "it changes")
REFUSED = HintNote("main", "gpt-9", "StandDown", "prompt_cache_key was refused")


def test_hints_that_bring_nothing_and_those_that_are_refused_are_conditions_while_they_are() -> None:
    told = {
        "demo-a": Report("new", ineffective=(VOLATILE,)),
        "demo-b": Report("new", ineffective=(VOLATILE,), refused=(REFUSED,)),
    }
    decision = decide(replace(HEALTHY, reports=told), BLANK, NOW)
    ineffective, refused = (decision.status.condition(kind) for kind in ("HintsIneffective", "HintsRefused"))
    assert ineffective is not None
    assert refused is not None
    assert (ineffective.status, ineffective.reason) == ("True", "PrefixVolatile")
    assert ineffective.message == "claude of upstream main: it changes"
    assert (refused.reason, refused.message) == ("StandDown", "gpt-9 of upstream main: prompt_cache_key was refused")
    assert decision.outcome == Outcome()
    again = decide(replace(HEALTHY, reports=told), decision.status, LATER)
    assert again.status == decision.status  # nothing to write
    over = decide(HEALTHY, decision.status, LATER).status
    assert over.condition("HintsIneffective") is over.condition("HintsRefused") is None


def test_a_policy_that_serves_equal_requests_only_is_a_condition_and_an_event_until_it_is_over() -> None:
    told = {"demo-a": Report("new", exact_only=("faq",)), "demo-b": Report("new", exact_only=("faq", "default"))}
    healthy = decide(HEALTHY, BLANK, NOW).status
    decision = decide(replace(HEALTHY, reports=told), healthy, NOW)
    condition = decision.status.condition("SemanticExactOnly")
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "FalseHits")
    assert condition.message.endswith("policy: default, faq")
    assert decision.outcome == Outcome()
    assert [(one.warning, one.reason) for one in events.turns(healthy, decision.status)] == [
        (True, "SemanticExactOnly")
    ]

    again = decide(replace(HEALTHY, reports=told), decision.status, LATER)
    assert again.status == decision.status
    assert events.turns(decision.status, again.status) == []

    silent = decide(replace(HEALTHY, reports={}), decision.status, LATER).status
    assert silent.condition("SemanticExactOnly") == condition  # whom nobody can ask has not recovered

    over = decide(HEALTHY, decision.status, LATER).status
    assert over.condition("SemanticExactOnly") is None
    turns = events.turns(decision.status, over)
    assert [(one.warning, one.reason) for one in turns] == [(False, "SemanticRecovered")]


def test_one_policy_more_that_serves_equal_requests_only_is_told_too() -> None:
    def with_policies(*names: str) -> Status:
        reports = {"demo-a": Report("new", exact_only=names), "demo-b": Report("new")}
        return decide(replace(HEALTHY, reports=reports), BLANK, NOW).status

    (turn,) = events.turns(with_policies("a"), with_policies("a", "b", "c", "d"))
    assert turn.note.endswith("policy: a, b, c and 1 more")


def test_a_condition_about_hints_names_three_models_and_counts_the_rest() -> None:
    notes = tuple(HintNote("main", f"m{number}", "NotKept", "no hits") for number in range(5))
    decision = decide(replace(HEALTHY, reports={"demo-a": Report("new", ineffective=notes)}), BLANK, NOW)
    condition = decision.status.condition("HintsIneffective")
    assert condition is not None
    assert condition.message.endswith("m2 of upstream main: no hits; and 2 more")


LACKING = kind_missing("ServiceMonitor")

CASES: dict[str, tuple[Observed, dict[str, tuple[str, str]], Outcome]] = {
    "everything runs": (
        HEALTHY,
        {"Ready": ("True", "Serving"), "Progressing": ("False", "Done"), "Degraded": ("False", "AsExpected")},
        Outcome(),
    ),
    "the Deployment was just made": (
        replace(HEALTHY, gateways=None, pods=(), reports={}),
        {
            "Ready": ("False", "GatewaysStarting"),
            "Progressing": ("True", "GatewaysStarting"),
            "Degraded": ("False", "AsExpected"),
            "Reconciling": ("True", "GatewaysStarting"),
        },
        Outcome(after=3.0),
    ),
    "one of two gateways is ready": (
        replace(HEALTHY, gateways=Rollout(2, 2, 1, False), pods=(PODS[0], Pod("demo-b", "", False))),
        {
            "Ready": ("True", "Serving"),
            "Progressing": ("True", "GatewaysRolling"),
            "Degraded": ("False", "AsExpected"),
            "Reconciling": ("True", "GatewaysRolling"),
        },
        Outcome(after=3.0),
    ),
    "one of two gateways still runs the old configuration": (
        replace(HEALTHY, reports={"demo-a": Report("new"), "demo-b": Report("old")}),
        {
            "Ready": ("True", "Serving"),
            "Progressing": ("True", "ConfigurationSpreading"),
            "Degraded": ("False", "AsExpected"),
            "Reconciling": ("True", "ConfigurationSpreading"),
        },
        Outcome(after=1.0),
    ),
    "a gateway can't be asked": (
        replace(HEALTHY, reports={"demo-a": Report("new")}),
        {
            "Ready": ("True", "Serving"),
            "Progressing": ("True", "ConfigurationSpreading"),
            "Degraded": ("False", "AsExpected"),
            "Reconciling": ("True", "ConfigurationSpreading"),
        },
        Outcome(after=1.0),
    ),
    "a gateway refuses the configuration": (
        replace(HEALTHY, reports={"demo-a": Report("new"), "demo-b": Report("old", config_error="no such file")}),
        {
            "Ready": ("True", "Serving"),
            "Progressing": ("True", "ConfigurationSpreading"),
            "Degraded": ("True", "ConfigurationRefused"),
            "Reconciling": ("True", "ConfigurationSpreading"),
        },
        Outcome(backoff=True),
    ),
    "the store can't be reached": (
        replace(HEALTHY, reports=BOTH | {"demo-b": Report("new", store_error="connection refused")}),
        {
            "Ready": ("True", "Serving"),
            "Progressing": ("False", "Done"),
            "Degraded": ("True", "StoreUnavailable"),
        },
        Outcome(backoff=True),
    ),
    "the managed Redis is starting": (
        replace(HEALTHY, redis_wanted=True, redis=Rollout(1, 1, 0, False)),
        {
            "Ready": ("True", "Serving"),
            "Progressing": ("True", "RedisStarting"),
            "Degraded": ("False", "AsExpected"),
            "Reconciling": ("True", "RedisStarting"),
        },
        Outcome(after=3.0),
    ),
    "a quota forbids the managed Redis' pod": (
        replace(HEALTHY, redis_wanted=True, redis=Rollout(1, 0, 0, False, refused="can't make its pod")),
        {
            "Ready": ("True", "Serving"),
            "Progressing": ("True", "RedisStarting"),
            "Degraded": ("True", "PodsRefused"),
            "Reconciling": ("True", "RedisStarting"),
        },
        Outcome(backoff=True),
    ),
    "a Secret is missing before anything runs": (
        replace(HEALTHY, gateways=None, pods=(), reports={}, troubles=(MISSING,), waiting=MISSING),
        {
            "Ready": ("False", "SecretMissing"),
            "Progressing": ("True", "SecretMissing"),
            "Degraded": ("True", "SecretMissing"),
            "Reconciling": ("True", "SecretMissing"),
        },
        Outcome(backoff=True),
    ),
    "a Secret is missing for a change of what runs": (
        replace(HEALTHY, troubles=(MISSING,), waiting=MISSING),
        {
            "Ready": ("True", "Serving"),
            "Progressing": ("True", "SecretMissing"),
            "Degraded": ("True", "SecretMissing"),
            "Reconciling": ("True", "SecretMissing"),
        },
        Outcome(backoff=True),
    ),
    "the spec can't be understood": (
        Observed(identity=IDENTITY, generation=3, gateways=SETTLED, pods=PODS, troubles=(INVALID,)),
        {
            "Ready": ("True", "Serving"),
            "Progressing": ("False", "InvalidSpec"),
            "Degraded": ("True", "InvalidSpec"),
            "Stalled": ("True", "InvalidSpec"),
        },
        Outcome(backoff=True),
    ),
    "no gateways are asked for": (
        replace(HEALTHY, gateways=Rollout(0, 0, 0, True), pods=(), reports={}),
        {"Ready": ("True", "ScaledToZero"), "Progressing": ("False", "Done"), "Degraded": ("False", "AsExpected")},
        Outcome(),
    ),
    "pods may not be created": (
        replace(HEALTHY, gateways=Rollout(2, 0, 0, False, refused="exceeded quota"), pods=(), reports={}),
        {
            "Ready": ("False", "PodsRefused"),
            "Progressing": ("True", "GatewaysStarting"),
            "Degraded": ("True", "PodsRefused"),
            "Reconciling": ("True", "GatewaysStarting"),
        },
        Outcome(backoff=True),
    ),
    "no gateway has become ready in ten minutes": (
        replace(HEALTHY, gateways=Rollout(2, 2, 0, False, overdue=True), pods=(), reports={}),
        {
            "Ready": ("False", "GatewaysUnavailable"),
            "Progressing": ("False", "GatewaysUnavailable"),
            "Degraded": ("True", "GatewaysUnavailable"),
            "Stalled": ("True", "GatewaysUnavailable"),
        },
        Outcome(backoff=True),
    ),
    "nor will it, for a reason that is known": (
        replace(HEALTHY, gateways=Rollout(2, 3, 2, False, overdue=True), troubles=(UNPULLED,)),
        {
            "Ready": ("True", "Serving"),
            "Progressing": ("False", "GatewaysUnavailable"),
            "Degraded": ("True", "ImagePullFailed"),
            "Stalled": ("True", "GatewaysUnavailable"),
        },
        Outcome(backoff=True),
    ),
}


@pytest.mark.parametrize(("seen", "conditions", "outcome"), [pytest.param(*case, id=i) for i, case in CASES.items()])
def test_the_conditions_are(seen: Observed, conditions: dict[str, tuple[str, str]], outcome: Outcome) -> None:
    decision = decide(seen, BLANK, NOW)
    assert _conditions(decision) == conditions
    assert decision.outcome == outcome


@pytest.mark.parametrize("seen", [pytest.param(case[0], id=i) for i, case in CASES.items()])
def test_kstatus_never_meets_a_contradiction(seen: Observed) -> None:
    decision = decide(seen, BLANK, NOW)
    conditions = _conditions(decision)
    assert {"Ready", "Progressing", "Degraded"} <= conditions.keys()
    assert not {"Reconciling", "Stalled"} <= conditions.keys()
    assert all(conditions[kind][0] == "True" for kind in conditions.keys() & {"Reconciling", "Stalled"})
    # Without one of the two, a Ready that is not True would be waited for until the waiter's own deadline.
    if conditions["Ready"][0] != "True":
        assert conditions.keys() & {"Reconciling", "Stalled"}
    assert decision.status.observed_generation == seen.generation


@pytest.mark.parametrize("seen", [pytest.param(case[0], id=i) for i, case in CASES.items()])
def test_deciding_again_changes_nothing(seen: Observed) -> None:
    first = decide(seen, BLANK, NOW).status
    assert decide(seen, first, LATER).status == first


def test_a_condition_keeps_its_time_while_only_its_reason_changes() -> None:
    first = decide(replace(HEALTHY, gateways=None, pods=(), reports={}), BLANK, NOW).status
    second = decide(replace(HEALTHY, redis_wanted=True), first, LATER).status
    progressing, ready = second.condition("Progressing"), second.condition("Ready")
    assert progressing is not None
    assert (progressing.reason, progressing.last_transition_time) == ("RedisStarting", "2026-11-23T12:00:00Z")
    assert ready is not None
    assert ready.last_transition_time == "2026-11-23T13:00:00Z"


EVERYWHERE: dict[str, tuple[Observed, bool, bool]] = {
    "every ready gateway runs it": (HEALTHY, True, True),
    "a ready gateway runs another": (replace(HEALTHY, reports=BOTH | {"demo-b": Report("old")}), False, False),
    "a ready gateway can't be asked": (replace(HEALTHY, reports={"demo-a": Report("new")}), False, False),
    "a gateway that is not ready runs another": (
        replace(HEALTHY, pods=(PODS[0], Pod("demo-b", "10.0.0.2", False)), reports={"demo-a": Report("new")}),
        True,
        False,
    ),
    "a gateway is still to come": (replace(HEALTHY, gateways=Rollout(3, 2, 2, False)), True, False),
    "no gateway is ready": (replace(HEALTHY, pods=(Pod("demo-a", "", False),), reports={}), False, False),
    "no gateway is asked for": (replace(HEALTHY, gateways=Rollout(0, 0, 0, True), pods=(), reports={}), True, True),
    "the change is held back": (replace(HEALTHY, waiting=MISSING), False, False),
}


@pytest.mark.parametrize(
    ("seen", "everywhere", "settled"), [pytest.param(*case, id=i) for i, case in EVERYWHERE.items()]
)
def test_a_configuration_counts_as_run_when(seen: Observed, everywhere: bool, settled: bool) -> None:
    assert (seen.everywhere, seen.settled) == (everywhere, settled)


def _rolling(phase: Phase, reason: str = "", **seen: Any) -> Observed:
    prefix = PrefixStatus(name="demo", target="v3", active="v2")
    rollout = RolloutStatus(phase=phase, reason=reason, message="why", since=NOW, reached=True)
    return replace(HEALTHY, state=State(prefix, rollout), **seen)


ROLLOUTS: dict[str, tuple[Observed, dict[str, tuple[str, str]]]] = {
    "warming": (_rolling("Warming"), {"Progressing": ("True", "PrefixWarming"), "Promoted": ("False", "Warming")}),
    "in a step": (
        _rolling("Canary"),
        {
            "Progressing": ("True", "PrefixCanary"),
            "Reconciling": ("True", "PrefixCanary"),
            "Ready": ("True", "Serving"),
        },
    ),
    "paused": (
        _rolling("Paused", "TooFewRequests"),
        {"Reconciling": ("True", "PrefixPaused"), "Promoted": ("False", "TooFewRequests")},
    ),
    "in a step that nobody waits for": (
        _rolling("Canary", wait_for_promotion=False),
        {"Progressing": ("True", "PrefixCanary"), "Reconciling": ("", ""), "Promoted": ("False", "Canary")},
    ),
    "aborted": (
        _rolling("Aborted", "MissesFail"),
        {
            "Ready": ("True", "Serving"),
            "Stalled": ("True", "RolloutAborted"),
            "Degraded": ("True", "RolloutAborted"),
            "Reconciling": ("", ""),
            "Promoted": ("False", "MissesFail"),
        },
    ),
    "over": (HEALTHY, {"Promoted": ("True", "Promoted"), "Reconciling": ("", ""), "Stalled": ("", "")}),
}


@pytest.mark.parametrize(("seen", "expected"), [pytest.param(*case, id=i) for i, case in ROLLOUTS.items()])
def test_a_rollout_is_told_by_the_conditions(seen: Observed, expected: dict[str, tuple[str, str]]) -> None:
    status = decide(seen, BLANK, NOW).status
    found = {kind: status.condition(kind) for kind in expected}
    assert {kind: (c.status, c.reason) if c else ("", "") for kind, c in found.items()} == expected
    assert decide(seen, status, LATER).status == status


def test_gateways_that_stay_away_are_told_of_with_what_is_known_of_them() -> None:
    seen = replace(HEALTHY, gateways=Rollout(2, 3, 1, False, overdue=True), troubles=(UNPULLED,))
    stalled = decide(seen, BLANK, NOW).status.condition("Stalled")
    assert stalled is not None
    assert stalled.message == (
        "1 of 2 gateways ready, and no progress within the Deployment's deadline: the image nowhere can't be pulled"
    )


def test_what_takes_long_is_looked_at_less_often() -> None:
    starting = replace(HEALTHY, gateways=Rollout(2, 2, 0, False), pods=(), reports={})
    first = decide(starting, BLANK, NOW).status
    delays = [decide(starting, first, NOW + timedelta(seconds=s)).outcome.after for s in (0, 3, 30, 3600)]
    assert delays == [3.0, 3.0, 10.0, 30.0]


def test_a_state_that_has_changed_is_carried_out_at_once() -> None:
    assert decide(_rolling("Canary", changed=True), BLANK, NOW).outcome == Outcome(after=0.0)
    assert decide(_rolling("Canary"), BLANK, NOW).outcome == Outcome(after=5.0)


def test_what_a_rollout_has_reached_stays_while_the_spec_cannot_be_understood() -> None:
    stopped = Observed(identity=IDENTITY, generation=3, state=STABLE, pods=PODS, troubles=(INVALID,))
    assert decide(stopped, BLANK, NOW).status.state == STABLE


def test_a_status_survives_the_way_through_the_api() -> None:
    status = decide(HEALTHY, BLANK, NOW).status
    assert read_status(status.to_dict()) == status


@pytest.mark.parametrize("plain", [None, {}, {"observedGeneration": "x"}, {"conditions": 5}])
def test_a_status_that_is_none_counts_as_blank(plain: Any) -> None:
    assert read_status(plain) == BLANK


def test_a_trouble_is_told_once_and_its_end_too() -> None:
    healthy = decide(HEALTHY, BLANK, NOW).status
    troubled = decide(replace(HEALTHY, troubles=(MISSING,)), healthy, NOW).status
    assert [turn.reason for turn in events.turns(healthy, troubled)] == ["SecretMissing"]
    assert events.turns(troubled, troubled) == []
    assert [(turn.warning, turn.reason) for turn in events.turns(troubled, healthy)] == [(False, "Recovered")]


def test_a_new_active_version_is_told() -> None:
    healthy = decide(HEALTHY, BLANK, NOW).status
    assert [turn.reason for turn in events.turns(BLANK, healthy)] == ["PrefixActivated"]
    assert events.turns(healthy, healthy) == []


def test_what_has_no_effect_in_a_cluster_is_a_warning_that_is_told_once_and_harms_nothing() -> None:
    healthy = decide(HEALTHY, BLANK, NOW).status
    warned = decide(replace(HEALTHY, warnings=(LACKING,)), healthy, LATER)
    assert [(one.reason, "ServiceMonitor" in one.message) for one in warned.status.warnings] == [("KindMissing", True)]
    assert warned.outcome == Outcome()
    assert warned.status.conditions == healthy.conditions
    assert [(turn.warning, turn.reason) for turn in events.turns(healthy, warned.status)] == [(True, "KindMissing")]
    assert events.turns(warned.status, warned.status) == []
    assert events.turns(warned.status, healthy) == []
    assert read_status(warned.status.to_dict()).warnings == warned.status.warnings


def _with_redis(**more: Any) -> Observed:
    return replace(HEALTHY, redis_wanted=True, redis=Rollout(1, 1, 1, True), **more)


def test_a_managed_redis_shows_what_is_in_force_and_what_the_last_change_took() -> None:
    first = decide(_with_redis(redis_turned=Turned("64Mi", "allkeys-lru")), BLANK, NOW).status
    assert first.redis == RedisState(ready=True, memory="64Mi", maxmemory_policy="allkeys-lru")

    live = decide(
        _with_redis(redis_turned=Turned("80Mi", "allkeys-lru", "set without a restart: x")), first, NOW
    ).status
    change = RedisChange(how="Live", message="set without a restart: x", time="2026-11-23T12:00:00Z")
    assert live.redis == RedisState(ready=True, memory="80Mi", maxmemory_policy="allkeys-lru", last_change=change)

    # What is not known this time is what it was.
    assert decide(_with_redis(), live, LATER).status.redis == live.redis

    restart = decide(_with_redis(redis_turned=Turned(restarts="its image is x")), live, LATER).status.redis
    assert restart is not None
    assert restart.last_change == RedisChange(how="Restart", message="its image is x", time="2026-11-23T13:00:00Z")
    assert restart.memory == "80Mi"

    assert decide(replace(HEALTHY, revision="", troubles=(INVALID,)), live, LATER).status.redis == live.redis
    assert decide(HEALTHY, live, LATER).status.redis is None
