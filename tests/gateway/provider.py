"""A stand-in for the provider, at the edge of the world: it speaks OpenAI's wire format over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Provider:
    """What the provider was asked, and how it answers. `behave` replaces the ordinary answer while it is set."""

    base_url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    behave: Behaviour | None = None
    chunk_seconds: float = 0.0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        call = {
            "method": request.method,
            "path": request.raw_path,
            "headers": request.headers.copy(),
            "raw": raw,
            "body": _json_or_none(raw),
        }
        self.calls.append(call)
        if self.behave is not None:
            return await self.behave(request)
        if request.path != "/v1/chat/completions":
            return web.json_response({"path": request.raw_path, "n": len(self.calls)}, headers={"x-provider": "yes"})
        return await self.chat(request, call["body"])

    async def chat(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        number = len(self.calls)
        answer = completion(number, body["model"], f"answer {number} to {body['messages'][-1]['content']}")
        if not body.get("stream"):
            return web.json_response(answer)
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return await send_events(request, chunks_of(answer, usage), self.chunk_seconds)


def completion(number: int, model: str, text: str, **choice: Any) -> dict[str, Any]:
    """Return a chat completion as OpenAI sends it, a field unknown to every SDK included."""
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_795_000_000 + number,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
            | choice
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        "field_of_tomorrow": {"kept": True},
    }


def chunks_of(answer: dict[str, Any], usage: bool) -> list[str]:
    """Return the data of the events in which OpenAI streams a completion."""
    top = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    top["object"] = "chat.completion.chunk"
    if usage:
        top["usage"] = None
    message = answer["choices"][0]["message"]
    words = message["content"].split(" ")
    pieces = [words[0], *(f" {word}" for word in words[1:])]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"content": piece} for piece in pieces]
    data = [
        {**top, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}], "obfuscation": "x"}
        for delta in deltas
    ]
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": answer["choices"][0]["finish_reason"]}
    data.append({**top, "choices": [last]})
    if usage:
        data.append({**top, "choices": [], "usage": answer["usage"]})
    return [*(json.dumps(one) for one in data), "[DONE]"]


async def send_events(request: web.Request, data: list[str], seconds: float = 0.0) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for one in data:
        await response.write(f"data: {one}\n\n".encode())
        await asyncio.sleep(seconds)
    await response.write_eof()
    return response


@asynccontextmanager
async def serving(handle: Behaviour) -> AsyncIterator[str]:
    """Serve every method and path with one handler on a free port; yield the address."""
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_provider() -> AsyncIterator[Provider]:
    provider = Provider()
    async with serving(provider.handle) as address:
        provider.base_url = f"{address}/v1"
        yield provider


@asynccontextmanager
async def raw_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Run a TCP server that speaks no proper HTTP; yield its base URL."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def _json_or_none(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
