"""When hints are said to bring nothing, and why: in virtual time."""

import pytest

from llmcache_gateway.hints.droughts import (
    CALLS,
    MAX_PREFIXES,
    MAX_ROUTES,
    REASONS,
    SECONDS,
    SILENCE,
    Call,
    Droughts,
    Reason,
)
from llmcache_gateway.usage import Usage

ROUTE = ("main", "claude")
WRITTEN, READ, NEITHER = Usage(written=2000, uncached=50), Usage(cached=2000, uncached=50), Usage(uncached=2050)


def lived(
    usage: Usage, prefixes: list[str], pause: float, calls: int = 30, minimum: int = 1024
) -> tuple[Droughts, float]:
    """Return what is known after calls so far apart, whose prefixes follow each other."""
    droughts, now = Droughts(), 0.0
    for number in range(calls):
        now = number * pause
        prefix = prefixes[number % len(prefixes)].encode()
        droughts.note(ROUTE, Call(usage, prefix, minimum, kept_seconds=300), now)
    return droughts, now


def reasons(droughts: Droughts, now: float) -> list[Reason]:
    return [one.reason for one in droughts.current(now)]


@pytest.mark.parametrize(
    ("usage", "prefixes", "pause", "minimum", "reason"),
    [
        (WRITTEN, [str(n) for n in range(30)], 60, 1024, "PrefixVolatile"),
        (WRITTEN, ["a"], 400, 1024, "TrafficGap"),
        (WRITTEN, ["a", "b", "c"], 200, 1024, "TrafficGap"),
        (WRITTEN, ["a"], 60, 1024, "NotKept"),
        (NEITHER, ["a"], 60, 1024, "PrefixTooShort"),
        (NEITHER, ["a"], 60, 4096, "PrefixTooShort"),
        (NEITHER, [str(n) for n in range(30)], 60, 4096, "PrefixTooShort"),
    ],
)
def test_the_likely_reason_follows_from_what_came_and_when(
    usage: Usage, prefixes: list[str], pause: float, minimum: int, reason: Reason
) -> None:
    assert reasons(*lived(usage, prefixes, pause, minimum=minimum)) == [reason]
    assert REASONS[reason]


def test_nothing_is_said_too_early() -> None:
    assert reasons(*lived(WRITTEN, ["a"], 60, calls=CALLS - 1)) == []
    assert reasons(*lived(WRITTEN, ["a"], SECONDS / CALLS / 2, calls=CALLS)) == []
    assert reasons(*lived(WRITTEN, ["a"], SECONDS / (CALLS - 1), calls=CALLS)) == ["NotKept"]


def test_one_hit_ends_it_and_so_does_a_long_silence() -> None:
    droughts, now = lived(WRITTEN, ["a"], 60)
    assert reasons(droughts, now + SILENCE) == ["NotKept"]
    assert reasons(droughts, now + SILENCE + 1) == []
    droughts.note(ROUTE, Call(WRITTEN, b"a", 0, 300), now + SILENCE + 1)
    assert reasons(droughts, now + SILENCE + 1) == []
    droughts, now = lived(WRITTEN, ["a"], 60)
    droughts.note(ROUTE, Call(READ, b"a", 0, 300), now)
    assert reasons(droughts, now) == []


def test_routes_and_prefixes_are_bounded() -> None:
    droughts = Droughts()
    for number in range(2 * MAX_ROUTES):
        for at in range(CALLS):
            droughts.note(("main", str(number)), Call(WRITTEN, b"a", 0, 300), SECONDS * at / (CALLS - 1))
    assert len(list(droughts.current(SECONDS))) == MAX_ROUTES
    many = [str(n) for n in range(2 * MAX_PREFIXES)]
    assert reasons(*lived(WRITTEN, many, 2, calls=6 * MAX_PREFIXES)) == ["PrefixVolatile"]
