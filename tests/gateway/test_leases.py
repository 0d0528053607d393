"""Leases against a real Redis: one holder, whose death is noticed, and who stores nothing once it has lost."""

import asyncio
import math
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from llmcache_gateway.errors import OvertakenError
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.published import End, Head, from_bytes, shown, to_bytes
from llmcache_gateway.stores import RedisStore, TieredStore
from llmcache_gateway.stores.breaker import FAILURES_TO_OPEN
from llmcache_gateway.stores.guarded import GuardedStore
from llmcache_gateway.stores.leases import LeaseKeeper, Wish
from tests.gateway.redis_stores import KINDS, NAMESPACE, running, shared
from tests.gateway.test_store_contract import an_entry, memory
from tests.redis_server import RedisServer
from tests.socket_proxy import running_proxy

KEY = "p:v1:tenant:digest"
NEWER = Wish(max_age=-1.0)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    store = shared(redis_url)
    yield store
    await store.close()


@pytest.fixture
def leases(store: RedisStore) -> LeaseKeeper:
    return store.leases()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_runs_its_course_on_every_kind_of_redis(kind: str, request: pytest.FixtureRequest) -> None:
    redis = running(kind, request)
    store = shared(redis.external, secrets=redis.secrets)
    leases = store.leases()
    for number in range(5):  # over the slots of a cluster
        key = f"p:v1:tenant:{number}"
        own, other = (leases.lease(key, "call") for _ in range(2))
        lease = await leases.claim(own, Wish(epoch=number))
        assert (lease.mine, lease.epoch) == (True, number)
        followed = await leases.claim(other, Wish())
        assert (followed.mine, followed.token, followed.epoch) == (False, lease.token, number)
        assert await leases.publish(lease, 0, [b"one"])
        assert await leases.read(followed, 0, 30.0) == [b"one"]
        assert await leases.renew(lease, over=False) == (True, True, 30.0)
        await store.put(key, an_entry(str(number)), lease)
        await leases.release(lease, [b"end"])
        assert await leases.read(followed, 1, 30.0) == [b"end"]
        with pytest.raises(OvertakenError):
            await store.put(key, an_entry("late"), lease)
        found = await store.get(key)
        assert found is not None
        assert found.entry.blocks == [str(number).encode()]
    await store.close()


async def test_a_claim_sent_again_is_the_same_claim(leases: LeaseKeeper) -> None:
    lease = leases.lease(KEY, "call")
    for _ in range(2):
        assert (await leases.claim(lease, NEWER)).mine
    assert await leases.publish(lease, 0, [b"one"])


async def test_one_of_all_who_claim_a_call_makes_it_and_the_others_learn_whom_to_follow(leases: LeaseKeeper) -> None:
    claimed = await asyncio.gather(*(leases.claim(leases.lease(KEY, "call"), Wish(epoch=3)) for _ in range(20)))
    assert [lease.mine for lease in claimed].count(True) == 1
    assert len({lease.token for lease in claimed}) == 1
    assert {lease.epoch for lease in claimed} == {3}


@pytest.mark.parametrize(
    ("key", "call"), [("p:v1:tenant:other", "call"), ("p:v2:tenant:digest", "call"), (KEY, "another credential's")]
)
async def test_calls_of_other_names_or_entries_are_others(leases: LeaseKeeper, key: str, call: str) -> None:
    await leases.claim(leases.lease(KEY, "call"), Wish())
    assert (await leases.claim(leases.lease(key, call), Wish())).mine


async def test_caches_that_share_a_redis_share_no_call(redis_url: str, leases: LeaseKeeper) -> None:
    await leases.claim(leases.lease(KEY, "call"), Wish())
    other = shared(redis_url, "llmcache:tests/other:")
    keeper = other.leases()
    assert (await keeper.claim(keeper.lease(KEY, "call"), Wish())).mine
    await other.close()


