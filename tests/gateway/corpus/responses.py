"""OpenAI responses."""

import json
from collections.abc import Iterator
from typing import Any

import openai

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
from tests.gateway.corpus.chat import City

Event = tuple[str, Json]


def response(*output: Json, **more: Any) -> Json:
    answer = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_795_000_000,
        "status": "completed",
        "background": False,
        "completed_at": 1_795_000_001,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "gpt-6-2026-10-01",
        "output": list(output),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
        "reasoning": {"effort": "medium", "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 0.98,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 12,
        },
        "user": None,
        "metadata": {},
    }
    return answer | more


def message(*content: Json | str, **more: Any) -> Json:
    parts = [text(part) if isinstance(part, str) else part for part in content]
    item = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": parts}
    return item | more


def text(text: str, **more: Any) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **more}


def blocks(answer: Json, body: Json) -> list[bytes]:
    """Return the blocks in which OpenAI streams a response, the padding of its deltas included unless declined."""
    padded = (body.get("stream_options") or {}).get("include_obfuscation") is not False
    found = []
    for number, (kind, members) in enumerate(_events(answer)):
        padding = {"obfuscation": "x9f"} if padded and kind.endswith(".delta") else {}
        found.append(event({"type": kind, "sequence_number": number, **members, **padding}))
    return found


def event(members: Json) -> bytes:
    return f"event: {members['type']}\ndata: {json.dumps(members)}".encode()


def _events(answer: Json) -> Iterator[Event]:
    begun = answer | {"status": "in_progress", "completed_at": None, "output": [], "usage": None, "error": None}
    begun |= {"incomplete_details": None}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for at, item in enumerate(answer["output"]):
        yield "response.output_item.added", {"output_index": at, "item": _begun(item)}
        yield from _contents(item, {"item_id": item["id"], "output_index": at})
        yield "response.output_item.done", {"output_index": at, "item": item}
    yield f"response.{answer['status']}", {"response": answer}


EMPTY: dict[str, Json] = {
    "message": {"content": [], "status": "in_progress"},
    "function_call": {"arguments": "", "status": "in_progress"},
    "custom_tool_call": {"input": ""},
    "reasoning": {"summary": []},
    "web_search_call": {"status": "in_progress"},
}


def _begun(item: Json) -> Json:
    begun = item | EMPTY.get(item["type"], {})
    return begun if "status" in item else {name: value for name, value in begun.items() if name != "status"}


def _contents(item: Json, here: Json) -> Iterator[Event]:
    if item["type"] == "function_call":
        yield from _text("response.function_call_arguments", here, "arguments", item)
    if item["type"] == "custom_tool_call":
        yield from _text("response.custom_tool_call_input", here, "input", item)
    if item["type"] == "web_search_call":
        for state in ("in_progress", "searching", "completed"):
            yield f"response.web_search_call.{state}", here
    for at, part in enumerate(item.get("summary", []) if item["type"] == "reasoning" else []):
        summary = here | {"summary_index": at}
        yield "response.reasoning_summary_part.added", {**summary, "part": part | {"text": ""}}
        yield from _text("response.reasoning_summary_text", summary, "text", part)
        yield "response.reasoning_summary_part.done", {**summary, "part": part}
    for at, part in enumerate(item.get("content", []) if item["type"] in ("message", "reasoning") else []):
        yield from _part(part, here | {"content_index": at})


def _part(part: Json, here: Json) -> Iterator[Event]:
    names = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text"}
    name = names.get(part["type"])
    if name is None:
        yield "response.content_part.added", {**here, "part": part}
    else:
        lists: Json = {list_: [] for list_ in ("annotations", "logprobs") if list_ in part}
        yield "response.content_part.added", {**here, "part": {**part, name: "", **lists}}
        more = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
        *deltas, done = _text(f"response.{part['type']}", here, name, part)
        yield from ((kind, {**members, **({"logprobs": []} if more else {})}) for kind, members in deltas)
        for at, annotation in enumerate(part.get("annotations", [])):
            annotated = {**here, "annotation_index": at, "annotation": annotation}
            yield "response.output_text.annotation.added", annotated
        yield done[0], {**done[1], **more}
    yield "response.content_part.done", {**here, "part": part}


