"""The messages dialect: pure, so tested without a server."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from llmcache_gateway import key
from llmcache_gateway.config import Cache
from llmcache_gateway.dialects.anthropic_messages import AnthropicMessages
from llmcache_gateway.dialects.base import Request
from llmcache_gateway.errors import RequestError
from llmcache_gateway.heads import Head
from llmcache_gateway.policy import default_settings
from llmcache_gateway.sse import event_data
from tests.gateway.anthropic_provider import event_bytes, events_of, message

DIALECT = AnthropicMessages()
MODEL = {"model": "m", "max_tokens": 9, "messages": []}
MARK = {"type": "ephemeral", "ttl": "1h"}


def parse(members: dict[str, Any]) -> Request:
    return DIALECT.parse(members, json.dumps(members).encode())


def blocks_of(*events: dict[str, Any]) -> list[bytes]:
    return [event_bytes(event).rstrip(b"\n") for event in events]


def asked(*content: Any, **more: Any) -> dict[str, Any]:
    return {**MODEL, "messages": [{"role": "user", "content": list(content)}], **more}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


# --- From a message to a stream and back


NAMES = st.text("xyz", min_size=1, max_size=3)
VALUES = st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats(allow_nan=False, allow_infinity=False)
DATA = st.recursive(
    VALUES | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
CITATION = st.fixed_dictionaries({"type": st.just("char_location"), "cited_text": st.text(max_size=5)})
UNKNOWN = {"of_tomorrow": DATA}
BLOCK = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("text"), "text": st.text(max_size=20)},
        optional={"citations": st.none() | st.lists(CITATION, max_size=3), **UNKNOWN},
    ),
    st.fixed_dictionaries(
        {"type": st.just("thinking"), "thinking": st.text(max_size=20)},
        optional={"signature": st.text("ab=", max_size=5), **UNKNOWN},
    ),
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": st.text(max_size=9)}),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["tool_use", "server_tool_use", "mcp_tool_use"]),
            "id": st.text("abc", min_size=1),
            "name": NAMES,
            "input": st.dictionaries(st.text(max_size=5), DATA, max_size=3),
        },
        optional={"caller": st.just({"type": "direct"}), **UNKNOWN},
    ),
    st.dictionaries(NAMES, DATA, max_size=2).map(lambda members: {**members, "type": "block_of_tomorrow"}),
)
USAGE = st.fixed_dictionaries(
    {"input_tokens": st.integers(0, 99), "output_tokens": st.integers(0, 99)},
    optional={
        "cache_creation_input_tokens": st.none() | st.integers(0, 9),
        "cache_creation": st.none() | st.just({"ephemeral_5m_input_tokens": 3}),
        "output_tokens_details": st.none() | st.just({"thinking_tokens": 3}),
        "server_tool_use": st.none() | st.just({"web_search_requests": 1}),
        **UNKNOWN,
    },
)
MESSAGE: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "id": st.just("msg_1"),
        "type": st.just("message"),
        "role": st.just("assistant"),
        "content": st.lists(BLOCK, max_size=4),
        "stop_reason": st.none() | st.sampled_from(["end_turn", "tool_use", "max_tokens", "of_tomorrow"]),
        "usage": USAGE,
    },
    optional={
        "stop_sequence": st.none() | st.text(max_size=3),
        "stop_details": st.none() | st.just({"type": "refusal", "category": None}),
        "container": st.none() | st.just({"id": "c"}),
        "context_management": st.none() | st.just({"applied_edits": []}),
        **UNKNOWN,
    },
)


@given(MESSAGE)
def test_a_message_survives_being_streamed_and_put_together_again(answer: dict[str, Any]) -> None:
    assert DIALECT.assemble(list(DIALECT.replay(copy.deepcopy(answer)))) == answer


@given(st.lists(st.sampled_from(["text", "thought", "tool", "empty"]), max_size=4), st.text(max_size=30))
def test_a_provider_s_stream_makes_the_message_that_it_would_have_sent_whole(kinds: list[str], words: str) -> None:
    known: dict[str, dict[str, Any]] = {
        "text": text(words, citations=[{"type": "page_location", "cited_text": words}]),
        "thought": {"type": "thinking", "thinking": words, "signature": "c2ln"},
        "tool": {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, 1.5, words], "b": {}}},
        "empty": {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
    }
    whole = message(1, "m", [known[kind] for kind in kinds])
    assert DIALECT.assemble(blocks_of(*events_of(copy.deepcopy(whole)))) == whole


@given(MESSAGE)
def test_a_replayed_stream_is_a_series_of_named_events_of_which_the_last_ends_it(answer: dict[str, Any]) -> None:
    blocks = list(DIALECT.replay(answer))
    for block in blocks:
        assert block.startswith(b"event: %s\n" % json.loads(event_data(block) or b"")["type"].encode())
    assert [DIALECT.is_terminal(block) for block in blocks] == [False] * (len(blocks) - 1) + [True]


def test_a_replayed_stream_is_told_in_the_provider_s_order() -> None:
    tool = {"type": "tool_use", "id": "t", "name": "f"}
    whole = message(1, "m", [text("a", citations=[{"x": 1}]), {**tool, "input": {}}, {**tool, "input": {"a": 1}}])
    start, *middle, end, stop = [json.loads(event_data(block) or b"") for block in DIALECT.replay(whole)]
    unfinished: dict[str, Any] = dict.fromkeys(("stop_reason", "stop_sequence", "stop_details")) | {"content": []}
    assert start == {"type": "message_start", "message": {**whole, **unfinished}}
    assert [event.get("content_block") or event.get("delta") for event in middle] == [
        text("", citations=[]),
        {"type": "text_delta", "text": "a"},
        {"type": "citations_delta", "citation": {"x": 1}},
        None,
        {**tool, "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        None,
        {**tool, "input": {}},
        {"type": "input_json_delta", "partial_json": '{"a":1}'},
        None,
    ]
    assert [event["index"] for event in middle] == [0] * 4 + [1] * 3 + [2] * 3
    assert end["delta"] == {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None}
    assert end["usage"].items() <= whole["usage"].items()
    assert end["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert stop == {"type": "message_stop"}


def test_words_about_the_end_of_a_stream_do_not_end_it() -> None:
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": '"message_stop"'}}
    assert not DIALECT.is_terminal(blocks_of(delta)[0])
    assert not DIALECT.is_terminal(b": message_stop")
    assert DIALECT.is_terminal(b'event: message_stop\ndata: {"x": 1, "type" : "message_stop" }')


START = {"type": "message_start", "message": {"type": "message", "content": [], "usage": {"output_tokens": 1}}}
STOP = {"type": "message_stop"}
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
TOOL = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "input": {}}}


def delta(kind: str, index: int = 0, **members: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **members}}


def piece(partial_json: str) -> dict[str, Any]:
    return delta("input_json_delta", partial_json=partial_json)


def test_usage_of_the_end_replaces_that_of_the_start_where_it_is_not_null() -> None:
    usage = {"input_tokens": 5, "cache_creation": {"x": 1}, "output_tokens": 1, "cache_read_input_tokens": 7}
    start = {"type": "message_start", "message": {"content": [], "usage": usage, "stop_reason": None}}
    end = {"input_tokens": None, "output_tokens": 9, "cache_read_input_tokens": 8, "of_tomorrow": None}
    last = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end, "context_management": {"y": 2}}
    assert DIALECT.assemble(blocks_of(start, last, STOP | {"metrics": 3})) == {
        "content": [],
        "stop_reason": "end_turn",
        "context_management": {"y": 2},
        "metrics": 3,
        "usage": {
            "input_tokens": 5,
            "cache_creation": {"x": 1},
            "output_tokens": 9,
            "cache_read_input_tokens": 8,
            "of_tomorrow": None,
        },
    }


@pytest.mark.parametrize(
    ("pieces", "given"),
    [
        ([], {}),
        ([""], {}),
        (["", "{}"], {}),
        (['{"a"', ": 1.", "50}"], {"a": 1.5}),
        (['{"id": 12345678901234567890', "123}"], {"id": 12345678901234567890123}),
        (['{"a": "\ud83d', '\ude00"}'], {"a": "\ud83d\ude00"}),
    ],
)
def test_the_input_of_a_tool_is_what_its_pieces_say(pieces: list[str], given: Any) -> None:
    answer = DIALECT.assemble(blocks_of(START, TOOL, *map(piece, pieces), STOP))
    assert answer["content"] == [{"type": "tool_use", "input": given}]


def test_an_input_that_comes_whole_is_kept() -> None:
    whole = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "input": {"a": 1}}}
    assert DIALECT.assemble(blocks_of(START, whole, piece(""), STOP))["content"][0]["input"] == {"a": 1}


def test_what_only_tells_the_progress_of_thinking_is_not_part_of_the_message() -> None:
    thought = {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}
    answer = DIALECT.assemble(blocks_of(START, thought, delta("thinking_delta", thinking="", estimated_tokens=50)))
    assert answer["content"] == [{"type": "thinking", "thinking": ""}]


@pytest.mark.parametrize(
    "events",
    [
        [],
        [STOP],
        [{"type": "ping"}],
        [TEXT, START],
        [START, START],
        [START, {"type": "event_of_tomorrow"}],
        [START, TEXT, delta("delta_of_tomorrow", x=1)],
        [START, TEXT, delta("compaction_delta", content="x")],
        [START, TEXT, delta("text_delta", text="a", logprob=-0.5)],
        [START, TEXT, delta("text_delta", text="a") | {"of_tomorrow": 1}],
        [START, TEXT | {"of_tomorrow": 1}],
        [START, TEXT, delta("text_delta", index=1, text="a")],
        [START, TEXT, delta("text_delta", index=-1, text="a")],
        [START, TEXT, delta("text_delta", text=5)],
        [START, TEXT, delta("thinking_delta", thinking="a")],
        [START, TEXT, piece("{}")],
        [START, TEXT | {"index": 1}],
        [START, TEXT | {"index": "0"}],
        [START, TOOL, piece('{"a": ')],
        [START, TOOL, piece('{"a": NaN}')],
        [START, TOOL, piece('{"a": 1e400}')],
        [START, TOOL, delta("input_json_delta", partial_json=5)],
        [START, {"type": "content_block_stop", "index": 0}],
        [START, {"type": "message_delta"}],
        [START, {"type": "message_delta", "delta": {}, "content": []}],
        [START, {"type": "message_delta", "delta": {}, "usage": 5}],
        [{"type": "message_start", "message": {"content": [text("a")]}}],
        [{"type": "message_start", "message": 5}],
    ],
)
def test_what_makes_no_message_exactly_is_refused(events: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"."):
        DIALECT.assemble(blocks_of(*events, STOP))


@pytest.mark.parametrize("block", [b"event: x\ndata: {", b"data: 5", b"data: []", b"data: {}", b'data: {"type": []}'])
def test_what_is_no_event_is_refused(block: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        DIALECT.assemble([*blocks_of(START), block])


def test_an_error_anywhere_in_a_stream_is_all_that_it_amounts_to() -> None:
    failed = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    answer = DIALECT.assemble(blocks_of(START, TEXT, failed, STOP))
    assert answer == failed
    assert DIALECT.judge(answer).reason == "error"


# --- What is stored


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"stop_reason": "stop_sequence"}, ""),
        ({"stop_reason": "tool_use", "content": [{"type": "tool_use"}]}, ""),
        ({"content": [text(""), {"type": "tool_use"}]}, ""),
        ({"stop_reason": "max_tokens"}, "truncated"),
        ({"stop_reason": "model_context_window_exceeded"}, "truncated"),
        ({"stop_reason": "refusal"}, "refused"),
        ({"stop_reason": "pause_turn"}, "incomplete"),
        ({"stop_reason": "compaction"}, "incomplete"),
        ({"stop_reason": None}, "incomplete"),
        ({"stop_reason": ["end_turn"]}, "incomplete"),
        ({"content": []}, "empty"),
        ({"content": [text("")]}, "empty"),
        ({"content": [{"type": "thinking", "thinking": "..."}, text("")]}, "empty"),
        ({"content": "text"}, "no-answer"),
        ({"content": ["text"]}, "no-answer"),
        ({"container": {"id": "c"}}, "stateful"),
        ({"type": "error"}, "error"),
        ({"error": {}}, "error"),
    ],
)
def test_only_complete_successful_answers_are_stored(change: dict[str, Any], reason: str) -> None:
    verdict = DIALECT.judge({**message(1, "m", [text("a")]), **change})
    assert (verdict.store, verdict.reason) == (reason == "", reason)


@pytest.mark.parametrize("answer", [None, 5, [], {}])
def test_what_is_no_answer_is_not_stored(answer: Any) -> None:
    assert DIALECT.judge(answer).reason == "no-answer"


def source(kind: Any, block: str = "image", **more: Any) -> dict[str, Any]:
    return {"type": block, "source": {"type": kind, **more}}


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (asked("a"), None),
        (asked(text("a"), container="c"), "stateful"),
        (asked(text("a"), thread={"id": "t"}), "stateful"),
        (asked(text("a"), compaction={"type": "summarize"}), "stateful"),
        (asked(text("a"), context_management={"edits": []}), "stateful"),
        (asked(text("a"), mcp_servers=[{"url": "https://x"}]), "stateful"),
        (asked(text("a"), fallbacks="default"), "stateful"),
        (asked(text("a"), mcp_servers=[], container=None), None),
        (asked(tools=[{"name": "f", "input_schema": {}}]), None),
        (asked(tools=[{"name": "f", "type": None}, {"type": "custom"}, 5]), None),
        (asked(tools=[{"type": "bash_20250124"}, {"type": "text_editor_20250728"}]), None),
        (asked(tools=[{"type": "memory_20250818"}, {"type": "tool_search_tool_bm25_20251119"}]), None),
        (asked(tools=[{"type": "web_search_20260318"}]), "hosted-tools"),
        (asked(tools=[{"name": "f"}, {"type": "web_fetch_20260318"}]), "hosted-tools"),
        (asked(tools=[{"type": "code_execution_20260521"}]), "hosted-tools"),
        (asked(tools=[{"type": "computer_20251124"}]), "hosted-tools"),
        (asked(tools=[{"type": "mcp_toolset"}]), "hosted-tools"),
        (asked(tools=[{"type": "tool_of_tomorrow"}]), "hosted-tools"),
        (asked(tools=[{"type": []}]), "hosted-tools"),
        (asked(tools={}), None),
        (asked(source("base64", data="")), None),
        (asked(source("text", "document", data="")), None),
        (asked(source("content", "document", content=[source("base64")])), None),
        (asked({"type": "search_result", "source": "https://x", "content": [text("a")]}), None),
        (asked(source("url", url="https://x")), "remote-content"),
        (asked(text("a"), source("file", "document", file_id="f")), "remote-content"),
        (asked(source("source_of_tomorrow")), "remote-content"),
        (asked(source([])), "remote-content"),
        (asked(source("content", "document", content=[source("url")])), "remote-content"),
        (asked({"type": "tool_result", "content": [text("a"), source("url")]}), "remote-content"),
        (asked({"type": "tool_use", "input": {"source": {"type": "url"}, "file_id": 1}}), None),
        (asked({"type": "container_upload", "file_id": "f"}), "remote-content"),
        (asked(max_tokens=0), "prewarm"),
    ],
)
def test_requests_that_a_hit_could_not_serve_are_kept_away(request_: dict[str, Any], reason: str | None) -> None:
    assert DIALECT.bypass(parse(request_)) == reason


# --- What counts

TOOL_RESULT = {"type": "tool_result", "tool_use_id": "t"}
DOCUMENT = source("content", "document", content=[text("a")])
MARKED_DOCUMENT = source("content", "document", content=[text("a", cache_control=MARK)])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (asked(text("a")), {**MODEL, "messages": [{"role": "user", "content": "a"}]}),
        (asked(text("a", cache_control=MARK)), {**MODEL, "messages": [{"role": "user", "content": "a"}]}),
        ({**MODEL, "system": [text("s", cache_control=MARK)]}, {**MODEL, "system": "s"}),
        ({**MODEL, "system": [text("s"), text("t", cache_control=None)]}, {**MODEL, "system": [text("s"), text("t")]}),
        (asked(text("a"), cache_control=MARK), asked(text("a"))),
        (asked({**TOOL_RESULT, "cache_control": MARK, "content": "x"}), asked({**TOOL_RESULT, "content": "x"})),
        (
            asked({**TOOL_RESULT, "content": [text("x", cache_control=MARK)]}),
            asked({**TOOL_RESULT, "content": [text("x")]}),
        ),
        (asked({**MARKED_DOCUMENT, "cache_control": MARK}), asked(DOCUMENT)),
        (asked({**TOOL_RESULT, "content": [MARKED_DOCUMENT]}), asked({**TOOL_RESULT, "content": [DOCUMENT]})),
        (asked(tools=[{"name": "f", "cache_control": MARK}]), asked(tools=[{"name": "f"}])),
        (
            asked(text("a"), stream=True, metadata={"user_id": "u"}, service_tier="auto", speed="fast"),
            asked(text("a"), diagnostics={"previous_message_id": None}, billing_policy={}, fallback_credit_token="t"),
        ),
    ],
)
def test_what_cannot_change_the_answer_does_not_count(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert DIALECT.counted(parse(left)) == DIALECT.counted(parse(right))


def tool_use(**given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "t", "name": "f", "input": given}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (asked(text("a"), text("b")), asked(text("ab"))),
        (asked(text("a", of_tomorrow=1)), asked(text("a"))),
        (asked(tool_use(cache_control=MARK)), asked(tool_use())),
        (asked(tool_use(content=[{"cache_control": MARK}])), asked(tool_use(content=[{}]))),
        (
            asked(tools=[{"input_schema": {"properties": {"cache_control": {}}}}]),
            asked(tools=[{"input_schema": {"properties": {}}}]),
        ),
        (asked({"type": "block_of_tomorrow", "content": [{"cache_control": 1}]}), asked({"type": "block_of_tomorrow"})),
        (asked(text("a"), inference_geo="us"), asked(text("a"))),
        (asked(text("a"), of_tomorrow=None), asked(text("a"))),
        (asked(text("a"), max_tokens=10), asked(text("a"), max_tokens=11)),
        (asked(text("a"), thinking={"type": "adaptive"}), asked(text("a"))),
        (asked(tools=[{"name": "f"}, {"name": "g"}]), asked(tools=[{"name": "g"}, {"name": "f"}])),
    ],
)
def test_what_can_change_the_answer_counts(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert DIALECT.counted(parse(left)) != DIALECT.counted(parse(right))


def digest(*headers: tuple[str, str]) -> str:
    request = parse(asked(text("a")))
    return key.digest(
        dialect=DIALECT,
        request=request,
        settings=default_settings(Cache(), "Credential", None),
        head=Head("POST", DIALECT.path, CIMultiDict(headers)),
        upstream=("u",),
        tenant="t",
        namespace="",
    )


BETA = "Anthropic-Beta"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([(BETA, "flag-a,flag-b")], [(BETA, "flag-b, flag-a")]),
        ([(BETA, "flag-a,flag-b")], [(BETA, "flag-b"), (BETA, "flag-a")]),
        ([(BETA, "flag-a")], [(BETA, "flag-a,flag-a")]),
        ([("Authorization", "Bearer x")], [("User-Agent", "y")]),
    ],
)
def test_the_order_of_beta_flags_does_not_count(left: list[tuple[str, str]], right: list[tuple[str, str]]) -> None:
    assert digest(*left) == digest(*right)


@pytest.mark.parametrize("name", DIALECT.key_headers)
def test_headers_that_change_the_answer_count(name: str) -> None:
    assert len({digest(), digest((name, "x")), digest((name, "y")), digest((name, "x,y"))}) == 4


ODD = st.recursive(
    st.none() | st.integers(0, 1) | st.sampled_from(["text", "url", "tool_result", "document"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "content", "source", "cache_control"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["system", "messages", "tools", "container", "max_tokens"]), ODD, max_size=5))
def test_a_body_of_any_shape_is_left_for_the_provider_to_refuse(members: dict[str, Any]) -> None:
    request = parse({**members, "model": "m"})
    assert DIALECT.bypass(request) in (None, "stateful", "hosted-tools", "remote-content", "prewarm")
    assert DIALECT.counted(request)["model"] == "m"


@pytest.mark.parametrize("members", [{"messages": []}, {"model": 5}, {"model": "m", "stream": 1}])
def test_bad_members_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        parse(members)


def test_what_goes_upstream_is_what_the_client_sent() -> None:
    body = b'{"model":"m", "stream" :true,"temperature":1.10}'
    assert DIALECT.for_upstream(DIALECT.parse(json.loads(body), body)) is body
