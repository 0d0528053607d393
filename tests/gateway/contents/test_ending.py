"""How long a content is kept: renewed while it is used, deleted when it is not, and at a gateway's end."""

import asyncio

import pytest

from tests.gateway.conftest import StartGateway
from tests.gateway.contents.clients import EVENTS, ask, asked, config, make_one, until
from tests.gateway.providers.google import GoogleProvider


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
