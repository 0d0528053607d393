"""An evaluation waits for an embedding upstream that says "later", and not for longer than it says."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from llmcache_gateway.errors import UpstreamError
from llmcache_gateway.evaluate.patience import MOST_SECONDS, Patience, PatientUpstream
from llmcache_gateway.upstreams.base import Call
from llmcache_gateway.upstreams.http import HTTPUpstream
from tests.gateway.provider import Provider
from tests.gateway.providers import embeddings
from tests.gateway.test_command_line import finish, start
from tests.gateway.test_evaluate import PAIRS, with_upstream

LIMITED = {"error": {"message": "Rate limit reached for embed-9", "type": "requests", "code": "rate_limit_exceeded"}}
SPENT = {"error": {"message": "You have no credit left", "type": "insufficient_quota", "code": "spend_limit"}}


class Refusing:
    """Refuses the first calls, one after the other as `refusals` has it, then behaves; notes when it was called."""

    def __init__(self, *refusals: tuple[int, str | None, Any], for_good: bool = False) -> None:
        self._refusals = list(refusals)
        self._for_good = for_good
        self.called_at: list[float] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.called_at.append(time.monotonic())
        if not self._refusals:
            return await embeddings.behave(request)
        status, retry_after, body = self._refusals[0] if self._for_good else self._refusals.pop(0)
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return web.json_response(body, status=status, headers=headers)


async def test_a_limit_of_calls_is_waited_for_and_the_evaluation_goes_on(tmp_path: Path, provider: Provider) -> None:
    provider.behave = refusing = Refusing((429, "2", LIMITED), (503, None, {}), (429, "0", LIMITED))
    arguments = with_upstream(tmp_path, provider, PAIRS, env="VECTORS_KEY")

    status, out, err = await finish(await start(*arguments, "--json", VECTORS_KEY="sk-vectors"))

    assert status == 0, err
    assert json.loads(out)["asked"]["calls"] == 1
    first, second, third = err.splitlines()
    words = '{"error": {"message": "Rate limit reached for embed-9"'
    assert first.startswith("upstream 'vectors' answered 429; asking again in 2 s: " + words)
    assert second.startswith("upstream 'vectors' answered 503; asking again in 2 s: {}")
    assert third.startswith("upstream 'vectors' answered 429; asking again in 1 s: " + words)
    assert "sk-vectors" not in err
    one, two, three, four = refusing.called_at
    assert (two - one >= 2, three - two >= 2, four - three >= 1) == (True, True, True)


async def test_calls_that_are_refused_together_wait_together(tmp_path: Path, provider: Provider) -> None:
    provider.behave = refusing = Refusing(*[(429, "2", LIMITED)] * 4)
    lines = [{"a": f"Question {at}?", "b": f"Answer {at}?", "same": False} for at in range(300)]
    arguments = with_upstream(tmp_path, provider, lines, env="VECTORS_KEY")

    status, out, err = await finish(await start(*arguments, "--json", VECTORS_KEY="sk-vectors"))

    assert status == 0, err
    assert json.loads(out)["asked"]["texts"] == 600
    assert len(refusing.called_at) == 4 + json.loads(out)["asked"]["calls"]


@pytest.mark.parametrize(
    ("retry_after", "body", "complaint"),
    [
        (
            "3600",
            LIMITED,
            "answered 429; to ask again after 3600 s would be to wait more than 300 s in all: "
            '{"error": {"message": "Rate limit reached for embed-9"',
        ),
        ("1", SPENT, 'answered 429: {"error": {"message": "You have no credit left"'),
    ],
)
async def test_what_is_not_over_in_minutes_is_not_waited_for(
    tmp_path: Path, provider: Provider, retry_after: str, body: Any, complaint: str
) -> None:
    provider.behave = refusing = Refusing((429, retry_after, body), for_good=True)
    arguments = with_upstream(tmp_path, provider, PAIRS, env="VECTORS_KEY")

    status, out, err = await finish(await start(*arguments, VECTORS_KEY="sk-vectors"))

    assert (status, out) == (2, "")
    assert err.startswith("spec.semantic.embedding: upstream 'vectors' " + complaint)
    assert len(refusing.called_at) == 1


class Clock:
    """Time that passes only while somebody sleeps."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class SharedClock(Clock):
    """Time that passes once all of so many calls sleep."""

    def __init__(self, calls: int) -> None:
        self._all = asyncio.Barrier(calls)

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await self._all.wait()
        self.now = max(self.now, until)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def patient(
    provider: Provider, session: aiohttp.ClientSession, clock: Clock, said: list[str], random: float = 0.0
) -> PatientUpstream:
    upstream = HTTPUpstream(
        name="vectors",
        provider="openai",
        base_url=provider.base_url,
        models=["*"],
        credential=None,
        passthrough=False,
        timeout_seconds=60.0,
        session=session,
    )
    return PatientUpstream(upstream, said.append, random=lambda: random, clock=clock, sleep=clock.sleep)


async def ask(upstream: PatientUpstream) -> int:
    body = json.dumps({"model": "m", "input": ["x"]}).encode()
    headers = CIMultiDict({"Content-Type": "application/json"})
    async with upstream.send(Call("POST", "/v1/embeddings", headers, body, decoded=True)) as answer:
        return answer.status


@pytest.mark.parametrize("random", [0.0, 1.0])
@pytest.mark.parametrize(("retry_after", "pauses"), [(None, [1, 2, 4, 8, 16, 32, 60, 60]), ("100", [100, 100])])
async def test_an_upstream_that_stays_away_is_given_up_with_its_words(
    provider: Provider, session: aiohttp.ClientSession, random: float, retry_after: str | None, pauses: list[int]
) -> None:
    provider.behave = refusing = Refusing((429, retry_after, LIMITED), for_good=True)
    clock, said = Clock(), list[str]()

    with pytest.raises(UpstreamError, match="more than 300 s in all") as ended:
        await ask(patient(provider, session, clock, said, random))

    assert "Rate limit reached" in ended.value.said
    assert len(refusing.called_at) == len(said) + 1
    assert clock.now - 1000 <= MOST_SECONDS
    told = [int(line.partition("again in ")[2].partition(" s")[0]) for line in said]
    stretched = [seconds * (1 + 0.25 * random) for seconds in pauses]
    assert told[: len(pauses)] == [round(seconds) for seconds in stretched]


async def test_pauses_of_calls_at_the_same_time_count_once(provider: Provider, session: aiohttp.ClientSession) -> None:
    provider.behave = Refusing(*[(429, "200", LIMITED)] * 4)
    clock, said = SharedClock(4), list[str]()
    upstream = patient(provider, session, clock, said)

    async with asyncio.timeout(30):
        assert await asyncio.gather(*(ask(upstream) for _ in range(4))) == [200] * 4
    assert (clock.now, len(said)) == (1200.0, 1)


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 100), st.floats(0, 200)), max_size=20))
def test_patience_waits_for_as_long_as_asked_and_never_longer_than_its_bound_in_all(
    asked: list[tuple[float, float, float]],
) -> None:
    patience, now, waited = Patience(300.0), 0.0, 0.0
    for seconds, longer, passes in asked:
        before = patience.until
        more = patience.hold(seconds, longer, now)
        if more is None:
            assert patience.until == before
        else:
            waited += more
            assert patience.until >= max(before, now + seconds - 1e-6)
        now += passes
    assert waited <= 300.0 + 1e-6
