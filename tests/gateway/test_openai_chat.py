"""The chat completions dialect: pure, so tested without a server."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.dialects.base import Request
from llmcache_gateway.dialects.openai_chat import OpenAIChat
from llmcache_gateway.errors import RequestError
from llmcache_gateway.sse import data_event
from tests.gateway.provider import chunks_of, completion

DIALECT = OpenAIChat()
MODEL = {"model": "m", "messages": []}


def parse(members: dict[str, Any]) -> Request:
    return DIALECT.parse(members, json.dumps(members).encode())


def blocks_of(*chunks: Any) -> list[bytes]:
    return [data_event(json.dumps(chunk).encode()) for chunk in chunks] + [b"data: [DONE]"]


def part(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish, **more}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


VALUES = st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5)
TOOL_CALL = st.fixed_dictionaries(
    {
        "id": st.text("abc123", min_size=1),
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": st.text("fgh", min_size=1), "arguments": st.text(max_size=8)}),
    }
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | st.text(max_size=20)},
    optional={
        "refusal": st.none() | st.text(max_size=5),
        "reasoning_content": st.text(max_size=9),
        "annotations": st.lists(
            st.dictionaries(st.text("xyz", min_size=1, max_size=3), VALUES, max_size=2), max_size=2
        ),
        "tool_calls": st.lists(TOOL_CALL, min_size=1, max_size=3),
        "of_tomorrow": st.dictionaries(st.text("xyz", min_size=1, max_size=3), VALUES, max_size=2),
    },
)
CHOICE = st.fixed_dictionaries(
    {"message": MESSAGE, "finish_reason": st.sampled_from(["stop", "tool_calls", "length"])},
    optional={"logprobs": st.none() | st.just({"content": [{"token": "a", "logprob": -0.5}], "refusal": None})},
)
ANSWER = st.builds(
    lambda choices, more: {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": at, **choice} for at, choice in enumerate(choices)],
        **more,
    },
    st.lists(CHOICE, min_size=1, max_size=3),
    st.fixed_dictionaries(
        {}, optional={"usage": st.just({"total_tokens": 3}), "service_tier": st.just("default"), "x": VALUES}
    ),
)


@given(ANSWER)
def test_an_answer_survives_being_streamed_and_put_together_again(answer: dict[str, Any]) -> None:
    assert DIALECT.assemble(list(DIALECT.replay(copy.deepcopy(answer)))) == answer


def test_tool_calls_are_put_together_from_pieces() -> None:
    def call(index: int, **more: Any) -> dict[str, Any]:
        return part({"tool_calls": [{"index": index, **more}]})

    answer = DIALECT.assemble(
        blocks_of(
            part({"role": "assistant", "content": None}),
            call(0, id="a", type="function", function={"name": "f", "arguments": ""}),
            call(0, function={"arguments": '{"x"'}),
            call(1, id="b", type="function", function={"name": "g", "arguments": "{}"}),
            call(0, function={"arguments": ": 1}"}),
            part({}, "tool_calls"),
        )
    )
    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_choices_and_log_probabilities_are_kept_apart_and_complete() -> None:
    def token(text: str) -> dict[str, Any]:
        return {"content": [{"token": text, "logprob": -0.1}], "refusal": None}

    answer = DIALECT.assemble(
        blocks_of(
            part({"role": "assistant", "content": "a"}, index=1, logprobs=token("a")),
            part({"role": "assistant", "content": "b"}, index=0, logprobs=token("b")),
            part({"content": "c"}, index=1, logprobs=token("c")),
            part({}, "stop", index=0),
            part({}, "stop", index=1),
        )
    )
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["b", "ac"]
    assert [one["token"] for one in answer["choices"][1]["logprobs"]["content"]] == ["a", "c"]


def test_half_of_an_emoji_per_chunk_is_kept() -> None:
    blocks = blocks_of(part({"content": "\ud83d"}), part({"content": "\ude00"}), part({}, "stop"))
    assert DIALECT.assemble(blocks)["choices"][0]["message"]["content"] == "\ud83d\ude00"


@pytest.mark.parametrize("blocks", [[], [b"data: [DONE]"], [b"data: 5"], [b"data: {"], [b'data: {"choices":[{}]}']])
def test_what_is_no_stream_of_chunks_is_said_to_be_none(blocks: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"."):
        DIALECT.assemble(blocks)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"finish_reason": "stop"}, ""),
        ({"finish_reason": "tool_calls", "message": {"content": None, "tool_calls": [{}]}}, ""),
        ({"finish_reason": "function_call", "message": {"content": None, "function_call": {}}}, "empty"),
        ({"finish_reason": "length"}, "truncated"),
        ({"finish_reason": "content_filter"}, "filtered"),
        ({"finish_reason": None}, "incomplete"),
        ({"finish_reason": "of_tomorrow"}, "incomplete"),
        ({"finish_reason": ["stop"]}, "incomplete"),
        ({"finish_reason": "stop", "message": {"content": None, "refusal": "no"}}, "refused"),
        ({"finish_reason": "stop", "message": {"content": ""}}, "empty"),
        ({"finish_reason": "stop", "message": None}, "no-answer"),
    ],
)
def test_only_complete_successful_answers_are_stored(choice: dict[str, Any], reason: str) -> None:
    verdict = DIALECT.judge(completion(1, "m", "text", **choice))
    assert (verdict.store, verdict.reason) == (reason == "", reason)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "no-answer"),
        ({"error": {"message": "x"}}, "no-answer"),
        ({"error": {"message": "x"}, "choices": []}, "error"),
        ({"choices": []}, "empty"),
        ({"choices": [5]}, "no-answer"),
    ],
)
def test_what_is_no_answer_is_not_stored(answer: Any, reason: str) -> None:
    assert DIALECT.judge(answer).reason == reason


def test_one_bad_choice_keeps_the_answer_out() -> None:
    answer = completion(1, "m", "text")
    answer["choices"].append({"index": 1, "message": {"content": "cut"}, "finish_reason": "length"})
    assert DIALECT.judge(answer).reason == "truncated"


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"model":"m", "n":1.10}', b'{"model":"m", "n":1.10}'),
        (b'{"model":"m","stream":true } ', b'{"model":"m","stream":true ,"stream_options":{"include_usage":true}}'),
        (
            b'{"model":"m","stream":true,"stream_options":{"include_usage":false,"x":1},"n":1.10}',
            b'{"model":"m","stream":true,"stream_options":{"include_usage":true,"x":1},"n":1.10}',
        ),
        (
            b'{"model":"m","stream":true,"stream_options":null}',
            b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
            b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
        ),
    ],
)
def test_only_the_wish_for_usage_is_added_upstream(body: bytes, sent: bytes) -> None:
    assert DIALECT.for_upstream(DIALECT.parse(json.loads(body), body)) == sent


def test_a_client_sees_usage_only_if_it_asked() -> None:
    asked = parse({**MODEL, "stream": True, "stream_options": {"include_usage": True}})
    did_not = parse({**MODEL, "stream": True})
    with_usage = [data_event(data.encode()) for data in chunks_of(completion(1, "m", "a b"), usage=True)]
    without = [data_event(data.encode()) for data in chunks_of(completion(1, "m", "a b"), usage=False)]
    assert [DIALECT.for_client(block, asked) for block in with_usage] == with_usage
    shown = [block for block in (DIALECT.for_client(block, did_not) for block in with_usage) if block is not None]
    assert [json.loads(block[6:]) for block in shown[:-1]] == [json.loads(block[6:]) for block in without[:-1]]
    assert shown[-1] == without[-1] == b"data: [DONE]"


def test_usage_nobody_asked_for_is_hidden_in_chunks_that_hold_half_an_emoji_too() -> None:
    did_not = parse({**MODEL, "stream": True})
    half = part({"content": "\ud83d"})
    chunks = [half, {**half, "usage": None}, {**half, "choices": [], "of": "\ud83d", "usage": {"total_tokens": 1}}]
    plain, null, usage = (DIALECT.for_client(data_event(json.dumps(one).encode()), did_not) for one in chunks)
    assert plain == data_event(json.dumps(half).encode())
    assert null is not None
    assert json.loads(null[6:]) == half
    assert usage is None


def test_what_each_piece_of_reasoning_repeats_is_said_once() -> None:
    pieces = [
        {"reasoning_details": [{"type": "reasoning.text", "text": text, "format": "f-v1", "index": 0}]}
        for text in ("It", " thinks")
    ]
    answer = DIALECT.assemble(blocks_of(*map(part, pieces), part({}, "stop")))
    whole = {"type": "reasoning.text", "text": "It thinks", "format": "f-v1", "index": 0}
    assert answer["choices"][0]["message"]["reasoning_details"] == [whole]


def test_every_part_of_a_replayed_choice_says_that_it_has_no_log_probabilities() -> None:
    blocks = list(DIALECT.replay(completion(1, "m", "a b")))
    parts = [json.loads(block[6:])["choices"] for block in blocks[:-2]]  # but for the usage and the end
    assert [choice["logprobs"] for choices in parts for choice in choices] == [None] * 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("https://example.org/a.png", None),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}], None),
        ([{"type": "file", "file": {"filename": "a", "file_data": "data:application/pdf;base64,aGk="}}], None),
        ([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}], "remote-content"),
        ([{"type": "file", "file": {"file_id": "file-1"}}], "remote-content"),
        ([{"type": "file", "file": {"filename": "a", "file_data": "aGk="}}], None),
        ([{"type": "file", "file": {"filename": "a", "file_data": "https://example.org/a.pdf"}}], "remote-content"),
        ([{"type": "document_url", "document_url": "https://example.org/a.pdf"}], "remote-content"),
        ([{"type": "document_url", "document_url": "data:application/pdf;base64,aGk="}], None),
    ],
)
def test_images_and_files_that_stand_elsewhere_bypass_the_cache(content: Any, reason: str | None) -> None:
    messages = [{"role": "user", "content": content}, "odd"]
    assert DIALECT.bypass(parse({"model": "m", "messages": messages})) == reason


@pytest.mark.parametrize(("side", "flagged"), [("input", True), ("output", True), ("output", False)])
def test_an_answer_that_moderation_flags_is_not_stored(side: str, flagged: bool) -> None:
    fine = {"type": "moderation_results", "model": "m", "results": [{"type": "moderation_result", "flagged": False}]}
    judged = {"input": fine, "output": {"type": "error"}, side: {**fine, "results": [{"flagged": flagged}]}}
    verdict = DIALECT.judge({**completion(1, "m", "a"), "moderation": judged})
    assert verdict.reason == ("filtered" if flagged else "")


@pytest.mark.parametrize("odd", [None, 1, {}, {"input": None}, {"input": {"results": 1}}, {"input": {"results": [1]}}])
def test_moderation_of_another_shape_flags_nothing(odd: Any) -> None:
    assert DIALECT.judge({**completion(1, "m", "a"), "moderation": odd}).store


def test_usage_beside_choices_is_left_alone() -> None:
    block = data_event(json.dumps({**part({}, "stop"), "usage": {"total_tokens": 1}}).encode())
    assert DIALECT.for_client(block, parse({**MODEL, "stream": True})) == block


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": []}, "model"),
        ({"model": 5}, "model"),
        ({"model": ""}, "model"),
        ({"model": "m", "stream": "yes"}, "stream"),
        ({"model": "m", "stream": 1}, "stream"),
        ({"model": "m", "stream_options": []}, "stream_options"),
    ],
)
def test_bad_members_are_refused_by_name(members: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(members)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, None),
        ({"store": True}, "stateful"),
        ({"store": False}, None),
        ({"model": "@preset/support"}, "stateful"),
        ({"model": "openai/gpt-4o@preset/support"}, "stateful"),
        ({"preset": "support"}, "stateful"),
        ({"preset": None}, None),
        ({"web_search_options": {}}, "hosted-tools"),
        ({"modalities": ["text", "audio"]}, "audio"),
        ({"modalities": 5}, None),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "remote-content"),
    ],
)
def test_requests_that_a_hit_could_not_serve_are_kept_away(more: dict[str, Any], reason: str | None) -> None:
    assert DIALECT.bypass(parse({**MODEL, **more})) == reason


MARK = {"type": "ephemeral"}


def content(*parts: Any, **more: Any) -> dict[str, Any]:
    return {**MODEL, "messages": [{"role": "user", "content": list(parts), **more}]}


def text_part(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (content(text_part("a")), {**MODEL, "messages": [{"role": "user", "content": "a"}]}),
        (content(text_part("a"), cache_control=MARK), content(text_part("a"))),
        (content(text_part("a", cache_control=MARK)), content(text_part("a"))),
        (
            content(text_part("a"), text_part("b", prompt_cache_breakpoint=MARK)),
            content(text_part("a"), text_part("b")),
        ),
        (
            {**MODEL, "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": MARK}]},
            {**MODEL, "tools": [{"type": "function", "function": {"name": "f", "cache_control": MARK}}]},
        ),
    ],
)
def test_prompt_cache_hints_do_not_count(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert DIALECT.counted(parse(left)) == DIALECT.counted(parse(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (content(text_part("a"), text_part("b")), content(text_part("ab"))),
        (content(text_part("a", x=1)), content(text_part("a"))),
        (
            {**MODEL, "tools": [{"function": {"parameters": {"properties": {"cache_control": {}}}}}]},
            {**MODEL, "tools": [{"function": {"parameters": {"properties": {}}}}]},
        ),
        ({**MODEL, "response_format": {"cache_control": 1}}, {**MODEL, "response_format": {}}),
    ],
)
def test_what_only_looks_like_a_hint_counts(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert DIALECT.counted(parse(left)) != DIALECT.counted(parse(right))


def test_tokens_with_a_member_called_index_are_not_merged() -> None:
    def token(text: str) -> dict[str, Any]:
        return {"content": [{"token": text, "index": 0}]}

    blocks = blocks_of(part({"content": "a"}, logprobs=token("a")), part({"content": "b"}, "stop", logprobs=token("b")))
    logprobs = DIALECT.assemble(blocks)["choices"][0]["logprobs"]
    assert [one["token"] for one in logprobs["content"]] == ["a", "b"]
