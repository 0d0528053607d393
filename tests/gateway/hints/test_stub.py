"""Over real sockets: a provider that refuses what providers refuse answers the same with the gateway in between."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiohttp import web
from hypothesis import given, settings

from tests.gateway.conftest import StartGateway, manifest
from tests.gateway.hints import requests, rules
from tests.gateway.provider import serving

HEADERS = {"Authorization": "Bearer k", "anthropic-version": "2026-10-21"}

OPUS, LITE = "anthropic.claude-opus-5-v1:0", "us.amazon.nova-lite-v1:0"
OPENAI_SHAPED = ("openai", "openrouter", "mistral", "fireworks", "xai")
CLAUDES = "anthropic/claude-opus-5"
OF_VERTEX = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-5:rawPredict"

POINTS = [{"location": "system"}, {"location": "tools"}, {"location": "message", "index": -1}]


@asynccontextmanager
async def strict(refuses: rules.Refuses) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Run a provider that refuses hints by these rules, and answers all else; yield its address and what it got."""
    sent: list[bytes] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        sent.append(raw)
        message = refuses(json.loads(raw))
        if message is not None:
            error = {"type": "invalid_request_error", "message": message}
            return web.json_response({"type": "error", "error": error}, status=400)
        return web.json_response({"taken": True})

    async with serving(handle) as address:
        yield address, sent


def corpus(of: requests.Requests) -> list[dict[str, Any]]:
    """Return sixty requests, the same at every run."""
    found: list[dict[str, Any]] = []

    @settings(max_examples=60, derandomize=True, deadline=None, database=None)
    @given(of)
    def draw(request: dict[str, Any]) -> None:
        found.append(request)

    draw()
    return found


@pytest.mark.parametrize(
    ("provider", "model", "path", "of", "refuses", "mark"),
    [
        ("anthropic", "claude-opus-5", "/v1/messages", requests.ANTHROPIC, rules.anthropic, b"cache_control"),
        ("openai", "gpt-6.1-sol", "/v1/chat/completions", requests.CHAT, rules.openai, b"prompt_cache_breakpoint"),
        ("openai", "gpt-6.1-sol", "/v1/responses", requests.RESPONSES, rules.openai, b"prompt_cache_breakpoint"),
        ("openai", "gpt-4o", "/v1/chat/completions", requests.CHAT, rules.keyed, b"llmcache-"),
        ("bedrock", "m", f"/model/{OPUS}/converse", requests.CONVERSE, rules.converse, b"cachePoint"),
        ("bedrock", "m", f"/model/{LITE}/converse", requests.CONVERSE, rules.nova, b"cachePoint"),
        ("bedrock", "m", f"/model/{OPUS}/invoke", requests.ANTHROPIC, rules.anthropic, b"cache_control"),
        ("openrouter", CLAUDES, "/v1/chat/completions", requests.CHAT, rules.openrouter, b"cache_control"),
        ("mistral", "mistral-large", "/v1/chat/completions", requests.CHAT, rules.keyed, b"llmcache-"),
        ("fireworks", "kimi-k3", "/v1/chat/completions", requests.CHAT, rules.keyed, b"llmcache-"),
        ("xai", "grok-4.1", "/v1/responses", requests.RESPONSES, rules.keyed, b"llmcache-"),
        ("azure", "gpt-5.5", "/openai/v1/chat/completions", requests.CHAT, rules.keyed, b"llmcache-"),
        ("vertex", "m", OF_VERTEX, requests.ANTHROPIC, rules.anthropic, b"cache_control"),
        # A provider that took its hint back: whatever is added is refused.
        ("anthropic", "claude-opus-5", "/v1/messages", requests.ANTHROPIC, rules.hintless, b"cache_control"),
        ("openai", "gpt-6.1-sol", "/v1/chat/completions", requests.CHAT, rules.hintless, b"prompt_cache_breakpoint"),
    ],
)
async def test_no_request_fares_worse_for_hints(
    start_gateway: StartGateway,
    provider: str,
    model: str,
    path: str,
    of: requests.Requests,
    refuses: rules.Refuses,
    mark: bytes,
) -> None:
    version = {"anthropic_version": "bedrock-2023-05-31"} if path.endswith(("/invoke", ":rawPredict")) else {}
    bodies = [json.dumps({**body, "model": model, "stream": False, **version}).encode() for body in corpus(of)]
    async with strict(refuses) as (address, sent), httpx.AsyncClient(headers=HEADERS, timeout=20) as client:
        direct = [(await client.post(address + path, content=body)).status_code for body in bodies]
        sent.clear()
        base = f"{address}/v1" if provider in OPENAI_SHAPED else address
        config = manifest(base, hints={"mode": "always", "points": POINTS})
        config["spec"]["upstreams"][0]["provider"] = provider
        async with start_gateway(config) as gateway:
            through = [(await client.post(gateway.url + path, content=body)).status_code for body in bodies]
    assert through == direct
    assert {200, 400} >= set(direct) >= {200}
    assert any(mark in one for one in set(sent) - set(bodies))
