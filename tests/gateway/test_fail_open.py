"""Whatever befalls the store, clients of the official SDK get their answers, and the store comes back by itself."""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import openai
import pytest
import redis.asyncio
from prometheus_client import CollectorRegistry

from llmcache_gateway.entry import Entry
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.stores import TieredStore
from llmcache_gateway.stores.base import Found
from llmcache_gateway.stores.breaker import FAILURES_TO_OPEN
from llmcache_gateway.stores.guarded import MAX_PENDING_BYTES, GuardedStore
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.redis_stores import shared
from tests.gateway.test_sdk import sdk
from tests.gateway.test_store_contract import memory
from tests.redis_server import RedisServer, free_port, running_redis
from tests.socket_proxy import Fault, Proxy, running_proxy
from tests.virtual_time import run_virtually

ROUNDS = 20


@pytest.fixture
async def own_redis() -> AsyncIterator[RedisServer]:
    """A Redis that a test may spoil."""
    with running_redis() as server:
        yield server
        server.process.send_signal(signal.SIGCONT)


@pytest.fixture
async def proxy(own_redis: RedisServer) -> AsyncIterator[Proxy]:
    async with running_proxy(own_redis.port) as proxy:
        yield proxy


def config(provider: Provider, url: str, store: str = "redis", timeout: str = "50ms") -> dict[str, Any]:
    return manifest(
        provider.base_url, cache={"store": {"type": store, "timeout": timeout}}, redis={"external": {"url": url}}
    )


async def ask(client: openai.AsyncOpenAI, text: str) -> str:
    """Return what the cache did. The answer must be one to this very question."""
    response = await client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=[{"role": "user", "content": text}]
    )
    answer = response.parse().choices[0].message.content
    assert answer is not None
    assert answer.startswith("answer ")
    assert answer.endswith(f" to {text}")
    return response.headers["X-LLMCache"]


async def settled(gateway: TestGateway) -> None:
    await gateway.running.reloader.current.store.flush()


async def circuits(gateway: TestGateway) -> Any:
    return (await gateway.status())["store"]["circuits"]


async def ready(gateway: TestGateway) -> bool:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{gateway.admin_url}/readyz")).status_code == 200


async def until(holds: Callable[[], Awaitable[bool]], within_seconds: float = 15) -> None:
    async with asyncio.timeout(within_seconds):
        while not await holds():  # noqa: ASYNC110 (only asking tells)
            await asyncio.sleep(0.05)


async def comes_back(
    gateway: TestGateway, client: openai.AsyncOpenAI, provider: Provider, store: str = "redis"
) -> None:
    """Wait, under traffic, until every circuit is closed, and see that answers are kept again."""
    number = iter(range(1000))

    async def closed() -> bool:
        await ask(client, f"back {next(number)}")
        return set((await circuits(gateway)).values()) == {"closed"}

    await until(closed)
    await settled(gateway)
    await ask(client, "kept again")
    await settled(gateway)
    calls = len(provider.calls)
    assert await ask(client, "kept again") == "HIT"
    assert len(provider.calls) == calls
    for op in await circuits(gateway):
        assert await gateway.metric(f'llmcache_store_circuit_open{{op="{op}",store="{store}"}}') == 0


@pytest.mark.parametrize("fault", ["refuses", "hangs", "slow", "cuts", "stopped"])
async def test_a_store_that_gives_no_answers_is_soon_asked_no_more_and_comes_back(
    fault: str,
    start_gateway: StartGateway,
    provider: Provider,
    proxy: Proxy,
    own_redis: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "llmcache_gateway.stores.circuit")
    async with start_gateway(config(provider, proxy.url)) as gateway, sdk(gateway) as client:
        await until(lambda: ready(gateway))
        await ask(client, "known")
        await settled(gateway)
        if fault == "stopped":
            own_redis.process.send_signal(signal.SIGSTOP)
        else:
            proxy.fault = _fault(fault)
        before = len(provider.calls)
        outcomes = [await ask(client, "known") for _ in range(ROUNDS)]
        # Each was answered, by the provider, and the store was waited for no more often than it takes to open.
        assert outcomes == ["MISS"] * ROUNDS
        assert len(provider.calls) - before == ROUNDS
        assert await gateway.metric("llmcache_lookup_seconds_count") <= 1 + FAILURES_TO_OPEN + 2
        assert (await circuits(gateway))["get"] in ("open", "half-open")
        assert await gateway.metric('llmcache_store_circuit_open{op="get",store="redis"}') == 1
        assert await ready(gateway)
        opened = [one for one in caplog.messages if "failed (get)" in one]
        assert len(opened) == 1, caplog.messages
        proxy.fault = "none"
        own_redis.process.send_signal(signal.SIGCONT)
        await comes_back(gateway, client, provider)
        assert len([one for one in caplog.messages if "works again (get)" in one]) == 1


