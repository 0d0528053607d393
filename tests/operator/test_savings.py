"""What the status says that the cache is worth: added up over gateways that restart, and rarely written."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_operator.savings import REFRESH_SECONDS, CacheStatus, Served, Told, add_up, due, read_served

BEGUN = datetime(2026, 11, 26, 9, tzinfo=UTC)
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def told(asked: int, hits: int, usd: float = 0.0, *, instance: str = "i1", unpriced: int = 0) -> Told:
    return Told(instance, BEGUN, Served(asked=asked, hits=hits, micro_usd=round(usd * 1e6), unpriced=unpriced))


def figures(status: CacheStatus | None) -> tuple[str | None, str | None]:
    assert status is not None
    return status.hit_ratio, status.saved_usd


def test_nothing_is_said_before_the_first_request() -> None:
    assert add_up(None, {}, {"a"}, NOW) is None
    assert add_up(None, {"a": told(0, 0)}, {"a"}, NOW) is None


def test_gateways_are_added_up_and_rounded() -> None:
    status = add_up(None, {"a": told(100, 80, 12.341), "b": told(100, 61, 0.05, instance="i2")}, {"a", "b"}, NOW)
    assert figures(status) == ("0.70", "12.39")
    assert status is not None
    assert (status.since, status.updated) == (BEGUN, NOW)
    large = add_up(None, {"a": told(3, 1, 1234.56)}, {"a"}, NOW)
    assert figures(large) == ("0.33", "1235")


def test_a_restart_takes_nothing_back_and_counts_nothing_twice() -> None:
    status = add_up(None, {"a": told(100, 50, 10.0)}, {"a"}, NOW)
    status = add_up(status, {"a": told(20, 20, 1.0, instance="i2")}, {"a"}, NOW)  # the container was restarted
    assert figures(status) == ("0.58", "11.00")
    status = add_up(status, {"b": told(30, 30, 2.0, instance="i3")}, {"b"}, NOW)  # another pod took its place
    assert figures(status) == ("0.67", "13.00")
    assert status is not None
    assert [mark.pod for mark in status.marks] == ["b"]
    assert status.since == BEGUN


def test_a_gateway_that_cannot_be_asked_for_a_while_is_not_counted_twice() -> None:
    status = add_up(None, {"a": told(10, 5, 1.0), "b": told(10, 5, 1.0, instance="i2")}, {"a", "b"}, NOW)
    status = add_up(status, {"b": told(20, 15, 2.0, instance="i2")}, {"a", "b"}, NOW)
    assert figures(status) == ("0.67", "3.00")
    status = add_up(status, {"a": told(20, 10, 2.0), "b": told(20, 15, 2.0, instance="i2")}, {"a", "b"}, NOW)
    assert figures(status) == ("0.62", "4.00")


def test_what_looks_the_same_is_the_same_so_that_nothing_is_written() -> None:
    status = add_up(None, {"a": told(1000, 500, 1.0)}, {"a"}, NOW)
    assert add_up(status, {"a": told(1001, 500, 1.0001)}, {"a"}, NOW + timedelta(hours=1)) is status
    assert add_up(status, {}, set(), NOW + timedelta(hours=1)) is status
    later = add_up(status, {"a": told(2000, 1500, 2.0)}, {"a"}, NOW + timedelta(hours=2))
    assert figures(later) == ("0.75", "2.00")


def test_where_no_price_is_known_no_money_is_claimed() -> None:
    assert figures(add_up(None, {"a": told(10, 5, unpriced=300)}, {"a"}, NOW)) == ("0.50", None)
    assert figures(add_up(None, {"a": told(10, 5, 0.2, unpriced=300)}, {"a"}, NOW)) == ("0.50", "0.20")
    assert figures(add_up(None, {"a": told(10, 0)}, {"a"}, NOW)) == ("0.00", "0.00")


def test_gateways_are_asked_from_time_to_time_only() -> None:
    status = add_up(None, {"a": told(10, 5)}, {"a"}, NOW)
    assert due(None, NOW)
    assert not due(status, NOW + timedelta(seconds=REFRESH_SECONDS - 1))
    assert due(status, NOW + timedelta(seconds=REFRESH_SECONDS))
    assert due(status, NOW - timedelta(days=1))  # a clock that was set back must not stop it for a day


COUNTED = {
    "hits": 6, "stale": 1, "coalesced": 2, "misses": 3, "bypasses": 9, "errors": 9, "savedUSD": 0.0421,
    "savedTokens": {"input": 1, "output": 2, "unpriced": 3},
}  # fmt: skip


def test_a_gateways_counters_are_read() -> None:
    assert read_served(COUNTED) == Served(asked=12, hits=7, micro_usd=42_100, unpriced=3)


@pytest.mark.parametrize(
    "bad", [{}, COUNTED | {"hits": "many"}, COUNTED | {"savedUSD": float("nan")}, COUNTED | {"hits": None}]
)
def test_counters_that_are_none_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_served(bad)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 50), st.booleans()), max_size=40))
def test_whatever_restarts_every_request_that_was_seen_is_counted_once(
    turns: list[tuple[str, bool, int, bool]],
) -> None:
    """In each turn a pod is restarted or not and counts on, then an operator looks or not; another one each time."""
    processes: dict[str, int] = {}
    counters: dict[tuple[str, int], int] = {}
    seen: dict[tuple[str, int], int] = {}
    status: CacheStatus | None = None
    for pod, restarts, asked, looks in turns:
        processes[pod] = processes.get(pod, 0) + restarts
        process = (pod, processes[pod])
        counters[process] = counters.get(process, 0) + asked
        if looks:
            running = {name: counters[name, at] for name, at in processes.items()}
            seen |= {(name, processes[name]): count for name, count in running.items()}
            answers = {
                name: told(count, 0, float(count), instance=f"{name}{processes[name]}")
                for name, count in running.items()
            }
            status = add_up(status, answers, set(answers), NOW)
            status = msgspec.json.decode(msgspec.json.encode(status), type=CacheStatus | None)
    assert (status.total.asked if status is not None else 0) == sum(seen.values())
