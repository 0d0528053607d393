"""Whose a content is: made, used, listed and deleted with one credential, and for nobody else."""

import asyncio

import httpx
import pytest

from tests.gateway.conftest import StartGateway
from tests.gateway.contents.clients import CLIENT, GEMINI, VERTEX, ask, asked, config, make_one, until
from tests.gateway.providers.google import GoogleProvider


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
