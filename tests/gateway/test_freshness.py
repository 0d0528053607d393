"""Freshness: RFC 9111's rules in a table, then through a gateway whose clock the test moves."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDict

from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import RequestError
from llmcache_gateway.freshness import FOREVER, MAX_SECONDS, Controls, Use, judge, read_controls, response_ttl
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, completion

GOOD: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


def controls(*headers: tuple[str, str], cache: Any = None) -> Controls:
    return read_controls(CIMultiDict(headers), cache)


@pytest.mark.parametrize(
    ("headers", "cache", "expected"),
    [
        ([], None, Controls()),
        ([("Cache-Control", "no-store")], None, Controls(no_store=True)),
        ([("Cache-Control", "NO-CACHE")], None, Controls(no_cache=True)),
        ([("Cache-Control", 'no-cache="x"')], None, Controls(no_cache=True)),
        ([("Cache-Control", "max-age=60, min-fresh=5")], None, Controls(max_age=60, min_fresh=5)),
        (
            [("Cache-Control", "max-age=60"), ("Cache-Control", "only-if-cached")],
            None,
            Controls(max_age=60, only_if_cached=True),
        ),
        ([("Cache-Control", 'max-age="60"')], None, Controls(max_age=60)),
        ([("Cache-Control", "stale-if-error=0")], None, Controls(stale_if_error=0)),
        ([("Cache-Control", "max-stale=999, of-tomorrow")], None, Controls()),
        # A bound that can't be read is the narrowest one.
        ([("Cache-Control", "max-age=soon")], None, Controls(max_age=0)),
        ([("Cache-Control", "max-age=-1")], None, Controls(max_age=0)),
        ([("Cache-Control", "min-fresh=x")], None, Controls(min_fresh=FOREVER)),
        ([("Cache-Control", "min-fresh=000000000099")], None, Controls(min_fresh=99)),
        ([("Cache-Control", f"max-age={'9' * 400}")], None, Controls(max_age=MAX_SECONDS)),
        ([("Pragma", "no-cache")], None, Controls(no_cache=True)),
        ([("Pragma", "no-cache"), ("Cache-Control", "max-age=9")], None, Controls(max_age=9)),
        ([("X-LLMCache-TTL", "600")], None, Controls(ttl=600)),
        ([("X-LLMCache-TTL", "10m")], None, Controls(ttl=600)),
        ([("X-LLMCache-TTL", "600"), ("X-LLMCache-TTL", "5")], None, Controls(ttl=5)),
        ([("X-LLMCache-Namespace", "n")], None, Controls(namespace="n")),
        (
            [("X-LLMCache-Tags", "faq, doc:17,,faq"), ("X-LLMCache-Tags", "b")],
            None,
            Controls(tags=("faq", "doc:17", "b")),
        ),
        ([], {"ttl": 5, "s-maxage": 7, "no-cache": True, "no-store": False}, Controls(ttl=5, max_age=7, no_cache=True)),
        ([], {"use-cache": True, "namespace": "n"}, Controls(use_cache=True, namespace="n")),
        (
            [("Cache-Control", "max-age=60"), ("X-LLMCache-TTL", "9")],
            {"s-maxage": 30, "ttl": 20},
            Controls(max_age=30, ttl=9),
        ),
    ],
)
def test_what_a_client_asks(headers: list[tuple[str, str]], cache: Any, expected: Controls) -> None:
    assert controls(*headers, cache=cache) == expected


@pytest.mark.parametrize(
    ("headers", "cache", "param"),
    [
        ([("X-LLMCache-TTL", "soon")], None, "X-LLMCache-TTL"),
        ([], "no-store", "cache"),
        ([], {"tll": 5}, "cache.tll"),
        ([], {"ttl": "5"}, "cache.ttl"),
        ([], {"ttl": -5}, "cache.ttl"),
        ([], {"ttl": 10**400}, "cache.ttl"),
        ([], {"ttl": True}, "cache.ttl"),
        ([], {"no-store": "yes"}, "cache.no-store"),
        ([], {"namespace": 5}, "cache.namespace"),
        ([("X-LLMCache-Namespace", "a")], {"namespace": "b"}, "cache.namespace"),
        ([("X-LLMCache-Namespace", "a"), ("X-LLMCache-Namespace", "b")], None, "cache.namespace"),
        ([("X-LLMCache-Namespace", "a" * 201)], None, "cache.namespace"),
        ([("X-LLMCache-Tags", "two words")], None, "X-LLMCache-Tags"),
        ([("X-LLMCache-Tags", "a" * 101)], None, "X-LLMCache-Tags"),
        ([("X-LLMCache-Tags", ",".join(map(str, range(17))))], None, "X-LLMCache-Tags"),
    ],
)
def test_malformed_wishes_are_refused_by_name(headers: list[tuple[str, str]], cache: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        controls(*headers, cache=cache)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("headers", "seconds"), [({}, FOREVER), ({"X-LLMCache-TTL": "60"}, 60), ({"X-LLMCache-TTL": "x"}, 0)]
)
def test_an_upstream_may_shorten_the_life_of_its_answer(headers: dict[str, str], seconds: float) -> None:
    assert response_ttl(headers) == seconds


@pytest.mark.parametrize(
    ("now", "asked", "use"),
    [
        # stored at 0, fresh until 100, stale-while-revalidate 20, stale-if-error 50
        (0, Controls(), Use.FRESH),
        (99.9, Controls(), Use.FRESH),
        (100, Controls(), Use.REVALIDATE),
        (119.9, Controls(), Use.REVALIDATE),
        (120, Controls(), Use.IF_ERROR),
        (149.9, Controls(), Use.IF_ERROR),
        (150, Controls(), Use.NONE),
        (10, Controls(max_age=10), Use.FRESH),
        (11, Controls(max_age=10), Use.IF_ERROR),
        (105, Controls(max_age=104), Use.IF_ERROR),
        (105, Controls(max_age=200), Use.REVALIDATE),
        (50, Controls(min_fresh=50), Use.FRESH),
        (51, Controls(min_fresh=50), Use.IF_ERROR),
        (105, Controls(min_fresh=1), Use.IF_ERROR),
        (0, Controls(no_cache=True), Use.NONE),
        (100, Controls(no_cache=True, stale_if_error=1000), Use.NONE),
        (120, Controls(stale_if_error=10), Use.NONE),
        (120, Controls(stale_if_error=1000), Use.IF_ERROR),
        (150, Controls(stale_if_error=1000), Use.NONE),
    ],
)
def test_what_an_entry_is_good_for(now: float, asked: Controls, use: Use) -> None:
    entry = Entry("json", "application/json", [b"{}"], "m", 0, 100, 150)
    assert judge(entry, now, asked, ttl=100, stale_while_revalidate=20, stale_if_error=50) is use


@pytest.mark.parametrize(("ttl", "use"), [(100, Use.FRESH), (60, Use.FRESH), (59, Use.NONE), (1000, Use.FRESH)])
def test_a_shorter_ttl_holds_for_what_is_stored_already_and_a_longer_one_does_not(ttl: float, use: Use) -> None:
    entry = Entry("json", "application/json", [b"{}"], "m", 0, 100, 100)
    assert judge(entry, 59.5, Controls(), ttl=ttl, stale_while_revalidate=0, stale_if_error=0) is use


def test_stale_if_error_is_off_unless_configured() -> None:
    entry = Entry("json", "application/json", [b"{}"], "m", 0, 100, 100)
    assert judge(entry, 50, Controls(max_age=0), ttl=100, stale_while_revalidate=0, stale_if_error=0) is Use.NONE


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def timed(start_gateway: StartGateway, provider: Provider) -> Any:
    """A gateway with a ttl of 100 s, stale-while-revalidate 20 s, stale-if-error 50 s, and its clock."""
    clock = Clock()
    cache = {"ttl": "100s", "staleWhileRevalidate": "20s", "staleIfError": "50s"}
    async with start_gateway(manifest(provider.base_url, cache=cache), clock=clock) as gateway:
        yield gateway, clock


async def ask(gateway: TestGateway, cache: Any = None, **headers: str) -> tuple[str, str]:
    """Return the outcome, and Cache-Status without key."""
    body = GOOD if cache is None else {**GOOD, "cache": cache}
    response = await gateway.post(body, headers={name.replace("_", "-"): value for name, value in headers.items()})
    status = response.headers["Cache-Status"]
    return response.headers["X-LLMCache"], "; ".join(part for part in status.split("; ") if not part.startswith("key="))


async def test_age_and_cache_status_tell_the_entrys_life(timed: Any) -> None:
    gateway, clock = timed
    assert await ask(gateway) == ("MISS", "llmcache; fwd=miss; stored")
    clock.now += 30.5
    response = await gateway.post(GOOD)
    assert response.headers["Age"] == "30"
    assert await ask(gateway) == ("HIT", 'llmcache; hit; ttl=69; detail="memory"')


async def test_stale_while_revalidate_serves_at_once_and_refreshes_once(timed: Any, provider: Provider) -> None:
    gateway, clock = timed
    await ask(gateway)
    clock.now += 105
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return await provider.chat(request, provider.calls[-1]["body"])

    provider.behave = slow
    answers = await asyncio.gather(*(ask(gateway) for _ in range(5)))
    assert set(answers) == {("STALE", 'llmcache; hit; ttl=-5; detail="stale-while-revalidate"')}
    release.set()
    for _ in range(100):
        if (await ask(gateway))[0] == "HIT":
            break
        await asyncio.sleep(0.02)
    response = await gateway.post(GOOD)
    assert response.headers["X-LLMCache"] == "HIT"
    assert response.json()["choices"][0]["message"]["content"] == "answer 2 to hi"
    assert len(provider.calls) == 2
    assert await gateway.metric('llmcache_refreshes_total{result="stored"}') == 1


async def test_a_refresh_that_fails_leaves_the_stale_entry(timed: Any, provider: Provider) -> None:
    gateway, clock = timed
    await ask(gateway)
    clock.now += 105

    async def fail(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500, text="{}")

    provider.behave = fail
    for _ in range(3):
        assert (await ask(gateway))[0] == "STALE"
        await asyncio.sleep(0.05)
    assert await gateway.metric('llmcache_refreshes_total{result="status"}') == 3


@pytest.mark.parametrize("failure", ["status", "reset", "ok-later"])
async def test_stale_if_error_serves_when_the_upstream_fails(timed: Any, provider: Provider, failure: str) -> None:
    gateway, clock = timed
    await ask(gateway)
    clock.now += 130

    async def fail(request: web.Request) -> web.StreamResponse:
        if failure == "reset":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=503, text="{}")

    provider.behave = fail
    assert await ask(gateway) == ("STALE", 'llmcache; hit; ttl=-30; detail="stale-if-error"')
    response = await gateway.post(GOOD, headers={"Cache-Control": "stale-if-error=0"})
    assert response.status_code == (502 if failure == "reset" else 503)
    provider.behave = None
    assert await ask(gateway) == ("MISS", "llmcache; fwd=stale; stored")
    clock.now += 151
    provider.behave = fail
    assert (await gateway.post(GOOD)).status_code in (502, 503)


async def test_client_errors_are_not_hidden_by_a_stale_entry(timed: Any, provider: Provider) -> None:
    gateway, clock = timed
    await ask(gateway)
    clock.now += 130

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=401, text="{}")

    provider.behave = refuse
    assert (await gateway.post(GOOD)).status_code == 401


async def test_no_store_is_neither_looked_up_nor_stored(timed: Any, provider: Provider) -> None:
    gateway, _ = timed
    for _ in range(2):
        assert await ask(gateway, Cache_Control="no-store") == ("BYPASS", 'llmcache; fwd=bypass; detail="no-store"')
        assert (await ask(gateway, {"no-store": True}))[0] == "BYPASS"
    assert (await ask(gateway))[0] == "MISS"
    assert len(provider.calls) == 5


async def test_no_cache_asks_again_and_refreshes_the_entry(timed: Any) -> None:
    gateway, _ = timed
    await ask(gateway)
    assert await ask(gateway, Cache_Control="no-cache") == ("MISS", "llmcache; fwd=request; stored")
    response = await gateway.post(GOOD)
    assert response.json()["choices"][0]["message"]["content"] == "answer 2 to hi"


async def test_only_if_cached_is_504_without_an_entry(timed: Any, provider: Provider) -> None:
    gateway, _ = timed
    response = await gateway.post(GOOD, headers={"Cache-Control": "only-if-cached"})
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "only_if_cached"
    assert not provider.calls
    await ask(gateway)
    assert (await ask(gateway, Cache_Control="only-if-cached"))[0] == "HIT"


async def test_max_age_and_min_fresh_narrow_what_is_served(timed: Any) -> None:
    gateway, clock = timed
    await ask(gateway)
    clock.now += 30
    assert (await ask(gateway, Cache_Control="max-age=30"))[0] == "HIT"
    assert (await ask(gateway, {"s-maxage": 30}))[0] == "HIT"
    assert (await ask(gateway, Cache_Control="min-fresh=70"))[0] == "HIT"
    assert (await ask(gateway, Cache_Control="min-fresh=71"))[0] == "MISS"
    clock.now += 30
    assert (await ask(gateway, {"s-maxage": 29}))[0] == "MISS"


async def test_ttl_shortens_the_life_of_what_is_stored_and_never_lengthens_it(timed: Any) -> None:
    gateway, clock = timed
    assert (await ask(gateway, X_LLMCache_TTL="10"))[0] == "MISS"
    clock.now += 9
    assert (await ask(gateway))[0] == "HIT"
    clock.now += 2
    assert (await ask(gateway, Cache_Control="no-cache, stale-if-error=0"))[0] == "MISS"
    assert (await ask(gateway, {"ttl": 100_000, "no-cache": True}))[0] == "MISS"
    clock.now += 151
    assert await ask(gateway, {"ttl": 0}) == ("MISS", "llmcache; fwd=miss")
    assert (await ask(gateway))[0] == "MISS"


async def test_an_upstreams_own_ttl_narrows(timed: Any, provider: Provider) -> None:
    gateway, clock = timed

    async def short(request: web.Request) -> web.StreamResponse:
        response = await provider.chat(request, provider.calls[-1]["body"])
        response.headers["X-LLMCache-TTL"] = "5"
        return response

    provider.behave = short
    await ask(gateway)
    clock.now += 4
    assert (await ask(gateway))[0] == "HIT"
    clock.now += 40
    assert (await ask(gateway, Cache_Control="max-age=40"))[0] == "MISS"


async def test_an_answer_from_another_cache_is_as_old_as_that_one_says(timed: Any, provider: Provider) -> None:
    gateway, clock = timed

    async def cached(request: web.Request) -> web.StreamResponse:
        return web.json_response(completion(1, "gpt-4o", "old"), headers={"Age": "20"})

    provider.behave = cached
    first = await gateway.post(GOOD)
    clock.now += 5
    second = await gateway.post(GOOD)
    assert [(one.headers["X-LLMCache"], one.headers["Age"]) for one in (first, second)] == [
        ("MISS", "20"),
        ("HIT", "25"),
    ]
    assert (await ask(gateway, Cache_Control="max-age=24"))[0] == "MISS"


async def test_an_answer_that_another_cache_has_had_for_longer_than_the_ttl_is_not_stored(
    timed: Any, provider: Provider
) -> None:
    gateway, _ = timed

    async def ancient(request: web.Request) -> web.StreamResponse:
        return web.json_response(completion(1, "gpt-4o", "old"), headers={"Age": "9" * 30})

    provider.behave = ancient
    assert [(await ask(gateway))[0] for _ in range(2)] == ["MISS", "MISS"]


async def test_the_cache_object_reaches_neither_key_nor_upstream(timed: Any, provider: Provider) -> None:
    gateway, _ = timed
    body = b'{"model":"gpt-4o","cache":{"ttl":60},"n":1.0,"messages":[{"role":"user","content":"hi"}]}'
    assert (await gateway.post(body)).headers["X-LLMCache"] == "MISS"
    assert provider.calls[0]["raw"] == body.replace(b'"cache":{"ttl":60},', b"")
    assert (await gateway.post({**GOOD, "n": 1})).headers["X-LLMCache"] == "HIT"


async def test_a_namespace_keeps_entries_apart_inside_the_tenant_only(timed: Any) -> None:
    gateway, _ = timed
    assert (await ask(gateway))[0] == "MISS"
    assert (await ask(gateway, X_LLMCache_Namespace="a"))[0] == "MISS"
    assert (await ask(gateway, {"namespace": "a"}))[0] == "HIT"
    assert (await ask(gateway, {"namespace": "a"}, Authorization="Bearer other"))[0] == "MISS"


async def test_jitter_shortens_lives_at_random(start_gateway: StartGateway, provider: Provider) -> None:
    clock = Clock()
    cache = {"ttl": "1000s", "ttlJitter": "50%"}
    async with start_gateway(manifest(provider.base_url, cache=cache), clock=clock) as gateway:
        lives = []
        for number in range(20):
            body = {**GOOD, "seed": number}
            await gateway.post(body)
            status = (await gateway.post(body)).headers["Cache-Status"]
            lives.append(int(status.split("ttl=")[1].split(";")[0]))
    assert all(500 <= life <= 1000 for life in lives)
    assert len(set(lives)) > 10


async def test_opt_in_caches_only_for_those_who_ask(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(manifest(provider.base_url, cache={"mode": "OptIn"})) as gateway:
        assert await ask(gateway) == ("BYPASS", 'llmcache; fwd=bypass; detail="not-opted-in"')
        assert (await ask(gateway, {"use-cache": True}))[0] == "MISS"
        assert (await ask(gateway, {"use-cache": True}))[0] == "HIT"
        assert (await ask(gateway))[0] == "BYPASS"
