"""A stand-in for Anthropic's API, at the edge of the world: it speaks its wire format over a real socket."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.gateway.provider import serving

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class AnthropicProvider:
    """What the provider was asked, and how it answers.

    `content` and `stop_reason` replace those of its ordinary answers while they are set, `behave` all of it.
    """

    base_url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    content: list[dict[str, Any]] | None = None
    stop_reason: str = "end_turn"
    behave: Behaviour | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        headers = request.headers.copy()
        body: Any = json.loads(raw) if raw else None
        self.calls.append({"method": request.method, "path": request.raw_path, "headers": headers, "body": body})
        if "Authorization" not in headers and "x-api-key" not in headers:
            return error(401, "authentication_error", "x-api-key header is required")
        if "anthropic-version" not in headers:
            return error(400, "invalid_request_error", "anthropic-version: header is required")
        if self.behave is not None:
            return await self.behave(request)
        if request.path == "/v1/messages/count_tokens":
            return web.json_response({"input_tokens": len(self.calls)})
        if request.path != "/v1/messages":
            return error(404, "not_found_error", f"no {request.path}")
        answer = self.answer(len(self.calls), body)
        if not body.get("stream"):
            return web.json_response(answer, headers={"request-id": f"req_{len(self.calls)}"})
        return await send_events(request, events_of(answer))

    def answer(self, number: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return the message of the call with this number."""
        text = {"type": "text", "text": f"answer {number} to {_question(body)}"}
        content = [text] if self.content is None else self.content
        return message(number, body["model"], content, self.stop_reason)


def message(number: int, model: str, content: list[dict[str, Any]], stop_reason: str = "end_turn") -> dict[str, Any]:
    """Return a message as Anthropic sends it, a member unknown to every SDK included."""
    return {
        "id": f"msg_{number:02}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": "###" if stop_reason == "stop_sequence" else None,
        "stop_details": None,
        "usage": {
            "input_tokens": 21,
            "cache_creation_input_tokens": 188,
            "cache_read_input_tokens": 1800,
            "cache_creation": {"ephemeral_5m_input_tokens": 188, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 30 + number,
            "output_tokens_details": {"thinking_tokens": 7},
            "service_tier": "standard",
            "inference_geo": "global",
        },
        "field_of_tomorrow": {"kept": True},
    }


def events_of(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events in which Anthropic streams a message, its pings included."""
    usage = answer["usage"]
    at_first = {name: count for name, count in usage.items() if name != "output_tokens_details"} | {"output_tokens": 1}
    unfinished: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": at_first}
    yield {"type": "message_start", "message": {**answer, **unfinished}}
    for index, block in enumerate(answer["content"]):
        start, deltas = _in_pieces(block)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        if index == 0:
            yield {"type": "ping"}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    totals = {name: count for name, count in usage.items() if "tokens" in name}
    end = {name: answer[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield {"type": "message_delta", "delta": end, "usage": totals}
    yield {"type": "message_stop"}


def _in_pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match block:
        case {"type": "text", "text": text}:
            deltas = [{"type": "text_delta", "text": piece} for piece in _cut(text)]
            citations = block.get("citations")
            if not citations:
                return {**block, "text": ""}, deltas
            deltas += [{"type": "citations_delta", "citation": citation} for citation in citations]
            return {**block, "text": "", "citations": []}, deltas
        case {"type": "thinking", "thinking": thinking, "signature": signature}:
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _cut(thinking)]
            deltas.append({"type": "signature_delta", "signature": signature})
            return {**block, "thinking": "", "signature": ""}, deltas
        case {"type": "tool_use" | "server_tool_use" | "mcp_tool_use", "input": given}:
            pieces = ["", *(_cut(json.dumps(given)) if given else [])]
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block, []


def _cut(text: str) -> list[str]:
    return [text[at : at + 5] for at in range(0, len(text), 5)]


def _question(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else str(content[-1].get("text"))


def error(status: int, kind: str, text: str, **headers: str) -> web.Response:
    body = {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_9"}
    return web.json_response(body, status=status, headers={"request-id": "req_9", **headers})


def event_bytes(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


async def send_events(request: web.Request, events: Iterator[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    await response.write(b": connected\n\n")
    for one in events:
        await response.write(event_bytes(one))
    await response.write_eof()
    return response


@asynccontextmanager
async def running_anthropic(provider: AnthropicProvider | None = None) -> AsyncIterator[AnthropicProvider]:
    provider = AnthropicProvider() if provider is None else provider
    async with serving(provider.handle) as provider.base_url:
        yield provider
