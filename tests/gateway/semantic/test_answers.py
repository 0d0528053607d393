"""What counts as one answer."""

import asyncio
import time

import pytest

from llmcache_gateway.config import Semantic
from llmcache_gateway.semantic.answers import say_the_same
from llmcache_gateway.stores import MemoryStore
from tests.gateway.semantic.caches import over


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Open the settings, and click.", "open the Settings and click", True),
        ("Use `git pull`.", "use git pull", True),
        ("2026-11-26", "2026/11/26", True),
        ("- first\n- second", "First; second!", True),
        ("a + b", "a+b", True),
        ("Yes.", "No.", False),
        ("-5", "5", False),
        ("5 > 3", "5 < 3", False),
        ("$5", "€5", False),
        ("C++", "C#", False),
        ("👍", "👎", False),
        ("C#", "C", False),
        ("50%", "50", False),
        ("1/2", "1.2", False),
        ("1/2", "1 2", False),
        ("A-", "A", False),
        ("5!", "5", False),
        ("2*3", "2:3", False),
        ("@@x", "@x", False),
        ("R&D", "R D", False),
        ("दिन", "दान", False),
        ("ไม่", "ไม", False),
        ("cafe\u0301", "caf\u00e9", True),
        ("cafe\u0301", "cafe", False),
        ("**Open** the file: now!", "Open the file now", True),
        ("?", "!", False),
        ("?", "?", True),
    ],
)
def test_answers_are_one_that_are_equal_but_for_case_space_and_punctuation(one: str, other: str, same: bool) -> None:
    assert say_the_same(one, other) is same
    assert say_the_same(other, one) is same


async def test_while_long_answers_are_compared_requests_go_on() -> None:
    cache, store, _ = over(MemoryStore(max_entries=1, max_bytes=1, clock=time.time), time.time)
    long = "Open the settings, and click. " * 2000
    try:
        comparing = asyncio.create_task(cache.compared(long, long.upper(), Semantic(enabled=True)))
        turns = 0
        while not comparing.done():
            await asyncio.sleep(0)
            turns += 1
        assert comparing.result() == "same"
        assert turns > 3
    finally:
        await cache.close()
        await store.close()
