"""One timer for all that must be done within the same time."""

import asyncio
import gc
import weakref

import pytest

from llmcache_gateway.stores.deadlines import Deadlines


async def test_each_has_its_own_time_and_what_is_done_is_left_alone() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(0.1)
    first: asyncio.Future[str] = loop.create_future()
    done: asyncio.Future[str] = loop.create_future()
    later: asyncio.Future[str] = loop.create_future()
    began = loop.time()
    deadlines.bound(first)
    deadlines.bound(done)
    done.set_result("in time")
    await asyncio.sleep(0.05)
    deadlines.bound(later)
    with pytest.raises(TimeoutError):
        await first
    assert loop.time() - began >= 0.1
    assert not later.done()
    with pytest.raises(TimeoutError):
        await later
    assert loop.time() - began >= 0.15
    assert await done == "in time"
    after: asyncio.Future[str] = loop.create_future()
    deadlines.bound(after)
    with pytest.raises(TimeoutError):
        await after


async def test_what_is_done_is_not_held_until_its_time_is_over() -> None:
    class Large:
        pass

    loop = asyncio.get_running_loop()
    deadlines = Deadlines(60)
    large = Large()
    held = weakref.ref(large)
    for _ in range(2):
        future: asyncio.Future[Large] = loop.create_future()
        deadlines.bound(future)
        if large is not None:
            future.set_result(large)
            del future
        large = None  # type: ignore[assignment]
    gc.collect()
    assert held() is None
    deadlines.close()


async def test_closed_it_rings_no_more() -> None:
    deadlines = Deadlines(0.01)
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    deadlines.bound(future)
    deadlines.close()
    await asyncio.sleep(0.05)
    assert not future.done()
