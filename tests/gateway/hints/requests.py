"""Requests as clients might send them, for each API: what hints must get along with.

Most are sound and say nothing of prompt caching; some have marks of the client's own, some are odd.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Requests = st.SearchStrategy[dict[str, Any]]
Values = st.SearchStrategy[Any]

ODD: Values = st.sampled_from([None, True, -3, 2, "", [], {}])
"""What stands where something else belongs."""

PLAIN = st.sampled_from(["a", "a cache", "words " * 400, '\u2028é\\"x', "cache_control"])
EMPTY = st.sampled_from(["", " \n"])
HALF_AN_EMOJI = st.just("ö\ud83d")


class Manner:
    """How a client writes: with marks of its own, or odd things in between."""

    def __init__(self, *, own: bool = False, odd: bool = False) -> None:
        self.own = own
        self.odd = odd
        self.words = (
            st.one_of(PLAIN, PLAIN, PLAIN, EMPTY, HALF_AN_EMOJI) if odd else st.one_of(PLAIN, PLAIN, PLAIN, EMPTY)
        )
        self.names = st.sampled_from(["a", "type", "text", "ttl", *(["cache_control"] if odd else [])])

    def perhaps(self, value: Values) -> Values:
        """Return what a well-behaved client writes; from an odd one sometimes something else."""
        return st.one_of(value, value, value, ODD) if self.odd else value

    def perhaps_marked(self, member: str, mark: Values, value: Requests) -> Requests:
        """Return objects, of which some have a mark where the client writes its own."""
        if not self.own:
            return value
        return st.one_of(value, value, st.builds(lambda one, own: {**one, member: own}, value, mark))

    def list_of(self, value: Values, most: int) -> Values:
        return self.perhaps(st.lists(self.perhaps(value), min_size=not self.odd, max_size=most))


def _in_any_manner(make: Callable[[Manner], Requests]) -> Requests:
    sound, own, odd = make(Manner()), make(Manner(own=True)), make(Manner(own=True, odd=True))
    return st.sampled_from([sound, sound, sound, sound, sound, own, odd]).flatmap(lambda chosen: chosen)


def _block(kind: str, **members: Values) -> Requests:
    return st.fixed_dictionaries({"type": st.just(kind), **members})


def _message(role: Values, content: Values, **more: Values) -> Requests:
    return st.fixed_dictionaries({"role": role, "content": content}, optional=more)


def _anthropic(manner: Manner) -> Requests:
    mark = st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])
    text = _block("text", text=manner.words)
    result = manner.words | st.lists(manner.perhaps_marked("cache_control", mark, text), max_size=2)
    blocks = st.one_of(
        text,
        text,
        _block("image", source=st.just({"type": "base64", "media_type": "image/png", "data": "AAAA"})),
        _block("document", source=st.just({"type": "text", "media_type": "text/plain", "data": "x"})),
        _block("thinking", thinking=manner.words, signature=st.just("s")),
        _block("redacted_thinking", data=st.just("d")),
        _block("tool_use", id=st.just("t"), name=st.just("f"), input=st.dictionaries(manner.names, ODD, max_size=2)),
        _block("tool_result", tool_use_id=st.just("t"), content=result),
        _block("block_of_tomorrow", x=ODD),
    )
    content = manner.perhaps(
        st.one_of(manner.words, manner.list_of(manner.perhaps_marked("cache_control", mark, blocks), 4))
    )
    schema = st.dictionaries(manner.names, st.just({"type": "string"}), max_size=2)
    tools = st.one_of(
        st.fixed_dictionaries(
            {"name": st.just("f"), "input_schema": st.fixed_dictionaries({"properties": schema})},
            optional={"defer_loading": st.booleans(), "description": manner.words},
        ),
        st.just({"type": "web_search_20250305", "name": "web_search"}),
    )
    roles = st.sampled_from(["user", "user", "assistant", "system"])
    body = st.fixed_dictionaries(
        {"max_tokens": st.just(9), "messages": manner.list_of(_message(roles, content), 6)},
        optional={
            "system": content,
            "tools": manner.list_of(manner.perhaps_marked("cache_control", mark, tools), 3),
            "stream": st.booleans(),
        },
    )
    return manner.perhaps_marked("cache_control", mark, body)


def _openai(manner: Manner, parts: Requests, text: str) -> tuple[Values, Values]:
    """Return strategies for a message's content and for the tools."""
    mark = st.sampled_from([{"mode": "explicit"}, {"mode": "explicit", "ttl": "12h"}])
    some = st.one_of(_block(text, text=manner.words), _block(text, text=manner.words), parts)
    content = st.one_of(manner.words, manner.list_of(manner.perhaps_marked("prompt_cache_breakpoint", mark, some), 4))
    schema = st.dictionaries(manner.names, st.just({"type": "string"}), max_size=2)
    function = st.fixed_dictionaries({"name": st.just("f"), "parameters": schema})
    tools = manner.list_of(st.fixed_dictionaries({"type": st.just("function"), "function": function}), 2)
    return manner.perhaps(content), tools


def _with_own(manner: Manner, body: Requests) -> Requests:
    key = manner.perhaps_marked("prompt_cache_key", st.just("mine"), body)
    options = st.sampled_from([{"mode": "explicit"}, {"mode": "implicit", "ttl": "30m"}])
    return manner.perhaps_marked("prompt_cache_options", options, key)


