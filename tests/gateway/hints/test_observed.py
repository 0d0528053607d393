"""When a prefix is marked because it came before: over any traffic, by a clock that the test turns."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache_gateway.config.hints import HintPoint, Hints
from llmcache_gateway.hints.capabilities import Capabilities, shipped_rows
from llmcache_gateway.hints.hinter import Asked, Hinted, Hinter, Observed
from llmcache_gateway.hints.observed import MAX_ROUTES, PAUSE_SECONDS, TRIED, Balances, Prefixes
from llmcache_gateway.hints.standdowns import MAX_STAND_DOWNS, STAND_DOWN_SECONDS, StandDowns
from llmcache_gateway.plainjson import dumps

CAPABILITIES = Capabilities(shipped_rows())
ON_REPEAT = Hints()
TTL = 300.0
LONG = "words " * 1000


class Traffic:
    """A hinter that is asked at times of the test's choosing."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hinter = Hinter(CAPABILITIES, Observed.nothing(), lambda: self.now)

    def ask(
        self, system: str, *turns: str, wanted: Hints = ON_REPEAT, tenant: str = "t", model: str = "claude-opus-5"
    ) -> Hinted | None:
        messages = [{"role": "user", "content": turn} for turn in turns]
        members: dict[str, Any] = {"model": model, "max_tokens": 9, "system": system, "messages": messages}
        asked = Asked("anthropic-messages", "anthropic", "main", model, tenant, members, dumps(members), {})
        return self.hinter.hinted(wanted, asked)


def marked(hinted: Hinted | None) -> list[tuple[str | int, ...]]:
    return [] if hinted is None else [place.path for place in hinted.places]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 400)), max_size=TRIED))
def test_a_prefix_is_marked_just_when_it_came_within_the_time_that_it_is_kept(traffic: list[tuple[str, float]]) -> None:
    # Fewer requests than it takes to judge whether marks pay.
    seen: dict[str, float] = {}
    asking = Traffic()
    for number, (name, pause) in enumerate(traffic):
        asking.now += pause
        hinted = asking.ask(name + LONG, f"question {number}")
        before = seen.get(name)
        assert marked(hinted) == ([("system",)] if before is not None and asking.now - before <= TTL else [])
        seen[name] = asking.now


@given(st.lists(st.integers(0, 40), max_size=200), st.integers(1, 10))
def test_what_is_remembered_is_bounded_and_is_the_newest(prefixes: list[int], capacity: int) -> None:
    remembered = Prefixes(capacity)
    for at, prefix in enumerate(prefixes):
        remembered.see([b"%d" % prefix], float(at))
        assert len(remembered) <= capacity
    newest = list(dict.fromkeys(reversed(prefixes)))[:capacity]
    for prefix in set(prefixes):
        assert remembered.was_seen(b"%d" % prefix, float(len(prefixes)), 1e9) == (prefix in newest)


def test_a_prompt_with_the_time_in_it_is_never_marked() -> None:
    asking = Traffic()
    for number in range(100):
        assert asking.ask(f"It is {number}. " + LONG, "question") is None


def test_a_prefix_that_changes_before_it_has_paid_is_given_no_marks_for_a_while() -> None:
    """As a date in the prompt does it that changes at every third request: marked once, and never read again."""
    asking = Traffic()
    hints = []
    for number in range(3 * TRIED + 30):
        asking.now += 1
        hints.append(bool(marked(asking.ask(f"It is {number // 2}. " + LONG, f"question {number}"))))
    assert hints[: 2 * TRIED] == [False, True] * (TRIED - 1) + [False, False]
    assert not any(hints[2 * TRIED :])
    assert list(asking.hinter.paused()) == [("main", "claude-opus-5")]
    asking.now += PAUSE_SECONDS
    assert not asking.hinter.paused()
    assert [bool(marked(asking.ask("Now it stays. " + LONG, f"q {number}"))) for number in range(30)] == [
        False,
        *[True] * 29,
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(60, 120))
def test_prefixes_that_are_read_often_enough_are_marked_for_good(repeated: int, requests: int) -> None:
    asking = Traffic()
    for number in range(requests * repeated):
        name = number // (repeated + 1)  # seen once, marked once, read at least once
        asking.ask(f"{name} " + LONG, f"question {number}")
    assert not asking.hinter.paused()


def test_named_places_are_marked_by_what_came_before_too_but_whatever_their_length() -> None:
    wanted = Hints(points=[HintPoint(location="system")])
    asking = Traffic()
    assert [marked(asking.ask("short", f"{number}", wanted=wanted)) for number in range(3)] == [
        [],
        [("system",)],
        [("system",)],
    ]


def test_always_is_obeyed_whatever_it_costs() -> None:
    wanted = Hints(mode="always", points=[HintPoint(location="system")])
    asking = Traffic()
    assert all(marked(asking.ask(f"{number} " + LONG, "q", wanted=wanted)) for number in range(5 * TRIED))


def test_a_prefix_too_short_for_the_provider_is_not_marked_by_itself() -> None:
    asking = Traffic()
    assert [marked(asking.ask("short", f"{number}")) for number in range(3)] == [[], [], []]


def test_a_document_that_is_asked_many_questions_in_one_message_is_marked() -> None:
    asking, hinted = Traffic(), None
    for question in ("one", "two"):
        blocks = [{"type": "text", "text": LONG}, {"type": "text", "text": question}]
        members: dict[str, Any] = {"messages": [{"role": "user", "content": blocks}], "model": "claude-opus-5"}
        asked = Asked("anthropic-messages", "anthropic", "main", "claude-opus-5", "t", members, dumps(members), {})
        hinted = asking.hinter.hinted(ON_REPEAT, asked)
    assert marked(hinted) == [("messages", 0, "content", 0)]


def test_what_one_tenant_or_model_asked_says_nothing_of_another() -> None:
    asking = Traffic()
    assert asking.ask(LONG, "q") is None
    assert asking.ask(LONG, "q", tenant="other") is None
    assert asking.ask(LONG, "q", model="claude-opus-5-5") is None
    assert asking.ask(LONG, "q") is not None


def test_a_long_conversation_is_marked_at_its_end() -> None:
    asking = Traffic()
    turns = [f"turn {number}" for number in range(60)]
    asking.ask(LONG, *turns)
    assert marked(asking.ask(LONG, *turns, "next")) == [("system",), ("messages", 59, "content")]


def test_a_refusal_holds_for_a_while_for_that_model_alone() -> None:
    asking = Traffic()
    wanted = Hints(mode="always", points=[HintPoint(location="system")])
    asking.hinter.stand_down("main", "claude-opus-5", "cache_control")
    assert asking.ask(LONG, "q", wanted=wanted) is None
    assert asking.ask(LONG, "q", wanted=wanted, model="claude-opus-5-5") is not None
    asking.now += STAND_DOWN_SECONDS
    assert asking.ask(LONG, "q", wanted=wanted) is not None
    assert asking.hinter.standing_down() == []


def test_refusals_and_balances_are_remembered_within_bounds() -> None:
    downs, balances = StandDowns(), Balances()
    for number in range(2 * MAX_STAND_DOWNS):
        downs.note("main", f"m-{number}", "cache_control", 0.0)
        balances.of(("main", f"m-{number}")).paused_until = 1.0
    assert len(downs.current(0.0)) == MAX_STAND_DOWNS
    assert len(balances.paused(0.0)) == MAX_ROUTES
    assert downs.holds("main", f"m-{2 * MAX_STAND_DOWNS - 1}", 0.0)
