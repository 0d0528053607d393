"""Anthropic messages."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.gateway.corpus.case import (
    EMOJI_IN_TWO,
    LONE,
    LONG,
    NUMBERS,
    PDF,
    PNG,
    TOMORROW,
    UNICODE,
    Api,
    Case,
    Fate,
    Json,
    pieces,
    restless,
)

USAGE: Json = {
    "input_tokens": 21,
    "cache_creation_input_tokens": 188,
    "cache_read_input_tokens": 1800,
    "cache_creation": {"ephemeral_5m_input_tokens": 188, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 31,
    "output_tokens_details": {"thinking_tokens": 7},
    "service_tier": "standard",
    "inference_geo": "global",
}


def message(*content: Json, reason: str = "end_turn", **more: Any) -> Json:
    answer = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": list(content),
        "stop_reason": reason,
        "stop_sequence": None,
        "stop_details": None,
        "usage": USAGE,
    }
    return answer | more


def text(text: str, **more: Any) -> Json:
    return {"type": "text", "text": text, **more}


def blocks(answer: Json, _body: Json) -> list[bytes]:
    """Return the blocks in which Anthropic streams a message, a ping included."""
    return [f"event: {one['type']}\ndata: {json.dumps(one)}".encode() for one in events(answer)]


def events(answer: Json) -> Iterator[Json]:
    usage = answer["usage"]
    at_first = {name: count for name, count in usage.items() if name != "output_tokens_details"} | {"output_tokens": 1}
    unfinished: Json = {
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": at_first,
    }
    yield {"type": "message_start", "message": {**answer, **unfinished}}
    yield {"type": "ping"}
    for index, block in enumerate(answer["content"]):
        start, deltas = _in_pieces(block)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    totals = {name: count for name, count in usage.items() if "tokens" in name or name == "server_tool_use"}
    end = {name: answer[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield {"type": "message_delta", "delta": end, "usage": totals}
    yield {"type": "message_stop"}


def _in_pieces(block: Json) -> tuple[Json, list[Json]]:
    match block:
        case {"type": "text", "text": text}:
            deltas: list[Json] = [{"type": "text_delta", "text": piece} for piece in pieces(text)]
            citations = block.get("citations") or []
            deltas += [{"type": "citations_delta", "citation": citation} for citation in citations]
            return {**block, "text": "", **({"citations": []} if citations else {})}, deltas
        case {"type": "thinking", "thinking": thinking, "signature": signature}:
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(thinking)]
            return {**block, "thinking": "", "signature": ""}, [
                *deltas,
                {"type": "signature_delta", "signature": signature},
            ]
        case {"type": "tool_use" | "server_tool_use", "input": given}:
            parts = ["", *(pieces(json.dumps(given)) if given else [])]
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return block, []


API = Api("messages", "/v1/messages", "anthropic", blocks, lambda client: client.messages, "get_final_message")


def ask(content: Any = "What is a cache?", **more: Any) -> Json:
    asked = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": content}]}
    return asked | more


def case(name: str, asked: Json, answer: Json, **more: Any) -> Case:
    return Case(API, name, asked, answer, **more)


TOOL: Json = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


def use(number: int, given: Json, **more: Any) -> Json:
    return {"type": "tool_use", "id": f"toolu_{number:02}", "name": "weather", "input": given, **more}


THOUGHT: Json = {"type": "thinking", "thinking": "What would a reader ☃ ask next?", "signature": "EqQBCgIYAhIM8sZg=="}
REDACTED: Json = {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3p"}
CITED: list[Json] = [
    {
        "type": "char_location",
        "cited_text": "A cache keeps.",
        "document_index": 0,
        "document_title": "On caches",
        "start_char_index": 0,
        "end_char_index": 14,
        "file_id": None,
    },
    {
        "type": "page_location",
        "cited_text": "☃",
        "document_index": 1,
        "document_title": None,
        "start_page_number": 1,
        "end_page_number": 2,
        "file_id": None,
    },
    {
        "type": "content_block_location",
        "cited_text": "",
        "document_index": 2,
        "document_title": None,
        "start_block_index": 0,
        "end_block_index": 1,
        "file_id": None,
    },
    {
        "type": "search_result_location",
        "cited_text": "a",
        "search_result_index": 0,
        "source": "s",
        "title": None,
        "start_block_index": 0,
        "end_block_index": 1,
    },
]
IMAGE: Json = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
PAPER: Json = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    "title": "On caches",
    "citations": {"enabled": True},
    "cache_control": {"type": "ephemeral"},
}
PLAIN = message(text("A cache keeps what was asked before."))
CONVERSATION: list[Json] = [
    {"role": "user", "content": [text("Weather?")]},
    {"role": "assistant", "content": [THOUGHT, REDACTED, text("Let me look."), use(1, {"city": "Graz"})]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_01", "content": [IMAGE, text("snow")]}]},
]
SEARCH: list[Json] = [
    {"type": "server_tool_use", "id": "srvtoolu_01", "name": "web_search", "input": {"query": "cache"}},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_01",
        "content": [
            {
                "type": "web_search_result",
                "title": "E",
                "url": "https://example.org",
                "encrypted_content": "Eo8=",
                "page_age": None,
            }
        ],
    },
    text("A cache keeps."),
]
FORMAT: Json = {
    "type": "json_schema",
    "schema": {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    },
}

_CASES = [
    case("plain", ask(), PLAIN),
    case("a stream through proxies", ask(), PLAIN, wire=restless),
    case("a system prompt", ask(system=[text("Be brief.", cache_control={"type": "ephemeral", "ttl": "1h"})]), PLAIN),
    case("a conversation with tool results", ask(messages=CONVERSATION, tools=[TOOL]), PLAIN),
    case(
        "a stop sequence",
        ask(stop_sequences=["\n"]),
        message(text("A cache"), reason="stop_sequence", stop_sequence="\n"),
    ),
    case("one tool call", ask(tools=[TOOL]), message(use(1, {"city": "Graz ☃"}), reason="tool_use")),
    case(
        "parallel tool calls",
        ask(tools=[TOOL], tool_choice={"type": "any"}),
        message(text("Let me look."), use(1, {"city": "Graz"}), use(2, {}), use(3, {"city": ""}), reason="tool_use"),
    ),
    case(
        "a tool call with all of JSON",
        ask(tools=[TOOL]),
        message(
            use(1, {"deep": [1, 2.5, None, {"x": {}}], UNICODE: True}, caller={"type": "direct"}), reason="tool_use"
        ),
    ),
    case(
        "calls of tools that the client runs",
        ask(tools=[{"type": "bash_20250124", "name": "bash"}]),
        message(use(1, {"command": "ls"}) | {"name": "bash"}, reason="tool_use"),
    ),
    case("thinking", ask(thinking={"type": "adaptive"}), message(THOUGHT, text("It keeps."))),
    case("redacted thinking", ask(thinking={"type": "adaptive"}), message(REDACTED, THOUGHT, text("It keeps."))),
    case(
        "thinking without its text",
        ask(thinking={"type": "adaptive"}),
        message(THOUGHT | {"thinking": ""}, text("It keeps.")),
    ),
    case(
        "thinking between tool calls",
        ask(thinking={"type": "adaptive"}, tools=[TOOL]),
        message(THOUGHT, text("So."), THOUGHT | {"signature": "Eo=="}, use(1, {"city": "Graz"}), reason="tool_use"),
    ),
    case(
        "citations",
        ask([PAPER, text("And?")]),
        message(text("A cache keeps.", citations=CITED), text(" And"), text("so.", citations=CITED[:1])),
    ),
    case("citations that are null", ask(), message(text("A cache keeps.", citations=None))),
    case("images and documents in the request", ask([IMAGE, PAPER, text("What is it?")]), PLAIN),
    case(
        "structured output",
        ask(output_config={"format": FORMAT}),
        message(text('{"name": "Graz"}')),
    ),
    case("service tier", ask(service_tier="standard_only"), PLAIN | {"usage": USAGE | {"service_tier": "priority"}}),
    case("who asks", ask(metadata={"user_id": "u"}), PLAIN),
    case("usage with nulls", ask(), PLAIN | {"usage": USAGE | {"cache_creation": None, "inference_geo": None}}),
    case(
        "fields of tomorrow",
        ask(extra_body={"parameter_of_tomorrow": TOMORROW}),
        message(
            text("A cache keeps.", of_block=TOMORROW),
            THOUGHT | {"of_block": TOMORROW},
            use(1, {"city": "Graz"}, of_block=TOMORROW),
            reason="tool_use",
            usage=USAGE | {"of_usage": TOMORROW},
            of_answer=TOMORROW,
        ),
    ),
    case("unicode", ask(UNICODE, system=UNICODE), message(THOUGHT | {"thinking": UNICODE}, text(UNICODE))),
    case("lone surrogates", ask(), message(text(LONE, of_block=LONE), of_answer=LONE)),
    case("an emoji cut in two", ask(), message(text(EMOJI_IN_TWO))),
    case(
        "huge and tiny numbers",
        ask(tools=[TOOL]),
        message(text("1", of_block=NUMBERS), of_answer=NUMBERS),
    ),
    case(
        "huge and tiny numbers in a tool call",
        ask(tools=[TOOL]),
        message(use(1, NUMBERS), reason="tool_use"),
    ),
    case("empty strings", ask([text("a"), text("")]), message(text(""), text("a"), text(""))),
    case("a long answer", ask(), message(THOUGHT | {"thinking": LONG}, text(LONG))),
    case("cut at the limit", ask(), message(text("A cache"), reason="max_tokens"), fate=Fate.NOT_KEPT),
    case(
        "refused",
        ask(),
        message(
            text("I"), reason="refusal", stop_details={"type": "refusal", "category": None, "explanation": "It is so."}
        ),
        fate=Fate.NOT_KEPT,
    ),
    case("paused", ask(), message(text("Wait"), reason="pause_turn"), fate=Fate.NOT_KEPT),
    case("nothing said", ask(), message(text("")), fate=Fate.NOT_KEPT),
    case("nothing to say", ask(), message(), fate=Fate.NOT_KEPT),
    case(
        "search in the web",
        ask(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        message(*SEARCH, usage=USAGE | {"server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0}}),
        fate=Fate.BYPASSED,
    ),
    case(
        "an image from elsewhere",
        ask([{"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}]),
        PLAIN,
        fate=Fate.BYPASSED,
    ),
    case("a container", ask(extra_body={"container": "c_1"}), PLAIN, fate=Fate.BYPASSED),
]

_ON_VERTEX = "/v1/projects/p/locations/europe-west4/publishers/anthropic/models/claude-sonnet-5-5"
VERTEX = Api(
    "messages on Vertex",
    f"{_ON_VERTEX}:rawPredict",
    "anthropic-vertex",
    blocks,
    lambda client: client.messages,
    "get_final_message",
    stream_path=f"{_ON_VERTEX}:streamRawPredict",
)

CASES = [*_CASES, *(replace(one, api=VERTEX) for one in _CASES)]
