"""Requests of the responses dialect, and what an answer repeats of them."""

from typing import Any

import pytest

from llmcache_gateway.errors import RequestError
from tests.gateway.providers.responses import (
    OUTPUTS,
    blocks_of,
    response,
)
from tests.gateway.responses_dialect import ASK, DIALECT, EVENTS, events_of, parse


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
