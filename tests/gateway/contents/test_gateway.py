"""Cached contents behind a gateway: what Google is asked, and what its clients notice of it (nothing)."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.corpus import asking
from tests.gateway.providers.google import GoogleProvider

MODEL = "gemini-3.8-flash"
GEMINI = f"/v1beta/models/{MODEL}"
VERTEX = f"/v1/projects/p/locations/europe-west4/publishers/google/models/{MODEL}"
LONG = "You answer questions about caches. " * 600
"""Longer than what any model keeps, in bytes and in tokens."""

TOOLS = [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}]
CLIENT = {"x-goog-api-key": "AIzaSy-one"}
EVENTS = "llmcache_cached_content_events_total"


def config(google: GoogleProvider, *, contents: Any = None, provider: str = "gemini", **spec: Any) -> dict[str, Any]:
    hints = {"cachedContents": contents or {}, **spec.pop("hints", {})}
    made = manifest(google.url, hints=hints, **spec)
    made["spec"]["upstreams"][0] |= {"provider": provider}
    return made


def user(words: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": words}]}


def asked(words: str = "Hi", system: str | None = LONG, **more: Any) -> dict[str, Any]:
    before = {} if system is None else {"systemInstruction": {"parts": [{"text": system}]}}
    return {**before, "contents": [user(words)], **more}


async def ask(
    gateway: TestGateway, body: Any, path: str = GEMINI, verb: str = "generateContent", **headers: str
) -> str:
    """Return the text of an answer that came from the provider."""
    response = await gateway.post(body, f"{path}:{verb}", headers=CLIENT | headers)
    assert response.status_code == 200, response.text
    if "stream" in verb:
        pieces = [json.loads(line[6:]) for line in response.text.splitlines() if line]
    else:
        pieces = [response.json()]
    return "".join(piece["candidates"][0]["content"]["parts"][0]["text"] for piece in pieces)


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 (only asking tells)
            await asyncio.sleep(0.02)


async def make_one(gateway: TestGateway, google: GoogleProvider, path: str = GEMINI, **more: Any) -> str:
    """Ask until a content is made and used; return its name."""
    there = len(google.made)
    for number in range(3):
        await ask(gateway, asked(f"number {number}", **more), path)
    await until(lambda: len(google.made) > there)
    numbers = iter(range(3, 1000))
    async with asyncio.timeout(30):
        while google.using()[-1] != google.made[-1]:
            await ask(gateway, asked(f"number {next(numbers)}", **more), path)
    return google.made[-1]


async def direct(google: GoogleProvider, body: Any, path: str = GEMINI) -> str:
    """Return what Google says without a gateway in between."""
    async with httpx.AsyncClient() as client:
        given = await client.post(f"{google.url}{path}:generateContent", json=body, headers=CLIENT)
    said: str = given.json()["candidates"][0]["content"]["parts"][0]["text"]
    return said


@pytest.mark.parametrize(("provider", "path"), [("gemini", GEMINI), ("vertex", VERTEX)])
async def test_a_beginning_that_comes_often_is_kept_and_used_streamed_and_not(
    start_gateway: StartGateway, google: GoogleProvider, provider: str, path: str
) -> None:
    body: dict[str, Any] = {
        "tools": TOOLS,
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {"topK": 3},
    }
    async with start_gateway(config(google, provider=provider)) as gateway:
        name = await make_one(gateway, google, path, **body)
        for verb in ("generateContent", "streamGenerateContent?alt=sse"):
            question = asked(f"by {verb}", **body)
            assert await ask(gateway, question, path, verb) == await direct(google, question, path)
            sent = google.calls[-2]["body"]
            assert sent == {
                "contents": question["contents"],
                "generationConfig": {"topK": 3},
                "cachedContent": name,
            }
    (creation,) = (call for call in google.calls if call["path"].endswith("cachedContents"))
    parent = "projects/p/locations/europe-west4/" if provider == "vertex" else ""
    assert creation["path"].startswith(f"/{path.split('/')[1]}/{parent}")
    assert creation["body"].pop("displayName").startswith("llmcache-")
    of_model = f"{parent}publishers/google/models/{MODEL}" if provider == "vertex" else f"models/{MODEL}"
    before = asked(**body)
    assert creation["body"] == {
        "model": of_model,
        "ttl": "600s",
        "tools": TOOLS,
        "toolConfig": before["toolConfig"],
        "systemInstruction": before["systemInstruction"],
    }
    assert google.using()[:3] == [None] * 3
    assert google.deleted == [name], "the last gateway that used it deletes it"
    assert google.contents == {}


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
@pytest.mark.parametrize("client", [asking.gemini, asking.vertex])
async def test_googles_own_sdk_is_answered_with_a_cached_content_and_notices_nothing(
    start_gateway: StartGateway, google: GoogleProvider, client: Callable[[str], Any]
) -> None:
    provider = "vertex" if client is asking.vertex else "gemini"
    options = {"system_instruction": LONG, "temperature": 0.5}
    async with start_gateway(config(google, provider=provider)) as gateway:
        through, straight = client(gateway.url).aio.models, client(google.url).aio.models

        async def whole(models: Any, words: str) -> Any:
            return await models.generate_content(model=MODEL, contents=words, config=options)

        for number in range(3):
            given = await whole(through, f"number {number}")
            assert given.usage_metadata.cached_content_token_count is None
        await until(lambda: google.made)
        numbers = iter(range(3, 1000))
        async with asyncio.timeout(30):
            while not (await whole(through, f"number {next(numbers)}")).usage_metadata.cached_content_token_count:
                pass
        used = google.using()[-1]
        given, expected = await whole(through, "and now"), await whole(straight, "and now")
        assert (given.text, given.usage_metadata.prompt_token_count) == (
            expected.text,
            expected.usage_metadata.prompt_token_count,
        )
        pieces = await through.generate_content_stream(model=MODEL, contents="in pieces", config=options)
        said = [piece async for piece in pieces]
        assert "".join(piece.text for piece in said) == (await whole(straight, "in pieces")).text
        assert said[-1].usage_metadata.cached_content_token_count > 1000
    assert google.using().count(used) >= 3
    assert used == google.made[0]


async def test_entries_and_hits_know_nothing_of_cached_contents(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    async with start_gateway(config(google)) as gateway:
        await make_one(gateway, google)
        first = await gateway.post(asked("once"), f"{GEMINI}:generateContent", headers=CLIENT)
        again = await gateway.post(asked("once"), f"{GEMINI}:generateContent", headers=CLIENT)
    assert [one.headers["X-LLMCache"] for one in (first, again)] == ["MISS", "HIT"]
    assert first.json() == again.json()


@pytest.mark.parametrize(
    "more",
    [
        {"cachedContent": "cachedContents/mine"},
        {"cached_content": "cachedContents/mine"},
        {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}},
        {"system_instruction": {"parts": [{"text": LONG}]}},
    ],
)
async def test_a_request_of_which_nothing_is_certain_goes_upstream_as_it_came(
    start_gateway: StartGateway, google: GoogleProvider, more: dict[str, Any]
) -> None:
    async with start_gateway(config(google)) as gateway:
        await make_one(gateway, google)
        body = asked("odd", **more)
        for _ in range(5):
            await gateway.post(body, f"{GEMINI}:generateContent", headers=CLIENT | {"Cache-Control": "no-cache"})
            assert google.calls[-1]["body"] == body
    assert len(google.made) == 1


async def test_without_the_setting_none_is_made(start_gateway: StartGateway, google: GoogleProvider) -> None:
    off = config(google)
    del off["spec"]["hints"]["cachedContents"]
    async with start_gateway(off) as gateway:
        for number in range(6):
            await ask(gateway, asked(f"number {number}"))
        assert "cachedContents" not in (await gateway.status())["hints"]
    assert google.asked_to_make == 0


async def test_what_is_too_short_is_not_tried_and_what_google_finds_too_short_not_again(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    surely, perhaps = "x" * 3000, "word " * 1900
    google.refusing_to_make = (400, "Cached content is too small. total_token_count=1900, min_total_token_count=4096")
    async with start_gateway(config(google)) as gateway:
        for number in range(6):
            await ask(gateway, asked(f"number {number}", system=surely))
        for number in range(3):
            await ask(gateway, asked(f"number {number}", system=perhaps))
        await until(lambda: google.asked_to_make)
        for number in range(3, 9):
            await ask(gateway, asked(f"number {number}", system=perhaps))
        google.refusing_to_make = None
        await make_one(gateway, google)
        assert await gateway.metric(f'{EVENTS}{{event="failed",upstream="main"}}') == 1
    assert google.asked_to_make == 2


async def test_a_document_that_conversations_begin_with_is_kept_with_what_stands_before_it(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    document, noted = user("A document. " * 2000), {"role": "model", "parts": [{"text": "noted"}]}
    async with start_gateway(config(google)) as gateway:
        for number in range(3):
            await ask(gateway, asked(system=LONG) | {"contents": [document, noted, user(f"number {number}")]})
        await until(lambda: len(google.made) == 1)
        async with asyncio.timeout(30):
            while google.using()[-1] is None:
                await ask(gateway, asked(system=LONG) | {"contents": [document, noted, user(str(len(google.calls)))]})
        question = asked(system=LONG) | {"contents": [document, noted, user("at last")]}
        assert await ask(gateway, question) == await direct(google, question)
    (creation,) = (call["body"] for call in google.calls if call["path"].endswith("cachedContents"))
    assert creation["contents"] == [document]
    assert google.calls[-3]["body"]["contents"] == [noted, user("at last")] or google.using()[-1] is None


@pytest.mark.parametrize(
    ("status", "message", "stands_down"),
    [
        (403, "CachedContent not found (or permission denied)", False),
        (404, "cachedContents/c0 is not found", False),
        (403, "The caller does not have permission", False),
        (500, "An internal error has occurred.", False),
        (400, "CachedContent can not be used with this request", True),
        (400, "Request contains an invalid argument.", True),
    ],
)
@pytest.mark.parametrize("verb", ["generateContent", "streamGenerateContent?alt=sse"])
async def test_a_content_that_is_refused_is_forgotten_and_the_request_is_answered_without_it(
    start_gateway: StartGateway, google: GoogleProvider, status: int, message: str, stands_down: bool, verb: str
) -> None:
    async with start_gateway(config(google)) as gateway:
        name = await make_one(gateway, google)
        google.refusing = (status, message)
        count = len(google.using())
        assert await ask(gateway, asked("refused"), verb=verb) == await direct(google, asked("refused"))
        assert google.using()[count:] == [name, None, None]
        google.refusing = None
        for number in range(6):
            await ask(gateway, asked(f"afterwards {number}"))
        assert set(google.using()[count + 1 :]) == {None}
        hints = (await gateway.status())["hints"]
        assert (bool(hints["standDowns"]), hints["cachedContents"]) == (stands_down, [])
        assert await gateway.metric(f'{EVENTS}{{event="refused",upstream="main"}}') == 1
        await until(lambda: google.deleted == [name])
    assert len(google.made) == 1


@pytest.mark.parametrize("how", ["deleted", "ended", "another's"])
async def test_a_content_that_is_lost_at_the_provider_costs_no_client_its_answer(
    start_gateway: StartGateway, google: GoogleProvider, how: str
) -> None:
    async with start_gateway(config(google)) as gateway:
        name = await make_one(gateway, google)
        if how == "deleted":
            del google.contents[name]
        elif how == "ended":
            google.contents[name].ends = 0.0
        else:
            google.contents[name].owner = "AIzaSy-another"
        asking = [asked(f"at once {number}") for number in range(8)]
        given = await asyncio.gather(*(ask(gateway, body) for body in asking))
        assert list(given) == [await direct(google, body) for body in asking]
        await ask(gateway, asked("afterwards"))
        assert google.using()[-1] is None
        assert await gateway.metric(f'{EVENTS}{{event="refused",upstream="main"}}') == 1
        assert (await gateway.status())["hints"] == {
            "standDowns": [],
            "paused": [],
            "ineffective": [],
            "cachedContents": [],
            "cachedContentsPaused": [],
        }


async def test_a_request_that_is_wrong_without_it_too_is_the_clients_and_the_content_stays(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    async with start_gateway(config(google)) as gateway:
        name = await make_one(gateway, google)
        wrong = asked() | {"contents": [{"role": "nobody", "parts": [{"text": "x"}]}]}
        response = await gateway.post(wrong, f"{GEMINI}:generateContent", headers=CLIENT)
        assert (response.status_code, "valid role" in response.text) == (400, True)
        await ask(gateway, asked("right"))
        assert google.using()[-3:] == [name, None, name]
        assert (await gateway.status())["hints"]["standDowns"] == []


async def test_each_client_has_contents_of_its_own_made_with_its_own_credential(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    other = {"x-goog-api-key": "AIzaSy-two"}
    async with start_gateway(config(google)) as gateway:
        first = await make_one(gateway, google)
        for number in range(3):
            await ask(gateway, asked(f"other {number}"), **other)
        await until(lambda: len(google.made) == 2)
        async with asyncio.timeout(30):
            while google.using()[-1] is None:
                await ask(gateway, asked(f"other {len(google.calls)}"), **other)
        assert google.using()[-1] == google.made[1] != first
        await ask(gateway, asked("mine again"))
        assert google.using()[-1] == first
        owners = {name: kept.owner for name, kept in google.contents.items()}
    assert owners == {first: "AIzaSy-one", google.made[1]: "AIzaSy-two"}
    assert sorted(google.deleted) == sorted(google.made), "each is deleted with its own credential"


async def test_a_content_is_for_those_who_pay_for_it(start_gateway: StartGateway, google: GoogleProvider) -> None:
    async with start_gateway(config(google)) as gateway:
        await make_one(gateway, google)
        for number in range(2):
            await ask(gateway, asked(f"other {number}"), **{"x-goog-user-project": "another"})
            assert google.using()[-1] is None
        await ask(gateway, asked("other 3"), **{"x-goog-user-project": "another"})
        await until(lambda: len(google.made) == 2)
    creations = [call["headers"] for call in google.calls if call["path"].endswith("cachedContents")]
    assert [one.get("x-goog-user-project") for one in creations] == [None, "another"]


async def test_the_upstreams_own_credential_makes_them_and_tenants_share_none(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    own = config(google)
    own["spec"]["upstreams"][0]["credential"] = {"env": "OWN"}
    async with start_gateway(own, environment={"OWN": "AIzaSy-own"}) as gateway:
        await make_one(gateway, google)
        for number in range(2):
            await ask(gateway, asked(f"other {number}"), **{"x-goog-api-key": "AIzaSy-two"})
            assert google.using()[-1] is None
        assert {kept.owner for kept in google.contents.values()} == {"AIzaSy-own"}
    assert {call["headers"]["x-goog-api-key"] for call in google.calls} == {"AIzaSy-own"}


@pytest.mark.parametrize("provider", ["gemini", "vertex"])
async def test_no_client_is_told_what_is_kept_for_others_with_the_upstreams_own_credential(
    start_gateway: StartGateway, google: GoogleProvider, provider: str
) -> None:
    """Whoever knew the name of a content could ask the model what it holds: another tenant's instructions."""
    listed = (
        "/v1beta/cachedContents" if provider == "gemini" else "/v1/projects/p/locations/europe-west4/cachedContents"
    )
    own = config(google, provider=provider)
    own["spec"]["upstreams"][0]["credential"] = {"env": "OWN"}
    other = {"x-goog-api-key": "AIzaSy-two"}
    async with (
        start_gateway(own, environment={"OWN": "AIzaSy-own"}) as gateway,
        httpx.AsyncClient(base_url=gateway.url, headers=other) as client,
    ):
        name = await make_one(gateway, google, GEMINI if provider == "gemini" else VERTEX)
        assert name in google.contents
        spelled = (listed, f"{listed}?pageSize=5", f"{listed}/", listed.replace("cached", "c%61ched"))
        given = [await client.get(path) for path in spelled]
        given.append(await client.post(listed, json={}, headers={"X-HTTP-Method-Override": "GET"}))
        assert [one.status_code for one in given] == [403] * 5
        assert "kept for other clients" in given[0].text


