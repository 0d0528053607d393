"""The responses dialect: pure, so tested without a server."""

import copy
import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent

from llmcache_gateway.dialects.base import Request
from llmcache_gateway.dialects.openai_responses import OpenAIResponses
from llmcache_gateway.errors import RequestError
from tests.gateway.providers.responses import (
    FUNCTION_CALL,
    OUTPUTS,
    REASONING,
    block,
    blocks_of,
    message,
    response,
    text,
)

DIALECT = OpenAIResponses()
ASK: dict[str, Any] = {"model": "gpt-6", "input": "What is a cache?", "store": False}
EVENTS = {get_args(one.model_fields["type"].annotation)[0]: one for one in get_args(get_args(ResponseStreamEvent)[0])}
"""The SDK's model of each type of event."""


def parse(members: dict[str, Any]) -> Request:
    return DIALECT.parse(members, json.dumps(members).encode())


def events_of(blocks: list[bytes]) -> list[dict[str, Any]]:
    events = []
    for one in blocks:
        name, data = one.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        events.append(event)
    return events


VALUES = st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5)
OBJECTS = st.dictionaries(st.text("xyz", min_size=1, max_size=3), VALUES, max_size=2)
UNKNOWN = st.fixed_dictionaries({}, optional={"of_tomorrow": VALUES | OBJECTS})
TEXT = st.builds(
    lambda text, annotations, logprobs, more: {"type": "output_text", "text": text, **annotations, **logprobs, **more},
    st.text(max_size=20),
    st.fixed_dictionaries({}, optional={"annotations": st.lists(OBJECTS, max_size=2)}),
    st.fixed_dictionaries({}, optional={"logprobs": st.none() | st.lists(OBJECTS, max_size=2)}),
    UNKNOWN,
)
PART = TEXT | st.fixed_dictionaries({"type": st.just("part_of_tomorrow")}, optional={"text": VALUES})
REFUSAL = st.fixed_dictionaries({"type": st.just("refusal"), "refusal": st.text(max_size=9)})
MESSAGE = st.builds(
    lambda content, more: {"type": "message", "id": "msg", "role": "assistant", "content": content, **more},
    st.lists(PART | REFUSAL, max_size=3),
    st.fixed_dictionaries({}, optional={"status": st.just("completed"), "of_tomorrow": OBJECTS}),
)
THOUGHT = st.fixed_dictionaries(
    {"type": st.just("reasoning"), "id": st.just("rs")},
    optional={
        "summary": st.lists(st.fixed_dictionaries({"type": st.just("summary_text"), "text": st.text(max_size=9)})),
        "content": st.none() | st.lists(st.fixed_dictionaries({"type": st.just("reasoning_text"), "text": st.text()})),
        "encrypted_content": st.none() | st.text(max_size=9),
    },
)
CALL = st.fixed_dictionaries(
    {
        "type": st.just("function_call"),
        "call_id": st.text("abc"),
        "name": st.just("f"),
        "arguments": st.text(max_size=9),
    },
    optional={"id": st.just("fc"), "status": st.just("completed")},
) | st.fixed_dictionaries({"type": st.just("custom_tool_call"), "id": st.just("c"), "input": st.text(max_size=9)})
ITEM = (
    MESSAGE
    | THOUGHT
    | CALL
    | st.fixed_dictionaries({"type": st.just("item_of_tomorrow")}, optional={"content": VALUES})
)
ANSWER = st.builds(
    lambda output, more: {**response(1, ASK, output), **more},
    st.lists(ITEM, max_size=4),
    st.fixed_dictionaries({}, optional={"x": OBJECTS, "usage": st.none()}),
)


@given(ANSWER)
def test_an_answer_survives_being_streamed_and_put_together_again(answer: dict[str, Any]) -> None:
    blocks = list(DIALECT.replay(copy.deepcopy(answer)))
    assert DIALECT.assemble(blocks) == answer
    events = events_of(blocks)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == answer["output"]
    assert [DIALECT.is_terminal(block) for block in blocks] == [False] * (len(blocks) - 1) + [True]


