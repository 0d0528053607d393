"""When a store is still asked."""

from llmcache_gateway.stores.breaker import FAILURES_TO_OPEN, PROBE_SECONDS, Breaker


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    assert [breaker.failed(now) for _ in range(FAILURES_TO_OPEN)] == [False] * (FAILURES_TO_OPEN - 1) + [True]
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN - 1):
        assert not breaker.failed(0.0)
    assert not breaker.succeeded()
    for _ in range(FAILURES_TO_OPEN - 1):
        assert not breaker.failed(0.0)
    assert breaker.closed
    assert opened().state == "open"


def test_open_it_lets_one_probe_through_at_a_time() -> None:
    breaker = opened()
    assert not breaker.wants_probe(PROBE_SECONDS - 0.01)
    assert breaker.wants_probe(PROBE_SECONDS)
    assert breaker.state == "half-open"
    assert not breaker.wants_probe(PROBE_SECONDS * 5)


def test_a_probe_that_works_closes_it_and_one_that_fails_waits_again() -> None:
    breaker = opened()
    assert breaker.wants_probe(PROBE_SECONDS)
    assert not breaker.failed(PROBE_SECONDS)  # told once, when it opened
    assert not breaker.wants_probe(PROBE_SECONDS * 1.5)
    assert breaker.wants_probe(PROBE_SECONDS * 2)
    assert breaker.succeeded()
    assert breaker.closed
    assert not breaker.wants_probe(PROBE_SECONDS * 9)


def test_failures_of_calls_that_were_under_way_change_nothing_but_the_time_of_the_probe() -> None:
    breaker = opened()
    assert not breaker.failed(0.5)
    assert not breaker.wants_probe(PROBE_SECONDS)
    assert breaker.wants_probe(PROBE_SECONDS + 0.5)
