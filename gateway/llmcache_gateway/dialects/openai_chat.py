"""OpenAI chat completions: `POST /v1/chat/completions`.

Format: OpenAI's API reference as its SDK's types have it (openai 3.54). A stream is a sequence of
`chat.completion.chunk` objects and ends with `data: [DONE]`; with `stream_options.include_usage` one more chunk,
with no choices, carries the usage. The gateway always asks for that chunk, so that an entry recorded from a
stream has everything an unstreamed client expects, and hides it from clients that did not ask.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from llmcache_gateway.dialects import anthropic_messages, azure_filters
from llmcache_gateway.dialects.base import Request, Verdict, refuse
from llmcache_gateway.dialects.openai_chat_stream import DONE, assemble, chunks
from llmcache_gateway.dialects.openai_errors import error_body
from llmcache_gateway.dialects.openai_shaped import OpenAIShaped, looks_elsewhere
from llmcache_gateway.dialects.reading import first_not, names_remote, read_request, without
from llmcache_gateway.dialects.turns import Turn, last_message
from llmcache_gateway.errors import RequestError
from llmcache_gateway.plainjson import dumps, loads, raw_members
from llmcache_gateway.sse import data_event, event_data

IGNORED: Final = frozenset(
    {
        "stream",
        "stream_options",
        "user",
        "safety_identifier",
        "metadata",
        "store",
        "service_tier",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "cache_control",
    }
)
"""Top-level members that don't change the answer: who asks, how it is billed, kept or sent, and cache hints."""

HINTS: Final = frozenset({"cache_control", "prompt_cache_breakpoint"})
"""Prompt-cache hints on messages and parts. Inside a tool's schema or arguments these names are the user's own."""

FLAWS: Final = ("no-answer", "incomplete", "empty", "truncated", "filtered", "refused")
"""What may be wrong with a choice, those first that no setting overrules."""

OWN_TOOLS: Final = (None, "function", "custom")
"""Types of tools that the client runs. Groq, OpenRouter and others have tools that they run themselves."""

CLAUDES: Final = ("anthropic/", "bedrock/")
"""What names of models begin with that may be asked by Anthropic's messages, where members of that API go on."""

COMPLETE: Final = ("stop", "end_turn", "tool_calls", "function_call")
TRUNCATED: Final = ("length", "model_length")
"""Words of all providers of this shape: what one of them says means the same of another."""


