"""What providers refuse of prompt-cache hints, as they document it and with their words: pure, for stubs to obey."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from llmcache_gateway.errors import RequestError
from llmcache_gateway.translate import request

Refuses = Callable[[dict[str, Any]], str | None]
"""Given a request's body, the message of the 400 that it is answered with; None when it is accepted."""

MARKED_BLOCKS = ("text", "image", "document", "search_result", "tool_use", "tool_result", "server_tool_use")
CHAT_PARTS = ("text", "image_url", "input_audio", "file")
RESPONSES_PARTS = ("input_text", "input_image", "input_file")


def anthropic(body: dict[str, Any]) -> str | None:
    """Return why Anthropic's messages refuse the hints of a request."""
    return next(_anthropic(body), None)


def _anthropic(body: dict[str, Any]) -> Iterator[str]:
    marks: list[dict[str, Any]] = []
    for where, block, kind in _blocks(body):
        if "cache_control" not in block:
            continue
        if kind == "message":
            yield f"{where}.cache_control: Extra inputs are not permitted"
        elif kind == "inner":
            yield "cache_control may not be specified within tool_result.content"
        elif kind == "block" and block.get("type") not in MARKED_BLOCKS:
            yield f"{where}.cache_control: Extra inputs are not permitted"
        elif kind == "block" and block.get("type") == "text" and not str(block.get("text", "")).strip():
            yield f"{where}: cache_control cannot be set for empty text blocks"
        elif kind == "tool" and block.get("defer_loading"):
            yield f"{where}.cache_control: cannot be set for a tool with defer_loading"
        mark = block["cache_control"]
        if not isinstance(mark, dict) or mark.get("type") != "ephemeral" or not mark.keys() <= {"type", "ttl"}:
            yield f"{where}.cache_control: Input should be a valid dictionary of type ephemeral"
        elif mark.get("ttl", "5m") not in ("5m", "1h"):
            yield f"{where}.cache_control.ttl: Input should be '5m' or '1h'"
        else:
            if mark.get("ttl") == "1h" and any(one.get("ttl", "5m") == "5m" for one in marks):
                yield (
                    f"{where}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' "
                    "cache_control block. Note the order in which blocks are processed: tools, system, messages."
                )
            marks.append(mark)
    count = len(marks) + ("cache_control" in body)
    if count > 4:
        yield f"A maximum of 4 blocks with cache_control may be provided. Found {count}."
    for name in body.keys() & {"prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"}:
        yield f"{name}: Extra inputs are not permitted"
    if "prompt_cache_breakpoint" in json.dumps(body):
        yield "prompt_cache_breakpoint: Extra inputs are not permitted"


