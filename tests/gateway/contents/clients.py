"""What clients ask of a gateway before Google, until a content is made of it, and the gateway's configuration."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx

from tests.gateway.conftest import TestGateway, manifest
from tests.gateway.providers.google import GoogleProvider

MODEL = "gemini-3.8-flash"
GEMINI = f"/v1beta/models/{MODEL}"
VERTEX = f"/v1/projects/p/locations/europe-west4/publishers/google/models/{MODEL}"
LONG = "You answer questions about caches. " * 600
"""Longer than what any model keeps, in bytes and in tokens."""

CLIENT = {"x-goog-api-key": "AIzaSy-one"}
EVENTS = "llmcache_cached_content_events_total"


def config(google: GoogleProvider, *, contents: Any = None, provider: str = "gemini", **spec: Any) -> dict[str, Any]:
    hints = {"cachedContents": contents or {}, **spec.pop("hints", {})}
    made = manifest(google.url, hints=hints, **spec)
    made["spec"]["upstreams"][0] |= {"provider": provider}
    return made


def user(words: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": words}]}


def asked(words: str = "Hi", system: str | None = LONG, **more: Any) -> dict[str, Any]:
    before = {} if system is None else {"systemInstruction": {"parts": [{"text": system}]}}
    return {**before, "contents": [user(words)], **more}


async def ask(
    gateway: TestGateway, body: Any, path: str = GEMINI, verb: str = "generateContent", **headers: str
) -> str:
    """Return the text of an answer that came from the provider."""
    response = await gateway.post(body, f"{path}:{verb}", headers=CLIENT | headers)
    assert response.status_code == 200, response.text
    if "stream" in verb:
        pieces = [json.loads(line[6:]) for line in response.text.splitlines() if line]
    else:
        pieces = [response.json()]
    return "".join(piece["candidates"][0]["content"]["parts"][0]["text"] for piece in pieces)


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 (only asking tells)
            await asyncio.sleep(0.02)


async def make_one(gateway: TestGateway, google: GoogleProvider, path: str = GEMINI, **more: Any) -> str:
    """Ask until a content is made and used; return its name."""
    there = len(google.made)
    for number in range(3):
        await ask(gateway, asked(f"number {number}", **more), path)
    await until(lambda: len(google.made) > there)
    numbers = iter(range(3, 1000))
    async with asyncio.timeout(30):
        while google.using()[-1] != google.made[-1]:
            await ask(gateway, asked(f"number {next(numbers)}", **more), path)
    return google.made[-1]


async def direct(google: GoogleProvider, body: Any, path: str = GEMINI) -> str:
    """Return what Google says without a gateway in between."""
    async with httpx.AsyncClient() as client:
        given = await client.post(f"{google.url}{path}:generateContent", json=body, headers=CLIENT)
    said: str = given.json()["candidates"][0]["content"]["parts"][0]["text"]
    return said
