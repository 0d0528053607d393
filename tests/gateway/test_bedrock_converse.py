"""Converse: what counts, what keeps a request away, which answers are stored, and how streams are put together."""

from base64 import b64encode
from typing import Any

import pytest

from llmcache_gateway.dialects import bedrock_stream, dialect_of, kin_of
from llmcache_gateway.dialects.base import Request
from llmcache_gateway.dialects.bedrock_converse import BedrockConverse
from llmcache_gateway.dialects.frames import named_block
from llmcache_gateway.errors import RequestError
from llmcache_gateway.plainjson import dumps
from tests.gateway.providers.bedrock import converse_answer, converse_events

DIALECT = BedrockConverse()
POINT = {"cachePoint": {"type": "default", "ttl": "1h"}}
TOOL = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}
SAID = {"text": "Hi"}
FILE = {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/i.png"}}}}


def request(*content: Any, named: str = "m", verb: str = "converse", **more: Any) -> Request:
    members = {"messages": [{"role": "user", "content": list(content) or [SAID]}], **more}
    return DIALECT.parse(members, dumps(members), f"/model/{named}/{verb}")


# --- Paths


@pytest.mark.parametrize(
    ("path", "name", "stream"),
    [
        ("/model/m/converse", "bedrock-converse", False),
        ("/model/m/converse-stream", "bedrock-converse", True),
        ("/model/arn%3Aaws%3Ax%2Fm/invoke", "bedrock-invoke", False),
        ("/model/a:b;c/invoke-with-response-stream", "bedrock-invoke", True),
    ],
)
def test_a_path_names_the_dialect_and_whether_it_streams(path: str, name: str, stream: bool) -> None:
    dialect = dialect_of("POST", path)
    assert dialect is not None
    assert dialect.name == name
    assert dialect.parse({}, b"{}", path).stream is stream
    assert dialect_of("GET", path) is None


@pytest.mark.parametrize(
    "path",
    [
        "/model/m/count-tokens",
        "/model/m/invoke-with-bidirectional-stream",
        "/guardrail/g/version/1/apply",
        "/async-invoke",
    ],
)
def test_other_paths_are_kin(path: str) -> None:
    assert dialect_of("POST", path) is None
    kin = kin_of(path, {"anthropic-version": "2026-10-21"})
    assert kin is not None
    assert "bedrock" in kin.providers


def test_a_model_is_read_as_it_was_before_it_was_escaped_once() -> None:
    assert request(named="arn%3Aaws%3Abedrock%2Fm").model == "arn:aws:bedrock/m"
    assert request(named="a%253Ab").model == "a%3Ab"


@pytest.mark.parametrize("model", ["%ff", "%0a", "x" * 2049])
def test_a_model_that_cannot_be_read_is_refused(model: str) -> None:
    with pytest.raises(RequestError, match="names no model"):
        request(named=model)


def test_a_body_that_is_no_object_is_refused() -> None:
    with pytest.raises(RequestError, match="must be a JSON object"):
        DIALECT.parse([], b"[]", "/model/m/converse")


# --- What counts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (request(), request(verb="converse-stream")),
        (request(named="a%3Ab"), request(named="a:b")),
        (request(), request(requestMetadata={"a": "b"}, performanceConfig={"latency": "x"}, serviceTier={"type": "y"})),
        (request(), request(SAID, POINT)),
        (request(system=[SAID]), request(system=[SAID, POINT])),
        (request(toolConfig={"tools": [TOOL]}), request(toolConfig={"tools": [TOOL, POINT]})),
    ],
)
def test_what_does_not_change_the_answer_does_not_count(one: Request, other: Request) -> None:
    assert DIALECT.counted(one) == DIALECT.counted(other)


