"""What gateways note of cached contents: the same for those that share a Redis and for one by itself."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import pytest

from llmcache_gateway.errors import StoreError
from llmcache_gateway.stores.contents import ContentLedger, LocalContents, Noted
from tests.gateway.redis_stores import KINDS, running, shared

ONE = Noted("cachedContents/one", 5000, 60.0, 0.0)


@pytest.fixture(params=["local", "redis"])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[ContentLedger]:
    if request.param == "local":
        yield LocalContents(time.monotonic)
        return
    store = shared(request.getfixturevalue("redis_url"))
    yield store.contents()
    await store.close()


async def made(ledger: ContentLedger, prefix: str = "p", who: str = "a", content: Noted = ONE) -> None:
    token = secrets.token_hex(4)
    assert await ledger.claim(prefix, token, who) is True
    assert await ledger.keep(prefix, token, who, content)


async def test_of_many_that_claim_one_makes_it_and_the_others_learn_of_it(ledger: ContentLedger) -> None:
    claims = await asyncio.gather(*(ledger.claim("p", f"token {number}", "x") for number in range(20)))
    assert sorted(map(bool, claims)) == [False] * 19 + [True]
    winner = f"token {claims.index(True)}"
    assert await ledger.renew_claim("p", winner)
    assert not await ledger.renew_claim("p", "another")
    assert not await ledger.keep("p", "another", "y", ONE)
    assert await ledger.keep("p", winner, "x", ONE)
    found = await ledger.claim("p", "late", "y")
    assert isinstance(found, Noted)
    assert (found.name, found.tokens, found.renew) == (ONE.name, 5000, False)
    assert 30 < found.left <= 60
    assert await ledger.claim("another prefix", "t", "y") is True


async def test_a_claim_that_is_given_up_is_free_and_only_its_holder_gives_it_up(ledger: ContentLedger) -> None:
    assert await ledger.claim("p", "t", "a") is True
    await ledger.give_up("p", "another")
    assert await ledger.claim("p", "u", "b") is False
    await ledger.give_up("p", "t")
    assert await ledger.claim("p", "u", "b") is True
    assert not await ledger.keep("p", "t", "a", ONE), "what was made under a lost claim is not noted"


async def test_a_content_is_deleted_by_the_last_that_uses_it(ledger: ContentLedger) -> None:
    await made(ledger, who="a")
    await ledger.claim("p", "t", "b")
    assert not await ledger.retire("p", ONE.name, "a", idle=None)
    assert await ledger.touch("p", ONE.name, "b", idle=0, renew_below=0) is not None
    assert await ledger.retire("p", ONE.name, "b", idle=None)
    assert not await ledger.retire("p", ONE.name, "b", idle=None), "once"
    assert await ledger.touch("p", ONE.name, "a", idle=0, renew_below=0) is None
    assert await ledger.claim("p", "t", "a") is True


async def test_a_content_is_idle_when_no_gateway_uses_it(ledger: ContentLedger) -> None:
    await made(ledger, who="a")
    await asyncio.sleep(0.3)
    touched = await ledger.touch("p", ONE.name, "b", idle=0.0, renew_below=0)
    assert touched is not None
    assert touched.idle < 30
    assert not await ledger.retire("p", ONE.name, "a", idle=30), "another has used it"
    touched = await ledger.touch("p", ONE.name, "a", idle=20, renew_below=0)
    assert touched is not None
    assert touched.idle < 20, "the latest use counts"
    assert await ledger.retire("p", ONE.name, "a", idle=0.0), "though another is there"


async def test_what_became_of_a_content_is_told_to_who_deletes_it(ledger: ContentLedger) -> None:
    await made(ledger, who="a")
    for who, uses in (("a", 2), ("b", 3), ("a", 0)):
        assert await ledger.touch("p", ONE.name, who, idle=0, renew_below=0, uses=uses) is not None
    await ledger.extend("p", ONE.name, 100)
    life = await ledger.retire("p", ONE.name, "a", idle=0.0)
    assert life is not None
    assert (life.uses, round(life.paid) >= 100) == (5, True)
    assert life.paid < 160, "no second is paid for twice"


async def test_one_of_those_that_use_it_renews_it(ledger: ContentLedger) -> None:
    await made(ledger)
    told = [await ledger.touch("p", ONE.name, who, idle=0, renew_below=61) for who in "abc"]
    assert [one is not None and one.renew for one in told] == [True, False, False]
    await ledger.extend("p", ONE.name, 600)
    again = await ledger.touch("p", ONE.name, "b", idle=0, renew_below=61)
    assert again is not None
    assert (again.renew, again.left > 500) == (False, True)


async def test_what_was_made_anew_is_not_taken_for_what_was_there_before(ledger: ContentLedger) -> None:
    await made(ledger)
    await ledger.forget("p", "cachedContents/other")
    assert isinstance(await ledger.claim("p", "t", "b"), Noted)
    await ledger.forget("p", ONE.name)
    await made(ledger, content=ONE._replace(name="cachedContents/two"))
    assert await ledger.touch("p", ONE.name, "a", idle=0, renew_below=0) is None
    assert not await ledger.retire("p", ONE.name, "a", idle=0.0)
    await ledger.extend("p", ONE.name, 0.001)
    await ledger.forget("p", ONE.name)
    assert isinstance(await ledger.claim("p", "t", "b"), Noted)


async def test_a_content_that_has_ended_is_made_anew(ledger: ContentLedger) -> None:
    await made(ledger, content=ONE._replace(left=0.05))

    async with asyncio.timeout(30):
        while await ledger.touch("p", ONE.name, "a", idle=0, renew_below=0) is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await ledger.claim("p", "t", "b") is True


@pytest.mark.parametrize("kind", KINDS)
async def test_a_content_runs_its_course_on_every_kind_of_redis(kind: str, request: pytest.FixtureRequest) -> None:
    redis = running(kind, request)
    store = shared(redis.external, secrets=redis.secrets)
    ledger = store.contents()
    for number in range(5):  # over the slots of a cluster
        prefix = f"{number}" * 32
        await made(ledger, prefix)
        assert isinstance(await ledger.claim(prefix, "t", "b"), Noted)
        touched = await ledger.touch(prefix, ONE.name, "b", idle=1.5, renew_below=61)
        assert touched is not None
        assert touched.renew
        await ledger.extend(prefix, ONE.name, 600)
        assert not await ledger.retire(prefix, ONE.name, "a", idle=None)
        assert await ledger.retire(prefix, ONE.name, "b", idle=None)
        assert await ledger.claim(prefix, "t", "a") is True
        await ledger.give_up(prefix, "t")
        await ledger.forget(prefix, ONE.name)
    await store.close()


async def test_a_redis_that_is_away_is_an_error_of_the_stores() -> None:
    store = shared("redis://127.0.0.1:1")
    with pytest.raises(StoreError):
        await store.contents().claim("p", "t", "a")
    await store.close()
