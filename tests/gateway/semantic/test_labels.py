"""What sampled hits have told is known to all gateways that share a Redis, and to those that come."""

import logging
import time
from typing import Any

import pytest

from llmcache_gateway.errors import BadEntryError, StoreError
from llmcache_gateway.labels import Drift, Label, Told, from_bytes, to_bytes
from llmcache_gateway.stores.labels import LabelKeeper, RedisLabels
from tests.gateway.conftest import StartGateway, TestGateway
from tests.gateway.provider import Provider
from tests.gateway.redis_stores import KINDS, NAMESPACE, running, shared
from tests.gateway.semantic.questions import DEBUG, ask_until_hit, chat, pairs, until
from tests.gateway.semantic.test_false_hits import answering, bounded
from tests.redis_search import running_search
from tests.redis_server import RedisServer

RIGHT = Told("default", "model", Label(0.93, False, 1.0, "a"))
CHANGED = Told("default", "model", Drift(1.0, float("inf"), 2.0))


@pytest.mark.parametrize("kind", KINDS)
async def test_each_reader_learns_all_that_was_told(kind: str, request: pytest.FixtureRequest) -> None:
    redis = running(kind, request)
    one, other = (shared(redis.external, secrets=redis.secrets) for _ in range(2))
    mine, theirs = one.labels(), other.labels()
    try:
        assert await mine.news() == []
        await mine.add(RIGHT)
        await theirs.add(CHANGED)
        assert await mine.news() == await theirs.news() == [RIGHT, CHANGED]
        assert await mine.news() == []
        await theirs.add(RIGHT)
        assert await mine.news() == [RIGHT]
        assert await one.labels().news() == [RIGHT, CHANGED, RIGHT]
    finally:
        await one.close()
        await other.close()


async def test_what_is_damaged_is_passed_over(redis_url: str) -> None:
    store = shared(redis_url)
    keeper = store.labels()
    try:
        await keeper.add(RIGHT)
        for value in (b"", b"\xff", b"{}", to_bytes(RIGHT)[:-1]):
            await store.call("x", "XADD", f"{NAMESPACE}@labels", "*", "told", value)
        await keeper.add(CHANGED)
        assert await keeper.news() == [RIGHT, CHANGED]
    finally:
        await store.close()


async def test_what_was_read_before_a_failure_is_read_again() -> None:
    told = [(f"{number}-0".encode(), [b"told", to_bytes(RIGHT)]) for number in range(1, 4)]
    fails = [False]

    async def evaluate(script: str, keys: int, name: str, after: bytes, count: int) -> list[Any]:
        """A stream that is read two at a time, as a server does, and breaks off once."""
        found = [one for one in told if one[0] > after.removeprefix(b"(")][:2]
        if fails[0] and after != b"(0-0":
            raise StoreError("redis: broken off")
        return found

    keeper = RedisLabels(evaluate, NAMESPACE)
    fails[0] = True
    with pytest.raises(StoreError):
        await keeper.news()
    fails[0] = False
    assert await keeper.news() == [RIGHT] * 3
    assert await keeper.news() == []


@pytest.mark.parametrize(
    "what",
    [
        Label(float("nan"), False, 1.0, "a"),
        Label(7.0, False, 1.0, "a"),
        Label(0.9, False, float("inf"), "a"),
        Drift(float("-inf"), 0.9, 1.0),
        Drift(2.0, 0.9, 1.0),
        Drift(1.0, float("nan"), 2.0),
    ],
)
def test_numbers_that_none_can_have_are_refused(what: Label | Drift) -> None:
    with pytest.raises(BadEntryError, match="numbers that none can have"):
        from_bytes(to_bytes(Told("p", "m", what)))


def over(provider: Provider, redis: Any, **more: Any) -> dict[str, Any]:
    config = bounded(provider, **more)
    config["spec"] |= {
        "cache": {"store": {"type": "redis", "timeout": "2s"}},
        "redis": {"external": redis.external},
        "tenancy": {"isolation": "Shared"},
    }
    return config


async def strict(gateway: TestGateway) -> bool:
    return await gateway.metric('llmcache_semantic_threshold{policy="default"}') > 0


async def have_wrong_hits(gateway: TestGateway) -> None:
    """Ask in pairs until what was wrong has made the gateway strict."""
    name = 'llmcache_false_hits_sampled_total{policy="default",verdict="wrong"}'
    for number, (question, other) in enumerate(pairs(), 1):
        await gateway.post(chat(question))
        if await strict(gateway):
            return
        await ask_until_hit(gateway, chat(other))

        async def is_sampled(wanted: int = number) -> bool:
            return await gateway.metric(name) == wanted

        await until(is_sampled)
    assert await strict(gateway)


