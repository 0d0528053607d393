"""Streams of chat completions: put together to the canonical answer, and made of one.

Format: see `openai_chat`. Mistral's thinking models send content as a list of parts first and as text later; Groq
sends the usage in `x_groq`, too, which older clients read there.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmcache_gateway.dialects.azure_filters import graver
from llmcache_gateway.dialects.merge import merge_delta
from llmcache_gateway.dialects.openai_shaped import Traits
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.sse import data_event, event_data

DONE: Final = b"[DONE]"


def assemble(blocks: list[bytes], traits: Traits) -> dict[str, Any]:
    """Return the canonical answer of a complete stream; ValueError when the blocks make none."""
    try:
        return _assemble(blocks, traits)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a stream of chat completion chunks: {error!r}") from error


def read(blocks: list[bytes], traits: Traits) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a stream, an error as one that has it, without what only hides their length."""
    for block in blocks:
        data = event_data(block)
        if data is None or data == DONE:
            continue
        chunk = loads(data)
        if block.startswith(b"event: error") or chunk.get("object") == "error":
            chunk = {"error": chunk}
        for name in traits.padding:
            chunk.pop(name, None)
        yield chunk


def chunks(answer: Mapping[str, Any], traits: Traits) -> Iterator[bytes]:
    """Yield the event blocks of a stream that amounts to an answer, its end included."""
    top = {name: value for name, value in answer.items() if name not in ("choices", "usage", "x_groq")}
    top["object"] = "chat.completion.chunk"
    usage, of_groq = answer.get("usage"), answer.get("x_groq")
    parts = [part for choice in answer["choices"] for part in _parts(choice)]
    null_usage = {} if usage is None or traits.gives_usage else {"usage": None}
    for at, part in enumerate(parts):
        more: dict[str, Any] = dict(null_usage)
        if at == len(parts) - 1 and usage is not None and traits.gives_usage:
            more["usage"] = usage
        if isinstance(of_groq, dict) and at in (0, len(parts) - 1):
            more["x_groq"] = {**of_groq, "usage": usage} if at and usage is not None else of_groq
        yield _chunk(top, [part], **more)
    if usage is not None and not traits.gives_usage:
        yield _chunk(top, [], usage=usage)
    yield data_event(DONE)


def _chunk(top: Mapping[str, Any], choices: list[dict[str, Any]], **more: Any) -> bytes:
    return data_event(dumps({**top, "choices": choices, **more}))


def _parts(choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a choice of the canonical answer in three parts: who speaks, all of it, why it ended."""
    index = choice["index"]
    message = choice["message"]
    null = {"logprobs": None} if "logprobs" in choice else {}
    first = {"role": message.get("role", "assistant")}
    if "content" in message:
        first["content"] = "" if isinstance(message["content"], str | list) else None
    yield {"index": index, "delta": first, **null, "finish_reason": None}
    delta = {name: value for name, value in message.items() if name != "role"}
    if isinstance(delta.get("tool_calls"), list):
        delta["tool_calls"] = [{"index": at} | call for at, call in enumerate(delta["tool_calls"])]
    rest = {name: value for name, value in choice.items() if name not in ("index", "message", "finish_reason")}
    yield {"index": index, "delta": delta, "finish_reason": None} | rest
    yield {"index": index, "delta": {}, **null, "finish_reason": choice.get("finish_reason")}


def _assemble(blocks: list[bytes], traits: Traits) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in read(blocks, traits):
        for part in chunk.pop("choices", None) or ():
            _add_part(choices.setdefault(part["index"], {}), part)
        # The first chunk names the answer; later ones add to it (usage, service tier) or say null.
        answer |= {name: value for name, value in chunk.items() if value is not None or name not in answer}
    if not answer:
        raise ValueError("the stream holds no chunk")
    for choice in choices.values():
        for call in choice["message"].get("tool_calls") or ():
            if not traits.indexed_calls:
                call.pop("index", None)  # it is there only to put the pieces together
    of_groq = answer.get("x_groq")
    if isinstance(of_groq, dict) and "usage" in of_groq:
        usage = of_groq.pop("usage")
        answer.setdefault("usage", usage)
    if "object" in answer:
        answer["object"] = "chat.completion"
    answer["choices"] = [choices[index] for index in sorted(choices)]
    return answer


def _add_part(choice: dict[str, Any], part: dict[str, Any]) -> None:
    """Add one streamed part to a choice of the canonical answer."""
    message, delta = choice.setdefault("message", {}), part.pop("delta", None) or {}
    if isinstance(delta.get("content"), list) or isinstance(message.get("content"), list):
        message["content"] = _content_parts(message.get("content"), delta.pop("content", None))
    merge_delta(message, delta)
    for name, value in part.items():
        if name == "content_filter_results":
            choice[name] = graver(choice.get(name), value)
        elif isinstance(value, dict) and isinstance(choice.get(name), dict):
            merge_delta(choice[name], value, indexed=False)  # log-probabilities come in pieces too
        elif isinstance(value, list) and isinstance(choice.get(name), list):
            choice[name] = choice[name] + value
        elif value is not None or name not in choice:
            choice[name] = value


def _content_parts(old: Any, new: Any) -> list[Any]:
    """Return content as a list of parts, with what comes next: as parts again, or as a text, which is one."""
    parts = _as_parts(old)
    for part in _as_parts(new):
        last = parts[-1] if parts else None
        if isinstance(last, dict) and isinstance(part, dict) and last.get("type") == part.get("type"):
            thought = last.pop("thinking", None), part.pop("thinking", None)
            merge_delta(last, part)
            if thought != (None, None):
                last["thinking"] = _content_parts(*thought)
        else:
            parts.append(part)
    return parts


def _as_parts(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []
