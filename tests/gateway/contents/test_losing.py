"""A content that Google refuses, or has no longer: it is forgotten, and no request fails of it."""

import asyncio

import pytest

from tests.gateway.conftest import StartGateway
from tests.gateway.contents.clients import CLIENT, EVENTS, GEMINI, ask, asked, config, direct, make_one, until
from tests.gateway.providers.google import GoogleProvider


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