def _fault(name: str) -> Fault:
    faults: dict[str, Fault] = {"refuses": "refuses", "hangs": "hangs", "slow": "slow", "cuts": "cuts"}
    return faults[name]


@pytest.mark.parametrize("fault", ["out of memory", "read-only"])
async def test_a_store_that_takes_no_writes_still_gives_what_it_has(
    fault: str, start_gateway: StartGateway, provider: Provider, own_redis: RedisServer
) -> None:
    spoil, mend = {
        "out of memory": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        "read-only": (("REPLICAOF", "127.0.0.1", str(free_port())), ("REPLICAOF", "NO", "ONE")),
    }[fault]
    async with start_gateway(config(provider, own_redis.url, timeout="2s")) as gateway, sdk(gateway) as client:
        await ask(client, "known")
        await settled(gateway)
        own_redis.command(*spoil)
        for number in range(ROUNDS):
            assert await ask(client, f"new {number}") == "MISS"
            assert await ask(client, "known") == "HIT"
            await settled(gateway)
        state = await circuits(gateway)
        assert (state["get"], "closed" in (state["put"], state["lease"])) == ("closed", False)
        assert await gateway.metric('llmcache_store_circuit_open{op="put",store="redis"}') == 1
        assert await gateway.metric('llmcache_store_skipped_total{reason="store-away"}') > 0
        assert await ready(gateway)
        own_redis.command(*mend)
        await comes_back(gateway, client, provider)


async def test_without_its_shared_store_a_replica_serves_nothing_that_may_be_invalidated(
    start_gateway: StartGateway, provider: Provider, proxy: Proxy
) -> None:
    async with start_gateway(config(provider, proxy.url, "tiered", timeout="2s")) as gateway, sdk(gateway) as client:
        await ask(client, "known")
        await settled(gateway)
        assert await ask(client, "known") == "HIT"
        proxy.fault = "refuses"
        await asyncio.sleep(1.0)
        assert await ask(client, "known") == "MISS"


@pytest.mark.parametrize("spoil", [lambda value: b"poison", lambda value: value[:-5], lambda value: value[:1]])
async def test_a_poisoned_or_truncated_value_is_a_miss_counted_and_removed(
    spoil: Callable[[bytes], bytes], start_gateway: StartGateway, provider: Provider, redis_url: str
) -> None:
    async with start_gateway(config(provider, redis_url, timeout="2s")) as gateway, sdk(gateway) as client:
        store: Any = redis.asyncio.Redis.from_url(redis_url)
        texts = [f"question {number}" for number in range(FAILURES_TO_OPEN + 2)]
        for text in texts:
            await ask(client, text)
        await settled(gateway)
        for name in await store.keys("llmcache:tests/test:test:v1:*"):
            await store.set(name, spoil(await store.get(name)))
        assert [await ask(client, text) for text in texts] == ["MISS"] * len(texts)
        await settled(gateway)
        assert await gateway.metric('llmcache_store_errors_total{op="read",store="redis"}') == len(texts)
        assert set((await circuits(gateway)).values()) == {"closed"}
        assert [await ask(client, text) for text in texts] == ["HIT"] * len(texts)
        await store.aclose()