class OpenAIChat(OpenAIShaped):
    """The dialect of chat completions."""

    name = "openai-chat"
    below = "/chat/completions"
    speakers = frozenset({"openai", "azure", "deepseek", "openrouter", "mistral", "xai", "groq", "fireworks", "echo"})
    uncounted = IGNORED

    def parse(self, members: Any, body: bytes, target: str = "") -> Request:
        request = read_request(members, body)
        options = members.get("stream_options")
        if options is not None and not isinstance(options, dict):
            raise RequestError(400, "'stream_options' must be an object.", code="invalid_type", param="stream_options")
        return request

    def counted(self, request: Request) -> dict[str, Any]:
        counted = {name: value for name, value in request.members.items() if name not in self.ignored}
        messages = counted.get("messages")
        if isinstance(messages, list):
            counted["messages"] = [_counted_message(message) for message in messages]
        tools = counted.get("tools")
        if isinstance(tools, list) and b"cache_control" in request.body:
            counted["tools"] = [_counted_tool(tool) for tool in tools]
        return counted

    def last_turn(self, members: Mapping[str, Any]) -> Turn | None:
        return last_message(members, "messages")

    def answer_text(self, answer: Any) -> str | None:
        choices = answer.get("choices") if isinstance(answer, dict) else None
        choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict) or message.get("tool_calls") or message.get("function_call"):
            return None
        content = message.get("content")
        return content if isinstance(content, str) else None

    def bypass(self, request: Request, admitted: frozenset[str] = frozenset()) -> str | None:
        return first_not(admitted, _bypasses(request))

    def for_upstream(self, request: Request) -> bytes:
        body = request.body
        if not request.stream or not self.traits.asks_for_usage or _wants_usage(request):
            return body
        if "stream_options" not in request.members:
            # The body is an object with at least one member: what stands before its brace stays byte for byte.
            return body.rstrip()[:-1] + b',"stream_options":{"include_usage":true}}'
        members = raw_members(body)
        if members is None:
            return body  # the usage is not worth a request
        options = {**(request.members["stream_options"] or {}), "include_usage": True}
        members["stream_options"] = msgspec.Raw(dumps(options))
        return msgspec.json.encode(members)

    def for_client(self, block: bytes, request: Request) -> bytes | None:
        if not self.traits.asks_for_usage or _wants_usage(request):
            return block
        data = event_data(block)
        if data is None or b'"usage"' not in data:
            return block
        chunk = raw_members(data)
        if chunk is None:
            return self._for_client_by_value(block, data)
        if "usage" not in chunk:
            return block
        if bytes(chunk["usage"]) == b"null":
            if self.traits.gives_usage:
                return block
            del chunk["usage"]
            return data_event(msgspec.json.encode(chunk))
        if bytes(chunk.get("choices", msgspec.Raw(b"[]"))).translate(None, b" \t\r\n") == b"[]":
            return None
        return block

    def _for_client_by_value(self, block: bytes, data: bytes) -> bytes | None:
        """Hide the usage in a chunk whose members can't be had as bytes, as half an emoji in a text makes it."""
        try:
            chunk = loads(data)
        except ValueError:
            return block
        if not isinstance(chunk, dict) or "usage" not in chunk:
            return block
        if chunk["usage"] is not None:
            return block if chunk.get("choices") else None
        if self.traits.gives_usage:
            return block
        del chunk["usage"]
        return data_event(dumps(chunk))

    def is_terminal(self, block: bytes) -> bool:
        return event_data(block) == DONE

    def judge(self, answer: Any, request: Request | None = None) -> Verdict:
        if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list):
            return refuse("no-answer")
        if answer.get("error") is not None:
            return refuse("error")
        if not answer["choices"]:
            return refuse("empty")
        flaws = {self.flaw(choice) for choice in answer["choices"]}
        if request is not None and len(answer["choices"]) < choices_asked(request):
            flaws.add("incomplete")
        if _is_flagged(answer.get("moderation")):
            flaws.add("filtered")
        flaws |= {*azure_filters.prompt_flaws(answer)}
        for choice in answer["choices"]:
            if isinstance(choice, dict) and "content_filter_results" in choice:
                flaws |= {*azure_filters.flaws(choice["content_filter_results"])}
        return refuse(*(flaw for flaw in FLAWS if flaw in flaws))

    @staticmethod
    def flaw(choice: Any) -> str | None:
        """Return what speaks against storing an answer with this choice."""
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            return "no-answer"
        reason = choice.get("finish_reason")
        message = choice["message"]
        if reason in TRUNCATED:
            return "truncated"
        if reason == "content_filter":
            return "filtered"
        if message.get("refusal"):
            return "refused"
        if not isinstance(reason, str) or reason not in COMPLETE:
            return "incomplete"
        if not message.get("content") and not message.get("tool_calls") and not message.get("function_call"):
            return "empty"
        return None

    def assemble(self, blocks: list[bytes]) -> dict[str, Any]:
        return assemble(blocks, self.traits)

    def replay(self, answer: Mapping[str, Any]) -> Iterator[bytes]:
        return chunks(answer, self.traits)

    def error_body(self, status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
        return error_body(status, message, code, param)


def _counted_message(message: Any) -> Any:
    """Return a message without hints; a list of one text part is the same as its text."""
    if not isinstance(message, dict):
        return message
    content = message.get("content")
    if isinstance(content, str) and HINTS.isdisjoint(message):
        return message  # by far the most
    if isinstance(content, list):
        parts = [without(part, HINTS) for part in content]
        single = parts[0] if len(parts) == 1 else None
        text = isinstance(single, dict) and single.keys() == {"type", "text"} and single["type"] == "text"
        message = {**message, "content": single["text"] if text and isinstance(single, dict) else parts}
    return without(message, HINTS)


def _counted_tool(tool: Any) -> Any:
    tool = without(tool, HINTS)
    if isinstance(tool, dict) and "function" in tool:
        return {**tool, "function": without(tool["function"], HINTS)}
    return tool


def _wants_usage(request: Request) -> bool:
    return (request.members.get("stream_options") or {}).get("include_usage") is True


def _is_flagged(moderation: Any) -> bool:
    """Say whether the moderation that the request asked for flags what was said, on either side."""
    judged = moderation.values() if isinstance(moderation, dict) else ()
    results = [part["results"] for part in judged if isinstance(part, dict) and isinstance(part.get("results"), list)]
    return any(isinstance(one, dict) and one.get("flagged") for some in results for one in some)


def choices_asked(request: Request) -> int:
    """Return how many choices a request is for."""
    asked = request.members.get("n")
    return asked if isinstance(asked, int) else 1


def _is_hosted(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") not in OWN_TOOLS


def _bypasses(request: Request) -> Iterator[str]:
    """Yield every reason to keep a request away from the cache."""
    members = request.members
    if members.get("store"):
        yield "stateful"
    if request.model.startswith(CLAUDES) and any(members.get(name) for name in anthropic_messages.STATEFUL):
        yield "stateful"
    yield from looks_elsewhere(request.model, members)
    tools = members.get("tools")
    if isinstance(tools, list) and any(map(_is_hosted, tools)):
        yield "hosted-tools"
    modalities = members.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        yield "audio"
    messages = members.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and names_remote(message.get("content")):
            yield "remote-content"
            return
