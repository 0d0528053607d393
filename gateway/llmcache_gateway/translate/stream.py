"""A streamed message of Anthropic's API as the chunks of a chat completion."""

from collections.abc import Iterator, Mapping
from typing import Any

from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.sse import data_event, event_data
from llmcache_gateway.translate import answer

DONE = data_event(b"[DONE]")


class Chunks:
    """Turns the events of one message into event blocks of chunks, as they come.

    `with_usage` says whether the last chunk carries the usage.
    """

    def __init__(self, model: str, created: int, *, with_usage: bool) -> None:
        self._model = model
        self._created = created
        self._with_usage = with_usage
        self._top: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._calls = -1
        """The number of the latest tool call."""

        self._called_by: int | None = None
        """The number of its block: tools that the provider runs itself send arguments, too, and are no calls."""

        self._silent_call = False
        """Whether that call has got no arguments yet."""

        self._thoughts: dict[int, dict[str, Any]] = {}
        self._failed = False
        """Whether the stream told of an error, after which nothing is whole."""

    def feed(self, block: bytes) -> Iterator[bytes]:
        """Yield the event blocks that an event makes; ValueError when it is none of a message's."""
        data = event_data(block)
        if data is None:
            return  # a comment keeps the connection alive
        try:
            yield from self._of(loads(data))
        except (KeyError, TypeError, AttributeError) as problem:
            raise ValueError(f"not an event of a message: {problem!r}") from problem

    def _of(self, event: Mapping[str, Any]) -> Iterator[bytes]:
        kind = event["type"]
        if kind == "message_start":
            message = event["message"]
            self._top = {**answer.opening(message, self._model, self._created), "object": "chat.completion.chunk"}
            self._spent(message)
            yield self._chunk({"role": "assistant", "content": ""})
        elif kind == "content_block_start":
            yield from self._begin(event["index"], event["content_block"])
        elif kind == "content_block_delta":
            yield from self._delta(event["index"], event["delta"])
        elif kind == "content_block_stop":
            if self._silent_call and event["index"] == self._called_by:
                yield self._arguments("{}")
        elif kind == "message_delta":
            yield from self._end(event)
        elif kind == "message_stop" and not self._failed:
            if self._with_usage:
                yield data_event(dumps({**self._top, "choices": [], "usage": answer.usage(self._usage)}))
            yield DONE
        elif kind == "error":
            self._failed = True
            yield data_event(dumps(answer.error(event)))

    def _begin(self, index: int, block: Mapping[str, Any]) -> Iterator[bytes]:
        kind = block["type"]
        if kind == "tool_use":
            self._calls += 1
            self._called_by, self._silent_call = index, True
            yield self._chunk({"tool_calls": [{"index": self._calls, **answer.call(block, "")}]})
        elif kind in ("thinking", "redacted_thinking"):
            self._thoughts[index] = dict(block)
        elif kind == "text" and block.get("text"):
            yield self._chunk({"content": block["text"]})

    def _delta(self, index: int, delta: Mapping[str, Any]) -> Iterator[bytes]:
        kind = delta["type"]
        if kind == "text_delta":
            yield self._chunk({"content": delta["text"]})
        elif kind == "input_json_delta" and index == self._called_by and delta["partial_json"]:
            yield self._arguments(delta["partial_json"])
        elif kind == "thinking_delta":
            thought = self._thoughts[index]
            thought["thinking"] = thought.get("thinking", "") + delta["thinking"]
            yield self._chunk({"reasoning_content": delta["thinking"]})
        elif kind == "signature_delta":
            self._thoughts[index]["signature"] = delta["signature"]

    def _arguments(self, text: str) -> bytes:
        self._silent_call = False
        return self._chunk({"tool_calls": [{"index": self._calls, "function": {"arguments": text}}]})

    def _end(self, event: Mapping[str, Any]) -> Iterator[bytes]:
        self._spent(event)
        ended = event["delta"]
        more = answer.refusal(ended)
        if self._thoughts:
            # Whole, since only the whole of it is signed.
            more["thinking_blocks"] = [self._thoughts[index] for index in sorted(self._thoughts)]
        if more:
            yield self._chunk(more)
        yield self._chunk({}, answer.finish_reason(ended))

    def _spent(self, said: Mapping[str, Any]) -> None:
        """Take the usage so far: what the end of a stream says again, it says of the whole."""
        self._usage |= {name: value for name, value in (said.get("usage") or {}).items() if value is not None}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return data_event(dumps({**self._top, "choices": [choice]}))
