"""OpenAI responses: `POST /v1/responses`.

Format: OpenAI's API reference as its SDK's types have it (openai 3.54); the stream stands in
openai_responses_stream.py. By default OpenAI keeps a response, to be continued by its id: an answer from the cache
would give the same id to everybody, so that only requests with `"store": false` meet the cache.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from llmcache_gateway.dialects import openai_responses_stream as stream
from llmcache_gateway.dialects.base import Request, Verdict, refuse
from llmcache_gateway.dialects.openai_chat import HINTS
from llmcache_gateway.dialects.openai_errors import error_body
from llmcache_gateway.dialects.openai_shaped import OpenAIShaped, looks_elsewhere
from llmcache_gateway.dialects.reading import first_not, names_remote, read_request, without
from llmcache_gateway.dialects.turns import Turn, last_message, text_of_parts
from llmcache_gateway.errors import RequestError
from llmcache_gateway.plainjson import loads, raw_members

IGNORED: Final = frozenset(
    {
        "stream",
        "stream_options",
        "user",
        "safety_identifier",
        "metadata",
        "service_tier",
        "background_options",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "cache_control",
    }
)
"""Top-level members that don't change the answer: who asks, how it is billed or sent, and cache hints."""

PERSONAL: Final[Mapping[str, Any]] = {"metadata": {}, "user": None, "safety_identifier": None, "prompt_cache_key": None}
"""What a response repeats of who asked, each with what stands there when the asker gave none.

`store` and `previous_response_id` are repeated too, but they are part of the key. `service_tier` reports how the
response was made.
"""

APPLIED: Final = ("prompt_cache_options", "prompt_cache_retention")
"""Cache settings that a response reports as they were applied, defaults included, hence kept unless asked for."""

LOCAL_TOOLS: Final = ("function", "custom", "namespace", "local_shell", "apply_patch")
"""Tools that the client runs. Every other one the provider runs, with results that change from call to call."""

HOSTED_ITEMS: Final = (
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "computer_call",
    "image_generation_call",
    "mcp_call",
    "mcp_list_tools",
    "mcp_approval_request",
    "program",
    "program_output",
)
"""What tools that the provider runs leave in an answer; a prompt template can bring them in unseen."""


