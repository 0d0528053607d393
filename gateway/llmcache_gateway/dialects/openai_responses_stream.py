"""The events in which OpenAI streams a response: telling them apart, putting them together, writing them.

Format: the event types of OpenAI's SDK (openai 3.54). Every event's data has a `type` and a `sequence_number` that
starts at 0. The event that ends a stream holds the whole response, so that assembling reads it and little else.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Final

import msgspec

from llmcache_gateway.plainjson import dumps, loads, raw_members
from llmcache_gateway.sse import event_data

COMPLETED: Final = "response.completed"
TERMINAL: Final = frozenset({COMPLETED, "response.incomplete", "response.failed", "response.cancelled"})
"""The events that end a stream. `error` is none of them: `response.failed` may follow it."""

LIFECYCLE: Final = TERMINAL | {"response.created", "response.queued", "response.in_progress"}
"""The events that hold a response."""

Event = tuple[str, dict[str, Any]]


class _Kind(msgspec.Struct):
    type: str = ""


_kind = msgspec.json.Decoder(_Kind)


def kind_of(block: bytes) -> str:
    """Return the type of an event by its data, which is what the SDKs go by; nothing when it has none."""
    data = event_data(block)
    if data is None:
        return ""
    try:
        return _kind.decode(data).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        event = loads(data)
    except ValueError:
        return ""
    kind = event.get("type") if isinstance(event, dict) else None
    return kind if isinstance(kind, str) else ""


def event_block(kind: str, members: Mapping[str, Any]) -> bytes:
    """Return the block of one event."""
    return b"event: " + kind.encode() + b"\ndata: " + dumps({"type": kind, **members})


def without_obfuscation(block: bytes) -> bytes:
    """Return a delta's block without the padding that hides its length on the wire."""
    data = event_data(block)
    members = None if data is None else raw_members(data)
    if members is None or members.pop("obfuscation", None) is None:
        return block
    return b"event: " + kind_of(block).encode() + b"\ndata: " + msgspec.json.encode(members)


def with_response(block: bytes, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    """Return an event's block with the response that it holds changed; the block itself when it holds none."""
    # Inside a text a quote is escaped, so that most deltas are told from the events of a response without reading.
    if b'"response"' not in block or (kind := kind_of(block)) not in LIFECYCLE:
        return block
    event = loads(event_data(block) or b"")
    old = event.get("response")
    new = change(old) if isinstance(old, dict) else old
    return block if new == old else event_block(kind, {**event, "response": new})


def assemble(blocks: list[bytes]) -> dict[str, Any]:
    """Return the response that a stream ends with; ValueError when there is none.

    Some servers leave the output out of it, having sent every item before: then it is put together from those.
    """
    items: dict[int, Any] = {}
    response: Any = None
    for block in blocks:
        kind = kind_of(block)
        if kind == "response.output_item.done":
            event = loads(event_data(block) or b"")
            items[event["output_index"]] = event["item"]
        elif kind in TERMINAL:
            response = loads(event_data(block) or b"")["response"]
    if not isinstance(response, dict):
        raise ValueError("the stream holds no finished response")
    if not response.get("output") and items:
        response["output"] = [items[index] for index in sorted(items)]
    return response


def replay(response: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the events of a stream that ends with this response."""
    for number, (kind, members) in zip(count(), _events(response), strict=False):
        yield event_block(kind, {"sequence_number": number, **members})


def _events(response: Mapping[str, Any]) -> Iterator[Event]:
    begun = {**response, "status": "in_progress", "output": []}
    begun |= {name: None for name in ("completed_at", "usage") if name in response}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for at, item in enumerate(response.get("output") or ()):
        yield "response.output_item.added", {"output_index": at, "item": _begun(item)}
        yield from _contents(item, {"item_id": item.get("id") or "", "output_index": at})
        yield "response.output_item.done", {"output_index": at, "item": item}
    ended = f"response.{response.get('status')}"
    yield ended if ended in TERMINAL else COMPLETED, {"response": response}


# What an item of a known type fills with later events, and is empty at first.
_FILLED: Final[dict[str, tuple[str, ...]]] = {
    "message": ("content",),
    "reasoning": ("summary", "content"),
    "function_call": ("arguments",),
    "custom_tool_call": ("input",),
}


def _begun(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item as it is before it has any content; one of an unknown type as it is."""
    kind = item.get("type")
    filled = _FILLED.get(kind) if isinstance(kind, str) else None
    if filled is None:
        return item
    empty = {name: _empty(item[name]) for name in filled if name in item}
    return item | empty | ({"status": "in_progress"} if item.get("status") else {})


def _empty(value: Any) -> Any:
    return [] if isinstance(value, list) else "" if isinstance(value, str) else value


def _contents(item: dict[str, Any], here: dict[str, Any]) -> Iterator[Event]:
    match item.get("type"):
        case "message":
            yield from _parts(item, here)
        case "reasoning":
            for at, part in enumerate(item.get("summary") or ()):
                yield from _summary(part, here | {"summary_index": at})
            yield from _parts(item, here)
        case "function_call":
            yield from _text("response.function_call_arguments", "arguments", item, here)
        case "custom_tool_call":
            yield from _text("response.custom_tool_call_input", "input", item, here)


def _summary(part: dict[str, Any], here: dict[str, Any]) -> Iterator[Event]:
    yield "response.reasoning_summary_part.added", {**here, "part": part | {"text": ""}}
    yield from _text("response.reasoning_summary_text", "text", part, here)
    yield "response.reasoning_summary_part.done", {**here, "part": part}


def _parts(item: dict[str, Any], here: dict[str, Any]) -> Iterator[Event]:
    for at, part in enumerate(item.get("content") or ()):
        yield from _part(part, here | {"content_index": at})


def _part(part: dict[str, Any], here: dict[str, Any]) -> Iterator[Event]:
    begun = part | {name: [] for name in ("annotations", "logprobs") if isinstance(part.get(name), list)}
    match part.get("type"):
        case "output_text":
            yield "response.content_part.added", {**here, "part": begun | {"text": ""}}
            logprobs = {"logprobs": part.get("logprobs") or []}
            *delta, done = _text("response.output_text", "text", part, here, logprobs)
            yield from delta
            for at, annotation in enumerate(part.get("annotations") or ()):
                annotated = {**here, "annotation_index": at, "annotation": annotation}
                yield "response.output_text.annotation.added", annotated
            yield done
        case "refusal":
            yield "response.content_part.added", {**here, "part": begun | {"refusal": ""}}
            yield from _text("response.refusal", "refusal", part, here)
        case "reasoning_text":
            yield "response.content_part.added", {**here, "part": begun | {"text": ""}}
            yield from _text("response.reasoning_text", "text", part, here)
        case _:
            yield "response.content_part.added", {**here, "part": part}
    yield "response.content_part.done", {**here, "part": part}


def _text(
    kind: str, name: str, holder: dict[str, Any], here: dict[str, Any], more: Mapping[str, Any] | None = None
) -> Iterator[Event]:
    """Yield a text in one piece, when it is not empty, and its end."""
    text = holder.get(name) or ""
    if text:
        yield f"{kind}.delta", {**here, "delta": text, **(more or {})}
    yield f"{kind}.done", {**here, name: text, **(more or {})}
