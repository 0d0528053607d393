"""Leader election: what a candidate does about a Lease, and that never two of them lead."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_operator.lease import Move, Sighting, Timing, move, released, sighted, written

TIMING = Timing()
KEY = ("system", "operator")


def _lease(holder: str = "other", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"resourceVersion": "1"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, **spec},
    }


def _move(lease: dict[str, Any] | None, waited: float) -> Move:
    seen = None if lease is None else Sighting(lease["spec"], 100.0)
    return move(seen, "me", TIMING, 100.0 + waited)


@pytest.mark.parametrize(
    ("lease", "waited", "chosen"),
    [
        pytest.param(None, 0, Move.CREATE, id="there is none"),
        pytest.param(_lease("me"), 0, Move.RENEW, id="mine"),
        pytest.param(_lease(""), 0, Move.TAKE, id="released"),
        pytest.param(_lease(), 14.9, Move.WAIT, id="another's, seen for less than its length"),
        pytest.param(_lease(), 15, Move.TAKE, id="another's, that has run out"),
        pytest.param(_lease(leaseDurationSeconds=60), 59, Move.WAIT, id="another's, that is longer than mine"),
        pytest.param(_lease(renewTime="1999-01-01T00:00:00.000000Z"), 1, Move.WAIT, id="another's with a slow clock"),
        pytest.param({"metadata": {}, "spec": {}}, 0, Move.TAKE, id="empty"),
    ],
)
def test_what_a_candidate_does(lease: dict[str, Any] | None, waited: float, chosen: Move) -> None:
    assert _move(lease, waited) is chosen


def test_time_runs_from_when_a_lease_was_first_seen_as_it_is() -> None:
    first = sighted(_lease(renewTime="a"), None, 1.0)
    assert first is not None
    # Somebody's annotation is no renewal.
    touched = _lease(renewTime="a") | {"metadata": {"resourceVersion": "2", "annotations": {"a": "b"}}}
    assert sighted(touched, first, 5.0) == first
    renewed = sighted(_lease(renewTime="b"), first, 5.0)
    assert renewed is not None
    assert renewed.since == 5.0
    assert sighted(None, first, 6.0) is None


def test_a_lease_says_when_it_changed_hands_and_how_often() -> None:
    made = written(None, KEY, "a", TIMING, "t1")
    assert made["metadata"] == {"namespace": "system", "name": "operator"}
    assert (made["spec"]["acquireTime"], made["spec"]["leaseTransitions"]) == ("t1", 0)
    renewed = written(made, KEY, "a", TIMING, "t2")["spec"]
    assert (renewed["acquireTime"], renewed["renewTime"], renewed["leaseTransitions"]) == ("t1", "t2", 0)
    taken = written(released(made, "t3"), KEY, "b", TIMING, "t4")["spec"]
    assert (taken["holderIdentity"], taken["acquireTime"], taken["leaseTransitions"]) == ("b", "t4", 1)


class _Candidate:
    """A candidate as `election` runs one: reads, decides, writes, with its own clock and delays in between."""

    def __init__(self, name: str, offset: float) -> None:
        self.name = name
        self.offset = offset
        self.seen: Sighting | None = None
        self.renewed: float | None = None
        self.pending: tuple[float, dict[str, Any], str] | None = None

    def leads(self, now: float) -> bool:
        return self.renewed is not None and now < self.renewed + TIMING.renew_deadline


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.floats(0, 9), st.sampled_from(["read", "write", "write", "lose"])), max_size=60
)


@given(STEPS, st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3))
def test_never_do_two_lead_whatever_their_clocks_say_and_whenever_they_come(
    steps: list[tuple[int, float, str]], offsets: list[float]
) -> None:
    candidates = [_Candidate(name, offset) for name, offset in zip("abc", offsets, strict=True)]
    stored: dict[str, Any] | None = None
    version, now = 0, 0.0
    for index, wait, what in steps:
        now += wait
        one = candidates[index]
        clock = now + one.offset
        if what == "read":
            one.seen = sighted(stored, one.seen, clock)
            if move(one.seen, one.name, TIMING, clock) is Move.WAIT:
                one.pending = None
            else:
                # The time that goes by until it is written is that of the request.
                one.pending = (now, written(stored, KEY, one.name, TIMING, f"{clock}"), str(version))
        elif what == "write" and one.pending is not None:
            began, lease, read = one.pending
            one.pending = None
            if read == str(version):  # else the API server refuses it: somebody has written since
                version += 1
                stored = lease
                one.renewed = began
        elif what == "lose":
            one.pending = None
        assert sum(candidate.leads(now) for candidate in candidates) <= 1