def _text(kind: str, here: Json, name: str, holder: Json) -> Iterator[Event]:
    for piece in pieces(holder[name]):
        yield f"{kind}.delta", {**here, "delta": piece}
    yield f"{kind}.done", {**here, name: holder[name]}


def _of_tomorrow(answer: Json, body: Json) -> list[bytes]:
    """Return a stream with an event, and members of events, that no SDK knows yet."""
    first, *rest = (json.loads(block.split(b"data: ")[1]) for block in blocks(answer, body))
    new = {"type": "response.event_of_tomorrow", "of_event": TOMORROW}
    events = [first, new, *({**one, "of_event": TOMORROW} for one in rest)]
    return [event(one | {"sequence_number": number}) for number, one in enumerate(events)]


def _without_output(answer: Json, body: Json) -> list[bytes]:
    """Return a stream whose last event leaves out the output that was sent before it."""
    *rest, last = blocks(answer, body)
    members = json.loads(last.split(b"data: ")[1])
    members["response"]["output"] = []
    return [*rest, event(members)]


API = Api("responses", "/v1/responses", "openai", blocks, lambda client: client.responses, "get_final_response")


def ask(given: Any = "What is a cache?", **more: Any) -> Json:
    return {"model": "gpt-6", "input": given, "store": False} | more


def case(name: str, asked: Json, answer: Json, **more: Any) -> Case:
    return Case(API, name, asked, answer, **more)


TOOL: Json = {
    "type": "function",
    "name": "weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "description": None,
}


def call(number: int, city: str = "Graz ☃") -> Json:
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_{number}",
        "name": "weather",
        "arguments": json.dumps({"city": city}, ensure_ascii=False),
    }


def moderated(flagged: bool) -> Json:
    return {
        "type": "moderation_result",
        "model": "omni",
        "flagged": flagged,
        "categories": {"hate": flagged},
        "category_scores": {"hate": 1e-7},
        "category_applied_input_types": {"hate": ["text"]},
    }


REASONING: Json = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "It thinks ☃."}, {"type": "summary_text", "text": "And thinks."}],
    "content": [{"type": "reasoning_text", "text": "Caches keep."}],
    "encrypted_content": "gAAAAABo==",
    "status": "completed",
}
SEALED: Json = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAAAABo=="}
CUSTOM: Json = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_1", "name": "sql", "input": 'SELECT\n"☃"'}
PATCH: Json = {
    "id": "apc_1",
    "type": "apply_patch_call",
    "status": "completed",
    "call_id": "call_1",
    "operation": {"type": "create_file", "path": "a.txt", "diff": "+a"},
}
SHELL: Json = {
    "id": "lsh_1",
    "type": "local_shell_call",
    "status": "completed",
    "call_id": "call_1",
    "action": {"type": "exec", "command": ["ls", ""], "env": {}, "timeout_ms": None, "user": None},
}
LIKELY = [
    {
        "token": "A ☃",
        "bytes": [65, 32],
        "logprob": -0.5,
        "top_logprobs": [{"token": "b", "bytes": [98], "logprob": -9999.0}],
    }
]
CITED: list[Json] = [
    {"type": "url_citation", "start_index": 0, "end_index": 3, "url": "https://example.org", "title": "E"},
    {"type": "file_citation", "file_id": "file_1", "filename": "a.pdf", "index": 3},
    {
        "type": "container_file_citation",
        "container_id": "cntr_1",
        "file_id": "file_2",
        "filename": "b",
        "start_index": 0,
        "end_index": 1,
    },
    {"type": "file_path", "file_id": "file_3", "index": 9},
]
PLAIN = response(message("A cache keeps what was asked before."))
PERSONAL: Json = {
    "metadata": {"of": "me", "☃": ""},
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
}
CONVERSATION: list[Json] = [
    {"role": "developer", "content": "Be brief."},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
    SEALED,
    call(1),
    {"type": "function_call_output", "call_id": "call_1", "output": "snow"},
    {"role": "assistant", "content": [text("Snow.")], "type": "message", "id": "msg_0", "status": "completed"},
    {"role": "user", "content": ""},
]
FORMAT: Json = {"type": "json_schema", "name": "City", "strict": True, "schema": City.model_json_schema()}
SEARCH: Json = {
    "id": "ws_1",
    "type": "web_search_call",
    "status": "completed",
    "action": {"type": "search", "query": "cache", "queries": ["cache"]},
}