@given(ANSWER)
def test_the_pieces_of_a_stream_add_up_to_the_answer(answer: dict[str, Any]) -> None:
    """Follow the events as a client does that draws the answer while it comes, and reads no last event."""
    items: list[dict[str, Any]] = []
    for event in events_of(list(DIALECT.replay(answer))):
        item = items[event["output_index"]] if "output_index" in event and event["output_index"] < len(items) else {}
        match event["type"].removeprefix("response."):
            case "output_item.added":
                items.append(copy.deepcopy(event["item"]))
            case "content_part.added":
                item["content"].append(event["part"])
            case "output_text.delta" | "reasoning_text.delta":
                item["content"][event["content_index"]]["text"] += event["delta"]
            case "refusal.delta":
                item["content"][event["content_index"]]["refusal"] += event["delta"]
            case "output_text.annotation.added":
                item["content"][event["content_index"]]["annotations"].append(event["annotation"])
            case "output_text.done":
                item["content"][event["content_index"]].update({"logprobs": event["logprobs"]})
            case "reasoning_summary_part.added":
                item["summary"].append(event["part"])
            case "reasoning_summary_text.delta":
                item["summary"][event["summary_index"]]["text"] += event["delta"]
            case "function_call_arguments.delta":
                item["arguments"] += event["delta"]
            case "custom_tool_call_input.delta":
                item["input"] += event["delta"]
    assert _without_nothing(items) == _without_nothing(answer["output"])


