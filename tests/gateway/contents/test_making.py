"""When a content is made, of what, and when none is made: too short, refused, too dear, too many."""

import asyncio
from typing import Any

import pytest

from tests.gateway.conftest import StartGateway
from tests.gateway.contents.clients import (
    EVENTS,
    GEMINI,
    LONG,
    MODEL,
    VERTEX,
    ask,
    asked,
    config,
    direct,
    make_one,
    until,
    user,
)
from tests.gateway.providers.google import GoogleProvider

TOOLS = [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}]


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


async def test_no_more_are_used_than_the_limit(start_gateway: StartGateway, google: GoogleProvider) -> None:
    async with start_gateway(config(google, contents={"limit": 1})) as gateway:
        await make_one(gateway, google)
        for number in range(6):
            await ask(gateway, asked(f"number {number}", system="Another. " + LONG))
    assert google.asked_to_make == 1


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
