"""A primary dies under live traffic: every client gets its answer, and the cache comes back by itself."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from llmcache_gateway.stores.marks import PACE
from tests.gateway.conftest import ADMIN, StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.redis_stores import entries, shared
from tests.gateway.test_fail_open import ask, circuits, settled, until
from tests.gateway.test_sdk import sdk
from tests.redis_server import until_says
from tests.redis_topologies import Cluster, Sentinels, running_cluster, running_sentinels

MARKS = "llmcache:tests/test:@marks"


def config(provider: Provider, external: dict[str, Any], timeout: str = "2s") -> dict[str, Any]:
    return manifest(
        provider.base_url,
        cache={"store": {"type": "redis", "timeout": timeout}},
        redis={"external": external},
        timeout="20s",
    )


@asynccontextmanager
async def traffic(client: openai.AsyncOpenAI) -> AsyncIterator[list[str]]:
    """Ask again and again, five at a time, for the length of the block; yield what the cache did."""
    outcomes: list[str] = []
    stop = asyncio.Event()

    async def one(number: int) -> None:
        for turn in range(10_000):
            outcomes.append(await ask(client, f"question {(turn * 7 + number) % 40}"))
            if stop.is_set():
                return
            await asyncio.sleep(0.005)

    asking = asyncio.gather(*(one(number) for number in range(5)))
    try:
        yield outcomes
    finally:
        stop.set()
        await asking


async def seen(outcomes: list[str], wanted: str, since: int) -> None:
    """Wait until the traffic has met an outcome, however busy the machine is."""

    async def met() -> bool:
        return wanted in outcomes[since:]

    await until(met, within_seconds=30)


async def comes_back(gateway: TestGateway, client: openai.AsyncOpenAI) -> None:
    """Wait until answers are kept again, on every server: twenty keys, all of which become hits."""
    turn = iter(range(1000))

    async def kept() -> bool:
        texts = [f"back {next(turn)}" for _ in range(20)]
        for text in texts:
            await ask(client, text)
        await settled(gateway)
        return [await ask(client, text) for text in texts] == ["HIT"] * len(texts)

    await until(kept, within_seconds=60)


async def invalidate(gateway: TestGateway, tag: str) -> int:
    async with httpx.AsyncClient(headers=ADMIN, timeout=20) as client:
        answer = await client.post(f"{gateway.admin_url}/admin/v1/invalidate", json={"tags": [tag]})
    return answer.status_code


async def store_with_tag(gateway: TestGateway, tag: str, text: str) -> str:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
    response = await gateway.post(body, headers={"X-LLMCache-Tags": tag, "Authorization": "Bearer sk-test"})
    return response.headers["X-LLMCache"]


async def test_sentinels_fail_over_in_the_middle_of_traffic(
    start_gateway: StartGateway, provider: Provider, tmp_path: Path
) -> None:
    with running_sentinels(tmp_path) as sentinels:
        async with start_gateway(config(provider, sentinels.external)) as gateway, sdk(gateway) as client:
            await store_with_tag(gateway, "old", "taken back")
            await settled(gateway)
            async with traffic(client) as outcomes:
                await seen(outcomes, "HIT", 0)
                assert await invalidate(gateway, "old") == 200
                (primary,) = sentinels.primaries
                before = len(outcomes)
                primary.kill()
                await comes_back(gateway, client)
                after = len(outcomes)
                await seen(outcomes, "HIT", after)
            assert "MISS" in outcomes[before:after]
            assert sentinels.primaries != [primary]
            assert await store_with_tag(gateway, "old", "taken back") == "MISS"


async def test_a_sentinel_that_is_silent_keeps_nobody_from_the_cache(
    start_gateway: StartGateway, provider: Provider, sentinels: Sentinels
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        external = sentinels.external
        external["sentinel"]["hosts"].insert(0, f"127.0.0.1:{silent.getsockname()[1]}")
        async with start_gateway(config(provider, external)) as gateway, sdk(gateway) as client:
            await comes_back(gateway, client)


@pytest.fixture
def own_cluster() -> Any:
    with running_cluster(replicas=1) as cluster:
        yield cluster


@pytest.mark.parametrize("holds_marks", [True, False])
async def test_a_primary_of_a_cluster_dies_and_its_replica_takes_over(
    holds_marks: bool, start_gateway: StartGateway, provider: Provider, own_cluster: Cluster
) -> None:
    marked = own_cluster.primary_of(MARKS)
    doomed = next(one for one in own_cluster.primaries if (one is marked) is holds_marks)
    async with start_gateway(config(provider, own_cluster.external)) as gateway, sdk(gateway) as client:
        async with traffic(client) as outcomes:
            await seen(outcomes, "HIT", 0)
            doomed.kill()
            await comes_back(gateway, client)
            after = len(outcomes)
            await seen(outcomes, "HIT", after)
        assert doomed.process.poll() is not None


async def test_of_a_node_that_nobody_replaces_only_its_own_entries_are_missing(
    start_gateway: StartGateway, provider: Provider
) -> None:
    with running_cluster(["--cluster-require-full-coverage", "no"]) as cluster:
        async with start_gateway(config(provider, cluster.external)) as gateway, sdk(gateway) as client:
            for number in range(40):
                await ask(client, f"question {number}")
            await settled(gateway)
            marked = cluster.primary_of(MARKS)
            doomed = next(one for one in cluster.primaries if one is not marked)
            lost = len(entries(doomed.command("KEYS", "*").encode().split()))
            assert 0 < lost < 40
            doomed.kill()
            for _ in range(3):
                outcomes = [await ask(client, f"question {number}") for number in range(40)]
                assert (outcomes.count("HIT"), outcomes.count("MISS")) == (40 - lost, lost)
            assert set((await circuits(gateway)).values()) == {"closed"}
            assert await gateway.metric('llmcache_store_errors_total{op="get",store="redis"}') == 3 * lost
            store = (await gateway.status())["store"]
            assert store["healthy"] is False
            assert str(doomed.port) in store["error"]


async def test_an_invalidation_waits_for_a_replica_and_the_log_says_when_none_has_it(
    sentinels: Sentinels, own_cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    for redis, replicas in ((sentinels, sentinels.servers), (own_cluster, own_cluster.replicas)):
        store = shared(redis.external)
        silent = [one for one in replicas if one not in redis.primaries]
        epoch = await store.marks().add(["tag:a"], 0)
        assert caplog.messages == []
        for one in silent:
            one.process.send_signal(signal.SIGSTOP)
        later = await store.marks().add(["tag:b"], epoch)
        assert later > epoch
        assert (await store.marks().read(epoch))[1] == {"tag:b": later}
        assert "no replica of Redis has confirmed" in caplog.messages.pop()
        caplog.clear()
        for one in silent:
            one.process.send_signal(signal.SIGCONT)
        await store.close()


async def test_after_a_failover_to_a_replica_that_lagged_nothing_older_is_served(
    start_gateway: StartGateway, provider: Provider, tmp_path: Path
) -> None:
    with running_sentinels(tmp_path) as sentinels:
        external = config(provider, sentinels.external)
        (primary,) = sentinels.primaries
        replica = next(one for one in sentinels.servers if one is not primary)
        async with start_gateway(external) as one, start_gateway(external) as other:
            assert await store_with_tag(one, "a", "taken back") == "MISS"
            await settled(one)
            assert await store_with_tag(other, "a", "taken back") == "HIT"
            # The replica hears no more of its primary: what comes now is lost with that.
            replica.command("CONFIG", "SET", "masteruser", "nobody", "masterauth", "wrong")
            primary.command("CLIENT", "KILL", "TYPE", "replica")
            until_says(replica, "master_link_status:down", "INFO", "replication")
            assert await invalidate(one, "a") == 200
            primary.kill()

            async def taken_over() -> bool:
                return sentinels.primaries == [replica]

            await until(taken_over, within_seconds=60)
            for gateway in (one, other):
                assert await store_with_tag(gateway, "a", f"through {gateway.url}") == "MISS"

            async def knows_redis_again() -> bool:
                return await store_with_tag(one, "a", f"through {one.url}") == "HIT"

            # Only who took it back knows of it, until it reads the marks again; then the other has its usual time.
            await until(knows_redis_again, within_seconds=60)
            await asyncio.sleep(PACE.trust_seconds)
            assert await store_with_tag(other, "a", "taken back") == "MISS"