class OpenAIResponses(OpenAIShaped):
    """The dialect of responses."""

    name = "openai-responses"
    below = "/responses"
    speakers = frozenset({"openai", "azure", "openrouter", "mistral", "xai", "groq", "fireworks"})
    echoes = True

    def parse(self, members: Any, body: bytes, target: str = "") -> Request:
        if isinstance(members, dict) and members.get("model") is None and isinstance(members.get("prompt"), dict):
            # A prompt template names its own model.
            request = replace(read_request({**members, "model": "prompt"}, body), model="", members=members)
        else:
            request = read_request(members, body)
        options = members.get("stream_options")
        if options is not None and not isinstance(options, dict):
            raise RequestError(400, "'stream_options' must be an object.", code="invalid_type", param="stream_options")
        return request

    def counted(self, request: Request) -> dict[str, Any]:
        members = request.members
        counted = {name: value for name, value in members.items() if name not in IGNORED}
        counted["store"] = members.get("store") is not False
        include = members.get("include")
        if isinstance(include, list) and "reasoning.encrypted_content" in include:
            # OpenAI binds what it encrypts to the end user, and drops it from another's next request.
            counted |= {name: members[name] for name in ("user", "safety_identifier") if name in members}
        if isinstance(counted.get("input"), str):
            counted["input"] = [{"role": "user", "content": counted["input"]}]
        if isinstance(counted.get("input"), list):
            counted["input"] = [_counted_item(item) for item in counted["input"]]
        if isinstance(counted.get("tools"), list):
            counted["tools"] = [without(tool, HINTS) for tool in counted["tools"]]
        return counted

    def last_turn(self, members: Mapping[str, Any]) -> Turn | None:
        return last_message(members, "input")

    def answer_text(self, answer: Any) -> str | None:
        output = answer.get("output") if isinstance(answer, dict) else None
        items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
        said = [item for item in items if item.get("type") != "reasoning"]
        if len(said) != 1 or said[0].get("type") != "message":
            return None
        return text_of_parts(said[0].get("content"), "output_text")

    def bypass(self, request: Request, admitted: frozenset[str] = frozenset()) -> str | None:
        return first_not(admitted, _bypasses(request))

    def for_client(self, block: bytes, request: Request) -> bytes | None:
        if (
            b'"obfuscation"' in block
            and (request.members.get("stream_options") or {}).get("include_obfuscation") is False
        ):
            return stream.without_obfuscation(block)
        return block

    def is_terminal(self, block: bytes) -> bool:
        return stream.kind_of(block) in stream.TERMINAL

    def judge(self, answer: Any, request: Request | None = None) -> Verdict:
        if not isinstance(answer, dict):
            return refuse("no-answer")
        if answer.get("error") is not None or answer.get("status") == "failed":
            return refuse("error")
        output = answer.get("output")
        if not isinstance(output, list) or not all(map(_is_item, output)):
            return refuse("no-answer")
        return refuse(*_flaws(answer, output))

    def assemble(self, blocks: list[bytes]) -> dict[str, Any]:
        try:
            return stream.assemble(blocks)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a stream of a response: {error!r}") from error

    def replay(self, answer: Mapping[str, Any]) -> Iterator[bytes]:
        return stream.replay(answer)

    def personal(self, answer: dict[str, Any], request: Request) -> dict[str, Any]:
        return _personal(answer, _asked(request))

    def personal_blocks(self, blocks: list[bytes], request: Request) -> list[bytes]:
        asked = _asked(request)
        return [stream.with_response(block, lambda answer: _personal(answer, asked)) for block in blocks]

    def error_body(self, status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
        return error_body(status, message, code, param)

    def error_event(self, status: int, message: str, code: str | None) -> bytes:
        # The SDKs raise an exception for an event with an `error`; the rest is the documented event.
        error = error_body(status, message, code, None)["error"]
        return stream.event_block("error", {"sequence_number": 0, **error, "type": "error", "error": error})


def _counted_item(item: Any) -> Any:
    """Return an input item without hints; a message of one text part is the same as its text."""
    if not isinstance(item, dict):
        return item
    item = without(item, HINTS)
    for name in ("content", "output"):
        if isinstance(item.get(name), list):
            item = {**item, name: [without(part, HINTS) for part in item[name]]}
    if "role" not in item:
        return item
    content = item.get("content")
    part = content[0] if isinstance(content, list) and len(content) == 1 else None
    if isinstance(part, dict) and part.keys() == {"type", "text"} and part["type"] == "input_text":
        item = {**item, "content": part["text"]}
    if item.keys() == {"type", "role", "content"} and item["type"] == "message":
        item = without(item, frozenset({"type"}))
    return item


def _bypasses(request: Request) -> Iterator[str]:
    """Yield every reason to keep a request away from the cache."""
    members = request.members
    items = members["input"] if isinstance(members.get("input"), list) else []
    if _is_stateful(members, items):
        yield "stateful"
    yield from looks_elsewhere(request.model, members)
    if any(map(_is_hosted, _tools(members, items))):
        yield "hosted-tools"
    if isinstance(members.get("modalities"), list) and "audio" in members["modalities"]:
        yield "audio"
    options = members.get("prompt_cache_options")
    if isinstance(options, dict) and options.get("prewarm"):
        yield "prewarm"
    prompt = members.get("prompt")
    variables = prompt.get("variables") if isinstance(prompt, dict) else None
    contents = [item.get(name) for item in items if isinstance(item, dict) for name in ("content", "output")]
    contents.append(list(variables.values()) if isinstance(variables, dict) else None)
    if any(map(names_remote, contents)):
        yield "remote-content"


def _is_stateful(members: Mapping[str, Any], items: list[Any]) -> bool:
    """Say whether the answer is made from, or becomes, something that the provider keeps."""
    if members.get("store") is not False or members.get("background"):
        return True
    if members.get("previous_response_id") is not None or members.get("conversation") is not None:
        return True
    options, prompt = members.get("prompt_cache_options"), members.get("prompt")
    if isinstance(options, dict) and options.get("comparison_response_id") is not None:
        return True
    if isinstance(prompt, dict) and prompt.get("version") is None:
        return True
    references = (item for item in items if isinstance(item, dict))
    return any(item.get("type") == "item_reference" or item.keys() == {"id"} for item in references)


def _tools(members: Mapping[str, Any], items: list[Any]) -> Iterator[Any]:
    """Yield every tool that a request offers, wherever it does."""
    lists = [members.get("tools")]
    lists += [item.get("tools") for item in items if isinstance(item, dict) and item.get("type") == "additional_tools"]
    for tools in lists:
        yield from tools if isinstance(tools, list) else ()


def _is_hosted(tool: Any) -> bool:
    if not isinstance(tool, dict) or tool.get("type") in LOCAL_TOOLS:
        return False
    if tool.get("type") == "shell":
        environment = tool.get("environment")
        return not isinstance(environment, dict) or environment.get("type") != "local"
    return not (tool.get("type") == "tool_search" and tool.get("execution") == "client")


def _flaws(answer: Mapping[str, Any], output: list[dict[str, Any]]) -> Iterator[str]:
    """Yield why an answer should not be stored; first what no setting overrules."""
    details = answer.get("incomplete_details")
    cut = details.get("reason") if answer.get("status") == "incomplete" and isinstance(details, dict) else None
    if answer.get("status") != "completed" and cut not in ("max_output_tokens", "content_filter"):
        yield "incomplete"
    if cut is None and any(item.get("status") in ("incomplete", "failed") for item in output):
        yield "incomplete"
    if cut is None and not any(map(_says_something, output)):
        yield "empty"
    if any(item.get("type") in HOSTED_ITEMS for item in output):
        yield "hosted-tools"
    moderation = answer.get("moderation")
    judged = moderation.values() if isinstance(moderation, dict) else ()
    if cut == "content_filter" or any(isinstance(part, dict) and part.get("flagged") for part in judged):
        yield "filtered"
    messages = (item for item in output if item.get("type") == "message")
    if any(part.get("type") == "refusal" for item in messages for part in item.get("content") or ()):
        yield "refused"
    if cut == "max_output_tokens":
        yield "truncated"


def _is_item(item: Any) -> bool:
    """Say whether this is an output item that can be streamed."""
    if not isinstance(item, dict):
        return False
    if item.get("type") not in ("message", "reasoning"):
        return True
    lists = [item.get(name) or [] for name in ("content", "summary")]
    return all(isinstance(parts, list) and all(isinstance(part, dict) for part in parts) for parts in lists)


def _says_something(item: dict[str, Any]) -> bool:
    if item.get("type") == "message":
        return any(part.get("type") != "output_text" or part.get("text") for part in item.get("content") or ())
    return item.get("type") != "reasoning"


def _asked(request: Request) -> dict[str, Any]:
    """Return what a request has of the members that a response repeats, as plain data."""
    names = [name for name in (*PERSONAL, *APPLIED) if request.members.get(name)]
    if not names:
        return {}
    raw = raw_members(request.body)
    if raw is None:
        members = loads(request.body)
        return {name: members[name] for name in names}
    return {name: loads(bytes(raw[name])) for name in names}


def _personal(answer: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(answer)
    for name, empty in PERSONAL.items():
        if name in asked:
            new[name] = asked[name]
        elif new.get(name):
            new[name] = empty
    for name in APPLIED:
        if name in asked and new.get(name):
            both = isinstance(new[name], dict) and isinstance(asked[name], dict)
            new[name] = {**new[name], **asked[name]} if both else asked[name]
    return new
