"""What only a cluster does: round trips to each node, keys that move, connections that ended long ago."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from llmcache_gateway.stores import RedisStore
from tests.gateway.redis_stores import NAMESPACE, shared
from tests.gateway.test_store_contract import an_entry
from tests.gateway.test_together import calls, reads
from tests.redis_server import RedisServer
from tests.redis_topologies import Cluster, running_cluster


@pytest.fixture
async def store(cluster: Cluster) -> AsyncIterator[RedisStore]:
    for server in cluster.primaries:
        server.command("FLUSHALL")
    store = shared(cluster.external)
    yield store
    await store.close()


async def test_many_lookups_cost_each_node_few_round_trips(store: RedisStore, cluster: Cluster) -> None:
    for number in range(90):
        await store.put(f"k{number}", an_entry(f"answer {number}"))
    before = [(reads(server), calls(server, "get")) for server in cluster.primaries]
    found = await asyncio.gather(*(store.get(f"k{number}") for number in range(300)))
    for number, one in enumerate(found):
        assert (one.entry.blocks if one else None) == ([f"answer {number}".encode()] if number < 90 else None)
    lookups = 0
    for server, (read, looked) in zip(cluster.primaries, before, strict=True):
        lookups += calls(server, "get") - looked
        assert reads(server) - read <= 40  # nodes talk with each other, too
    assert lookups == 300


async def test_connections_that_nodes_have_ended_cost_no_lookup(store: RedisStore, cluster: Cluster) -> None:
    for number in range(30):
        await store.put(f"k{number}", an_entry())
    for server in cluster.primaries:
        server.command("CLIENT", "KILL", "TYPE", "normal")
    for number in range(30):
        assert await store.get(f"k{number}") is not None


async def test_a_key_that_moves_to_another_node_is_found_on_its_way_and_after_it() -> None:
    with running_cluster() as cluster:
        store = shared(cluster.external)
        await store.put("k", an_entry("moved"))
        name = f"{NAMESPACE}k"
        source = cluster.primary_of(name)
        target = next(one for one in cluster.primaries if one is not source)
        slot = source.command("CLUSTER", "KEYSLOT", name)
        there, here = (one.command("CLUSTER", "MYID") for one in (target, source))
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", here)
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", there)
        assert await text(store) == b"moved"
        source.command("MIGRATE", "127.0.0.1", str(target.port), name, "0", "5000")
        assert await text(store) == b"moved"  # the source says ASK
        assert await store.delete("k") is True
        await store.put("k", an_entry("new"))
        assert holds(target, name)
        for server in (target, source, *(one for one in cluster.primaries if one not in (source, target))):
            server.command("CLUSTER", "SETSLOT", slot, "NODE", there)
        assert await text(store) == b"new"  # it says MOVED
        assert await text(store) == b"new"
        await store.close()


async def text(store: RedisStore) -> bytes:
    """Return what is stored, by two lookups that share their trip with others."""
    found = await asyncio.gather(*(store.get("k") for _ in range(5)))
    (block,) = {one.entry.blocks[0] for one in found if one is not None}
    assert isinstance(block, bytes)
    return block


def holds(server: RedisServer, name: str) -> bool:
    return name in server.command("KEYS", "*").splitlines()
