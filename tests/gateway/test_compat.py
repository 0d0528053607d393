"""The gateway's counters under LiteLLM's names."""

import httpx
import pytest

from tests.gateway.conftest import StartGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.test_rollout import switch
from tests.gateway.test_usage import asked


async def test_litellms_names_are_there_while_they_are_asked_for(
    start_gateway: StartGateway, provider: Provider, redis_url: str
) -> None:
    spec = {"cache": {"store": {"type": "redis"}}, "redis": {"external": {"url": redis_url}}}
    config = manifest(provider.base_url, **spec, monitoring={"compat": "litellm"})
    async with start_gateway(config) as gateway:
        await gateway.post(asked("x"))
        await gateway.running.reloader.current.store.flush()
        for _ in range(3):
            assert (await gateway.post(asked("x"))).headers["X-LLMCache"] == "HIT"
        for name, value in {
            "litellm_cache_hits_total": 3,
            "litellm_cache_hits_metric_total": 3,
            "litellm_cache_misses_total": 1,
            "litellm_cache_misses_metric_total": 1,
            "litellm_cached_tokens_metric_total": 3 * 13,
            "litellm_cache_hit_ratio": 0.75,
            "litellm_cache_latency_seconds_count": await gateway.metric("llmcache_lookup_seconds_count"),
        }.items():
            assert await gateway.metric(name) == value, name
        assert await gateway.metric("litellm_cache_latency_seconds_count") > 0
        del config["spec"]["monitoring"]
        switch(gateway, config)
        async with httpx.AsyncClient() as client:
            assert "litellm" not in (await client.get(f"{gateway.admin_url}/metrics")).text


async def test_standalone_it_is_in_force_and_the_rest_of_monitoring_is_not(
    start_gateway: StartGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    async with start_gateway(manifest(None, monitoring={"compat": "litellm"})):
        pass
    assert "not in force" not in capsys.readouterr().out
    async with start_gateway(manifest(None, monitoring={"compat": "litellm", "alerts": True})):
        pass
    assert "not in force without an operator: spec.monitoring" in capsys.readouterr().out
