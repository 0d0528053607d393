"""InvokeModel: whose format a body has, and what of each is counted, judged and put together."""

import json
from base64 import b64decode
from typing import Any

import pytest
from multidict import CIMultiDict

from llmcache_gateway.dialects.anthropic_messages import AnthropicMessages
from llmcache_gateway.dialects.base import Request
from llmcache_gateway.dialects.bedrock_invoke import BedrockInvoke, chunk
from llmcache_gateway.dialects.frames import named_block
from llmcache_gateway.plainjson import dumps
from llmcache_gateway.sse import event_data
from tests.gateway.anthropic_provider import message
from tests.gateway.providers.bedrock import converse_answer

DIALECT = BedrockInvoke()
HINT = {"cache_control": {"type": "ephemeral"}}
CLAUDE: dict[str, Any] = {
    "anthropic_version": "2026-10-21",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
}
NOVA: dict[str, Any] = {
    "schemaVersion": "messages-v1",
    "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
}
TEXT = {"type": "text", "text": "answer"}


def request(members: dict[str, Any], model: str = "m", verb: str = "invoke", **more: Any) -> Request:
    members = members | more
    return DIALECT.parse(members, dumps(members), f"/model/{model}/{verb}")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (request(CLAUDE), None),
        (request(CLAUDE, verb="invoke-with-response-stream"), None),
        (request(CLAUDE, container="c"), "stateful"),
        (request(CLAUDE, "arn:aws:bedrock:eu-central-1:1:prompt%2FABC"), "stateful"),
        (request({"inputText": "Hi"}, "arn:aws:bedrock:eu-central-1:1:prompt%2FABC"), "stateful"),
        (request(CLAUDE, "arn:aws:bedrock:eu-central-1:1:prompt%2FABC:7"), None),
        (request(CLAUDE, tools=[{"type": "web_search_20250305", "name": "w"}]), "hosted-tools"),
        (request(NOVA), None),
        (request(NOVA, verb="invoke-with-response-stream"), None),
        (request({"messages": NOVA["messages"]}, "eu.amazon.nova-lite-v1:0"), None),
        (request({"messages": NOVA["messages"], "inferenceConfig": {}}), None),
        (request(NOVA, toolConfig={"tools": [{"systemTool": {"name": "nova_grounding"}}]}), "hosted-tools"),
        (request({"inputText": "Hi"}), None),
        (request({"inputText": "Hi", "textGenerationConfig": {}}), None),
        (request({"inputImage": "iVBO"}), None),
        (request({"texts": ["Hi"], "input_type": "search_query"}), None),
        (request({"prompt": "Hi"}, "meta.llama3-8b-instruct-v1:0"), None),
        (request({"prompt": "Hi", "max_gen_len": 9}), None),
        (request({"inputText": "Hi"}, verb="invoke-with-response-stream"), "unknown-shape"),
        (request({"prompt": "Hi"}, "mistral.mistral-7b-instruct-v0:2"), "unknown-shape"),
        (request({"messages": [{"role": "user", "content": "Hi"}]}, "openai.gpt-oss-20b-1:0"), "unknown-shape"),
        (request({"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a cat"}}), "unknown-shape"),
        (request({}), "unknown-shape"),
    ],
)
def test_only_bodies_whose_format_is_known_meet_the_cache(asked: Request, reason: str | None) -> None:
    assert DIALECT.bypass(asked) == reason
    if reason == "stateful":
        assert DIALECT.bypass(asked, frozenset({reason})) is None


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, None),
        ({"GuardrailIdentifier": "g", "GuardrailVersion": "1"}, None),
        ({"GuardrailIdentifier": "g", "GuardrailVersion": "DRAFT"}, "stateful"),
        ({"GuardrailIdentifier": "g", "GuardrailVersion": " draft "}, "stateful"),
        ({"GuardrailIdentifier": "g", "GuardrailVersion": ""}, "stateful"),
        ({"GuardrailIdentifier": "g"}, "stateful"),
    ],
)
def test_a_guardrail_that_may_be_edited_is_named_by_headers(headers: dict[str, str], reason: str | None) -> None:
    named = CIMultiDict({f"X-Amzn-Bedrock-{name}": value for name, value in headers.items()})
    assert DIALECT.bypass_of(named) == reason


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (request(CLAUDE), request(CLAUDE, metadata={"user_id": "u"}, cache_control=HINT["cache_control"])),
        (
            request(CLAUDE),
            request(CLAUDE, messages=[{"role": "user", "content": [{**HINT, "type": "text", "text": "Hi"}]}]),
        ),
        (request(CLAUDE), request(CLAUDE, messages=[{"role": "user", "content": "Hi"}])),
        (request(CLAUDE), request(CLAUDE, verb="invoke-with-response-stream")),
        (
            request(NOVA),
            request(NOVA, messages=[{"role": "user", "content": [{"text": "Hi", "cachePoint": {"type": "default"}}]}]),
        ),
    ],
)
def test_hints_and_how_it_is_asked_do_not_count(one: Request, other: Request) -> None:
    assert DIALECT.counted(one) == DIALECT.counted(other)


