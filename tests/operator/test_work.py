"""The work queue, in virtual time: hours pass in microseconds, in the order in which they would."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from llmcache_operator.work import Backoff, Outcome, WorkQueue
from tests.virtual_time import run_virtually

Handle = Callable[[str], Awaitable[Outcome]]


def _run(handle: Handle, script: Callable[[WorkQueue[str]], Awaitable[None]], workers: int = 2) -> None:
    """Run a queue for as long as a script takes."""

    async def run() -> None:
        queue = WorkQueue(handle, workers=workers, random=lambda: 0.5, backoff=Backoff(first=1.0, last=30.0))
        running = asyncio.create_task(queue.run())
        await script(queue)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not queue.alive

    run_virtually(run())


def _now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


def test_a_key_that_is_added_often_has_one_turn() -> None:
    turns: list[str] = []

    async def handle(key: str) -> Outcome:
        turns.append(key)
        return Outcome()

    async def script(queue: WorkQueue[str]) -> None:
        for _ in range(5):
            queue.add("a")
        queue.add("b")
        await asyncio.sleep(1)

    _run(handle, script)
    assert turns == ["a", "b"]


def test_a_key_added_during_its_turn_has_another_after_it_and_never_at_the_same_time() -> None:
    turns: list[tuple[str, float]] = []

    async def handle(key: str) -> Outcome:
        turns.append(("begin", _now()))
        await asyncio.sleep(10)
        turns.append(("end", _now()))
        return Outcome()

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(1)
        queue.add("a")
        queue.add("a")
        await asyncio.sleep(60)

    _run(handle, script)
    assert turns == [("begin", 0.0), ("end", 10.0), ("begin", 10.0), ("end", 20.0)]


def test_a_key_added_while_it_waits_for_a_worker_has_one_turn() -> None:
    turns: list[tuple[str, float]] = []

    async def handle(key: str) -> Outcome:
        turns.append((key, _now()))
        await asyncio.sleep(10)
        return Outcome()

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        queue.add("b")
        await asyncio.sleep(1)
        queue.add("b")
        await asyncio.sleep(1)
        assert (queue.active, queue.depth) == (1, 1)
        await asyncio.sleep(60)

    _run(handle, script, workers=1)
    assert turns == [("a", 0.0), ("b", 10.0)]


def test_no_more_keys_are_worked_on_at_once_than_there_are_workers() -> None:
    active, most = 0, 0

    async def handle(key: str) -> Outcome:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(1)
        active -= 1
        return Outcome()

    async def script(queue: WorkQueue[str]) -> None:
        for number in range(10):
            queue.add(str(number))
        await asyncio.sleep(0.5)
        assert (queue.active, queue.depth) == (3, 7)
        await asyncio.sleep(60)

    _run(handle, script, workers=3)
    assert most == 3


def test_failures_wait_longer_each_time_up_to_a_bound() -> None:
    turns: list[float] = []

    async def handle(key: str) -> Outcome:
        turns.append(_now())
        return Outcome(backoff=True)

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(100)

    _run(handle, script)
    assert [later - earlier for earlier, later in itertools.pairwise(turns)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_success_forgets_the_failures_before_it() -> None:
    turns: list[float] = []
    results = iter([Outcome(backoff=True), Outcome(backoff=True), Outcome(after=5), Outcome(backoff=True), Outcome()])

    async def handle(key: str) -> Outcome:
        turns.append(_now())
        return next(results)

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(100)

    _run(handle, script)
    assert turns == [0, 1, 3, 8, 9]


@pytest.mark.filterwarnings("default")
def test_an_exception_counts_as_a_failure_and_stops_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    turns: list[str] = []

    async def handle(key: str) -> Outcome:
        turns.append(key)
        if key == "bad" and turns.count("bad") == 1:
            raise RuntimeError("a bug")
        return Outcome()

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("bad")
        queue.add("good")
        await asyncio.sleep(10)
        assert queue.alive

    _run(handle, script, workers=1)
    assert turns == ["bad", "good", "bad"]
    assert "work on bad failed" in caplog.text


def test_an_earlier_turn_replaces_a_later_one_and_not_the_reverse() -> None:
    turns: list[float] = []

    async def handle(key: str) -> Outcome:
        turns.append(_now())
        return Outcome()

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a", 60)
        queue.add("a", 5)
        queue.add("a", 30)
        await asyncio.sleep(100)

    _run(handle, script)
    assert turns == [5]


def test_delays_are_spread_by_a_fifth_either_way() -> None:
    backoff = Backoff(first=10, last=30)
    assert (backoff.delay(1, 0.0), backoff.delay(1, 0.5), round(backoff.delay(1, 1.0), 9)) == (8, 10, 12)
    assert backoff.delay(10_000, 0.5) == 30


def test_a_failure_waits_as_long_as_it_was_asked_to_and_never_shorter_than_by_itself() -> None:
    # An API server that throttles says in Retry-After for how long it wants to be left alone.
    turns: list[float] = []
    results = iter([Outcome(backoff=True, after=7), Outcome(backoff=True, after=0.5), Outcome()])

    async def handle(key: str) -> Outcome:
        turns.append(_now())
        return next(results)

    async def script(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await asyncio.sleep(60)

    _run(handle, script)
    assert turns == [0, 7, 9]


def test_a_queue_that_was_stopped_in_the_middle_of_a_turn_goes_on_when_it_runs_again() -> None:
    # The CustomResourceDefinition was deleted and came back: keys that were in hand then never had a turn again.
    turns: list[str] = []

    async def handle(key: str) -> Outcome:
        turns.append(key)
        await asyncio.sleep(10)
        return Outcome()

    async def run() -> None:
        queue = WorkQueue(handle, workers=1, random=lambda: 0.5)
        for _ in range(2):
            running = asyncio.create_task(queue.run())
            for key in ("a", "b"):
                queue.add(key)
            await asyncio.sleep(5)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert (queue.depth, queue.active) == (0, 0)

    run_virtually(run())
    assert turns == ["a", "a"]
