"""Answers of the responses dialect: pure, so tested without a server."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from tests.gateway.responses_dialect import ASK, DIALECT, EVENTS, events_of

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
