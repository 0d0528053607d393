"""The rollout machine, situation by situation: what it does next, and why."""

from copy import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from llmcache_operator.rollout import evidence
from llmcache_operator.rollout.evidence import Stats
from llmcache_operator.rollout.machine import goes_on, step, wake, warming_key
from llmcache_operator.rollout.state import Served, served
from llmcache_operator.rollout.turn import Purge, Start, Stop, Warmed
from tests.operator.life import CANARY, LE, NOON, PODS, Life, counts, in_canary


def test_the_first_version_is_in_use_at_once() -> None:
    life = Life(CANARY)
    assert (life.at, served(life.state)) == (("Stable", 0), Served("v1"))


def test_immediate_takes_a_version_over_at_once_and_keeps_the_former_one() -> None:
    life = Life({}).bump("v2")
    assert (life.at[0], served(life.state)) == ("Promoting", Served("v2"))
    assert life.look().state.prefix.active == "v2"
    assert life.state.prefix.retained_versions == ["v1"]


def test_nothing_is_active_before_every_gateway_runs_it() -> None:
    life = Life({}).bump("v2").look(3, everywhere=False)
    assert (life.at[0], life.state.prefix.active) == ("Promoting", "v1")


def test_a_canary_goes_through_its_steps_and_is_promoted() -> None:
    life = in_canary()
    assert served(life.state) == Served("v1", "v2", 5)
    life.serve(v2=counts(30)).after(seconds=30)
    assert life.at == ("Canary", 1)
    assert "30/20 requests" in life.state.rollout.message
    life.after(seconds=31)
    assert served(life.state) == Served("v1", "v2", 50)
    life.look().serve(v2=counts(60)).after(seconds=61)
    assert served(life.state) == Served("v2")
    life.look()
    assert (life.state.prefix.active, life.state.prefix.retained_versions) == ("v2", ["v1"])
    assert life.notes == ["RolloutStarted", "CanaryStep", "CanaryStep"]
    assert life.state.rollout.shown == [
        "5%: 30/20 requests, 0 of 30 misses failed",
        "50%: 30/20 requests, 0 of 30 misses failed",
    ]


def test_a_step_counts_from_when_every_ready_gateway_runs_it() -> None:
    life = Life(CANARY).bump("v2").look(everywhere=False).after(minutes=5)
    assert (life.at, life.state.rollout.evidence) == (("Canary", 1), None)
    life.look(everywhere=True)
    assert life.state.rollout.since == life.now


def test_what_was_counted_before_the_step_is_no_evidence() -> None:
    life = Life(CANARY).serve(v2=counts(1000)).bump("v2").look().after(minutes=2)
    assert life.state.rollout.reason == "TooFewRequests"
    assert "0/20 requests" in life.state.rollout.message


def test_too_few_requests_pause_and_end_in_an_abort_and_never_promote() -> None:
    life = in_canary().serve(v2=counts(19)).after(minutes=2)
    assert (life.at[0], life.state.rollout.reason) == ("Paused", "TooFewRequests")
    life.after(minutes=10)
    assert (life.at[0], served(life.state)) == ("Aborted", Served("v1"))
    assert "19/20 requests" in life.state.rollout.message


def test_a_pause_for_too_few_requests_ends_when_they_come() -> None:
    life = in_canary().after(minutes=2).serve(v2=counts(20)).after(seconds=6)
    assert life.at == ("Canary", 2)


def test_misses_that_fail_abort_and_spec_is_not_needed_for_that() -> None:
    life = in_canary().serve(v1=counts(400), v2=counts(30, failed=9)).after(seconds=10)
    assert (life.at[0], life.state.rollout.reason) == ("Aborted", "MissesFail")
    assert "9 of 30 misses failed, at most 5% may" in life.state.rollout.message
    assert served(life.state) == Served("v1")
    assert life.state.prefix.purging_versions == ["v2"]


def test_misses_that_fail_where_the_active_version_fails_as_well_wait() -> None:
    life = in_canary().serve(v1=counts(40, failed=20), v2=counts(30, failed=15)).after(minutes=2)
    assert (life.at[0], life.state.rollout.reason) == ("Paused", "UpstreamFails")