CASES = [
    case("plain", ask(), PLAIN),
    case("obfuscation declined", ask(), PLAIN, streamed={"stream_options": {"include_obfuscation": False}}),
    case("a stream through proxies", ask(), PLAIN, wire=restless),
    case("instructions", ask(instructions="Be brief."), PLAIN | {"instructions": "Be brief."}),
    case("a conversation with tool results", ask(CONVERSATION, tools=[TOOL]), PLAIN | {"tools": [TOOL]}),
    case("one tool call", ask(tools=[TOOL]), response(call(1), tools=[TOOL])),
    case(
        "parallel tool calls",
        ask(tools=[TOOL], parallel_tool_calls=True, tool_choice="required"),
        response(call(1), call(2, "Linz"), call(3, ""), tools=[TOOL], tool_choice="required"),
    ),
    case(
        "custom tool calls",
        ask(tools=[{"type": "custom", "name": "sql"}]),
        response(CUSTOM, CUSTOM | {"id": "ctc_2", "call_id": "call_2", "input": ""}),
    ),
    case(
        "calls of tools that the client runs",
        ask(tools=[{"type": "apply_patch"}, {"type": "local_shell"}]),
        response(PATCH, SHELL),
    ),
    case(
        "reasoning with summaries",
        ask(reasoning={"effort": "high", "summary": "detailed"}),
        response(REASONING, message("So."), reasoning={"effort": "high", "summary": "detailed"}),
    ),
    case(
        "encrypted reasoning",
        ask(include=["reasoning.encrypted_content"], user="u"),
        response(SEALED, message("So."), SEALED | {"id": "rs_2"}, call(1), user="u"),
    ),
    case(
        "log-probabilities",
        ask(include=["message.output_text.logprobs"], top_logprobs=1),
        response(message(text("A ☃", logprobs=LIKELY)), top_logprobs=1),
    ),
    case("citations", ask(), response(message(text("A cache keeps.", annotations=CITED)))),
    case("several messages and parts", ask(), response(message("a", ""), message("b", id="msg_2", phase="commentary"))),
    case(
        "images and files in the request",
        ask(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is it?"},
                        {"type": "input_image", "detail": "low", "image_url": f"data:image/png;base64,{PNG}"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
                    ],
                }
            ]
        ),
        PLAIN,
    ),
    case(
        "structured output",
        ask(text={"format": FORMAT}),
        response(message('{"name": "Graz", "people": 305314}'), text={"format": FORMAT}),
        helped={"text": openai.omit, "text_format": City},
    ),
    case("who asks and what for", ask(**PERSONAL), PLAIN | PERSONAL),
    case(
        "hints for the provider's cache",
        ask(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "long", "prompt_cache_breakpoint": {"mode": "explicit"}},
                        {"type": "input_text", "text": "question"},
                    ],
                }
            ],
            prompt_cache_options={"mode": "explicit"},
        ),
        PLAIN | {"prompt_cache_options": {"mode": "explicit", "ttl": "30m"}},
    ),
    case("service tier", ask(service_tier="flex"), PLAIN | {"service_tier": "flex"}),
    case("modalities without audio", ask(extra_body={"modalities": ["text"]}), PLAIN),
    case(
        "fields of tomorrow",
        ask(extra_body={"parameter_of_tomorrow": TOMORROW}),
        response(
            message(text("A cache keeps.", of_part=TOMORROW), of_item=TOMORROW),
            call(1) | {"of_item": TOMORROW},
            REASONING | {"of_item": TOMORROW},
            usage={**PLAIN["usage"], "of_usage": TOMORROW},
            of_answer=TOMORROW,
        ),
        blocks=_of_tomorrow,
    ),
    case(
        "items and parts of tomorrow",
        ask(),
        response(
            {"id": "x_1", "type": "item_of_tomorrow", "status": "done", "content": 5, "deep": TOMORROW},
            message("a", {"type": "part_of_tomorrow", "x": 1}),
        ),
        helped=None,  # it warns of what it does not know, with the provider as with the gateway
    ),
    case(
        "output only in the items of the stream",
        ask(),
        response(REASONING, message("So.")),
        blocks=_without_output,
        unlike=frozenset({"output"}),  # the helper ends with the last event's response, which has none
    ),
    case("unicode", ask(UNICODE, instructions=UNICODE), response(message(UNICODE), instructions=UNICODE)),
    case("lone surrogates", ask(), response(message(LONE), call(1, LONE), of_answer=LONE)),
    case("an emoji cut in two", ask(), response(message(EMOJI_IN_TWO))),
    case(
        "huge and tiny numbers",
        ask(temperature=1e-300, max_output_tokens=2**53),
        response(message(text("1", of_part=NUMBERS)), temperature=1e-300, max_output_tokens=2**53, of_answer=NUMBERS),
    ),
    case("a long answer", ask(), response(message(LONG))),
    case(
        "cut at the limit",
        ask(max_output_tokens=16),
        response(
            message("A cache", status="incomplete"),
            status="incomplete",
            completed_at=None,
            incomplete_details={"reason": "max_output_tokens"},
        ),
        fate=Fate.NOT_KEPT,
    ),
    case(
        "filtered",
        ask(),
        response(
            message("A", status="incomplete"), status="incomplete", incomplete_details={"reason": "content_filter"}
        ),
        fate=Fate.NOT_KEPT,
    ),
    case(
        "flagged by moderation",
        ask(extra_body={"moderation": {"model": "omni"}}),
        PLAIN | {"moderation": {"input": moderated(True), "output": moderated(False)}},
        fate=Fate.NOT_KEPT,
    ),
    case("refused", ask(), response(message({"type": "refusal", "refusal": "No, I won't."})), fate=Fate.NOT_KEPT),
    case(
        "failed",
        ask(),
        response(status="failed", error={"code": "server_error", "message": "boom"}, usage=None),
        fate=Fate.NOT_KEPT,
        helped=None,  # it waits for a completed response
    ),
    case("nothing said", ask(), response(message("")), fate=Fate.NOT_KEPT),
    case("kept by the provider", ask(store=True), PLAIN | {"store": True}, fate=Fate.BYPASSED),
    case(
        "continued",
        ask(previous_response_id="resp_0"),
        PLAIN | {"previous_response_id": "resp_0"},
        fate=Fate.BYPASSED,
    ),
    case(
        "search in the web",
        ask(tools=[{"type": "web_search"}]),
        response(SEARCH, message(text("A cache keeps.", annotations=CITED[:1])), tools=[{"type": "web_search"}]),
        fate=Fate.BYPASSED,
    ),
    case(
        "an image from elsewhere",
        ask([{"role": "user", "content": [{"type": "input_image", "detail": "low", "image_url": "https://e.org/a"}]}]),
        PLAIN,
        fate=Fate.BYPASSED,
    ),
]