@pytest.mark.parametrize(
    "other",
    [
        request(named="n"),
        request({"text": "Ho"}),
        request(system=[SAID]),
        request(inferenceConfig={"maxTokens": 1}),
        request(guardrailConfig={"guardrailIdentifier": "g", "guardrailVersion": "1"}),
        request(additionalModelRequestFields={"top_k": 1}),
        request(promptVariables={"a": SAID}),
        request(outputConfig={}),
        request(model_of_tomorrow=True),
        request(model="m"),  # a member of that name is none of the path's
        request({"toolUse": {"toolUseId": "t", "name": "f", "input": POINT}}),
    ],
)
def test_everything_else_counts(other: Request) -> None:
    assert DIALECT.counted(request()) != DIALECT.counted(other)


# --- What passes by


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (request(), None),
        (request(toolConfig={"tools": [TOOL, POINT]}), None),
        (request({"image": {"format": "png", "source": {"bytes": "iVBO"}}}), None),
        (request({"toolUse": {"toolUseId": "t", "name": "f", "input": {"s3Location": 1}}}), None),
        (request({"toolResult": {"toolUseId": "t", "content": [{"json": {"s3Location": 1}}]}}), None),
        (request({"toolResult": {"toolUseId": "t", "content": [FILE]}}), "remote-content"),
        (request(FILE), "remote-content"),
        (request(toolConfig={"tools": [{"systemTool": {"name": "nova_grounding"}}]}), "hosted-tools"),
        (request(toolConfig={"tools": [TOOL, {"tool_of_tomorrow": {}}]}), "hosted-tools"),
        (request(guardrailConfig={"guardrailIdentifier": "g", "guardrailVersion": "DRAFT"}), "stateful"),
        (request(guardrailConfig={"guardrailIdentifier": "g"}), "stateful"),
        (request(guardrailConfig={"guardrailIdentifier": "g", "guardrailVersion": "1"}), None),
        (request(guardrailConfig={"trace": "enabled"}), None),
        (request(named="arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Aprompt%2FABC"), "stateful"),
        (request(named="arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Aprompt%2FABC%3A7"), None),
        (request(additionalModelRequestFields={"top_k": 5}), None),
        (request(additionalModelRequestFields={"tools": [{"type": "computer_20250124"}]}), "hosted-tools"),
        (request(additionalModelRequestFields={"context_management": {"edits": []}}), "stateful"),
        (request(guardrailConfig="odd", toolConfig=["odd"], additionalModelRequestFields=["odd"]), None),
    ],
)
def test_what_the_body_does_not_tell_alone_passes_by(asked: Request, reason: str | None) -> None:
    assert DIALECT.bypass(asked) == reason
    if reason is not None:
        assert DIALECT.bypass(asked, frozenset({reason})) is None


