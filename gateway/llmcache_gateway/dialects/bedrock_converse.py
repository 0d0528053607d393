"""Bedrock's Converse: `/model/MODEL/converse` and `/converse-stream`, and what Nova's own API has in common with it.

Format: botocore 1.44's model of bedrock-runtime. The path names the model and says whether the answer is streamed;
a stream ends with `metadata`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmcache_gateway.dialects import bedrock_stream
from llmcache_gateway.dialects.anthropic_messages import bypasses as bypasses_of_anthropic
from llmcache_gateway.dialects.base import BodyDialect, Request, Verdict, refuse
from llmcache_gateway.dialects.bedrock_errors import error_body, error_event
from llmcache_gateway.dialects.bedrock_paths import is_draft, is_edited, read_request
from llmcache_gateway.dialects.frames import name_of, named_block
from llmcache_gateway.dialects.reading import first_not, holds_member, with_model, without
from llmcache_gateway.dialects.turns import Turn, last_of_parts, text_of_parts
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.sse import event_data

IGNORED: Final = frozenset({"requestMetadata", "performanceConfig", "serviceTier"})
"""Top-level members that don't change the answer: what a call is filed under, how fast and at what price it is made."""

HINTS: Final = frozenset({"cachePoint"})
"""Prompt-cache hints: items of their own among contents and tools, in Nova's own API members of a text."""

_FILES: Final = frozenset({"s3Location"})
"""Members of a source that name a file by its address."""

_USERS_OWN: Final = frozenset({"input", "json", "inputSchema"})
"""Members of tools, their use and their results in which every name is the user's own."""

_ASKED: Final = ("messages", "system")

_OF_THE_MODEL: Final = "additionalModelRequestFields"
"""The member with fields of the model's own API."""

COMPLETE: Final = ("end_turn", "stop_sequence", "tool_use")
TRUNCATED: Final = ("max_tokens", "model_context_window_exceeded")
FILTERED: Final = ("guardrail_intervened", "content_filtered")


class BedrockConverse(BodyDialect):
    """The dialect of Converse."""

    name = "bedrock-converse"
    path = "/model/MODEL/converse"
    providers = frozenset({"bedrock", "echo"})
    key_headers = ()

    def parse(self, members: Any, body: bytes, target: str = "") -> Request:
        return read_request(members, body, target)

    def counted(self, request: Request) -> dict[str, Any]:
        return with_model(counted(request.members), request.model)

    def last_turn(self, members: Mapping[str, Any]) -> Turn | None:
        return last_turn(members)

    def answer_text(self, answer: Any) -> str | None:
        return answer_text(answer)

    def bypass(self, request: Request, admitted: frozenset[str] = frozenset()) -> str | None:
        return first_not(admitted, bypasses(request))

    def is_terminal(self, block: bytes) -> bool:
        return name_of(block) == bedrock_stream.LAST

    def judge(self, answer: Any, request: Request | None = None) -> Verdict:
        return judge(answer)

    def assemble(self, blocks: list[bytes]) -> dict[str, Any]:
        return bedrock_stream.assemble(map(_event, blocks))

    def replay(self, answer: Mapping[str, Any]) -> Iterator[bytes]:
        return (named_block(name, dumps(event)) for name, event in bedrock_stream.events(answer))

    def error_body(self, status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
        return error_body(status, message)

    def error_event(self, status: int, message: str, code: str | None) -> bytes:
        return error_event(message)


def counted(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a body that can change the answer, without prompt-cache hints."""
    found = {name: value for name, value in members.items() if name not in IGNORED}
    if "system" in found:
        found["system"] = _without_hints(found["system"])
    if isinstance(found.get("messages"), list):
        found["messages"] = [_within(message, "content") for message in found["messages"]]
    if "toolConfig" in found:
        found["toolConfig"] = _within(found["toolConfig"], "tools")
    return found


def last_turn(members: Mapping[str, Any]) -> Turn | None:
    """Return the last user turn of members of this shape; None when they end with anything but a text."""
    return last_of_parts(members, "messages", "content")


def answer_text(answer: Any) -> str | None:
    """Return what an answer of this shape says; None when it is more, or other, than one text."""
    content = _content(answer)
    return None if content is None else text_of_parts([block for block in content if not _is_thought(block)], None)


def bypasses(request: Request) -> Iterator[str]:
    """Yield every reason to keep a request away from the cache."""
    members = request.members
    guardrail, tool_config = members.get("guardrailConfig"), members.get("toolConfig")
    named = guardrail if isinstance(guardrail, dict) else {}
    if is_draft(request.model) or is_edited(named.get("guardrailIdentifier"), named.get("guardrailVersion")):
        yield "stateful"
    tools = tool_config.get("tools") if isinstance(tool_config, dict) else None
    if isinstance(tools, list) and not all(map(_is_own_tool, tools)):
        yield "hosted-tools"
    if any(holds_member(members.get(name), _FILES, _USERS_OWN) for name in _ASKED):
        yield "remote-content"
    if isinstance(members.get(_OF_THE_MODEL), dict):
        yield from bypasses_of_anthropic(members[_OF_THE_MODEL])


def judge(answer: Any) -> Verdict:
    """Say whether an answer of this shape may be stored."""
    content = _content(answer)
    if content is None or not all(isinstance(block, dict) for block in content):
        return refuse("no-answer")
    reason = answer.get("stopReason")
    if reason in TRUNCATED:
        return refuse("truncated")
    if reason in FILTERED:
        return refuse("filtered")
    if reason not in COMPLETE:
        return refuse("incomplete")
    return refuse("empty") if all(map(_says_nothing, content)) else refuse()


def _content(answer: Any) -> list[Any] | None:
    output = answer.get("output") if isinstance(answer, dict) else None
    message = output.get("message") if isinstance(output, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, list) else None


def _is_thought(block: Any) -> bool:
    return isinstance(block, dict) and block.keys() == {"reasoningContent"}


def _event(block: bytes) -> bedrock_stream.Event:
    return name_of(block) or "", loads(event_data(block) or b"")


def _within(value: Any, name: str) -> Any:
    return {**value, name: _without_hints(value[name])} if isinstance(value, dict) and name in value else value


def _without_hints(items: Any) -> Any:
    if not isinstance(items, list):
        return items
    return [without(item, HINTS) for item in items if not (isinstance(item, dict) and item.keys() == HINTS)]


def _is_own_tool(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.keys() <= {"toolSpec", "cachePoint"}


def _says_nothing(block: dict[str, Any]) -> bool:
    return block.keys() <= {"text", "reasoningContent"} and not block.get("text")