async def test_writes_to_a_store_that_hangs_are_bounded_in_bytes_and_end_by_themselves(proxy: Proxy) -> None:
    proxy.fault = "hangs"
    store = GuardedStore(shared(proxy.url), timeout_seconds=0.05, metrics=Metrics(CollectorRegistry()), clock=time.time)
    now = time.time()
    size = 2**20
    entry = Entry("json", "application/json", [b"x" * size], "m", now, now + 60, now + 60)
    taken = [store.put_soon(f"k{number}", entry) for number in range(100)]
    assert taken.count(True) == MAX_PENDING_BYTES // size
    assert store.pending == (MAX_PENDING_BYTES // size, MAX_PENDING_BYTES)
    await store.flush()
    await asyncio.sleep(0)
    assert store.pending == (0, 0)
    assert not any(store.put_soon(f"k{number}", entry) for number in range(5))
    assert store.pending == (0, 0)
    await store.close()


async def test_what_was_taken_on_is_written_before_the_gateway_ends(
    start_gateway: StartGateway, provider: Provider, proxy: Proxy, own_redis: RedisServer
) -> None:
    alone = config(provider, proxy.url, timeout="10s")
    alone["spec"]["cache"]["coalesce"] = "Disabled"  # else a call is under way until others have seen its end
    async with start_gateway(alone, drain_seconds=0.01) as gateway, sdk(gateway) as client:
        await until(lambda: ready(gateway))
        proxy.fault, proxy.slow_seconds = "slow", 0.1
        await asyncio.gather(*(ask(client, f"last {number}") for number in range(10)))
        async with asyncio.timeout(20):
            await gateway.running.reloader.current.drained()  # an answer is taken on just after it is given
        assert gateway.running.reloader.current.store.pending[0] > 0
    # Beside the entries Redis holds the marks of invalidations.
    assert len(own_redis.command("--scan", "--pattern", "llmcache:tests/test:test:v1:*").splitlines()) == 10


class SlowStore(TieredStore):
    """A store that answers each lookup after some time."""

    name = "slow"

    def __init__(self, seconds: float) -> None:
        super().__init__(memory(), memory())
        self._seconds = seconds

    def get_now(self, key: str) -> Found | None:
        return None

    async def get(self, key: str) -> Found | None:
        await asyncio.sleep(self._seconds)
        return self.l1.get_now(key)


@pytest.mark.parametrize("timeout", [0.05, 2.0])
@pytest.mark.parametrize("slowness", [1.01, 10.0, 1e6])
def test_a_lookup_holds_a_request_up_for_the_timeout_and_after_a_few_no_more(timeout: float, slowness: float) -> None:
    async def times() -> list[float]:
        """Return how long each of many lookups in a row took, on a clock that runs without waiting."""
        metrics = Metrics(CollectorRegistry())
        store = GuardedStore(SlowStore(slowness * timeout), timeout_seconds=timeout, metrics=metrics, clock=time.time)
        now = asyncio.get_running_loop().time
        taken = []
        for _ in range(ROUNDS):
            began = now()
            assert await store.get("k") is None
            taken.append(now() - began)
        await store.close()
        return taken

    assert run_virtually(times()) == pytest.approx([timeout] * FAILURES_TO_OPEN + [0] * (ROUNDS - FAILURES_TO_OPEN))


def test_many_lookups_at_once_are_held_up_together_and_not_one_after_the_other() -> None:
    async def elapsed() -> float:
        metrics = Metrics(CollectorRegistry())
        store = GuardedStore(SlowStore(1e6), timeout_seconds=0.05, metrics=metrics, clock=time.time)
        assert set(await asyncio.gather(*(store.get(f"k{at}") for at in range(100)))) == {None}
        elapsed = asyncio.get_running_loop().time()
        await store.close()
        return elapsed

    assert run_virtually(elapsed()) == pytest.approx(0.05)


def test_a_store_that_is_slow_but_in_time_is_waited_for_each_time() -> None:
    async def found() -> list[bool]:
        inner = SlowStore(0.049)
        store = GuardedStore(inner, timeout_seconds=0.05, metrics=Metrics(CollectorRegistry()), clock=time.time)
        now = time.time()
        await inner.put("k", Entry("json", "application/json", [b"{}"], "m", now, now + 60, now + 60))
        found = [await store.get("k") is not None for _ in range(ROUNDS)]
        await store.close()
        return found

    assert run_virtually(found()) == [True] * ROUNDS


@pytest.mark.parametrize("fault", ["hangs", "slow"])
async def test_what_a_store_adds_is_bounded_by_the_timeout_that_is_set_on_real_sockets_too(
    fault: Fault, start_gateway: StartGateway, provider: Provider, proxy: Proxy
) -> None:
    seconds = 1.0
    async with start_gateway(config(provider, proxy.url, timeout="1s")) as gateway, sdk(gateway) as client:
        await until(lambda: ready(gateway))
        await ask(client, "known")
        await settled(gateway)
        proxy.fault, proxy.slow_seconds = fault, 30.0
        began = time.perf_counter()
        assert [await ask(client, "known") for _ in range(ROUNDS)] == ["MISS"] * ROUNDS
        elapsed = time.perf_counter() - began
    # Five waits at most, and a machine that is busy meanwhile; not the twenty that it would be without a breaker.
    assert elapsed < 2 * FAILURES_TO_OPEN * seconds