# --- Which answers are stored


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (converse_answer(SAID), ""),
        (converse_answer(SAID, reason="stop_sequence"), ""),
        (converse_answer({"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}, reason="tool_use"), ""),
        (converse_answer({"citationsContent": {"content": [SAID], "citations": []}}), ""),
        (converse_answer(SAID, reason="max_tokens"), "truncated"),
        (converse_answer(SAID, reason="model_context_window_exceeded"), "truncated"),
        (converse_answer(SAID, reason="guardrail_intervened"), "filtered"),
        (converse_answer(SAID, reason="content_filtered"), "filtered"),
        (converse_answer(SAID, reason="malformed_model_output"), "incomplete"),
        (converse_answer(SAID, reason="reason_of_tomorrow"), "incomplete"),
        ({"output": {"message": {"role": "assistant", "content": [SAID]}}}, "incomplete"),
        (converse_answer(), "empty"),
        (converse_answer({"text": ""}, {"reasoningContent": {"reasoningText": {"text": "Hm."}}}), "empty"),
        (converse_answer("odd"), "no-answer"),  # type: ignore[arg-type]
        ({"message": "no"}, "no-answer"),
        ({"output": {}}, "no-answer"),
        ([], "no-answer"),
    ],
)
def test_only_complete_answers_are_stored(answer: Any, reason: str) -> None:
    assert DIALECT.judge(answer).reason == reason


# --- Streams

THOUGHT = {"reasoningContent": {"reasoningText": {"text": "What now?", "signature": "abc"}}}
REDACTED = {"reasoningContent": {"redactedContent": b64encode(b"secret").decode()}}
WHOLE = converse_answer(
    THOUGHT,
    REDACTED,
    {"text": "I look it up."},
    {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": [1, {"b": "☃"}]}, "type": "server_tool_use"}},
    {"toolUse": {"toolUseId": "u", "name": "f", "input": {}}},
    {"citationsContent": {"content": [{"text": "So it is said."}], "citations": [{"title": "a"}, {"title": "b"}]}},
    {"image": {"format": "png", "source": {"bytes": "iVBO"}}},
    reason="tool_use",
    additionalModelResponseFields={"x": 1},
    trace={"promptRouter": {"invokedModelId": "m"}},
    field_of_tomorrow={"kept": [None]},
)


def test_a_stream_makes_the_answer_whole_again() -> None:
    assert bedrock_stream.assemble(converse_events(WHOLE)) == WHOLE
    assert bedrock_stream.assemble(bedrock_stream.events(WHOLE)) == WHOLE
    blocks = list(DIALECT.replay(WHOLE))
    assert DIALECT.assemble(blocks) == WHOLE
    assert [DIALECT.is_terminal(block) for block in blocks] == [False] * (len(blocks) - 1) + [True]


START = ("messageStart", {"role": "assistant"})


def delta(index: int = 0, **value: Any) -> tuple[str, dict[str, Any]]:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": value}


def begin(**value: Any) -> tuple[str, dict[str, Any]]:
    return "contentBlockStart", {"contentBlockIndex": 0, "start": value}


@pytest.mark.parametrize(
    "events",
    [
        [],
        [delta(text="a")],
        [START, START],
        [START, ("messageStop", {"stopReason": "end_turn"}), ("messageStop", {"stopReason": "end_turn"})],
        [START, ("metadata", {"output": {}})],
        [START, ("event_of_tomorrow", {})],
        [START, ("contentBlockStop", {"contentBlockIndex": 0})],
        [START, begin(audio={"format": "mp3"})],
        [START, begin(toolUse={"toolUseId": "t"}), begin(toolUse={"toolUseId": "t"})],
        [START, delta(toolUse={"input": "{}"})],
        [START, begin(toolUse={"toolUseId": "t", "name": "f"}), delta(text="a")],
        [START, begin(toolUse={"toolUseId": "t", "name": "f"}), delta(toolUse={"input": "{"})],
        [START, delta(text="a", more="b")],
        [START, delta(text="a"), delta(reasoningContent={"text": "b"})],
        [START, delta(reasoningContent={"signature": "a"}), delta(reasoningContent={"signature": "b"})],
        [START, delta(reasoningContent={"redactedContent": "a"}), delta(reasoningContent={"redactedContent": "b"})],
        [START, ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "a"}, "more": 1})],
        [START, ("contentBlockDelta", {"delta": {"text": "a"}})],
    ],
)
def test_what_no_answer_can_be_made_of_exactly_is_refused(events: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        bedrock_stream.assemble(events)


@pytest.mark.parametrize(
    "answer",
    [
        converse_answer({"video": {"format": "mp4"}}),
        converse_answer({"reasoningContent": {"thought_of_tomorrow": 1}}),
        {"output": {"message": {"role": "assistant", "content": []}, "more": 1}},
        {"output": {"message": {"role": "assistant", "content": [], "more": 1}}},
    ],
)
def test_what_no_stream_can_say_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"more than a message|no event can say"):
        list(bedrock_stream.events(answer))


def test_an_exception_makes_no_answer() -> None:
    block = named_block("throttlingException", b'{"message": "slow down"}', "exception")
    assert not DIALECT.is_terminal(block)
    with pytest.raises(ValueError, match="before messageStart"):
        DIALECT.assemble([block])
