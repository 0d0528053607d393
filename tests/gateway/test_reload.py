"""Configuration changes without a restart."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from llmcache_gateway.config import GatewayConfig
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.reload import ConfigFile, Reloader
from llmcache_gateway.runtime import Runtime
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider

GOOD = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


async def outcome(gateway: TestGateway) -> tuple[str, str]:
    response = await gateway.post(GOOD)
    assert response.status_code == 200
    return response.headers["X-LLMCache"], response.headers["X-LLMCache-Prefix"]


async def test_a_new_prefix_version_is_in_force_within_two_seconds_and_the_old_one_is_kept(
    gateway: TestGateway, provider: Provider
) -> None:
    assert await outcome(gateway) == ("MISS", "test:v1")
    assert await outcome(gateway) == ("HIT", "test:v1")
    v2 = manifest(provider.base_url, prefix={"version": "v2"})
    gateway.rewrite(v2)
    await asyncio.sleep(2)
    assert await outcome(gateway) == ("MISS", "test:v2")
    assert await outcome(gateway) == ("HIT", "test:v2")
    gateway.rewrite(manifest(provider.base_url))
    gateway.running.reloader.check()
    assert await outcome(gateway) == ("HIT", "test:v1")
    assert len(provider.calls) == 2


@pytest.mark.parametrize(
    "bad",
    [
        "spec: [",
        "kind: LLMCache",
        "",
        "apiVersion: llmcache.dev/v1alpha1\nkind: LLMCache\nmetadata: {name: x}\nspec: {prefix: {version: v2}}",
    ],
)
async def test_a_bad_file_keeps_the_old_configuration_serving_and_says_so(
    gateway: TestGateway, provider: Provider, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "llmcache_gateway.reload")
    await outcome(gateway)
    gateway.rewrite(bad)
    for _ in range(3):
        assert gateway.running.reloader.check() is False
    assert await outcome(gateway) == ("HIT", "test:v1")
    assert (await gateway.status())["configError"]
    assert await gateway.metric('llmcache_config_reloads_total{result="refused"}') == 1
    gateway.rewrite(manifest(provider.base_url, prefix={"version": "v3"}))
    assert gateway.running.reloader.check() is True
    assert (await gateway.status())["configError"] is None
    assert caplog.messages[-1].endswith(" is in force: prefix test at v3")
    assert await outcome(gateway) == ("MISS", "test:v3")


async def test_a_deleted_file_keeps_the_old_configuration(gateway: TestGateway) -> None:
    gateway.config.unlink()
    assert gateway.running.reloader.check() is False
    assert "can't be read" in (await gateway.status())["configError"]
    assert (await outcome(gateway))[0] == "MISS"


async def test_requests_in_flight_finish_under_the_configuration_they_began_with(
    start_gateway: StartGateway, provider: Provider, redis_url: str
) -> None:
    provider.chunk_seconds = 0.1
    redis = {"redis": {"external": {"url": redis_url}}, "cache": {"store": {"type": "redis", "timeout": "2s"}}}
    async with start_gateway(manifest(provider.base_url, **redis)) as gateway:
        streamed = asyncio.create_task(gateway.post({**GOOD, "stream": True}))
        async with asyncio.timeout(20):
            while not provider.calls:  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.01)
        gateway.rewrite(manifest(provider.base_url, prefix={"version": "v2"}))
        assert gateway.running.reloader.check() is True
        response = await streamed
        assert response.headers["X-LLMCache-Prefix"] == "test:v1"
        assert response.text.endswith("data: [DONE]\n\n")
        gateway.rewrite(manifest(provider.base_url, **redis))
        gateway.running.reloader.check()
        assert await outcome(gateway) == ("HIT", "test:v1")


async def test_a_configuration_that_is_used_again_before_its_end_is_noticed_has_not_drained(
    gateway: TestGateway,
) -> None:
    """Who waited was woken one turn after it was idle, and took it for idle still: what it held was closed in use."""
    runtime = gateway.running.reloader.current
    runtime.enter()
    draining = asyncio.create_task(runtime.drained())
    await asyncio.sleep(0)  # it waits
    runtime.leave()
    runtime.enter()
    for _ in range(20):  # more turns of the loop than it takes to wake
        await asyncio.sleep(0)
    assert not draining.done()
    runtime.leave()
    await asyncio.wait_for(draining, 20)


async def test_a_changed_secret_is_used_for_the_next_request(
    start_gateway: StartGateway, provider: Provider, tmp_path: Path
) -> None:
    config = manifest(provider.base_url)
    config["spec"]["upstreams"][0]["credential"] = {"secretRef": {"name": "openai", "key": "api-key"}}
    config["spec"]["cache"] = {"mode": "Disabled"}
    secret = tmp_path / "secrets" / "openai" / "api-key"
    secret.parent.mkdir(parents=True)
    secret.write_text("sk-old\n")
    async with start_gateway(config, secrets=tmp_path / "secrets") as gateway:
        await gateway.post(GOOD, headers={"Authorization": "Bearer of-the-client"})
        secret.write_text("sk-new")
        gateway.running.reloader.check()
        await gateway.post(GOOD, headers={"Authorization": "Bearer of-the-client", "api-key": "also"})
        secret.unlink()
        assert gateway.running.reloader.check() is False
        assert "openai/api-key" in (await gateway.status())["configError"]
    assert [call["headers"]["Authorization"] for call in provider.calls] == ["Bearer sk-old", "Bearer sk-new"]
    assert "api-key" not in provider.calls[1]["headers"]


async def test_nothing_is_swapped_while_nothing_changes(gateway: TestGateway) -> None:
    before: Any = gateway.running.reloader.current
    for _ in range(3):
        assert gateway.running.reloader.check() is False
    assert gateway.running.reloader.current is before


async def test_a_look_at_files_that_have_not_changed_is_short(gateway: TestGateway) -> None:
    """Requests wait meanwhile, each second. The tables that come with the gateway, read anew, took 20 ms."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        gateway.running.reloader.check()
    finally:
        sys.setprofile(before)
    assert calls < 3000