def test_two_failed_misses_prove_nothing() -> None:
    life = in_canary().serve(v2=counts(20, failed=2)).after(minutes=2)
    assert life.at[0] == "Paused"


def test_misses_that_are_slow_abort() -> None:
    life = in_canary().serve(v1=counts(100), v2=counts(30, slow=25)).after(seconds=10)
    assert (life.at[0], life.state.rollout.reason) == ("Aborted", "MissesSlow")


def test_an_abort_is_over_with_the_old_version_or_a_new_one() -> None:
    life = in_canary().serve(v2=counts(30, failed=30)).after(seconds=10)
    assert life.after(hours=5).at[0] == "Aborted"
    assert copy(life).bump("v1").state.prefix.active == "v1"
    assert life.bump("v3").look().at == ("Canary", 1)


def test_an_aborted_version_is_purged_before_it_begins_again() -> None:
    life = in_canary().serve(v2=counts(30, failed=30)).after(seconds=10).bump("v1").bump("v2")
    assert (life.at[0], served(life.state)) == ("Purging", Served("v1"))
    assert [action.leaving.version for action in life.actions if isinstance(action, Purge)] == ["v2"]


def test_an_order_for_a_version_that_is_still_being_purged_is_refused_and_told() -> None:
    life = in_canary().serve(v2=counts(30, failed=30)).after(seconds=10).bump("v1").bump("v2")
    assert life.look(annotation="promote@v2").notes[-1] == "AnnotationIgnored"
    assert life.purge().look(2).at == ("Canary", 1), "it was not for what came later"


def test_a_purge_without_a_gateway_says_what_it_waits_for_and_is_not_asked_after() -> None:
    life = Life({"retain": {"versions": 1, "duration": "1h"}}).bump("v2").look().after(hours=2)
    life.look(removable=False)
    assert (life.at[0], life.state.rollout.reason, life.actions) == ("Purging", "NoGateway", [])
    assert life.state.rollout.message == "the entries of v1 are removed once a gateway runs"
    assert wake(life.state, life.now) is None
    assert life.look(removable=True).actions == [Purge(life.state.prefix.purging[0])]
    assert (life.at[0], life.state.rollout.reason) == ("Purging", "")


def test_a_version_is_not_purged_while_a_pod_could_come_back_with_it() -> None:
    life = in_canary().serve(v2=counts(30, failed=30)).after(seconds=10)
    assert life.look(3, settled=False).actions == []
    assert life.look(settled=True).actions == [Purge(life.state.prefix.purging[0])]


def test_going_back_to_a_kept_version_is_instant_and_skips_the_steps() -> None:
    life = Life(CANARY | {"retain": {"versions": 2, "duration": "1h"}})
    life.rollout = {"retain": life.rollout["retain"]}
    life.bump("v2").look()
    life.rollout = CANARY
    assert served(life.bump("v1").state) == Served("v1")
    assert life.look().state.prefix.active == "v1"
    assert life.state.prefix.retained_versions == ["v2"]


def test_a_kept_version_is_purged_when_its_time_is_over_or_there_are_too_many() -> None:
    life = Life({"retain": {"versions": 1, "duration": "1h"}}).bump("v2").look()
    assert life.after(minutes=59).state.prefix.purging == []
    assert life.after(minutes=2).state.prefix.purging_versions == ["v1"]
    life = Life({"retain": {"versions": 1, "duration": "1h"}}).bump("v2").look().bump("v3").look()
    assert (life.state.prefix.retained_versions, life.state.prefix.purging_versions) == (["v2"], ["v1"])


def test_a_second_version_supersedes_the_first() -> None:
    life = in_canary().bump("v3")
    assert (life.at, served(life.state)) == (("Canary", 1), Served("v1", "v3", 5))
    assert life.state.prefix.purging_versions == ["v2"]
    assert "RolloutSuperseded" in life.notes


def test_a_step_without_a_pause_waits_for_a_person() -> None:
    steps = {"canary": {"steps": [{"percent": 5}]}}
    life = in_canary(**steps).serve(v2=counts(1000)).after(hours=100)
    assert (life.at[0], life.state.rollout.reason) == ("Paused", "WaitingForPromotion")
    assert served(life.look(annotation="promote").state) == Served("v2")


