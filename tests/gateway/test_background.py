"""Work in the background: held until it ends, and stopped when its owner closes."""

import asyncio
import gc
import weakref
from typing import Any

from llmcache_gateway.background import Background


async def waits(event: asyncio.Event) -> None:
    await event.wait()


async def fails(event: asyncio.Event) -> None:
    await event.wait()
    raise ValueError("it went wrong")


async def test_what_has_ended_is_held_no_longer() -> None:
    background, short, long = Background(), asyncio.Event(), asyncio.Event()
    first, second = background.begin(waits(short)), background.begin(waits(long))
    assert len(background) == 2

    short.set()
    await first
    assert len(background) == 1

    long.set()
    await second
    assert len(background) == 0


async def test_a_task_gives_what_its_work_returns() -> None:
    async def answers() -> str:
        return "done"

    assert await Background().begin(answers()) == "done"


async def test_work_that_nobody_else_holds_goes_on_all_the_same() -> None:
    background, ended = Background(), asyncio.Event()
    wakers: list[weakref.ref[asyncio.Event]] = []

    async def alone() -> None:
        waker = asyncio.Event()  # held by this work only, so that the loop knows of neither
        wakers.append(weakref.ref(waker))
        await waker.wait()
        ended.set()

    background.begin(alone())
    await asyncio.sleep(0)
    gc.collect()

    waker = wakers[0]()
    assert waker is not None
    waker.set()
    await asyncio.wait_for(ended.wait(), 20)


async def test_work_that_fails_is_reported_and_ends_nothing_else() -> None:
    background, now, later = Background(), asyncio.Event(), asyncio.Event()
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    failing = background.begin(fails(now))
    other = background.begin(waits(later))

    now.set()
    await asyncio.wait({failing})  # which does not ask it what it raised
    assert len(background) == 1
    del failing
    gc.collect()
    assert [str(context["exception"]) for context in reported] == ["it went wrong"]

    later.set()
    await other


async def test_drained_waits_for_what_is_begun_meanwhile_too_and_is_not_ended_by_what_fails() -> None:
    background, first, second = Background(), asyncio.Event(), asyncio.Event()

    async def begins_another() -> None:
        await first.wait()
        background.begin(waits(second))

    failing = background.begin(fails(first))
    background.begin(begins_another())
    draining = asyncio.create_task(background.drained())
    await asyncio.sleep(0)  # all three wait

    first.set()
    for _ in range(20):  # more turns of the loop than the first two take to end
        await asyncio.sleep(0)
    assert isinstance(failing.exception(), ValueError)
    assert len(background) == 1
    assert not draining.done()

    second.set()
    await asyncio.wait_for(draining, 20)
    assert len(background) == 0


async def test_close_stops_what_is_under_way_and_waits_until_it_has_stopped() -> None:
    background, never, tidied = Background(), asyncio.Event(), []

    async def tidies(name: str) -> None:
        try:
            await never.wait()
        finally:
            await asyncio.sleep(0)
            tidied.append(name)

    tasks = [background.begin(tidies("first")), background.begin(tidies("second"))]
    await asyncio.sleep(0)

    await background.close()
    assert sorted(tidied) == ["first", "second"]
    assert all(task.cancelled() for task in tasks)
    assert len(background) == 0


async def test_close_is_not_ended_by_work_that_fails_when_it_is_stopped() -> None:
    background, never, tidied = Background(), asyncio.Event(), []

    async def fails_to_stop() -> None:
        try:
            await never.wait()
        except asyncio.CancelledError:
            raise ValueError("it went wrong") from None

    async def stops_late() -> None:
        try:
            await never.wait()
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            tidied.append("late")

    background.begin(fails_to_stop())
    background.begin(stops_late())
    await asyncio.sleep(0)

    await background.close()
    assert tidied == ["late"]


async def test_work_stopped_before_its_first_step_never_runs_and_its_callbacks_give_back_what_it_was_to_use() -> None:
    background, ran, given_back = Background(), [], []

    async def runs() -> None:
        try:
            ran.append("begun")
        finally:
            ran.append("ended")

    task = background.begin(runs())
    task.add_done_callback(lambda _: given_back.append("runtime"))

    await background.close()
    assert not ran
    assert given_back == ["runtime"]


async def test_with_nothing_under_way_there_is_nothing_to_wait_for() -> None:
    background = Background()
    await background.drained()
    await background.close()
    assert len(background) == 0