def _chat(manner: Manner) -> Requests:
    parts = st.one_of(
        _block("image_url", image_url=st.just({"url": "data:image/png;base64,AAAA"})),
        _block("refusal", refusal=manner.words),
        _block("part_of_tomorrow", x=ODD),
    )
    content, tools = _openai(manner, parts, "text")
    calls = st.just([{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"cache_control":1}'}}])
    roles = st.sampled_from(["system", "developer", "user", "assistant", "tool"])
    message = _message(manner.perhaps(roles), content, tool_calls=calls)
    body = st.fixed_dictionaries(
        {"messages": manner.list_of(message, 6)}, optional={"tools": tools, "stream": st.booleans()}
    )
    return _with_own(manner, body)


def _responses(manner: Manner) -> Requests:
    parts = st.one_of(
        _block("output_text", text=manner.words), _block("input_image", image_url=st.just("data:image/png;base64,AAAA"))
    )
    content, tools = _openai(manner, parts, "input_text")
    message = _message(st.sampled_from(["system", "developer", "user", "assistant"]), content, type=st.just("message"))
    items = st.one_of(
        message,
        message,
        message,
        st.just({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}),
        st.fixed_dictionaries({"type": st.just("function_call_output"), "output": manner.words}),
        st.just({"type": "reasoning", "id": "r", "summary": []}),
    )
    given = manner.list_of(items, 5)
    body = st.fixed_dictionaries(
        {"input": st.one_of(given, given, given, manner.words)},
        optional={"instructions": manner.words, "store": st.booleans(), "tools": tools},
    )
    return _with_own(manner, body)


def _converse(manner: Manner) -> Requests:
    point = st.sampled_from([{"cachePoint": {"type": "default"}}, {"cachePoint": {"type": "default", "ttl": "1h"}}])
    text = st.fixed_dictionaries({"text": manner.words})
    image = st.just({"image": {"format": "png", "source": {"bytes": "AAAA"}}})
    used = st.fixed_dictionaries(
        {"toolUse": st.fixed_dictionaries({"toolUseId": st.just("t"), "name": st.just("f"), "input": ODD})}
    )
    result = st.just({"toolResult": {"toolUseId": "t", "content": [{"text": "x"}]}})
    thought = st.fixed_dictionaries({"reasoningContent": st.just({"reasoningText": {"text": "x", "signature": "s"}})})
    own = [point] if manner.own else []
    blocks = st.sampled_from([text, text, text, image, used, result, thought, *own]).flatmap(lambda chosen: chosen)
    system = st.sampled_from([text, text, *own]).flatmap(lambda chosen: chosen)
    tool = st.just({"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}})
    tools = st.sampled_from([tool, tool, *own]).flatmap(lambda chosen: chosen)
    message = _message(st.sampled_from(["user", "assistant"]), manner.list_of(blocks, 4))
    return st.fixed_dictionaries(
        {"messages": manner.list_of(message, 6)},
        optional={
            "system": manner.list_of(system, 3),
            "toolConfig": manner.perhaps(st.fixed_dictionaries({"tools": manner.list_of(tools, 3)})),
            "inferenceConfig": st.just({"maxTokens": 9}),
        },
    )


def _gemini(manner: Manner) -> Requests:
    text = st.fixed_dictionaries({"text": manner.words}, optional={"thought": st.booleans()})
    parts = st.one_of(
        text,
        text,
        st.just({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        st.just({"fileData": {"fileUri": "gs://b/x.pdf", "mimeType": "application/pdf"}}),
        st.fixed_dictionaries({"functionCall": st.just({"name": "f", "args": {"fileData": 1}})}),
        st.just({"functionResponse": {"name": "f", "response": {"text": "x"}}}),
    )
    roles = st.sampled_from(["user", "user", "user", "model", "function"])
    content = st.fixed_dictionaries({"parts": manner.list_of(parts, 3)}, optional={"role": manner.perhaps(roles)})
    system = manner.perhaps(st.fixed_dictionaries({"parts": st.lists(text, min_size=1, max_size=2)}))
    function = st.fixed_dictionaries({"name": st.just("f")}, optional={"description": manner.words})
    declared = st.fixed_dictionaries({"functionDeclarations": st.lists(function, min_size=1, max_size=2)})
    tools = manner.list_of(st.one_of(declared, declared, st.just({"googleSearch": {}})), 2)
    config = st.fixed_dictionaries(
        {}, optional={"temperature": st.just(0.5), "mediaResolution": st.just("MEDIA_RESOLUTION_LOW")}
    )
    body = st.fixed_dictionaries(
        {"contents": manner.list_of(content, 5)},
        optional={
            "systemInstruction": system,
            "tools": tools,
            "toolConfig": manner.perhaps(st.just({"functionCallingConfig": {"mode": "AUTO"}})),
            "generationConfig": manner.perhaps(config),
            "safetySettings": st.just([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]),
        },
    )
    in_the_protocols_words = manner.perhaps_marked("system_instruction", st.just({"parts": [{"text": "x"}]}), body)
    return manner.perhaps_marked("cachedContent", st.just("cachedContents/mine"), in_the_protocols_words)


ANTHROPIC = _in_any_manner(_anthropic)
CHAT = _in_any_manner(_chat)
RESPONSES = _in_any_manner(_responses)
CONVERSE = _in_any_manner(_converse)
GEMINI = _in_any_manner(_gemini)
