"""Anthropic messages: `POST /v1/messages`, with or without `?beta=true`.

Format: the types of Anthropic's SDK (anthropic 2.12), its API up to version 2026-10-21. A stream is a sequence
of named events and ends with `message_stop`; see `anthropic_stream`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmcache_gateway.dialects.anthropic_errors import error_body
from llmcache_gateway.dialects.anthropic_stream import assemble, event, events
from llmcache_gateway.dialects.base import BodyDialect, Request, Verdict, refuse
from llmcache_gateway.dialects.reading import first_not, read_request, without
from llmcache_gateway.dialects.turns import Turn, last_message, text_of_parts
from llmcache_gateway.plainjson import raw_members
from llmcache_gateway.sse import event_data

IGNORED: Final = frozenset(
    {
        "stream",
        "metadata",
        "service_tier",
        "speed",
        "cache_control",
        "diagnostics",
        "billing_policy",
        "fallback_credit_token",
    }
)
"""Top-level members that don't change the answer: who asks, how fast and at whose cost it is made, cache hints."""

HINTS: Final = frozenset({"cache_control"})
"""Prompt-cache hints on content blocks and tools. Inside a tool's schema or input the name is the user's own."""

STATEFUL: Final = (
    "container",
    "thread",
    "compaction",
    "context_management",
    "mcp_servers",
    "fallbacks",
)
"""Members of a request whose answer depends on more than the request, or changes what later ones see."""

OWN_TOOLS: Final = ("custom", "bash_", "text_editor_", "memory_", "tool_search_tool_")
"""Types, by their beginning, of tools that the client runs or that need nothing but the request.

All others count as the provider's own: they look at a web or a machine that changes.
"""

OWN_SOURCES: Final = ("base64", "text", "content")
"""Sources of images and documents that hold the content itself; others name what may change behind its name."""

COMPLETE: Final = ("end_turn", "stop_sequence", "tool_use")
TRUNCATED: Final = ("max_tokens", "model_context_window_exceeded")


class AnthropicMessages(BodyDialect):
    """The dialect of messages."""

    name = "anthropic-messages"
    path = "/v1/messages"
    providers = frozenset({"anthropic", "echo"})
    key_headers = ("anthropic-beta", "anthropic-version", "anthropic-workspace-id", "anthropic-user-profile-id")

    def parse(self, members: Any, body: bytes, target: str = "") -> Request:
        return read_request(members, body)

    def counted(self, request: Request) -> dict[str, Any]:
        counted = {name: value for name, value in request.members.items() if name not in IGNORED}
        if "system" in counted:
            counted["system"] = _counted_content(counted["system"])
        messages = counted.get("messages")
        if isinstance(messages, list):
            counted["messages"] = [_counted_message(message) for message in messages]
        tools = counted.get("tools")
        if isinstance(tools, list):
            counted["tools"] = [without(tool, HINTS) for tool in tools]
        return counted

    def last_turn(self, members: Mapping[str, Any]) -> Turn | None:
        return last_message(members, "messages")

    def answer_text(self, answer: Any) -> str | None:
        content = answer.get("content") if isinstance(answer, dict) else None
        said = [block for block in content if not _is_thought(block)] if isinstance(content, list) else None
        return text_of_parts(said, "text")

    def bypass(self, request: Request, admitted: frozenset[str] = frozenset()) -> str | None:
        return first_not(admitted, bypasses(request.members))

    def is_terminal(self, block: bytes) -> bool:
        if b"message_stop" not in block:
            return False
        members = raw_members(event_data(block) or b"")
        return members is not None and bytes(members.get("type", b"")) == b'"message_stop"'

    def judge(self, answer: Any, request: Request | None = None) -> Verdict:
        if not isinstance(answer, dict):
            return refuse("no-answer")
        if answer.get("type") == "error" or answer.get("error") is not None:
            return refuse("error")
        content = answer.get("content")
        if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
            return refuse("no-answer")
        return refuse(*_flaws(answer, content))

    def assemble(self, blocks: list[bytes]) -> dict[str, Any]:
        return assemble(blocks)

    def replay(self, answer: Mapping[str, Any]) -> Iterator[bytes]:
        return events(answer)

    def error_body(self, status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
        return error_body(status, message)

    def error_event(self, status: int, message: str, code: str | None) -> bytes:
        return event(error_body(status, message))


def bypasses(members: Mapping[str, Any]) -> Iterator[str]:
    """Yield every reason to keep a request away from the cache."""
    if any(members.get(name) for name in STATEFUL):
        yield "stateful"
    tools = members.get("tools")
    if isinstance(tools, list) and not all(map(_is_own_tool, tools)):
        yield "hosted-tools"
    messages = members.get("messages")
    if isinstance(messages, list) and any(_is_remote(message) for message in messages):
        yield "remote-content"
    if members.get("max_tokens") == 0:
        yield "prewarm"


def _flaws(answer: Mapping[str, Any], content: list[dict[str, Any]]) -> Iterator[str]:
    """Yield everything that speaks against storing an answer."""
    reason = answer.get("stop_reason")
    if reason not in COMPLETE and reason not in TRUNCATED and reason != "refusal":
        yield "incomplete"
    if answer.get("container") is not None:
        yield "stateful"
    if reason in TRUNCATED:
        yield "truncated"
    elif reason == "refusal":
        yield "refused"
    elif all(map(_says_nothing, content)):
        yield "empty"


def _says_nothing(block: dict[str, Any]) -> bool:
    return _is_thought(block) or (block.get("type") == "text" and not block.get("text"))


def _is_thought(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") in ("thinking", "redacted_thinking")


def _counted_message(message: Any) -> Any:
    if isinstance(message, dict) and isinstance(message.get("content"), list):
        return {**message, "content": _counted_content(message["content"])}
    return message


def _counted_content(content: Any) -> Any:
    """Return a system prompt's or a message's content without hints; a list of one text is the same as the text."""
    if not isinstance(content, list):
        return content
    blocks = [_counted_block(block) for block in content]
    single = blocks[0] if len(blocks) == 1 else None
    if isinstance(single, dict) and single.keys() == {"type", "text"} and single["type"] == "text":
        return single["text"]
    return blocks


def _counted_block(block: Any) -> Any:
    """Return a content block without hints, on itself and on the blocks inside it."""
    block = without(block, HINTS)
    if not isinstance(block, dict):
        return block
    kind = block.get("type")
    if kind in ("tool_result", "search_result") and isinstance(block.get("content"), list):
        return {**block, "content": [_counted_block(part) for part in block["content"]]}
    source = block.get("source")
    if kind == "document" and isinstance(source, dict) and isinstance(source.get("content"), list):
        return {**block, "source": {**source, "content": [_counted_block(part) for part in source["content"]]}}
    return block


def _is_own_tool(tool: Any) -> bool:
    kind = tool.get("type") if isinstance(tool, dict) else None
    return kind is None or (isinstance(kind, str) and kind.startswith(OWN_TOOLS))


def _is_remote(block: Any) -> bool:
    """Say whether a message or a content block needs something that only its address or its file's id stands for."""
    if not isinstance(block, dict):
        return False
    if "file_id" in block:
        return True
    source = block.get("source")
    if isinstance(source, dict) and (source.get("type") not in OWN_SOURCES or _is_remote(source)):
        return True
    content = block.get("content")
    return isinstance(content, list) and any(_is_remote(part) for part in content)
