"""How OpenAI answers `POST /v1/responses`."""

import json
from typing import Any

from aiohttp import web

from tests.gateway.provider import Behaviour, Provider

LOGPROBS = [
    {"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": [{"token": "b", "bytes": [98], "logprob": -1}]}
]
ANNOTATION = {"type": "url_citation", "start_index": 0, "end_index": 3, "url": "https://example.org", "title": "E"}
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "It thinks."}, {"type": "summary_text", "text": "And thinks."}],
    "content": [{"type": "reasoning_text", "text": "Caches keep."}],
    "encrypted_content": "gAAAAB==",
    "status": "completed",
}
FUNCTION_CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city":"Graz"}',
}
CUSTOM_CALL = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_2", "name": "sql", "input": "SELECT 1"}
TOMORROW = {"id": "x_1", "type": "item_of_tomorrow", "status": "done", "content": 5, "deep": {"x": [None]}}


def message(*content: dict[str, Any], **more: Any) -> dict[str, Any]:
    item = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": list(content)}
    return item | more


def text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **more}


OUTPUTS: dict[str, list[dict[str, Any]]] = {
    "text": [message(text("A cache keeps."))],
    "log-probabilities and annotations": [
        message(text("abc", logprobs=LOGPROBS, annotations=[ANNOTATION, ANNOTATION]), phase="final_answer")
    ],
    "several parts and messages": [message(text("a"), text("b")), message(text("☃ \n"), id="msg_2", of="tomorrow")],
    "reasoning": [REASONING, message(text("So."))],
    "tool calls": [FUNCTION_CALL, FUNCTION_CALL | {"id": "fc_2", "call_id": "call_3", "arguments": "{}"}, CUSTOM_CALL],
    "unknown items and parts": [TOMORROW, message(text("a"), {"type": "part_of_tomorrow", "x": 1})],
}


def answering(provider: Provider, output: list[dict[str, Any]] | None = None, **more: Any) -> Behaviour:
    """Return a provider's behaviour: a response with this output, streamed or not."""

    async def behave(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        answer = response(len(provider.calls), body, output) | more
        if not body.get("stream"):
            return web.json_response(answer)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await stream.prepare(request)
        for block in blocks_of(answer):
            await stream.write(block + b"\n\n")
        await stream.write_eof()
        return stream

    return behave


def response(number: int, body: dict[str, Any], output: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return a response as OpenAI sends it, a member unknown to every SDK included."""
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_795_000_000 + number,
        "status": "completed",
        "background": False,
        "completed_at": 1_795_000_001 + number,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": None,
        "model": body.get("model", "model-of-the-prompt"),
        "output": [message(text(f"answer {number}"))] if output is None else output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"} | body.get("prompt_cache_options", {}),
        "reasoning": {"effort": "medium", "summary": None},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": "default",
        "store": body.get("store", True),
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": body.get("tools", []),
        "top_p": 0.98,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 12,
        },
        "user": body.get("user"),
        "metadata": body.get("metadata", {}),
        "field_of_tomorrow": {"kept": True},
    }


def blocks_of(answer: dict[str, Any]) -> list[bytes]:
    """Return the event blocks in which OpenAI streams a response: letter by letter, deltas padded."""
    begun = answer | {"status": "in_progress", "completed_at": None, "output": [], "usage": None}
    events: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
    ]
    for at, item in enumerate(answer["output"]):
        events.append(("response.output_item.added", {"output_index": at, "item": _emptied(item)}))
        events += _message(item, {"item_id": item["id"], "output_index": at}) if item["type"] == "message" else []
        if item["type"] == "function_call":
            here = {"item_id": item["id"], "output_index": at}
            kind = "response.function_call_arguments"
            events += [(f"{kind}.delta", {**here, "delta": one, "obfuscation": "x"}) for one in item["arguments"]]
            events.append((f"{kind}.done", {**here, "arguments": item["arguments"]}))
        events.append(("response.output_item.done", {"output_index": at, "item": item}))
    kind = {"completed": "completed", "incomplete": "incomplete", "failed": "failed"}[answer["status"]]
    events.append((f"response.{kind}", {"response": answer}))
    return [block(kind, {"sequence_number": number, **members}) for number, (kind, members) in enumerate(events)]


def block(kind: str, members: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}".encode()


def _emptied(item: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, dict[str, Any]] = {
        "message": {"content": []},
        "function_call": {"arguments": ""},
        "reasoning": {"summary": []},
    }
    return item | empty.get(item["type"], {})


def _message(item: dict[str, Any], item_at: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    events: list[tuple[str, dict[str, Any]]] = []
    for at, part in enumerate(item["content"]):
        here = {**item_at, "content_index": at}
        if part["type"] != "output_text":
            events.append(("response.content_part.added", {**here, "part": part}))
        else:
            empty = part | {"text": "", "annotations": [], "logprobs": []}
            events.append(("response.content_part.added", {**here, "part": empty}))
            for letter in part["text"]:
                delta = {**here, "delta": letter, "logprobs": [], "obfuscation": "xyz"}
                events.append(("response.output_text.delta", delta))
            events.append(("response.output_text.done", {**here, "text": part["text"], "logprobs": part["logprobs"]}))
        events.append(("response.content_part.done", {**here, "part": part}))
    return events
