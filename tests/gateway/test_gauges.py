"""Gauges show the configuration in force, not one that was replaced or refused."""

from tests.gateway.conftest import StartGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.test_coalescing import GOOD
from tests.gateway.test_fail_open import until
from tests.redis_server import free_port

CIRCUITS = "llmcache_store_circuit_open"
ENTRIES = "llmcache_entries"
LONG_SECONDS = 60.0


async def test_the_circuit_of_a_store_that_was_replaced_is_not_shown_as_open_for_ever(
    start_gateway: StartGateway, provider: Provider
) -> None:
    away = {"external": {"url": f"redis://127.0.0.1:{free_port()}"}}
    config = manifest(provider.base_url, cache={"store": {"type": "redis"}}, redis=away)
    async with start_gateway(config) as gateway:

        async def is_open() -> bool:
            await gateway.post(GOOD)
            return (await gateway.samples(CIRCUITS))['llmcache_store_circuit_open{op="get",store="redis"}'] == 1

        await until(is_open, LONG_SECONDS)
        assert await gateway.samples(ENTRIES) == {}
        gateway.rewrite(manifest(provider.base_url))

        async def is_of_memory() -> bool:
            return await gateway.samples(CIRCUITS) == {
                'llmcache_store_circuit_open{op="get",store="memory"}': 0,
                'llmcache_store_circuit_open{op="put",store="memory"}': 0,
            }

        await until(is_of_memory, LONG_SECONDS)
        assert await gateway.samples(ENTRIES) == {'llmcache_entries{tier="memory"}': 0}


async def test_a_configuration_that_is_refused_is_not_shown_in_the_place_of_the_one_that_serves(
    start_gateway: StartGateway, provider: Provider
) -> None:
    """Its store had been made by the time it was refused, and was shown from then on: empty."""
    async with start_gateway(manifest(provider.base_url)) as gateway:
        await gateway.post(GOOD)
        other = {"store": {"type": "memory", "l1": {"entries": 3}}}
        missing = {"enabled": True, "embedding": {"local": {"path": "/nowhere"}}}
        gateway.rewrite(manifest(provider.base_url, cache=other, semantic=missing))

        async def is_refused() -> bool:
            return (await gateway.status())["configError"] is not None

        await until(is_refused, LONG_SECONDS)
        assert await gateway.samples(ENTRIES) == {'llmcache_entries{tier="memory"}': 1}