def test_an_annotation_is_obeyed_once() -> None:
    life = in_canary().look(3, annotation="promote")
    assert life.at == ("Canary", 2)
    assert life.look(annotation="").look(annotation="promote").at[0] == "Promoting"


@pytest.mark.parametrize("old", ["abort", "promote", "pause", "abort@v1", "nonsense"])
def test_an_old_annotation_does_not_steer_the_next_rollout(old: str) -> None:
    life = Life(CANARY).look(annotation=old).bump("v2").look(2)
    assert (life.at, life.state.rollout.reason) == (("Canary", 1), "")


def test_an_annotation_that_comes_with_the_version_has_to_name_it_and_says_so() -> None:
    life = Life(CANARY)
    life.seen = replace(life.seen, annotation="pause")
    assert life.bump("v2").look(2).at == ("Canary", 1)
    assert life.notes.count("AnnotationIgnored") == 1


def test_more_versions_than_can_be_purged_are_left_to_their_ttl() -> None:
    life = in_canary()
    for number in range(300):
        life.bump(f"x{number}").look(settled=False)
    assert len(life.state.prefix.purging) == 100
    assert life.state.prefix.purging_versions[-1] == "x298"


def test_an_annotation_with_a_version_waits_for_it() -> None:
    life = Life(CANARY).look(annotation="pause@v2").bump("v2").look()
    assert (life.at, life.state.rollout.reason) == (("Paused", 1), "PausedByHand")


def test_an_order_that_was_obeyed_does_not_meet_its_version_again() -> None:
    life = in_canary().look(annotation="abort@v2")
    assert life.at[0] == "Aborted"
    assert life.bump("v1").look(2).purge().bump("v2").look(3).at == ("Canary", 1)


def test_a_pause_by_hand_lasts_until_somebody_says_resume() -> None:
    life = in_canary().look(annotation="pause").serve(v2=counts(1000)).after(hours=50)
    assert (life.at, life.state.rollout.reason) == (("Paused", 1), "PausedByHand")
    life.look(annotation="resume").after(minutes=2)
    assert life.at == ("Canary", 2)


def test_a_version_that_fails_is_aborted_though_a_person_has_paused_it() -> None:
    life = in_canary().look(annotation="pause").serve(v2=counts(30, failed=30)).after(seconds=10)
    assert life.at[0] == "Aborted"


def test_an_abort_by_hand() -> None:
    life = in_canary().look(annotation="abort")
    assert (life.state.rollout.reason, served(life.state)) == ("AbortedByHand", Served("v1"))


@pytest.mark.parametrize(
    ("said", "note"),
    [("promot", "AnnotationRefused"), ("resume", "AnnotationIgnored"), ("abort@", "AnnotationRefused")],
)
def test_an_annotation_without_effect_is_told_once(said: str, note: str) -> None:
    assert in_canary().look(5, annotation=said).notes.count(note) == 1


def warming(**warmed: Any) -> Life:
    life = Life(CANARY | {"warm": {"topRequests": 5, "timeout": "10m"}}).bump("v2")
    assert (life.at, served(life.state)) == (("Warming", 0), Served("v1", "v2", 0))
    return life


def test_warming_starts_a_job_when_every_gateway_knows_the_version() -> None:
    life = warming()
    assert life.look(everywhere=False).actions == []
    assert life.look(everywhere=True).actions == [Start("v2", warming_key(life.state))]
    assert life.look(warmed=Warmed("running", "3 of 5")).actions == []
    assert life.state.rollout.message == "warming v2: 3 of 5"


@pytest.mark.parametrize(
    ("warmed", "note"),
    [(Warmed("done", "5 stored"), "WarmingFinished"), (Warmed("failed", "401"), "WarmingFailed")],
)
def test_a_rollout_goes_on_after_warming_however_it_ended(warmed: Warmed, note: str) -> None:
    life = warming().look(warmed=warmed)
    assert (life.at, life.notes[-2:]) == (("Canary", 1), [note, "CanaryStep"])
    assert any(isinstance(action, Stop) for action in life.actions)


def test_a_warming_that_never_ends_is_given_up() -> None:
    assert warming().look(warmed=Warmed("running")).after(minutes=12).at == ("Canary", 1)


