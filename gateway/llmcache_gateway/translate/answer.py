"""A message of Anthropic's API as a chat completion, and its errors as errors."""

from collections.abc import Mapping
from typing import Any, Final

from llmcache_gateway.plainjson import dumps

_FINISHED: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "compaction": "length",
    "refusal": "content_filter",
    # To be gone on with by asking again, so no whole answer; chat completions have no other word for that.
    "pause_turn": "length",
}

OVERLOADED: Final = 529
"""Anthropic's status for a server that has too much to do, which HTTP calls 503."""


def completion(message: Mapping[str, Any], model: str, created: int) -> dict[str, Any]:
    """Return a message as the chat completion of a model, made at a Unix time; ValueError when it is none."""
    content = message.get("content")
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise ValueError("a message without a list of blocks as its content")
    texts = [block["text"] for block in content if block.get("type") == "text" and isinstance(block.get("text"), str)]
    said: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    thoughts = [block for block in content if block.get("type") in ("thinking", "redacted_thinking")]
    if thoughts:
        said["reasoning_content"] = "".join(str(block.get("thinking", "")) for block in thoughts)
        said["thinking_blocks"] = thoughts
    calls = [
        call(block, dumps(block.get("input") or {}).decode()) for block in content if block.get("type") == "tool_use"
    ]
    if calls:
        said["tool_calls"] = calls
    said |= refusal(message)
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish_reason(message)}
    found = {**opening(message, model, created), "object": "chat.completion", "choices": [choice]}
    spent = message.get("usage")
    return {**found, "usage": usage(spent)} if isinstance(spent, dict) else found


def opening(message: Mapping[str, Any], model: str, created: int) -> dict[str, Any]:
    """Return what an answer begins with, and each chunk of a stream."""
    return {"id": f"chatcmpl-{message.get('id', '')}", "created": created, "model": model}


def call(block: Mapping[str, Any], arguments: str) -> dict[str, Any]:
    """Return a block of a tool's use as a call with these arguments."""
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": block.get("name"), "arguments": arguments},
    }


def finish_reason(ended: Mapping[str, Any]) -> str | None:
    """Return why an answer ended; a reason that is not known makes it one that is not whole."""
    reason = ended.get("stop_reason")
    return _FINISHED.get(reason, "length") if isinstance(reason, str) else None


def refusal(ended: Mapping[str, Any]) -> dict[str, Any]:
    """Return the member that says why the model refused; nothing when it did not."""
    if ended.get("stop_reason") != "refusal":
        return {}
    details = ended.get("stop_details")
    explained = details.get("explanation") if isinstance(details, dict) else None
    return {"refusal": explained or "The model refused to answer."}


def usage(spent: Mapping[str, Any]) -> dict[str, Any]:
    """Return usage in OpenAI's arithmetic, where tokens read from a prompt cache and written to it are of the prompt.

    Anthropic's own counts of those two stay beside it, where LiteLLM has them too, and how long the written are kept.
    """
    fresh, written, read, output = (
        spent.get(name) or 0
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    )
    found: dict[str, Any] = {
        "prompt_tokens": fresh + written + read,
        "completion_tokens": output,
        "total_tokens": fresh + written + read + output,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
    }
    if isinstance(by_ttl := spent.get("cache_creation"), dict):
        found["cache_creation"] = by_ttl  # what is written for an hour costs more
    details = spent.get("output_tokens_details")
    thought = details.get("thinking_tokens") if isinstance(details, dict) else None
    return found if thought is None else {**found, "completion_tokens_details": {"reasoning_tokens": thought}}


def error(body: Any) -> dict[str, Any]:
    """Return the body of an error in OpenAI's shape; what is none of Anthropic's says so itself."""
    said = body.get("error") if isinstance(body, dict) else None
    if not isinstance(said, dict):
        said = {"type": "api_error", "message": "the provider's error can't be read"}
    details = said.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    kind = said.get("type")
    return {"error": {"message": said.get("message"), "type": kind, "param": None, "code": code or kind}}