def test_a_file_is_parsed_when_its_text_changes_and_only_then(tmp_path: Path) -> None:
    """Parsing holds requests up for as long as dozens of them take, and the file is looked at each second."""
    path = tmp_path / "llmcache.yaml"
    file = ConfigFile(path, None)
    config = manifest(None)
    path.write_text(yaml.safe_dump(config))
    first = file.read()
    path.touch()
    assert file.read() is first
    path.write_text("spec: [")
    for _ in range(2):
        with pytest.raises(ConfigError):
            file.read()
    path.unlink()
    with pytest.raises(ConfigError, match="can't be read"):
        file.read()
    config["spec"]["prefix"]["version"] = "v2"
    path.write_text(yaml.safe_dump(config))
    assert file.read().spec.prefix.version == "v2"


async def test_what_took_long_to_be_refused_is_tried_again_seldom_and_at_once_when_the_file_has_changed(
    gateway: TestGateway, provider: Provider
) -> None:
    """Models that load for half a second, to be refused each time, stopped all requests once a second."""
    now, polls, tried = [0.0], [0], list[GatewayConfig]()
    file, in_force = ConfigFile(gateway.config, None), gateway.running.reloader.current

    def read() -> GatewayConfig:
        polls[0] += 1
        return file.read()

    def provision(config: GatewayConfig, previous: Runtime | None) -> Runtime:
        if previous is None:
            return in_force
        tried.append(config)
        now[0] += 1
        raise ConfigError(["it is of no use"])

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.05)

    reloader = Reloader(read=read, provision=provision, metrics=Metrics(CollectorRegistry()), clock=lambda: now[0])
    watching = asyncio.create_task(reloader.watch())
    try:
        await until(lambda: bool(tried))
        before = polls[0]
        await until(lambda: polls[0] > before + 2)
        assert len(tried) == 1
        now[0] += 20
        await until(lambda: len(tried) == 2)
        gateway.rewrite(manifest(provider.base_url, prefix={"version": "v2"}))
        await until(lambda: len(tried) == 3)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