def test_promote_ends_a_warming() -> None:
    assert warming().look(annotation="promote").at == ("Canary", 1)


def test_steps_that_are_edited_begin_again_without_taking_requests_back() -> None:
    life = in_canary().serve(v2=counts(100)).after(seconds=61)
    assert served(life.state).percent == 50
    life.rollout = CANARY | {"canary": {"steps": [{"percent": 10, "pause": "1m"}, {"percent": 60, "pause": "1m"}]}}
    assert (life.look().at, served(life.state).percent) == (("Canary", 2), 60)
    life.rollout = {}
    assert life.look().at[0] == "Promoting"


def test_a_clock_that_is_set_back_keeps_no_step_for_longer() -> None:
    life = in_canary().serve(v2=counts(100))
    life.now -= timedelta(days=300)
    assert life.look().after(seconds=61).at == ("Canary", 2)


def test_another_prefix_name_begins_anew() -> None:
    life = in_canary()
    done = step(life.state, life.asked._replace(name="other"), life.seen, life.now)
    assert (served(done.state), done.state.prefix.name) == (Served("v2"), "other")


def test_a_state_survives_being_stored() -> None:
    life = in_canary().serve(v1=counts(9), v2=counts(30)).after(seconds=6)
    for part in life.state:
        assert msgspec.convert(msgspec.to_builtins(part), type(part)) == part


def test_a_state_at_rest_wants_no_turn_before_something_is_due() -> None:
    life = Life({"retain": {"versions": 1, "duration": "1h"}}).bump("v2").look(2)
    assert wake(life.state, life.now) == pytest.approx(3600)
    assert life.look(5).state == life.state


def test_only_what_leaves_something_to_do_is_carried_out_at_once() -> None:
    life = Life(CANARY)
    before = life.state
    assert not goes_on(before, before)
    assert goes_on(before, life.bump("v2").state), "gateways are to be given the canary"
    reached = life.look().state
    life.serve(v1=counts(9), v2=counts(30)).after(seconds=6)
    assert life.state != reached
    assert not goes_on(reached, life.state), "only counters and a message are others"
    promoting = Life({"retain": {"versions": 1, "duration": "1h"}}).bump("v2")
    given = promoting.state
    assert not goes_on(given, promoting.look().state), "every gateway runs it"
    assert goes_on(promoting.state, promoting.after(hours=2).state), "the former version is to be purged"


def test_what_gateways_have_not_taken_up_for_long_is_asked_for_less_often() -> None:
    life = Life(CANARY).bump("v2").look(everywhere=False)
    assert wake(life.state, life.now) == 1.0
    assert wake(life.after(seconds=9).state, life.now) == pytest.approx(3)
    assert wake(life.after(seconds=60).state, life.now) == 5.0


def test_a_gateway_that_was_not_ready_when_a_step_began_counts_from_its_first_answer() -> None:
    versions = ("v1", "v2")

    def told(instance: str, requests: int) -> Stats:
        return Stats(instance, {"v2": counts(requests)}, LE)

    begun = evidence.begin(PODS, {"a"}, {"a": told("one", 5)}, versions, NOON)
    assert begun is not None
    later = evidence.absorb(begun, PODS, {"a": told("one", 6), "b": told("two", 1000)}, versions, NOON)
    assert later.target.requests == 1
    later = evidence.absorb(later, PODS, {"a": told("one", 6), "b": told("two", 1002)}, versions, NOON)
    assert later.target.requests == 3


def test_a_process_that_is_new_counts_from_zero_and_one_that_is_silent_loses_nothing() -> None:
    versions = ("v1", "v2")
    begun = evidence.begin({"a"}, {"a"}, {"a": Stats("one", {"v2": counts(100)}, LE)}, versions, NOON)
    assert begun is not None
    silent = evidence.absorb(begun, {"a"}, {}, versions, NOON)
    assert silent.marks == begun.marks
    again = evidence.absorb(silent, {"a", "c"}, {"a": Stats("three", {"v2": counts(7)}, LE)}, versions, NOON)
    assert again.target.requests == 7
    third = evidence.absorb(again, {"a", "c"}, {"c": Stats("four", {"v2": counts(4)}, LE)}, versions, NOON)
    assert third.target.requests == 11
