"""Anthropic's streamed messages: putting the events together into a message, and taking a message apart.

Format: the stream events of Anthropic's SDK (anthropic 2.12). `message_start` holds the message without its
content; each content block has a start, deltas and a stop; `message_delta` ends the message: why it stopped, and
the usage, whose counts are totals. What an event can't be put into exactly is refused, never dropped: a message
put together from a stream is stored for clients that don't stream.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.sse import data_event, event_data

_APPENDED: Final = {"text_delta": "text", "thinking_delta": "thinking"}
"""Deltas that add to a text of their block, and the member that they add to."""

_PROGRESS: Final = frozenset({"estimated_tokens"})
"""Members of deltas that only say how far the stream is; a message has no place for them."""

_TOOL_USES: Final = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
"""Blocks whose input is streamed, as pieces of JSON."""

_AT_THE_END: Final = ("stop_reason", "stop_sequence", "stop_details")
"""Members of a message that only the end of its stream tells; at the start they are null."""

_TOTALS: Final = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
)
"""Usage that the end of a stream repeats."""


def assemble(blocks: list[bytes]) -> dict[str, Any]:
    """Return the message that a stream's event blocks make; the error, when one came; ValueError when neither."""
    assembly = _Assembly()
    try:
        for block in blocks:
            data = event_data(block)
            if data is None:
                continue
            event = loads(data)
            if event["type"] == "error":
                return dict(event)
            assembly.add(event)
        return assembly.message()
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a stream of message events: {error!r}") from error


def events(message: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the event blocks of a stream that amounts to a message."""
    last = {name: message[name] for name in _AT_THE_END if name in message}
    yield event({"type": "message_start", "message": {**message, "content": [], **dict.fromkeys(last)}})
    for index, block in enumerate(message["content"]):
        start, deltas = _taken_apart(block)
        yield event({"type": "content_block_start", "index": index, "content_block": start})
        for delta in deltas:
            yield event({"type": "content_block_delta", "index": index, "delta": delta})
        yield event({"type": "content_block_stop", "index": index})
    end: dict[str, Any] = {"type": "message_delta", "delta": last}
    usage = message.get("usage")
    if isinstance(usage, dict):
        end["usage"] = {name: usage[name] for name in _TOTALS if name in usage}
    yield event(end)
    yield event({"type": "message_stop"})


def event(data: dict[str, Any]) -> bytes:
    """Return one event block. The SDKs pass over events without an `event:` line."""
    return f"event: {data['type']}\n".encode() + data_event(dumps(data))


class _Assembly:
    """A message of which some events have come."""

    __slots__ = ("_content", "_inputs", "_message")

    def __init__(self) -> None:
        self._message: dict[str, Any] | None = None
        self._content: list[dict[str, Any]] = []
        self._inputs: dict[int, list[str]] = {}
        """The JSON of each block's input, in the pieces that it came in."""

    def add(self, event: dict[str, Any]) -> None:
        kind = event.pop("type")
        if kind == "ping":
            return
        if kind == "message_start":
            self._start(event.pop("message"))
            self._overwrite(event)
        elif self._message is None:
            raise ValueError(f"{kind} came before message_start")
        elif kind == "message_delta":
            usage = event.pop("usage", None)
            if usage is not None:
                _overwrite(self._message.setdefault("usage", {}), usage)
            self._overwrite(event.pop("delta"))
            self._overwrite(event)
        elif kind == "message_stop":
            self._overwrite(event)
        elif kind == "content_block_start":
            if event.pop("index") != len(self._content):
                raise ValueError("a content block came out of order")
            self._content.append(event.pop("content_block"))
            _nothing_left(event)
        elif kind == "content_block_delta":
            index = event.pop("index")
            self._delta(index, self._block(index), event.pop("delta"))
            _nothing_left(event)
        elif kind == "content_block_stop":
            self._block(event.pop("index"))
            _nothing_left(event)
        else:
            raise ValueError(f"{kind!r} is no known event")

    def message(self) -> dict[str, Any]:
        """Return the message of all events so far."""
        if self._message is None:
            raise ValueError("the stream holds no message")
        for index, pieces in self._inputs.items():
            text = "".join(pieces)
            if text:
                self._content[index]["input"] = loads(text.encode("utf-8", "surrogatepass"))
        self._message["content"] = self._content
        return self._message

    def _start(self, message: dict[str, Any]) -> None:
        if self._message is not None:
            raise ValueError("a second message started")
        if message["content"] != []:
            raise ValueError("a message started with content")
        self._message = message

    def _overwrite(self, members: dict[str, Any]) -> None:
        """Take over what an event says of the whole message, members that nobody knows yet included."""
        if self._message is None or not members.keys().isdisjoint(("content", "usage", "type")):
            raise ValueError("an event changes what it must not")
        _overwrite(self._message, members)

    def _block(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self._content):
            raise ValueError("an event belongs to a content block that has not started")
        return self._content[index]

    def _delta(self, index: int, block: dict[str, Any], delta: dict[str, Any]) -> None:
        kind = delta.pop("type")
        if kind in _APPENDED:
            name = _APPENDED[kind]
            block[name] = block[name] + delta.pop(name)
        elif kind == "input_json_delta" and "input" in block:
            self._inputs.setdefault(index, []).append(delta.pop("partial_json"))
        elif kind == "signature_delta":
            block["signature"] = delta.pop("signature")
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta.pop("citation")]
        else:
            raise ValueError(f"{kind!r} is no known delta of this block")
        _nothing_left({name: value for name, value in delta.items() if name not in _PROGRESS})


def _overwrite(target: dict[str, Any], members: dict[str, Any]) -> None:
    """Set members; null never undoes a value."""
    target.update((name, value) for name, value in members.items() if value is not None or name not in target)


def _nothing_left(members: dict[str, Any]) -> None:
    if members:
        raise ValueError(f"an event has members that nobody knows: {', '.join(map(repr, members))}")


def _taken_apart(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return how a content block starts, and the deltas that make it whole again.

    Blocks of other types than text, thinking and tool use start whole, as the provider's own do.
    """
    kind = block.get("type")
    if kind == "text" and isinstance(block.get("text"), str):
        start = {**block, "text": ""}
        deltas = [{"type": "text_delta", "text": block["text"]}] if block["text"] else []
        if block.get("citations") and isinstance(block["citations"], list):
            start["citations"] = []
            deltas += [{"type": "citations_delta", "citation": citation} for citation in block["citations"]]
        return start, deltas
    if kind == "thinking" and isinstance(block.get("thinking"), str):
        start = {**block, "thinking": ""}
        deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}] if block["thinking"] else []
        if block.get("signature"):
            start["signature"] = ""
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return start, deltas
    if kind in _TOOL_USES and "input" in block:
        given = "" if block["input"] == {} else dumps(block["input"]).decode()
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": given}]
    return block, []