def test_all_keys_of_a_call_are_in_the_slot_of_its_entry(store: RedisStore, redis_server: RedisServer) -> None:
    lease = store.leases().lease(KEY, "call")
    names = (lease.name, lease.pieces, lease.wanted, f"{NAMESPACE}{KEY}")
    tags = {name.partition("{")[2].partition("}")[0] or name for name in names}
    assert tags == {f"{NAMESPACE}{KEY}"}
    assert all(name.startswith(NAMESPACE) for name in names)


@pytest.mark.parametrize(("epoch", "max_age"), [(4, math.inf), (3, -1.0), (3, 0.05)])
async def test_a_request_that_may_not_have_the_answer_takes_the_lease(
    leases: LeaseKeeper, epoch: int, max_age: float
) -> None:
    first = await leases.claim(leases.lease(KEY, "call"), Wish(epoch=3))
    await asyncio.sleep(0.1)
    second = await leases.claim(leases.lease(KEY, "call"), Wish(epoch=epoch, max_age=max_age))
    assert second.mine
    assert second.token != first.token
    assert (await leases.renew(first, over=False))[:2] == (False, True)  # who follows it is served all the same
    assert (await leases.renew(second, over=False)).held


async def test_a_call_that_is_over_serves_who_came_before_its_end_and_nobody_later(leases: LeaseKeeper) -> None:
    lease = await leases.claim(leases.lease(KEY, "call"), Wish())
    await leases.renew(lease, over=True)
    await asyncio.sleep(0.2)
    await leases.renew(lease, over=True)  # it ended when that was first said
    assert not (await leases.claim(leases.lease(KEY, "call"), Wish(came=60.0))).mine
    later = await leases.claim(leases.lease(KEY, "call"), Wish(came=0.1))
    assert later.mine
    assert not (await leases.claim(leases.lease(KEY, "call"), Wish(came=0.0))).mine


async def test_followers_read_from_the_beginning_and_are_known_with_the_shortest_lifetime_they_allow(
    leases: LeaseKeeper,
) -> None:
    lease = await leases.claim(leases.lease(KEY, "call"), Wish())
    assert (await leases.renew(lease, over=False)).ttl is None
    assert await leases.read(lease, 0, math.inf) == []
    assert (await leases.renew(lease, over=False)).ttl == math.inf
    for _ in range(2):  # a command is sent again when its connection breaks
        assert await leases.publish(lease, 0, [b"one", b"\xff\x00"])
    assert not await leases.publish(lease, 5, [b"six"])
    assert await leases.read(lease, 0, 60.0) == [b"one", b"\xff\x00"]
    assert await leases.read(lease, 1, math.inf) == [b"\xff\x00"]
    assert (await leases.renew(lease, over=False)).ttl == 60.0
    await leases.release(lease, [b"end"])
    assert await leases.read(lease, 2, math.inf) == [b"end"]
    assert (await leases.claim(leases.lease(KEY, "call"), Wish())).mine


async def test_a_holder_whose_lease_ran_out_is_gone_for_its_followers_and_publishes_nothing(
    leases: LeaseKeeper, redis_server: RedisServer
) -> None:
    lease = await leases.claim(leases.lease(KEY, "call"), Wish())
    for name in (lease.name, lease.pieces):
        assert 2000 < int(redis_server.command("PTTL", name)) <= 3000
        redis_server.command("PEXPIRE", name, "1")
    await asyncio.sleep(0.05)
    assert await leases.read(lease, 0, math.inf) is None
    assert not await leases.publish(lease, 0, [b"late"])
    assert await leases.renew(lease, over=False) == (False, False, None)
    assert (await leases.claim(leases.lease(KEY, "call"), Wish())).mine