@pytest.mark.parametrize(
    "other",
    [
        request(CLAUDE, "n"),
        request(CLAUDE, anthropic_version="bedrock-2023-05-31"),
        request(CLAUDE, anthropic_beta=["a"]),
    ],
)
def test_model_version_and_betas_count(other: Request) -> None:
    assert DIALECT.counted(request(CLAUDE)) != DIALECT.counted(other)


TITAN = {"tokenCount": 4, "outputText": "answer", "completionReason": "FINISH"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (message(1, "m", [TEXT]), ""),
        (message(1, "m", [TEXT], "max_tokens"), "truncated"),
        (message(1, "m", [TEXT], "refusal"), "refused"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, "error"),
        ({**message(1, "m", [TEXT]), "amazon-bedrock-guardrailAction": "INTERVENED"}, "filtered"),
        ({**message(1, "m", [TEXT]), "amazon-bedrock-guardrailAction": "NONE"}, ""),
        (converse_answer({"text": "answer"}), ""),
        (converse_answer({"text": "answer"}, reason="max_tokens"), "truncated"),
        ({"inputTextTokenCount": 1, "results": [TITAN]}, ""),
        ({"results": [TITAN, TITAN | {"completionReason": "LENGTH"}]}, "truncated"),
        ({"results": [TITAN | {"completionReason": "CONTENT_FILTERED"}]}, "filtered"),
        ({"results": [TITAN | {"completionReason": "RAG_QUERY_WHEN_RAG_DISABLED"}]}, "incomplete"),
        ({"results": [TITAN | {"outputText": ""}]}, "empty"),
        ({"results": []}, "unknown-shape"),
        ({"generation": "answer", "stop_reason": "stop"}, ""),
        ({"generation": "answer", "stop_reason": "length"}, "truncated"),
        ({"generation": "answer", "stop_reason": None}, "incomplete"),
        ({"generation": "", "stop_reason": "stop"}, "empty"),
        ({"embedding": [0.5], "inputTextTokenCount": 3, "embeddingsByType": {"float": [0.5]}}, ""),
        ({"embedding": [], "inputTextTokenCount": 3}, "empty"),
        ({"embeddings": [[0.5], [0.25]], "response_type": "embeddings_floats", "texts": ["a", "b"]}, ""),
        ({"embeddings": {"float": [[0.5]], "int8": [[1]]}, "response_type": "embeddings_by_type"}, ""),
        ({"embeddings": [[0.5], []]}, "empty"),
        ({"embedding": [0.5], "error": "in part"}, "error"),
        ({"images": ["iVBO"]}, "unknown-shape"),
        ({}, "unknown-shape"),
        ([], "no-answer"),
    ],
)
def test_only_answers_known_to_be_complete_are_stored(answer: Any, reason: str) -> None:
    assert DIALECT.judge(answer).reason == reason


@pytest.mark.parametrize(
    "answer",
    [
        message(1, "m", [TEXT, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}], "tool_use"),
        converse_answer({"text": "answer"}),
    ],
)
def test_a_stream_makes_the_answer_whole_again(answer: dict[str, Any]) -> None:
    blocks = list(DIALECT.replay(answer))
    assert DIALECT.assemble(blocks) == answer
    assert [DIALECT.is_terminal(block) for block in blocks] == [False] * (len(blocks) - 1) + [True]


def test_the_end_of_a_replay_has_the_counts_that_bedrock_adds_there() -> None:
    *_, last = DIALECT.replay(message(1, "m", [TEXT]))
    assert _piece(last)["amazon-bedrock-invocationMetrics"] == {
        "inputTokenCount": 21,
        "outputTokenCount": 31,
        "cacheReadInputTokenCount": 1800,
        "cacheWriteInputTokenCount": 188,
    }
    *_, last = DIALECT.replay(converse_answer({"text": "a"}) | {"usage": None})
    assert _piece(last)["amazon-bedrock-invocationMetrics"] == {}


def _piece(block: bytes) -> Any:
    return json.loads(b64decode(json.loads(event_data(block) or b"")["bytes"]))


@pytest.mark.parametrize(
    "blocks",
    [
        [],
        [named_block("odd", b"{}")],
        [named_block("chunk", b"{}")],
        [named_block("chunk", b'{"bytes": "%%%"}')],
        [named_block("chunk", b'{"bytes": 1}')],
        [named_block("chunk", json.dumps({"bytes": "W10="}).encode())],
        [chunk({"messageStart": {"role": "assistant"}, "more": 1})],
    ],
)
def test_what_no_answer_can_be_made_of_is_refused(blocks: list[bytes]) -> None:
    assert not any(map(DIALECT.is_terminal, blocks))
    with pytest.raises(ValueError, match=r"."):
        DIALECT.assemble(blocks)


def test_claudes_messages_are_judged_by_anthropics_own_rules() -> None:
    asked = request(CLAUDE)
    counted = DIALECT.counted(asked)
    assert counted.pop("model") == "m"
    assert counted == AnthropicMessages().counted(asked)
