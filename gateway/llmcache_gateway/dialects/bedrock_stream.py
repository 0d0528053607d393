"""The streamed messages of Bedrock's Converse and of Nova's own API: putting events together, and taking answers apart.

Format: botocore 1.44's model of bedrock-runtime. `messageStart` has the role; blocks are told apart by their index, and
only those of tools and images have a start; `messageStop` and, last, `metadata` hold what the answer has beside its
message. What an event can't be put into exactly is refused, never dropped: what is put together is stored for clients
that don't stream.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from llmcache_gateway.plainjson import dumps, loads

Event = tuple[str, dict[str, Any]]
"""An event's name, and what it says."""

LAST: Final = "metadata"

_PADDING: Final = "p"
"""A member of every event, of random length, that hides how long the others are."""

_AT_THE_STOP: Final = ("stopReason", "additionalModelResponseFields")


def assemble(events: Iterable[Event]) -> dict[str, Any]:
    """Return the answer that a stream's events make; ValueError when they make none."""
    assembly = _Assembly()
    try:
        for name, event in events:
            assembly.add(name, {key: value for key, value in event.items() if key != _PADDING})
        return assembly.answer()
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a stream of a message's events: {error!r}") from error


def events(answer: Mapping[str, Any]) -> Iterator[Event]:
    """Yield the events of a stream that amounts to an answer; ValueError for what no event can say."""
    message = answer["output"]["message"]
    if answer["output"].keys() != {"message"} or message.keys() != {"role", "content"}:
        raise ValueError("the answer has more than a message")
    yield "messageStart", {"role": message["role"]}
    for index, block in enumerate(message["content"]):
        start, deltas = _taken_apart(block)
        if start is not None:
            yield "contentBlockStart", {"start": start, "contentBlockIndex": index}
        for delta in deltas:
            yield "contentBlockDelta", {"delta": delta, "contentBlockIndex": index}
        yield "contentBlockStop", {"contentBlockIndex": index}
    yield "messageStop", {name: answer[name] for name in _AT_THE_STOP if name in answer}
    yield LAST, {name: value for name, value in answer.items() if name not in ("output", *_AT_THE_STOP)}


class _Assembly:
    """An answer of which some events have come."""

    __slots__ = ("_answer", "_blocks", "_inputs", "_role")

    def __init__(self) -> None:
        self._role: str | None = None
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, list[str]] = {}
        """The JSON of each tool's input, in the pieces that it came in."""

        self._answer: dict[str, Any] = {}

    def add(self, name: str, event: dict[str, Any]) -> None:
        if name == "messageStart":
            if self._role is not None:
                raise ValueError("a second message started")
            self._role = event.pop("role")
        elif self._role is None:
            raise ValueError(f"{name} came before messageStart")
        elif name == "contentBlockStart":
            index = event.pop("contentBlockIndex")
            if index in self._blocks:
                raise ValueError("a content block started twice")
            self._blocks[index] = _started(event.pop("start"))
        elif name == "contentBlockDelta":
            index = event.pop("contentBlockIndex")
            self._delta(index, self._blocks.setdefault(index, {}), event.pop("delta"))
        elif name == "contentBlockStop":
            if not self._blocks.get(event.pop("contentBlockIndex")):
                raise ValueError("a content block stopped of which nothing has come")
        elif name in ("messageStop", LAST):
            if not event.keys().isdisjoint(("output", *self._answer)):
                raise ValueError(f"{name} says again what is known")
            self._answer |= event
            event = {}
        else:
            raise ValueError(f"{name!r} is no known event")
        if event:
            raise ValueError(f"an event has members that nobody knows: {', '.join(map(repr, event))}")

    def answer(self) -> dict[str, Any]:
        """Return the answer of all events so far."""
        if self._role is None:
            raise ValueError("the stream holds no message")
        for index, pieces in self._inputs.items():
            self._blocks[index]["toolUse"]["input"] = loads("".join(pieces).encode("utf-8", "surrogatepass") or b"{}")
        content = [self._blocks[index] for index in sorted(self._blocks)]
        return {"output": {"message": {"role": self._role, "content": content}}, **self._answer}

    def _delta(self, index: int, block: dict[str, Any], delta: dict[str, Any]) -> None:
        ((kind, value),) = delta.items()
        if kind == "text" and "citationsContent" in block:
            block["citationsContent"]["content"][0]["text"] += value
        elif kind == "text" and block.keys() <= {"text"}:
            block["text"] = block.get("text", "") + value
        elif kind == "toolUse" and "toolUse" in block and value.keys() == {"input"}:
            self._inputs.setdefault(index, []).append(value["input"])
        elif kind == "reasoningContent" and block.keys() <= {"reasoningContent"}:
            _add_reasoning(block.setdefault("reasoningContent", {}), value)
        elif kind == "citation" and block.keys() <= {"text"}:
            block["citationsContent"] = {"content": [{"text": block.pop("text", "")}], "citations": [value]}
        elif kind == "citation" and "citationsContent" in block:
            block["citationsContent"]["citations"].append(value)
        elif kind == "image" and "image" in block and block["image"].keys().isdisjoint(value):
            block["image"] |= value
        else:
            raise ValueError(f"{kind!r} is no known delta of this block")


def _started(start: dict[str, Any]) -> dict[str, Any]:
    ((kind, value),) = start.items()
    if kind == "toolUse":
        return {kind: {**value, "input": {}}}
    if kind == "image":
        return {kind: dict(value)}
    raise ValueError(f"{kind!r} is no known start of a block")


def _add_reasoning(reasoning: dict[str, Any], delta: dict[str, Any]) -> None:
    ((kind, value),) = delta.items()
    if kind == "text" and reasoning.keys() <= {"reasoningText"}:
        said = reasoning.setdefault("reasoningText", {})
        said["text"] = said.get("text", "") + value
    elif kind == "signature" and reasoning.keys() <= {"reasoningText"}:
        said = reasoning.setdefault("reasoningText", {"text": ""})
        if "signature" in said:
            raise ValueError("a thought is signed twice")
        said["signature"] = value
    elif kind == "redactedContent" and not reasoning:
        reasoning[kind] = value
    else:
        raise ValueError(f"{kind!r} is no known piece of this thought")


def _taken_apart(block: dict[str, Any]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Return how a content block starts, None for one that only comes, and the deltas that make it whole."""
    ((kind, value),) = block.items()
    if kind == "text":
        return None, [block]
    if kind == "toolUse":
        start = {name: item for name, item in value.items() if name != "input"}
        return {kind: start}, [{kind: {"input": dumps(value["input"]).decode()}}]
    if kind == "image":
        rest = [{kind: {name: item}} for name, item in value.items() if name != "format"]
        return {kind: {"format": value["format"]}}, rest
    if kind == "reasoningContent":
        pieces = value.get("reasoningText", value)
        if pieces.keys() <= {"text", "signature", "redactedContent"}:
            return None, [{kind: {name: item}} for name, item in pieces.items()]
    if kind == "citationsContent" and value.keys() <= {"content", "citations"}:
        texts = [{"text": one["text"]} for one in value.get("content", ())]
        return None, [*texts, *({"citation": one} for one in value.get("citations", ()))]
    raise ValueError(f"no event can say {kind!r}")