async def test_a_client_with_its_own_credential_lists_its_own(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    async with start_gateway(config(google)) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        name = await make_one(gateway, google)
        given = await client.get("/v1beta/cachedContents", headers=CLIENT)
    assert given.json() == {"cachedContents": [{"name": name}]}


async def test_what_it_does_is_shown_in_metrics_status_log_and_to_a_client_that_asks(
    start_gateway: StartGateway, google: GoogleProvider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "llmcache_gateway.requests")
    async with start_gateway(config(google)) as gateway:
        name = await make_one(gateway, google)
        given = await gateway.post(
            asked("shown"), f"{GEMINI}:generateContent", headers=CLIENT | {"X-LLMCache-Debug": "1"}
        )
        plain = await gateway.post(asked("plain"), f"{GEMINI}:generateContent", headers=CLIENT)
        assert given.headers["X-LLMCache-Hint"] == f'cachedContent; name="{name}"'
        assert "X-LLMCache-Hint" not in plain.headers
        tokens = google.contents[name].tokens
        (shown,) = (await gateway.status())["hints"]["cachedContents"]
        assert 500 < shown.pop("seconds") <= 600
        assert shown.pop("idleSeconds") <= 30
        assert shown == {"upstream": "main", "model": MODEL, "name": name, "tokens": tokens}
        assert await gateway.metric(f'{EVENTS}{{event="made",upstream="main"}}') == 1
        assert await gateway.metric("llmcache_cached_contents") == 1
        assert await gateway.metric("llmcache_cached_content_tokens") == tokens
        assert await gateway.metric('llmcache_hints_total{hint="cachedContent",upstream="main"}') >= 3
    hints = [record.__dict__["fields"]["hint"] for record in caplog.records if "CACHE MISS" in record.getMessage()]
    assert hints[:3] == [None] * 3
    assert hints[-1] == "cachedContent"
    assert LONG not in "".join(str(record.__dict__) for record in caplog.records)


async def test_what_it_costs_and_brings_is_counted_creation_and_storage_included(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    prices = {"models": [MODEL], "prices": {"read": "0.1", "storage": "6"}}
    async with start_gateway(config(google, hints={"capabilities": [prices]})) as gateway:
        name = await make_one(gateway, google)
        tokens, used = google.contents[name].tokens, google.using().count(name)
        net = await gateway.metric('llmcache_hint_net_savings_tokens{policy="default",side="main"}')
    # Each use saves nine tenths; making it costs its tokens once, keeping it for ten minutes as much again.
    assert net == pytest.approx(used * tokens * 0.9 - tokens * (1 + 6 * 600 / 3600))


async def test_a_content_is_renewed_while_it_is_used_and_deleted_when_it_is_not(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    now = [1000.0]
    google.now = lambda: now[0]
    async with start_gateway(config(google), clock=lambda: now[0]) as gateway:
        name = await make_one(gateway, google)
        paid = await gateway.metric('llmcache_hint_net_savings_tokens{policy="default",side="main"}')
        now[0] += 250
        await ask(gateway, asked("still"))
        saved = await gateway.metric('llmcache_hint_net_savings_tokens{policy="default",side="main"}')
        assert saved > paid
        now[0] += 100  # less than half of ten minutes is left
        await until(lambda: google.renewed == [(name, "600s")])
        assert google.contents[name].ends == now[0] + 600
        tokens = google.contents[name].tokens
        async with asyncio.timeout(30):
            while not await gateway.metric(f'{EVENTS}{{event="renewed",upstream="main"}}'):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        paid = await gateway.metric('llmcache_hint_net_savings_tokens{policy="default",side="main"}')
        assert saved - paid == pytest.approx(tokens * 3.6 * 350 / 3600)
        now[0] += 250
        await until(lambda: google.deleted == [name])
        assert (await gateway.status())["hints"]["cachedContents"] == []
        await ask(gateway, asked("later"))
        assert google.using()[-1] is None
    assert len(google.renewed) == 1


async def test_a_content_is_deleted_with_the_credential_that_holds_by_then(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    google.keys = {"old": "project", "new": "project"}
    environment = {"KEY": "old"}
    own = config(google)
    own["spec"]["upstreams"][0]["credential"] = {"env": "KEY"}
    async with start_gateway(own, environment=environment) as gateway:
        name = await make_one(gateway, google)
        environment["KEY"] = "new"
        assert gateway.running.reloader.check()
        google.revoked = {"old"}
        await ask(gateway, asked("with the new key"))
        assert google.using()[-1] == name
    assert google.deleted == [name]


async def test_a_deletion_that_hangs_holds_up_no_renewal(start_gateway: StartGateway, google: GoogleProvider) -> None:
    now = [1000.0]
    google.now = lambda: now[0]
    google.delete.clear()
    slow = config(google, contents={"ttl": "10m", "idle": "4m"}, timeout="60s")
    async with start_gateway(slow, clock=lambda: now[0]) as gateway:
        name = await make_one(gateway, google)
        now[0] += 200
        used = await make_one(gateway, google, system="Another. " * 4000)
        now[0] += 50  # the first has not been used for idle
        await until(lambda: [call for call in google.calls if call["method"] == "DELETE"])
        assert google.contents.keys() == {name, used}
        now[0] += 180
        await ask(gateway, asked("still", system="Another. " * 4000))
        now[0] += 100  # less than half of the time of the other is left
        await until(lambda: google.renewed == [(used, "600s")])
        google.delete.set()


async def test_a_provider_that_makes_none_holds_up_nobody(start_gateway: StartGateway, google: GoogleProvider) -> None:
    google.make.clear()
    async with start_gateway(config(google)) as gateway:
        for number in range(9):
            await ask(gateway, asked(f"number {number}"))
        await until(lambda: google.asked_to_make)
        google.make.set()
        await until(lambda: google.made)
    assert (google.asked_to_make, set(google.using())) == (1, {None})
    assert google.deleted == google.made


async def test_a_provider_that_makes_and_deletes_none_holds_up_no_end(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    async with asyncio.timeout(60):
        async with start_gateway(config(google)) as gateway:
            await make_one(gateway, google)
            google.delete.clear()
            google.make.clear()
            for number in range(3):
                await ask(gateway, asked(f"number {number}", system="Another. " * 4000))
            await until(lambda: google.asked_to_make == 2)
        assert google.deleted == []
        google.delete.set()
        google.make.set()


async def test_a_quota_of_none_is_asked_for_once_in_a_while(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    google.refusing_to_make = (429, "TotalCachedContentStorageTokensPerModelFreeTier limit exceeded: limit=0")
    async with start_gateway(config(google)) as gateway:
        for system in ("A" + LONG, "B" + LONG):
            for number in range(4):
                await ask(gateway, asked(f"number {number}", system=system))
            await until(lambda: google.asked_to_make)
        failed = await gateway.metric(f'{EVENTS}{{event="failed",upstream="main"}}')
        (paused,) = (await gateway.status())["hints"]["cachedContentsPaused"]
    assert (google.asked_to_make, failed) == (1, 1)
    assert (paused["upstream"], paused["model"], 0 < paused["seconds"] <= 600) == ("main", MODEL, True)


@pytest.mark.parametrize("mode", ["onRepeat", "always"])
async def test_where_contents_cost_more_than_they_bring_none_is_made_for_a_while_unless_always(
    start_gateway: StartGateway, google: GoogleProvider, mode: str
) -> None:
    now = [1000.0]
    google.now = lambda: now[0]
    hints = {"mode": mode, "points": [{"location": "system"}]}
    async with start_gateway(config(google, hints=hints), clock=lambda: now[0]) as gateway:
        for number in range(5):
            for question in range(3):
                await ask(gateway, asked(f"question {question}", system=f"{number} {LONG}"))
            await until(lambda: google.asked_to_make == len(google.made) > 0)
        async with asyncio.timeout(30):
            while await gateway.metric("llmcache_cached_contents") != 5:  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.02)
        now[0] += 301
        await until(lambda: len(google.deleted) == 5)
        paused = (await gateway.status())["hints"]["cachedContentsPaused"]
        for question in range(4):
            await ask(gateway, asked(f"question {question}", system=f"Another. {LONG}"))
        if mode == "always":
            await until(lambda: len(google.made) == 6)
            assert paused == []
    assert len(google.made) == (6 if mode == "always" else 5)
    if mode == "onRepeat":
        assert [(one["model"], one["seconds"]) for one in paused] == [(MODEL, 600)]


async def test_no_more_are_used_than_the_limit(start_gateway: StartGateway, google: GoogleProvider) -> None:
    async with start_gateway(config(google, contents={"limit": 1})) as gateway:
        await make_one(gateway, google)
        for number in range(6):
            await ask(gateway, asked(f"number {number}", system="Another. " + LONG))
    assert google.asked_to_make == 1


async def test_points_say_what_is_kept(start_gateway: StartGateway, google: GoogleProvider) -> None:
    points = {"mode": "always", "points": [{"location": "message", "index": 0}, {"location": "system"}]}
    first, noted = user("The first. " * 2000), {"role": "model", "parts": [{"text": "noted"}]}
    body = asked(system="short", contents=[first, noted, user("x")])
    async with start_gateway(config(google, hints=points)) as gateway:
        for number in range(3):
            await ask(gateway, body | {"contents": [first, noted, user(f"number {number}")]})
        await until(lambda: google.made)
    (creation,) = (call["body"] for call in google.calls if call["path"].endswith("cachedContents"))
    assert (creation["contents"], creation["systemInstruction"]) == ([first], body["systemInstruction"])


async def test_a_reload_keeps_contents_and_other_settings_delete_them(
    start_gateway: StartGateway, google: GoogleProvider
) -> None:
    async with start_gateway(config(google)) as gateway:
        name = await make_one(gateway, google)
        gateway.rewrite(config(google, cache={"ttl": "2h"}))
        assert gateway.running.reloader.check()
        await ask(gateway, asked("after a reload"))
        assert google.using()[-1] == name
        off = config(google)
        del off["spec"]["hints"]["cachedContents"]
        gateway.rewrite(off)
        assert gateway.running.reloader.check()
        await until(lambda: google.deleted == [name])
        await ask(gateway, asked("without"))
        assert google.using()[-1] is None
