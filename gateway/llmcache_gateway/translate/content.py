"""Contents of messages: parts of chat completions as blocks of Anthropic's messages."""

import re
from collections.abc import Mapping
from typing import Any, Final

from llmcache_gateway.errors import RequestError
from llmcache_gateway.plainjson import loads

Block = dict[str, Any]

_DATA: Final = re.compile(r"data:([^;,]+)(?:;[^,]*)?;base64,(.*)", re.DOTALL)
_LONG: Final = frozenset({"1h", "12h", "24h"})
"""Lifetimes of marks that are the longer one of Anthropic's two."""


def refused(message: str, param: str) -> RequestError:
    """Return the error that a request can't be said in the other API."""
    return RequestError(
        400, f"{message} (the model is reached by Anthropic's messages).", code="unsupported", param=param
    )


def blocks(content: Any, param: str, mark: Any = None) -> list[Block]:
    """Return a message's content as blocks, without empty texts; `mark` goes on the last, unless it has one."""
    found: list[Block] = []
    if isinstance(content, str):
        found = [text_block(content)] if content else []
    elif isinstance(content, list):
        for at, part in enumerate(content):
            block = _block(part, f"{param}[{at}]")
            if block is not None:
                found.append(block)
    elif content is not None:
        raise refused("content must be a text or a list of parts", param)
    if mark is not None and found:
        found[-1].setdefault("cache_control", mark)
    return found


def compact(found: list[Block]) -> Any:
    """Return blocks as short as they can be said: one text without anything else is a string."""
    if len(found) == 1 and found[0].keys() == {"type", "text"}:
        return found[0]["text"]
    return found


def text_block(text: str) -> Block:
    return {"type": "text", "text": text}


def mark_of(holder: Mapping[str, Any]) -> Any:
    """Return the hint that a message, part or tool carries, in Anthropic's form; None when it has none."""
    own = holder.get("cache_control")
    if own is not None:
        return own
    breakpoint_ = holder.get("prompt_cache_breakpoint")
    if breakpoint_ is None:
        return None
    long = isinstance(breakpoint_, dict) and breakpoint_.get("ttl") in _LONG
    return {"type": "ephemeral", "ttl": "1h"} if long else {"type": "ephemeral"}


def tool_use(call: Any, param: str) -> Block:
    """Return a tool call as a block."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise refused("only calls of functions can be said", param)
    arguments = function.get("arguments") or "{}"
    try:
        given = loads(arguments.encode()) if isinstance(arguments, str) else None
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise refused("arguments must be the text of a JSON object", f"{param}.function.arguments")
    return {"type": "tool_use", "id": str(call.get("id", "")), "name": function["name"], "input": given}


def tool_result(message: Mapping[str, Any], ident: str, param: str) -> Block:
    """Return a tool's message as a block. A mark within it is the block's: there is no place for it inside."""
    within = blocks(message.get("content"), f"{param}.content")
    marks = [mark for mark in (*(block.pop("cache_control", None) for block in within), mark_of(message)) if mark]
    result: Block = {"type": "tool_result", "tool_use_id": ident, "content": compact(within) if within else ""}
    return {**result, "cache_control": marks[-1]} if marks else result


def thinking(message: Mapping[str, Any]) -> list[Block]:
    """Return what an assistant's message says of its thinking. Without a signature nobody would believe it."""
    given = message.get("thinking_blocks")
    some = given if isinstance(given, list) else []
    return [
        one
        for one in some
        if isinstance(one, dict) and (one.get("signature") or one.get("type") == "redacted_thinking")
    ]


def _block(part: Any, param: str) -> Block | None:
    kind = part.get("type") if isinstance(part, dict) else None
    block: Block | None
    if kind in ("text", "refusal"):
        text = part.get(kind)
        block = text_block(text) if isinstance(text, str) and text else None
    elif kind == "image_url":
        image = part.get("image_url")
        block = {"type": "image", "source": _source(image.get("url") if isinstance(image, dict) else image, param)}
    elif kind == "file":
        block = _document(part.get("file"), param)
    else:
        raise refused(f"a part of type {str(kind)[:50]!r} can't be said", f"{param}.type")
    mark = mark_of(part)
    if block is not None and mark is not None:
        block["cache_control"] = mark
    return block


def _source(url: Any, param: str) -> Block:
    if not isinstance(url, str):
        raise refused("an image needs a url", param)
    inline = _DATA.fullmatch(url)
    if inline is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": inline[1], "data": inline[2]}


def _document(file: Any, param: str) -> Block:
    data = file.get("file_data") if isinstance(file, dict) else None
    inline = _DATA.fullmatch(data) if isinstance(data, str) else None
    if inline is None:
        raise refused("a file must come in the request, as file_data: data:application/pdf;base64,…", f"{param}.file")
    document: Block = {"type": "document", "source": {"type": "base64", "media_type": inline[1], "data": inline[2]}}
    name = file.get("filename")
    return {**document, "title": name} if isinstance(name, str) and name else document
