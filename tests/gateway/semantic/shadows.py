"""A gateway in mode shadow, and what it says of the hits that it would have served."""

from collections.abc import Mapping
from typing import Any

import httpx

from tests.gateway.conftest import ADMIN, TestGateway
from tests.gateway.provider import Provider
from tests.gateway.semantic.questions import ONLY_CACHED, SAME, chat, semantic, until


def shadowed(provider: Provider, more: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return semantic(provider, semantic={"mode": "shadow"} | dict(more or {}), **spec)


async def would_serve(gateway: TestGateway, text: str = SAME, headers: dict[str, str] | None = None) -> None:
    """Wait until the stored question is found by one that means the same, which is not asked upstream for it."""
    name = 'llmcache_semantic_lookups_total{mode="shadow",outcome="served"}'
    before = await gateway.metric(name)

    async def is_found() -> bool:
        answer = await gateway.post(chat(text), headers=(headers or {}) | ONLY_CACHED)
        assert answer.status_code == 504
        return await gateway.metric(name) > before

    await until(is_found)


async def sampled(gateway: TestGateway, verdict: str) -> float:
    return await gateway.metric(f'llmcache_false_hits_sampled_total{{policy="default",verdict="{verdict}"}}')


async def until_sampled(gateway: TestGateway, verdict: str, times: int = 1) -> None:
    async def is_sampled() -> bool:
        return await sampled(gateway, verdict) == times

    await until(is_sampled)


async def compared(gateway: TestGateway) -> Any:
    async with httpx.AsyncClient() as client:
        told = (await client.get(f"{gateway.admin_url}/admin/v1/stats", headers=ADMIN)).json()
    return told["falseHits"]


async def rate(gateway: TestGateway, bound: str) -> float:
    return await gateway.metric(f'llmcache_false_hit_rate{{bound="{bound}",policy="default"}}')