def _blocks(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield everything of a request that may have a mark, in the order in which it is processed."""
    for at, tool in enumerate(_dicts(body.get("tools"))):
        yield f"tools.{at}", tool, "tool"
    for at, block in enumerate(_dicts(body.get("system"))):
        yield f"system.{at}", block, "block"
    for number, message in enumerate(_dicts(body.get("messages"))):
        yield f"messages.{number}", message, "message"
        for at, block in enumerate(_dicts(message.get("content"))):
            where = f"messages.{number}.content.{at}"
            yield where, block, "block"
            for inner in _dicts(block.get("content")):
                yield where, inner, "inner"


def openai(body: dict[str, Any], *, breakpoints: bool = True) -> str | None:
    """Return why OpenAI's chat completions or responses refuse the hints of a request.

    Without `breakpoints` it is a model before GPT-5.6, which knows none.
    """
    return next(_openai(body, breakpoints), None)


def _openai(body: dict[str, Any], breakpoints: bool) -> Iterator[str]:
    name = "messages" if "messages" in body else "input"
    kinds = CHAT_PARTS if name == "messages" else RESPONSES_PARTS
    if "cache_control" in body:
        yield "Unknown parameter: 'cache_control'."
    if not breakpoints and "prompt_cache_options" in body:
        yield "Unsupported parameter: 'prompt_cache_options' is not supported with this model."
    options = body.get("prompt_cache_options")
    if options is not None and (not isinstance(options, dict) or not options.keys() <= {"mode", "ttl", "prewarm"}):
        yield "Unknown parameter in 'prompt_cache_options'."
    if "prompt_cache_key" in body and not isinstance(body["prompt_cache_key"], str):
        yield "Invalid type for 'prompt_cache_key': expected a string."
    for at, tool in enumerate(_dicts(body.get("tools"))):
        if tool.keys() & {"cache_control", "prompt_cache_breakpoint"}:
            yield f"Unknown parameter: 'tools[{at}].prompt_cache_breakpoint'."
    for number, message in enumerate(_dicts(body.get(name))):
        for hint in message.keys() & {"cache_control", "prompt_cache_breakpoint"}:
            yield f"Unknown parameter: '{name}[{number}].{hint}'."
        for at, part in enumerate(_dicts(message.get("content"))):
            where = f"{name}[{number}].content[{at}]"
            if "cache_control" in part:
                yield f"Unknown parameter: '{where}.cache_control'."
            if "prompt_cache_breakpoint" not in part:
                continue
            mark = part["prompt_cache_breakpoint"]
            if not breakpoints or part.get("type") not in kinds:
                yield f"Unknown parameter: '{where}.prompt_cache_breakpoint'."
            elif not isinstance(mark, dict) or mark.get("mode") != "explicit" or not mark.keys() <= {"mode", "ttl"}:
                yield f"Invalid value for '{where}.prompt_cache_breakpoint'."
            elif mark.get("ttl", "30m") not in ("30m", "12h"):
                yield f"Invalid value for '{where}.prompt_cache_breakpoint.ttl'."
            elif part["type"] in ("text", "input_text") and not str(part.get("text", "")).strip():
                yield f"'{where}.prompt_cache_breakpoint' can't be set on an empty part."


def openrouter(body: dict[str, Any]) -> str | None:
    """Return why OpenRouter's chat completions refuse a request: either mark, on parts alone, four at most."""
    marks: list[str] = []
    for number, message in enumerate(_dicts(body.get("messages"))):
        if message.keys() & {"cache_control", "prompt_cache_breakpoint"}:
            return f"messages.{number}: Unrecognized key"
        for part in _dicts(message.get("content")):
            found = part.keys() & {"cache_control", "prompt_cache_breakpoint"}
            if found and part.get("type") == "text" and not str(part.get("text", "")).strip():
                return "cache_control cannot be set for empty text blocks"
            marks.extend(found)
    return "A maximum of 4 blocks with cache_control may be provided." if len(marks) > 4 else None


def converse(body: dict[str, Any], *, nova: bool = False) -> str | None:
    """Return why Converse refuses the hints of a request, for Claude or for Nova."""
    marks: list[dict[str, Any]] = []
    for where, items in _lists_of_converse(body):
        for at, item in enumerate(items):
            if "cachePoint" not in item:
                continue
            mark, before = item["cachePoint"], items[at - 1] if at else {}
            if len(item) > 1 or not isinstance(mark, dict) or mark.get("type") != "default":
                return f"Malformed input request: #/{where}/{at}: cachePoint is not valid"
            if not mark.keys() <= {"type", "ttl"} or mark.get("ttl", "5m") not in ("5m", "1h"):
                return f"Malformed input request: #/{where}/{at}: cachePoint is not valid"
            refused = (
                before.keys() <= {"cachePoint"} or "reasoningContent" in before or before.get("text", "x").isspace()
            )
            if refused or before.get("text") == "" or (nova and "text" not in before) or (nova and "ttl" in mark):
                return f"Malformed input request: #/{where}/{at}: extraneous key [cachePoint] is not permitted"
            if mark.get("ttl") == "1h" and any(one.get("ttl", "5m") == "5m" for one in marks):
                return "cachePoint: a ttl='1h' must not come after a ttl='5m'"
            marks.append(mark)
    return "You have exceeded the maximum number of cachePoint blocks" if len(marks) > 4 else None


def nova(body: dict[str, Any]) -> str | None:
    """Return why Converse refuses the hints of a request to Nova."""
    return converse(body, nova=True)


def _lists_of_converse(body: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    config = body.get("toolConfig")
    yield "toolConfig/tools", _dicts(config.get("tools")) if isinstance(config, dict) else []
    yield "system", _dicts(body.get("system"))
    for number, message in enumerate(_dicts(body.get("messages"))):
        yield f"messages/{number}/content", _dicts(message.get("content"))


def translated(body: dict[str, Any]) -> str | None:
    """Return why Anthropic refuses what a chat completion becomes for Claude, or why it can't become anything."""
    try:
        asked = request.translated(body, "claude-opus-5", 9)
    except RequestError as error:
        return error.message
    return anthropic(asked.body)


def keyed(body: dict[str, Any]) -> str | None:
    """Return why a provider that knows `prompt_cache_key` alone refuses a request."""
    return openai(body, breakpoints=False)


def hintless(body: dict[str, Any]) -> str | None:
    """Return why a provider that knows no hint at all refuses a request."""
    text = json.dumps(body)
    for name in ("cache_control", "cachePoint", "prompt_cache_breakpoint", "prompt_cache_key", "prompt_cache_options"):
        if f'"{name}"' in text:
            return f"Unknown parameter: '{name}'."
    return None


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
