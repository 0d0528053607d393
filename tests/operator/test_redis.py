"""The managed Redis' files, read by a real Redis: it starts, lets the gateways in, and nobody else."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.exceptions import ConnectionError as NotYet

from llmcache_gateway.config import ManagedRedis
from llmcache_operator import specs
from llmcache_operator.specs import redis as rendered
from llmcache_operator.specs.secrets import redis_acl
from tests.redis_server import free_port
from tests.tools import require_tool

PASSWORD = "only-for-this-test"
VALUES = specs.Generated(admin_token="", tenant_key="", redis_password=PASSWORD)


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    program = require_tool("redis-server")
    number = free_port()
    (tmp_path / "users.acl").write_text(redis_acl(VALUES))
    text: str = rendered.config_map(specs.Identity("demo", "ai"), ManagedRedis(memory="64Mi"))["data"]["redis.conf"]
    text = text.replace("port 6379", f"port {number}").replace("/etc/redis-acl", str(tmp_path))
    (tmp_path / "redis.conf").write_text(text.replace("dir /data", f"dir {tmp_path}"))
    process = await asyncio.create_subprocess_exec(program, str(tmp_path / "redis.conf"), stdout=-3)
    try:
        yield number
    finally:
        process.terminate()
        await process.wait()


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
    async with await _client(port, username="llmcache", password=PASSWORD) as client:
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
    async with await _client(port, username="llmcache", password=PASSWORD) as client:
        with pytest.raises((NoPermissionError, ResponseError)):
            await client.execute_command(*command.split())  # type: ignore[no-untyped-call]


async def test_nobody_else_gets_in_from_anywhere(port: int) -> None:
    async with await _client(port, username="llmcache", password=PASSWORD):
        pass
    async with Redis(host=_own_address(), port=port) as client:
        with pytest.raises(AuthenticationError):
            await client.get("x")


async def test_the_gateway_gets_in_over_the_network_in_spite_of_protected_mode(port: int) -> None:
    async with await _client(port, _own_address(), username="llmcache", password=PASSWORD) as client:
        assert await client.ping()
