"""Questions that mean the same, and the gateway that is asked them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
from aiohttp import web

from tests.gateway.conftest import TestGateway, manifest
from tests.gateway.provider import Provider, chunks_of, completion, send_events

RESET: Final = "How do I reset my password?"
SAME: Final = "How can I reset my password?"

WORDS: Final = ("password", "invoice", "address", "calendar", "printer", "camera", "keyboard", "account")

SETTINGS: Final = "Open the settings, and click the button."
BANANAS: Final = "Bananas are rich in potassium and grow in the tropics."
"""Two answers that nobody takes for one."""

DEBUG: Final = {"X-LLMCache-Debug": "1"}
ONLY_CACHED: Final = {"Cache-Control": "only-if-cached"}

LONG_SECONDS: Final = 30.0


def pairs() -> list[tuple[str, str]]:
    return [(f"How do I change my {word}?", f"How can I change my {word}?") for word in WORDS]


def semantic(provider: Provider, **more: Any) -> dict[str, Any]:
    spec = {
        "semantic": {"enabled": True, "threshold": 0.7, "verifier": "none", "deadline": "5s"} | more.pop("semantic", {})
    }
    return manifest(provider.base_url, **(spec | more))


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]} | more


def answering(provider: Provider, *texts: str, **choice: Any) -> None:
    """Have the provider say one after the other, and the last for ever."""
    left = list(texts)

    async def behave(request: web.Request) -> web.StreamResponse:
        call = provider.calls[-1]["body"]
        answer = completion(len(provider.calls), "gpt-4o", left.pop(0) if len(left) > 1 else left[0], **choice)
        if call.get("stream"):
            return await send_events(request, chunks_of(answer, usage=True))
        return web.json_response(answer)

    provider.behave = behave


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LONG_SECONDS):
        while not await holds():  # noqa: ASYNC110 (only asking tells)
            await asyncio.sleep(0.05)


async def ask_until_hit(gateway: TestGateway, body: dict[str, Any], **more: Any) -> httpx.Response:
    """Ask until the question that was taken in in the background is found, without leaving an entry behind."""
    answers: list[httpx.Response] = []

    async def is_hit() -> bool:
        more["headers"] = more.get("headers", {}) | ONLY_CACHED
        answers.append(await gateway.post(body, **more))
        return answers[-1].status_code == 200

    await until(is_hit)
    return answers[-1]
