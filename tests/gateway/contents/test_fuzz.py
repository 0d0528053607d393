"""A corpus of requests: whatever a client asks, it fares with cached contents as it does without."""

import json
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import StartGateway
from tests.gateway.contents.clients import CLIENT, GEMINI, MODEL, VERTEX, config
from tests.gateway.hints import requests
from tests.gateway.hints.test_stub import corpus
from tests.gateway.providers.google import GoogleProvider

SHORT = {"models": [MODEL], "minimumTokens": 4}
"""So that requests need not be long for what this is about."""


@pytest.mark.parametrize(("provider", "path"), [("gemini", GEMINI), ("vertex", VERTEX)])
@pytest.mark.parametrize(
    "points", [[], [{"location": "message", "index": 0}, {"location": "message", "index": -2}, {"location": "system"}]]
)
async def test_no_request_fares_worse_for_cached_contents(
    start_gateway: StartGateway, google: GoogleProvider, provider: str, path: str, points: list[Any]
) -> None:
    google.minimum = 4
    bodies = [json.dumps(body).encode() for body in corpus(requests.GEMINI)]
    headers = CLIENT | {"Cache-Control": "no-cache", "Content-Type": "application/json"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as client:

        async def said(url: str, body: bytes) -> tuple[int, Any]:
            answer = await client.post(f"{url}{path}:generateContent", content=body)
            return answer.status_code, answer.json().get("candidates") or answer.json()["error"]

        direct = [await said(google.url, body) for body in bodies]
        hints = {"capabilities": [SHORT], "points": points}
        wanted = {"after": 2, "limit": 1000}
        async with start_gateway(config(google, contents=wanted, provider=provider, hints=hints)) as gateway:
            for _ in range(4):
                assert [await said(gateway.url, body) for body in bodies] == direct
            refused = [
                await gateway.metric(f'llmcache_cached_content_events_total{{event="{event}",upstream="main"}}')
                for event in ("refused", "failed")
            ]
    assert {200, 400, 403} >= {status for status, _ in direct} >= {200, 400}
    assert refused[0] == 0, "what is given a content can use it"
    assert len(google.made) > 10
    assert len(set(google.using()) & set(google.made)) > 10
    assert sorted(google.deleted) == sorted(google.made)
