"""The built-in upstream: it answers with the question, so that everything can be tried without a provider.

The same request always gets the same answer, but for `created`. Usage counts words. It speaks OpenAI's chat
completions, Anthropic's messages, Google's content and Bedrock's Converse, streamed and not, and lists its models.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import Any, Final

from llmcache_gateway.dialects import bedrock_paths, bedrock_stream, dialect_of, google_paths, kin_of
from llmcache_gateway.dialects.anthropic_errors import error_body as anthropic_error
from llmcache_gateway.dialects.anthropic_stream import event, events
from llmcache_gateway.dialects.bedrock_errors import error_body as bedrock_error
from llmcache_gateway.dialects.frames import named_block
from llmcache_gateway.dialects.google_errors import error_body as google_error
from llmcache_gateway.dialects.openai_errors import error_body
from llmcache_gateway.errors import UpstreamError
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.sse import CONTENT_TYPE, END_OF_EVENT, data_event
from llmcache_gateway.upstreams.base import Answer, Call

_NO_TEXT: Final = "'messages' must end with a message that has text"


class EchoUpstream:
    """A provider without a network. `clock` returns seconds since the epoch."""

    provider = "echo"
    passthrough = False
    translates = ""

    def __init__(
        self,
        *,
        name: str,
        models: list[str],
        delay_seconds: float,
        chunk_delay_seconds: float,
        timeout_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.identity = (name, self.provider)
        self._models = models
        self._delay = delay_seconds
        self._chunk_delay = chunk_delay_seconds
        self._timeout = timeout_seconds
        self._clock = clock

    def serves(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self._models)

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Answer]:
        path = call.target.partition("?")[0]
        body = await _whole(call.body)
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.sleep(self._delay)
        except TimeoutError:
            silence = f"upstream {self.name!r} was silent for {self._timeout:g} s before it answered"
            raise UpstreamError(silence, timed_out=True) from None
        dialect = dialect_of(call.method, path)
        known = dialect.name if dialect is not None else ""
        if call.method == "GET" and path == "/v1/models":
            models = [{"id": pattern, "object": "model", "created": 0, "owned_by": "echo"} for pattern in self._models]
            yield _json(200, {"object": "list", "data": models})
        elif known == "openai-chat":
            yield self._chat(body)
        elif known == "anthropic-messages":
            yield self._messages(body)
        elif call.method == "POST" and (generating := google_paths.generating(path)):
            yield self._content(body, generating["model"], streamed=generating["verb"] == "streamGenerateContent")
        elif call.method == "POST" and (asking := bedrock_paths.asking(path)) and asking["verb"].startswith("converse"):
            yield self._converse(body, streamed=asking["verb"] == "converse-stream")
        else:
            kin = kin_of(path, call.headers)
            shape = kin.error_body if kin else error_body
            yield _json(404, shape(404, f"echo knows no {call.method} {path}", "unknown_path", None))

    def _chat(self, body: bytes) -> Answer:
        request = _request(body)
        if request is None:
            return _json(400, error_body(400, _NO_TEXT, None, "messages"))
        messages, model, text = request["messages"], str(request["model"]), _echo(request)
        prompt_tokens = sum(len(_text(message.get("content")).split()) for message in messages)
        completion_tokens = len(text.split())
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
        top = {
            "id": "chatcmpl-" + hashlib.sha256(dumps([model, messages])).hexdigest()[:24],
            "created": int(self._clock()),
            "model": model,
        }
        if not request.get("stream"):
            message = {"role": "assistant", "content": text, "refusal": None}
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
            return _json(200, {**top, "object": "chat.completion", "choices": [choice], "usage": usage})
        wants_usage = bool((request.get("stream_options") or {}).get("include_usage"))
        return Answer(200, {"Content-Type": CONTENT_TYPE}, self._stream(top, text, usage if wants_usage else None))

    async def _stream(self, top: dict[str, Any], text: str, usage: dict[str, int] | None) -> AsyncIterator[bytes]:
        null_usage = {} if usage is None else {"usage": None}
        deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in _words(text)), {}]
        for at, delta in enumerate(deltas):
            if at:
                await asyncio.sleep(self._chunk_delay)
            last = at == len(deltas) - 1
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": "stop" if last else None}
            yield _event({**top, "object": "chat.completion.chunk", "choices": [choice], **null_usage})
        if usage is not None:
            yield _event({**top, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        yield data_event(b"[DONE]") + END_OF_EVENT

    def _messages(self, body: bytes) -> Answer:
        request = _request(body)
        if request is None:
            return _json(400, anthropic_error(400, _NO_TEXT))
        messages, model, text = request["messages"], str(request["model"]), _echo(request)
        said = [request.get("system"), *(message.get("content") for message in messages)]
        message = {
            "id": "msg_" + hashlib.sha256(dumps([model, messages])).hexdigest()[:24],
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": sum(len(_text(content).split()) for content in said),
                "output_tokens": len(text.split()),
            },
        }
        if not request.get("stream"):
            return _json(200, message)
        return Answer(200, {"Content-Type": CONTENT_TYPE}, self._events(message, text))

    async def _events(self, message: dict[str, Any], text: str) -> AsyncIterator[bytes]:
        start, block_start, _whole_text, *end = events(message)
        yield start + END_OF_EVENT + block_start + END_OF_EVENT
        for word in _words(text):
            await asyncio.sleep(self._chunk_delay)
            delta = {"type": "text_delta", "text": word}
            yield event({"type": "content_block_delta", "index": 0, "delta": delta}) + END_OF_EVENT
        for block in end:
            yield block + END_OF_EVENT

    def _content(self, body: bytes, model: str, *, streamed: bool) -> Answer:
        said = _texts(body, "contents", "parts")
        if not said:
            return _json(400, google_error(400, "'contents' must end with a content that has text parts"))
        text = f"echo: {said[-1]}"
        prompt_tokens = sum(len(one.split()) for one in said)
        answer = {
            "candidates": [_candidate(text, finishReason="STOP")],
            "usageMetadata": {
                "promptTokenCount": prompt_tokens,
                "candidatesTokenCount": len(text.split()),
                "totalTokenCount": prompt_tokens + len(text.split()),
            },
            "modelVersion": model,
            "responseId": hashlib.sha256(dumps([model, said])).hexdigest()[:24],
        }
        if not streamed:
            return _json(200, answer)
        return Answer(200, {"Content-Type": CONTENT_TYPE}, self._pieces(answer, text))

    async def _pieces(self, answer: dict[str, Any], text: str) -> AsyncIterator[bytes]:
        always = {name: value for name, value in answer.items() if name != "usageMetadata"}
        *words, last = _words(text)
        for word in words:
            yield _event({**always, "candidates": [_candidate(word)]})
            await asyncio.sleep(self._chunk_delay)
        yield _event({**answer, "candidates": [_candidate(last, finishReason="STOP")]})

    def _converse(self, body: bytes, *, streamed: bool) -> Answer:
        said = _texts(body, "messages", "content")
        if not said:
            return _json(400, bedrock_error(400, "'messages' must end with a message that has text"))
        text = f"echo: {said[-1]}"
        taken, given = sum(len(one.split()) for one in said), len(text.split())
        answer = {
            "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": taken, "outputTokens": given, "totalTokens": taken + given},
            "metrics": {"latencyMs": 0},
        }
        if not streamed:
            return _json(200, answer)
        return Answer(200, {"Content-Type": CONTENT_TYPE}, self._converse_events(answer, text))

    async def _converse_events(self, answer: dict[str, Any], text: str) -> AsyncIterator[bytes]:
        for name, said in bedrock_stream.events(answer):
            if name != "contentBlockDelta":
                yield named_block(name, dumps(said)) + END_OF_EVENT
                continue
            for word in _words(text):
                await asyncio.sleep(self._chunk_delay)
                yield named_block(name, dumps(said | {"delta": {"text": word}})) + END_OF_EVENT


def _candidate(text: str, **more: str) -> dict[str, Any]:
    return {"content": {"parts": [{"text": text}], "role": "model"}, **more, "index": 0}


def _texts(body: bytes, turns: str, parts: str) -> list[str]:
    """Return the texts of a request's turns; none when it is no such request, or the last has no text."""
    try:
        texts = [_text(turn[parts]) for turn in loads(body)[turns]]
    except (ValueError, KeyError, TypeError):
        return []
    return texts if texts and texts[-1] else []


def _request(body: bytes) -> Any:
    """Return the body of a request whose messages are objects and whose last one has content; None when it is none."""
    try:
        request = loads(body)
        messages = request["messages"]
        usable = "model" in request and all(isinstance(message, dict) for message in messages)
        return request if usable and "content" in messages[-1] else None
    except (ValueError, KeyError, IndexError, TypeError):
        return None


def _echo(request: Any) -> str:
    return f"echo: {_text(request['messages'][-1]['content'])}"


def _words(text: str) -> list[str]:
    return re.findall(r"\S+\s*", text)


def _text(content: Any) -> str:
    """Return the text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def _json(status: int, value: Any) -> Answer:
    async def body() -> AsyncIterator[bytes]:
        yield dumps(value)

    return Answer(status, {"Content-Type": "application/json"}, body())


def _event(chunk: dict[str, Any]) -> bytes:
    return data_event(dumps(chunk)) + END_OF_EVENT


async def _whole(body: bytes | AsyncIterator[bytes] | None) -> bytes:
    if body is None or isinstance(body, bytes):
        return body or b""
    return b"".join([part async for part in body])