async def test_everything_of_a_call_ends_by_itself(leases: LeaseKeeper, redis_server: RedisServer) -> None:
    lease = await leases.claim(leases.lease(KEY, "call"), Wish())
    await leases.publish(lease, 0, [b"piece"])
    await leases.read(lease, 0, math.inf)
    names = redis_server.command("--scan").splitlines()
    assert sorted(names) == sorted([lease.name, lease.pieces, lease.wanted])
    assert all(0 < int(redis_server.command("PTTL", name)) <= 5000 for name in names)


@pytest.mark.parametrize("tiered", [False, True])
async def test_an_answer_is_stored_only_while_its_lease_is_held(redis_url: str, tiered: bool) -> None:
    store = TieredStore(memory(), shared(redis_url)) if tiered else shared(redis_url)
    keeper = store.leases()
    assert keeper is not None
    old = await keeper.claim(keeper.lease(KEY, "call"), Wish())
    new = await keeper.claim(keeper.lease(KEY, "call"), NEWER)
    await store.put(KEY, an_entry("new"), new)
    with pytest.raises(OvertakenError):
        await store.put(KEY, an_entry("old"), old)
    found = await store.get(KEY)
    assert found is not None
    assert found.entry.blocks == [b"new"]
    await keeper.release(new, [])
    with pytest.raises(OvertakenError):
        await store.put(KEY, an_entry("old"), old)
    await store.close()


async def test_a_claim_that_was_not_answered_in_time_is_let_go_of(redis_server: RedisServer, redis_url: str) -> None:
    async with running_proxy(redis_server.port) as proxy:
        store = GuardedStore(
            shared(proxy.url), timeout_seconds=0.1, metrics=Metrics(CollectorRegistry()), clock=time.time
        )
        guarded = store.leases
        assert guarded is not None
        assert await store.ping() is None
        proxy.fault, proxy.slow_seconds = "slow", 0.3
        began = time.perf_counter()
        assert await guarded.claim(KEY, "call", Wish(), waited=0.09) is None
        assert time.perf_counter() - began < 0.3
        proxy.fault = "none"
        lease = shared(proxy.url).leases().lease(KEY, "call")
        async with asyncio.timeout(2):
            # Not only when its time is up: until then others would wait for a call that nobody makes.
            while redis_server.command("EXISTS", lease.name) == "1":  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.01)
        assert "@flight" in redis_server.command("--scan"), "it was never taken"
        for _ in range(FAILURES_TO_OPEN):
            proxy.fault = "refuses"
            assert await guarded.claim(KEY, "call", Wish(), waited=0.0) is None
        assert store.circuits["lease"] == "open"
        proxy.fault = "none"
        async with asyncio.timeout(10):
            while await guarded.claim(KEY, "call", NEWER, waited=0.0) is None:  # noqa: ASYNC110 (so)
                await asyncio.sleep(0.05)
        await store.close()


@given(
    st.one_of(
        st.binary(),
        st.builds(
            Head,
            status=st.integers(100, 599),
            headers=st.lists(st.tuples(st.text(), st.text())),
            stream=st.booleans(),
            events=st.booleans(),
            stored=st.booleans(),
            reason=st.text(),
        ),
        st.builds(
            End, how=st.sampled_from(["whole", "failed", "lost", "too-large"]), stored=st.booleans(), reason=st.text()
        ),
    )
)
def test_what_is_published_is_read_as_it_was(part: Head | End | bytes) -> None:
    assert from_bytes(to_bytes(part)) == part


@pytest.mark.parametrize("published", [b"", b"x", b"h", b"h\xc1", b"e\x91\xa4nope", b"h\x91\x01", "text", None])
def test_what_is_none_of_it_is_refused(published: object) -> None:
    with pytest.raises(ValueError, match="part"):
        from_bytes(published)


def test_headers_of_one_client_or_one_connection_are_not_published() -> None:
    headers = {"Content-Type": "x/y", "Set-Cookie": "a=1", "Connection": "X-Hop", "X-Hop": "1", "Content-Length": "3"}
    assert shown(headers) == [("Content-Type", "x/y")]