def _without_nothing(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what an event must say though the item does not: no log-probabilities; and the status."""
    items = copy.deepcopy(items)
    for item in items:
        item.pop("status", None)
        for part in item["content"] if isinstance(item.get("content"), list) else ():
            if not part.get("logprobs"):
                part.pop("logprobs", None)
    return items


@pytest.mark.parametrize("case", sorted(OUTPUTS.keys() - {"unknown items and parts"}))
def test_every_event_is_one_of_the_sdk(case: str) -> None:
    refusal = message({"type": "refusal", "refusal": "no"}, id="msg_9")
    for event in events_of(list(DIALECT.replay(response(1, ASK, [*OUTPUTS[case], refusal])))):
        EVENTS[event["type"]].model_validate(event)


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS)
def test_a_stream_of_the_provider_makes_its_unstreamed_answer(output: list[dict[str, Any]]) -> None:
    answer = response(1, ASK, output)
    blocks = blocks_of(answer)
    assert DIALECT.assemble(blocks) == answer
    assert [DIALECT.is_terminal(block) for block in blocks] == [False] * (len(blocks) - 1) + [True]


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_a_stream_ends_as_the_answer_did(status: str) -> None:
    *_, last = events_of(list(DIALECT.replay(response(1, ASK) | {"status": status})))
    assert last["type"] == f"response.{status}"


@pytest.mark.parametrize("left_out", [{"output": None}, {"output": []}])
def test_an_output_that_the_last_event_leaves_out_is_made_from_the_items_before_it(left_out: dict[str, Any]) -> None:
    answer = response(1, ASK, [REASONING, message(text("a")), FUNCTION_CALL])
    blocks = blocks_of(answer)
    blocks[-1] = block("response.completed", {"sequence_number": 99, "response": answer | left_out})
    assert DIALECT.assemble(blocks) == answer


def test_half_of_an_emoji_per_delta_is_no_trouble() -> None:
    blocks = blocks_of(response(1, ASK, [message(text("\ud83d\ude00"))]))
    delta = block("response.output_text.delta", {"delta": "\ud83d", "obfuscation": "x"})
    assert DIALECT.assemble([delta, *blocks])["output"][0]["content"][0]["text"] == "\U0001f600"
    assert not DIALECT.is_terminal(delta)


@pytest.mark.parametrize(
    "blocks",
    [
        [],
        [b"data: [DONE]"],
        [b": comment"],
        [b'data: {"type":"response.completed"}'],
        [b'data: {"type":"response.completed","response":5}'],
        [b'data: {"type":5}'],
        [b'data: {"type":"error","message":"x"}'],
        [b'data: {"type":"response.output_item.done"}'],
    ],
)
def test_what_is_no_stream_of_a_response_is_said_to_be_none(blocks: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"."):
        DIALECT.assemble(blocks)


@pytest.mark.parametrize(
    ("kind", "terminal"),
    [("completed", True), ("incomplete", True), ("failed", True), ("cancelled", True), ("created", False)],
)
def test_a_stream_ends_with_its_last_event_whatever_became_of_it(kind: str, terminal: bool) -> None:
    data = json.dumps({"type": f"response.{kind}", "response": {}}).encode()
    assert DIALECT.is_terminal(b"data: " + data) is terminal
    assert DIALECT.is_terminal(b"event: x\ndata:" + data) is terminal


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, ""),
        ({"output": [FUNCTION_CALL]}, ""),
        ({"output": [{"type": "item_of_tomorrow", "content": 5}]}, ""),
        ({"output": [message(text("a")), message({"type": "part_of_tomorrow"})]}, ""),
        ({"moderation": {"input": {"flagged": False}, "output": {"flagged": False}}}, ""),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "truncated"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "filtered"),
        ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, "incomplete"),
        ({"status": "incomplete"}, "incomplete"),
        ({"status": "failed", "error": {"code": "server_error", "message": "x"}}, "error"),
        ({"status": "failed"}, "error"),
        ({"error": {"message": "x"}}, "error"),
        ({"status": "cancelled"}, "incomplete"),
        ({"status": "queued"}, "incomplete"),
        ({"status": "in_progress"}, "incomplete"),
        ({"status": None}, "incomplete"),
        ({"status": ["completed"]}, "incomplete"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []}, "truncated"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [5]}, "no-answer"),
        (
            {
                "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
                "output": [message(text("a"), status="incomplete"), message({"type": "refusal", "refusal": "no"})],
            },
            "refused",
        ),
        ({"moderation": {"input": {"flagged": False}, "output": {"flagged": True}}}, "filtered"),
        ({"output": []}, "empty"),
        ({"output": [REASONING]}, "empty"),
        ({"output": [message(text(""))]}, "empty"),
        ({"output": [message()]}, "empty"),
        ({"output": [message(text("a"), {"type": "refusal", "refusal": "no"})]}, "refused"),
        ({"output": [message(text("a"), status="incomplete")]}, "incomplete"),
        ({"output": [message(text("a")), {"type": "web_search_call", "status": "completed"}]}, "hosted-tools"),
        ({"output": None}, "no-answer"),
        ({"output": [5]}, "no-answer"),
        ({"output": [{"type": "message", "content": "text"}]}, "no-answer"),
        ({"output": [{"type": "message", "content": [5]}]}, "no-answer"),
        ({"output": [{"type": ["message"]}]}, ""),
    ],
)
def test_only_complete_successful_answers_are_stored(more: dict[str, Any], reason: str) -> None:
    verdict = DIALECT.judge(response(1, ASK) | more)
    assert (verdict.store, verdict.reason) == (reason == "", reason)


MEMBERS = st.sampled_from(["type", "content", "summary", "status", "text", "output", "error", "moderation", "x"])
JSON: st.SearchStrategy[Any] = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=4)
)


@given(st.dictionaries(st.sampled_from(["status", "output", "error", "moderation", "incomplete_details"]), JSON), ITEM)
def test_an_answer_of_any_shape_is_judged_and_what_is_stored_can_be_streamed(
    more: dict[str, Any], item: dict[str, Any]
) -> None:
    for answer in (response(1, ASK) | more, response(1, ASK, [item | more])):
        if DIALECT.judge(answer).store:
            assert DIALECT.assemble(list(DIALECT.replay(answer))) == answer


def test_an_item_whose_type_is_no_word_can_be_streamed() -> None:
    answer = response(1, ASK, [{"type": ["message"], "status": "completed"}])
    assert DIALECT.judge(answer).store
    assert DIALECT.assemble(list(DIALECT.replay(answer))) == answer


@pytest.mark.parametrize("answer", [None, [], "x"])
def test_what_is_no_answer_is_not_stored(answer: Any) -> None:
    assert DIALECT.judge(answer).reason == "no-answer"


def tools(*types: str) -> dict[str, Any]:
    return {"tools": [{"type": type} for type in types]}


def input_of(*content: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": list(content)}]}


PNG = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, None),
        ({"store": None}, "stateful"),
        ({"store": True}, "stateful"),
        ({"previous_response_id": "resp_1"}, "stateful"),
        ({"previous_response_id": None, "conversation": None, "background": False}, None),
        ({"conversation": "conv_1"}, "stateful"),
        ({"background": True}, "stateful"),
        ({"prompt": {"id": "pmpt_1"}}, "stateful"),
        ({"prompt": {"id": "pmpt_1", "version": None}}, "stateful"),
        ({"prompt": {"id": "pmpt_1", "version": "2", "variables": {"a": "b"}}}, None),
        ({"prompt_cache_options": {"comparison_response_id": "resp_1"}}, "stateful"),
        ({"prompt_cache_options": {"prewarm": True}}, "prewarm"),
        ({"prompt_cache_options": {"mode": "explicit"}}, None),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "stateful"),
        ({"input": [{"id": "msg_1"}]}, "stateful"),
        (tools("function", "custom", "local_shell", "apply_patch", "namespace"), None),
        *[
            (tools("function", hosted), "hosted-tools")
            for hosted in (
                "web_search",
                "web_search_2025_08_26",
                "web_search_preview",
                "file_search",
                "code_interpreter",
                "computer",
                "computer_use_preview",
                "mcp",
                "image_generation",
                "programmatic_tool_calling",
                "tool_search",
                "shell",
                "tool_of_tomorrow",
            )
        ],
        ({"tools": [{"type": "shell", "environment": {"type": "local"}}]}, None),
        ({"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}, "hosted-tools"),
        ({"tools": [{"type": "tool_search", "execution": "client"}]}, None),
        ({"tools": 5}, None),
        ({"input": [{"type": "additional_tools", "role": "developer", **tools("web_search")}]}, "hosted-tools"),
        ({"modalities": ["audio"]}, "audio"),
        (input_of({"type": "input_text", "text": "https://example.org"}), None),
        (input_of({"type": "input_image", "image_url": PNG}), None),
        (input_of({"type": "input_image", "image_url": PNG.replace("data", "DATA")}), None),
        (input_of({"type": "input_image", "image_url": "https://example.org/a.png"}), "remote-content"),
        (input_of({"type": "input_image", "file_id": "file-1"}), "remote-content"),
        (input_of({"type": "input_image", "file_id": None, "image_url": PNG}), None),
        (input_of({"type": "input_file", "file_url": "https://example.org/a.pdf"}), "remote-content"),
        (input_of({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}), None),
        (
            {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "file_id": "file-1"}]}]},
            "remote-content",
        ),
        (
            {"input": [{"type": "computer_call_output", "output": {"image_url": "https://example.org/a.png"}}]},
            "remote-content",
        ),
        (
            {"prompt": {"id": "p", "version": "1", "variables": {"a": {"type": "input_file", "file_id": "file-1"}}}},
            "remote-content",
        ),
        ({"input": [5, None, {"role": "user", "content": [5, None]}]}, None),
    ],
)
def test_requests_that_a_hit_could_not_serve_are_kept_away(more: dict[str, Any], reason: str | None) -> None:
    assert DIALECT.bypass(parse({**ASK, **more})) == reason


def test_a_response_is_kept_by_the_provider_unless_the_request_says_otherwise() -> None:
    assert DIALECT.bypass(parse({"model": "m", "input": "x"})) == "stateful"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"input": "a"}, {"input": [{"role": "user", "content": "a"}]}),
        ({"input": "a"}, {"input": [{"type": "message", "role": "user", "content": "a"}]}),
        ({"input": "a"}, input_of({"type": "input_text", "text": "a"})),
        (
            {"input": "a"},
            input_of({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}),
        ),
        (
            {"tools": [{"type": "function", "name": "f", "cache_control": {}}]},
            {"tools": [{"type": "function", "name": "f"}]},
        ),
        ({"user": "a", "safety_identifier": "b", "metadata": {"c": "d"}, "service_tier": "flex"}, {}),
        ({"stream": True, "stream_options": {"include_obfuscation": False}}, {}),
        ({"prompt_cache_key": "a", "prompt_cache_options": {"ttl": "12h"}, "prompt_cache_retention": "24h"}, {}),
    ],
)
def test_what_does_not_change_the_answer_does_not_count(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert DIALECT.counted(parse(ASK | left)) == DIALECT.counted(parse(ASK | right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"input": "a"}, {"input": [{"role": "system", "content": "a"}]}),
        ({"input": "a"}, input_of({"type": "output_text", "text": "a"})),
        ({"input": "a"}, input_of({"type": "input_text", "text": "a", "x": 1})),
        (input_of({"type": "input_text", "text": "ab"}), input_of(*({"type": "input_text", "text": t} for t in "ab"))),
        ({"input": [{"type": "message", "id": "m", "role": "user", "content": "a"}]}, {"input": "a"}),
        ({"input": [{"type": "reasoning", "encrypted_content": "a"}]}, {"input": [{"type": "reasoning"}]}),
        (
            {"tools": [{"type": "function", "parameters": {"properties": {"cache_control": {}}}}]},
            {"tools": [{"type": "function", "parameters": {"properties": {}}}]},
        ),
        *[
            ({name: 1}, {})
            for name in ("instructions", "include", "reasoning", "text", "max_output_tokens", "truncation")
        ],
        ({"store": True}, {}),
        *[({name: 1}, {}) for name in ("tool_choice", "max_tool_calls", "moderation", "prompt", "top_logprobs", "x")],
    ],
)
def test_what_may_change_the_answer_counts(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert DIALECT.counted(parse(ASK | left)) != DIALECT.counted(parse(ASK | right))


@pytest.mark.parametrize("who", ["user", "safety_identifier"])
def test_who_asks_counts_where_reasoning_is_encrypted_for_them(who: str) -> None:
    sealed = ASK | {"include": ["reasoning.encrypted_content"]}
    assert DIALECT.counted(parse(sealed | {who: "a"})) != DIALECT.counted(parse(sealed | {who: "b"}))
    assert DIALECT.counted(parse(sealed | {"metadata": {"a": "a"}})) == DIALECT.counted(parse(sealed))


FIRST = {
    "metadata": {"tag": "first"},
    "user": "first",
    "safety_identifier": "first",
    "prompt_cache_key": "first",
    "prompt_cache_options": {"mode": "explicit"},
}
ASKED = [
    {},
    {"metadata": {"tag": "second", "more": "\u2603"}},
    {"user": "second", "safety_identifier": "second", "prompt_cache_key": "second"},
    {"metadata": {}, "user": None, "prompt_cache_options": {"mode": "implicit", "ttl": "12h"}},
    FIRST,
]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("first", [{}, FIRST])
def test_what_a_response_repeats_is_the_askers(first: dict[str, Any], asked: dict[str, Any]) -> None:
    asked = ASK | asked
    answer = DIALECT.personal(response(1, ASK | first), parse(asked))
    expected = response(
        1, {"prompt_cache_options": first.get("prompt_cache_options", {}), **asked, "user": asked.get("user")}
    )
    assert answer == expected


@pytest.mark.parametrize("asked", ASKED)
def test_a_recorded_stream_keeps_its_events_and_repeats_the_asker(asked: dict[str, Any]) -> None:
    request = parse(ASK | asked | {"stream": True})
    recorded = blocks_of(response(1, ASK | FIRST, OUTPUTS["reasoning"]))
    given = DIALECT.personal_blocks(recorded, request)
    assert [event["type"] for event in events_of(given)] == [event["type"] for event in events_of(recorded)]
    for before, after in zip(events_of(recorded), events_of(given), strict=True):
        if "response" in before:
            before["response"] = DIALECT.personal(before["response"], request)
        assert after == before
    assert (b"first" in b"".join(given)) == (asked is FIRST)


def test_a_recorded_stream_of_the_same_asker_is_given_byte_for_byte() -> None:
    recorded = blocks_of(response(1, ASK | FIRST))
    assert DIALECT.personal_blocks(recorded, parse(ASK | FIRST | {"stream": True})) == recorded


def test_what_a_response_repeats_is_read_from_a_body_with_half_an_emoji() -> None:
    request = parse(ASK | {"input": "\ud83d", "metadata": {"tag": "second"}})
    assert DIALECT.personal(response(1, ASK | FIRST), request)["metadata"] == {"tag": "second"}


def test_padding_is_taken_out_for_a_client_that_wants_none() -> None:
    blocks = blocks_of(response(1, ASK))
    lean = parse(ASK | {"stream": True, "stream_options": {"include_obfuscation": False}})
    shown = [one for one in (DIALECT.for_client(block, lean) for block in blocks) if one is not None]
    assert b"obfuscation" in b"".join(blocks)
    assert b"obfuscation" not in b"".join(shown)
    assert [event | {"obfuscation": 0} for event in events_of(shown)] == [
        event | {"obfuscation": 0} for event in events_of(blocks)
    ]
    assert [DIALECT.for_client(block, parse(ASK | {"stream": True})) for block in blocks] == blocks


def test_a_prompt_may_name_the_model() -> None:
    assert parse({"prompt": {"id": "p", "version": "1"}, "store": False}).model == ""


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": "x"}, "model"),
        ({"model": 5, "prompt": {"id": "p"}}, "model"),
        ({"prompt": {"id": "p"}, "stream": 1}, "stream"),
        ({"model": "m", "stream_options": []}, "stream_options"),
    ],
)
def test_bad_members_are_refused_by_name(members: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(members)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_the_event_of_an_error_is_the_documented_one() -> None:
    (event,) = events_of([DIALECT.error_event(502, "broke off", "upstream_failed")])
    EVENTS[event["type"]].model_validate(event)
    assert (event["type"], event["message"], event["code"]) == ("error", "broke off", "upstream_failed")
