"""Each row of what a chat completion's request becomes, as a golden case."""

from typing import Any

import pytest

from llmcache_gateway.errors import RequestError
from llmcache_gateway.translate.request import SAMPLING_VERSION, VERSION, translated

MODEL, OLD = "claude-sonnet-5-5", "claude-sonnet-4-5"
SYSTEM_TURNS = "claude-opus-5"
MARK = {"type": "ephemeral"}
LONG = {"type": "ephemeral", "ttl": "1h"}
HI = {"role": "user", "content": "hi"}
PNG, PDF = "data:image/png;base64,aGk=", "data:application/pdf;base64,JVBERg=="
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
USE = {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}}
F = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}


CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
THOUGHTFUL = {**CALLING, "thinking_blocks": [THOUGHT]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "2"}
USED = [HI, CALLING, RESULT]


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def user(*content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content), **more}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def result(ident: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": ident, "content": content, **more}


def ask(model: str = MODEL, **chat: Any) -> dict[str, Any]:
    return translated({"messages": [HI], **chat}, model, 4096).body


CONVERSATIONS: dict[str, tuple[list[Any], list[Any], list[Any]]] = {
    "a text": ([HI], [], [HI]),
    "a text as a part": ([user(text("hi"))], [], [HI]),
    "a name": ([{**HI, "name": "ann"}], [], [HI]),
    "an empty part": ([user(text(""), text("hi"))], [], [HI]),
    "system prompts at the beginning, of texts and parts": (
        [{"role": "system", "content": "a"}, {"role": "developer", "content": [text("b"), text("")]}, HI],
        [text("a"), text("b")],
        [HI],
    ),
    "a later system message": (
        [HI, {"role": "assistant", "content": "ho"}, {"role": "system", "content": "be brief"}, HI],
        [],
        [
            HI,
            {"role": "assistant", "content": "ho"},
            {"role": "user", "content": "<system-reminder>\nbe brief\n</system-reminder>"},
            HI,
        ],
    ),
    "a refusal": (
        [HI, {"role": "assistant", "content": None, "refusal": "I won't."}, HI],
        [],
        [HI, {"role": "assistant", "content": "I won't."}, HI],
    ),
    "an image within": (
        [user({"type": "image_url", "image_url": {"url": PNG, "detail": "low"}})],
        [],
        [user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}})],
    ),
    "an image elsewhere": (
        [user({"type": "image_url", "image_url": {"url": "https://x.example/a.png"}})],
        [],
        [user({"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}})],
    ),
    "a file": (
        [user({"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}})],
        [],
        [
            user(
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
                    "title": "a.pdf",
                }
            )
        ],
    ),
    "tool calls and their results, and what the user says to them": (
        [
            HI,
            {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "call_2"}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "one"},
            {"role": "tool", "tool_call_id": "call_2", "content": [text("two")]},
            {"role": "user", "content": "well?"},
        ],
        [],
        [
            HI,
            assistant(USE, {**USE, "id": "call_2"}),
            user(result("call_1", "one"), result("call_2", "two"), text("well?")),
        ],
    ),
    "a text beside a call without arguments": (
        [{"role": "assistant", "content": "so", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": ""}}]}],
        [],
        [assistant(text("so"), {**USE, "input": {}})],
    ),
    "calls of the older kind": (
        [
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "one"},
        ],
        [],
        [assistant({**USE, "input": {}}), user(result("call_1", "one"))],
    ),
    "thinking, with and without a signature": (
        [
            {
                "role": "assistant",
                "content": "ho",
                "reasoning_content": "hm",
                "thinking_blocks": [THOUGHT, {"type": "thinking", "thinking": "x"}],
            }
        ],
        [],
        [assistant(THOUGHT, text("ho"))],
    ),
    "an assistant that said nothing": ([HI, {"role": "assistant", "content": ""}, HI], [], [HI, HI]),
    "a mark on a part": (
        [user(text("a", cache_control=MARK), text("b"))],
        [],
        [user(text("a", cache_control=MARK), text("b"))],
    ),
    "a mark on a message goes to its last block that is not empty": (
        [{"role": "system", "content": [text("a"), text("")], "cache_control": LONG}, {**HI, "cache_control": MARK}],
        [text("a", cache_control=LONG)],
        [user(text("hi", cache_control=MARK))],
    ),
    "a mark on a tool's message goes to the result": (
        [{"role": "tool", "tool_call_id": "c", "content": [text("one", cache_control=MARK)]}],
        [],
        [user(result("c", "one", cache_control=MARK))],
    ),
    "marks in OpenAI's form": (
        [
            user(
                text("a", prompt_cache_breakpoint={"mode": "explicit", "ttl": "12h"}),
                text("b", prompt_cache_breakpoint={"ttl": "30m"}),
            )
        ],
        [],
        [user(text("a", cache_control=LONG), text("b", cache_control=MARK))],
    ),
    "the last four of more marks than there may be": (
        [user(*(text(str(at), cache_control=MARK) for at in range(6)))],
        [],
        [user(text("0"), text("1"), *(text(str(at), cache_control=MARK) for at in range(2, 6)))],
    ),
    "no longer lifetime behind a shorter one": (
        [user(text("a", cache_control=MARK), text("b", cache_control=LONG))],
        [],
        [user(text("a", cache_control=MARK), text("b", cache_control=MARK))],
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation(name: str) -> None:
    given, system, turns = CONVERSATIONS[name]
    body = ask(messages=given)
    assert (body.get("system", []), body["messages"]) == (system, turns)


def test_a_later_system_message_stays_one_where_the_model_takes_it() -> None:
    reminder = {"role": "system", "content": "be brief"}
    assert ask(SYSTEM_TURNS, messages=[HI, reminder])["messages"] == [HI, reminder]


MEMBERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "no bound on the answer": (MODEL, {}, {"max_tokens": 4096}),
    "max_tokens": (MODEL, {"max_tokens": 7}, {"max_tokens": 7}),
    "max_completion_tokens": (MODEL, {"max_tokens": 7, "max_completion_tokens": 8}, {"max_tokens": 8}),
    "tools": (MODEL, {"tools": [F]}, {"tools": [TOOL]}),
    "functions": (MODEL, {"functions": [F["function"]]}, {"tools": [TOOL]}),
    "a strict tool without parameters": (
        MODEL,
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
        {"tools": [{"name": "f", "input_schema": NOTHING, "strict": True}]},
    ),
    "a mark on a tool": (
        MODEL,
        {"tools": [{**F, "cache_control": MARK}]},
        {"tools": [{**TOOL, "cache_control": MARK}]},
    ),
    "tool_choice auto": (MODEL, {"tools": [F], "tool_choice": "auto"}, {"tool_choice": {"type": "auto"}}),
    "tool_choice none": (MODEL, {"tools": [F], "tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
    "tool_choice required": (MODEL, {"tools": [F], "tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
    "one tool": (
        MODEL,
        {"tools": [F], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tool_choice": {"type": "tool", "name": "f"}},
    ),
    "function_call": (
        MODEL,
        {"functions": [F["function"]], "function_call": {"name": "f"}},
        {"tool_choice": {"type": "tool", "name": "f"}},
    ),
    "one call at a time": (
        MODEL,
        {"tools": [F], "parallel_tool_calls": False},
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "one call at a time, and none": (
        MODEL,
        {"tools": [F], "tool_choice": "none", "parallel_tool_calls": False},
        {"tool_choice": {"type": "none"}},
    ),
    "stop": (MODEL, {"stop": "END"}, {"stop_sequences": ["END"]}),
    "stops": (MODEL, {"stop": ["a", " \n", "b"]}, {"stop_sequences": ["a", "b"]}),
    "sampling": (
        "claude-sonnet-4-0",
        {"temperature": 1.5, "top_p": 0.5, "top_k": 3},
        {"temperature": 1, "top_p": 0.5, "top_k": 3},
    ),
    "one sampler": (OLD, {"top_p": 0.5, "top_k": 3}, {"top_p": 0.5, "top_k": 3}),
    "sampling that the model refuses": (MODEL, {"temperature": 0.5}, {"temperature": None}),
    "a schema for the answer": (
        MODEL,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
    ),
    "a schema for the answer beside an effort of Anthropic's own": (
        MODEL,
        {"response_format": {"type": "json_schema", "json_schema": {}}, "output_config": {"effort": "low"}},
        {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}}},
    ),
    "nulls": (
        OLD,
        {"thinking": None, "web_search_options": None, "temperature": 0.5},
        {"thinking": None, "temperature": 0.5},
    ),
    "JSON": (
        MODEL,
        {"response_format": {"type": "json_object"}},
        {"system": [text("Answer with one JSON object and nothing else.")]},
    ),
    "an effort": (
        MODEL,
        {"reasoning_effort": "minimal"},
        {"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}},
    ),
    "an effort, as a budget": (
        OLD,
        {"reasoning_effort": "low"},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": None},
    ),
    "an effort that leaves room for an answer": (
        OLD,
        {"reasoning_effort": "medium"},
        {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 4096},
    ),
    "an effort with little room": (
        OLD,
        {"reasoning_effort": "high", "max_tokens": 2000},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    ),
    "an effort with much room": (
        OLD,
        {"reasoning_effort": "high", "max_tokens": 20000},
        {"thinking": {"type": "enabled", "budget_tokens": 15904}},
    ),
    "an effort where a tool must be used": (
        MODEL,
        {"reasoning_effort": "high", "tools": [F], "tool_choice": "required"},
        {"thinking": None, "output_config": {"effort": "high"}, "tool_choice": {"type": "any"}},
    ),
    "a budget, in the midst of tools' use with its thoughts": (
        OLD,
        {"reasoning_effort": "low", "tools": [F], "messages": [*USED, THOUGHTFUL, RESULT]},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    ),
    "a budget, after tools were used without thoughts": (
        OLD,
        {"reasoning_effort": "low", "tools": [F], "messages": [*USED, {"role": "assistant", "content": "a"}, HI]},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    ),
    "no effort": (MODEL, {"reasoning_effort": "none"}, {"thinking": None, "output_config": None}),
    "no sampling while thinking": (OLD, {"reasoning_effort": "low", "temperature": 0.2}, {"temperature": None}),
    "user": (MODEL, {"user": "u1"}, {"metadata": {"user_id": "u1"}}),
    "safety_identifier": (
        MODEL,
        {"user": "u1", "safety_identifier": "s1", "metadata": {"a": "b"}},
        {"metadata": {"user_id": "s1"}},
    ),
    "service_tier default": (MODEL, {"service_tier": "default"}, {"service_tier": "standard_only"}),
    "service_tier priority": (MODEL, {"service_tier": "priority"}, {"service_tier": "auto"}),
    "a stream": (
        MODEL,
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": None},
    ),
    "a mark for the whole": (MODEL, {"cache_control": MARK}, {"cache_control": MARK}),
    "what only the provider knows": (
        MODEL,
        {"thinking": {"type": "adaptive"}, "inference_geo": "eu"},
        {"thinking": {"type": "adaptive"}, "inference_geo": "eu"},
    ),
    "one choice of text": (MODEL, {"n": 1, "modalities": ["text"]}, {"n": None, "modalities": None}),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_members(name: str) -> None:
    model, chat, expected = MEMBERS[name]
    body = ask(model, **chat)
    assert {member: body.get(member) for member in expected} == expected


def test_what_the_model_has_nothing_like_is_dropped_by_name() -> None:
    chat = {"messages": [HI], "seed": 1, "logprobs": False, "presence_penalty": 0, "temperature": 0, "store": True}
    found = translated(chat, MODEL, 9)
    assert found.dropped == ("seed", "store", "temperature")
    assert found.body.keys() == {"model", "max_tokens", "messages"}


@pytest.mark.parametrize(
    ("chat", "named"),
    [
        ({"seed": 0}, ("seed",)),
        ({"store": False}, ("store",)),
        ({"seed": None, "store": None, "logit_bias": {}, "metadata": {}, "top_logprobs": 0}, ()),
        ({"user": "anna", "safety_identifier": "a-1"}, ("user",)),
        ({"user": "anna", "safety_identifier": "anna"}, ()),
        ({"user": "anna"}, ()),
    ],
)
def test_values_that_ask_for_something_are_dropped_by_name_though_they_are_zero_or_false(
    chat: dict[str, Any], named: tuple[str, ...]
) -> None:
    assert translated({"messages": [HI], **chat}, MODEL, 9).dropped == named


@pytest.mark.parametrize(
    ("chat", "named"),
    [
        ({"temperature": 0.2, "top_p": 0.5}, "top_p"),
        ({"stop": "\n"}, "stop"),
        ({"stop": ["a", "\n\n"]}, "stop"),
        ({"reasoning_effort": "low", "max_tokens": 1024}, "reasoning_effort"),
        ({"reasoning_effort": "low", "tools": [F], "tool_choice": "required"}, "reasoning_effort"),
        ({"reasoning_effort": "low", "tools": [F], "messages": USED}, "reasoning_effort"),
    ],
)
def test_what_the_provider_would_refuse_is_dropped_by_name(chat: dict[str, Any], named: str) -> None:
    found = translated({"messages": [HI], **chat}, OLD, 4096)
    assert found.dropped == (named,)
    assert "thinking" not in found.body


def test_nothing_goes_on_as_null() -> None:
    assert ask(web_search_options=None, thinking=None).keys() == {"model", "max_tokens", "messages"}


def test_the_version_is_the_one_that_takes_what_is_sent() -> None:
    assert translated({"messages": [HI]}, OLD, 9).version == VERSION
    assert translated({"messages": [HI], "top_p": 1}, OLD, 9).version == SAMPLING_VERSION
    assert translated({"messages": [HI], "top_p": 1}, MODEL, 9).version == VERSION


@pytest.mark.parametrize(
    ("chat", "param"),
    [
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [user({"type": "input_audio"})]}, "messages[0].content[0].type"),
        ({"messages": [user({"type": "file", "file": {"file_id": "file-1"}})]}, "messages[0].content[0].file"),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{"}}]}
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
        ({"tools": [F], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"n": 2}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy"}}, "modalities"),
        ({"reasoning_effort": "very"}, "reasoning_effort"),
        ({"stop": 5}, "body"),
        ({"tools": 5}, "body"),
        ({"thinking": "on", "temperature": 1}, "body"),
    ],
)
def test_what_can_t_be_said_is_refused_by_its_place(chat: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as error:
        ask(OLD, **chat)
    assert (error.value.status, error.value.param) == (400, param)