async def test_gateways_count_together_and_a_new_one_begins_with_what_is_known(
    start_gateway: StartGateway, provider: Provider, request: pytest.FixtureRequest
) -> None:
    answering(provider, None)
    config = over(provider, running("redis", request))
    async with start_gateway(config) as one, start_gateway(config) as other:
        await have_wrong_hits(one)
        estimate = 'llmcache_false_hit_rate{bound="estimate",policy="default"}'

        async def is_told() -> bool:
            return await strict(other) and await other.metric(estimate) == await one.metric(estimate)

        await until(is_told)
        assert await other.metric('llmcache_false_hits_sampled_total{policy="default",verdict="wrong"}') == 0
    # All are gone, and one comes back.
    async with start_gateway(config) as new:
        await until(lambda: strict(new))
        answer = await new.post(chat("How could I change my password?"), headers=DEBUG)
        assert answer.headers["X-LLMCache-Semantic"].startswith(("threshold;", "budget"))


async def test_what_another_verifier_let_through_says_nothing_of_this_ones_hits(
    start_gateway: StartGateway, provider: Provider, request: pytest.FixtureRequest
) -> None:
    answering(provider, None)
    redis = running("redis", request)
    config = over(provider, redis)
    async with start_gateway(config) as one:
        await have_wrong_hits(one)
        async with start_gateway(over(provider, redis, verifier="small")) as other, start_gateway(config) as same:
            await until(lambda: strict(same))  # so the other could have known, too
            assert not await strict(other)


async def test_labels_of_an_index_in_redis_are_kept_there(start_gateway: StartGateway, provider: Provider) -> None:
    answering(provider, None)
    with running_search() as redis:
        config = bounded(provider, index={"type": "redisSearch"})
        config["spec"] |= {"redis": {"external": redis.external}}
        async with start_gateway(config) as one:
            await have_wrong_hits(one)
        async with start_gateway(config) as new:
            await until(lambda: strict(new))


async def test_what_can_not_be_told_is_told_later(
    start_gateway: StartGateway, provider: Provider, redis_server: RedisServer, redis_url: str
) -> None:
    answering(provider, None)
    config = over(provider, redis_server)
    async with start_gateway(config) as one, start_gateway(config) as other:
        for question, _ in pairs():
            await one.post(chat(question))
        await one.post(chat("Hello"), headers={"Cache-Control": "no-store"})  # so that no answer is that of before

        async def are_taken_in() -> bool:
            return redis_server.command("KEYS", "*@vector:*").count("@vector:") == len(pairs())

        await until(are_taken_in)
        redis_server.command("ACL", "SETUSER", "default", "-xadd")
        try:
            await have_wrong_hits(one)
            assert not await strict(other)
        finally:
            redis_server.command("ACL", "SETUSER", "default", "+xadd")
        await until(lambda: strict(other))


def _keeper(gateway: TestGateway) -> LabelKeeper:
    semantic = gateway.running.reloader.current.semantic
    assert semantic is not None
    assert semantic.labels is not None
    return semantic.labels


async def test_a_drift_lets_go_of_old_labels_everywhere(
    start_gateway: StartGateway,
    provider: Provider,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answering(provider, None)
    caplog.set_level(logging.WARNING)
    config = over(provider, running("redis", request), maxFalseHitRate="2%")
    async with start_gateway(config) as one, start_gateway(config) as other:
        runtime = one.running.reloader.current
        semantic = runtime.policies.all[-1].semantic
        assert runtime.semantic is not None
        assert semantic is not None
        judged_by = runtime.semantic.judged_by(semantic)
        began = time.time() - 1000
        for number in range(606):  # as a third gateway tells: of late, what was hardly alike was wrong
            wrong = number >= 600
            label = Label(0.1 if wrong else 0.9, wrong, began + number, f"{number}")
            await _keeper(one).add(Told("default", judged_by, label))
        estimate = 'llmcache_false_hit_rate{bound="estimate",policy="default"}'

        async def all_known() -> bool:
            known = [await gateway.metric(estimate) for gateway in (one, other)]
            return known == [6 / 606, 6 / 606]

        await until(all_known)
        (question, reworded), *_ = pairs()
        await one.post(chat(question))
        await ask_until_hit(one, chat(reworded))

        async def are_let_go() -> bool:
            known = [await gateway.metric(estimate) for gateway in (one, other)]
            return known == [1.0, 1.0]

        await until(are_let_go)
        assert await one.metric('llmcache_semantic_drifts_total{policy="default"}') == 1
        assert await other.metric('llmcache_semantic_drifts_total{policy="default"}') == 0
        assert "of 607 samples the older 600 are let go" in caplog.text
