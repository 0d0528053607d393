"""Amazon Bedrock: Converse with boto3, and Claude's messages through InvokeModel with boto3 and Anthropic's SDK."""

import json
from base64 import b64encode
from dataclasses import replace
from typing import Any

from tests.gateway.corpus import messages
from tests.gateway.corpus.case import EMOJI_IN_TWO, LONG, PNG, UNICODE, Api, Case, Fate, Json
from tests.gateway.providers.bedrock import FRAMES, chunks, converse_answer, converse_events, frame

MODEL = "eu.anthropic.claude-sonnet-5-5-20260901-v1:0"


def blocks(answer: Json, _body: Json) -> list[bytes]:
    return [frame(name, event) for name, event in converse_events(answer)]


def wire(stream: list[bytes]) -> bytes:
    return b"".join(stream)


def pieced(events: list[Json]) -> Json:
    """Return what the SDK's events say together."""
    whole: Json = {"blocks": {}}
    for event in events:
        event.pop("amazon-bedrock-invocationMetrics", None)  # the gateway's replay has the counts and no times
        ((name, said),) = event.items()
        if not name.startswith("contentBlock"):
            whole |= said
            continue
        block = whole["blocks"].setdefault(said.pop("contentBlockIndex"), {})
        for kind, value in (said.get("start") or said.get("delta") or {}).items():
            for part, piece in value.items() if isinstance(value, dict) else [("", value)]:
                if kind == "citation":
                    block.setdefault(kind, {}).setdefault(part, []).append(piece)
                elif isinstance(piece, str):
                    block[f"{kind} {part}"] = block.get(f"{kind} {part}", "") + piece
                else:
                    block[f"{kind} {part}"] = piece
    for block in whole["blocks"].values():
        if "toolUse input" in block:
            block["toolUse input"] = json.loads(block["toolUse input"] or "{}")
    return whole


CONVERSE = Api(
    "converse",
    f"/model/{MODEL}/converse",
    "converse",
    blocks,
    lambda client: client,
    pieced=pieced,
    stream_path=f"/model/{MODEL}/converse-stream",
    stream_type=FRAMES,
)


def ask(*content: Json, **more: Any) -> Json:
    said = list(content) or [{"text": "What is a cache?"}]
    return {"modelId": MODEL, "messages": [{"role": "user", "content": said}], **more}


def case(name: str, asked: Json, answer: Json, **more: Any) -> Case:
    return Case(CONVERSE, name, asked, answer, helped=None, wire=wire, **more)


def text(text: str) -> Json:
    return {"text": text}


TOOLS: Json = {
    "tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}],
    "toolChoice": {"auto": {}},
}
USE: Json = {
    "toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "Graz", "days": [1, 2.5, None]}}
}
NO_INPUT: Json = {"toolUse": {"toolUseId": "tooluse_2", "name": "weather", "input": {}}}
THOUGHT: Json = {"reasoningContent": {"reasoningText": {"text": "What would a reader ☃ ask?", "signature": "EqQB=="}}}
REDACTED: Json = {"reasoningContent": {"redactedContent": b64encode(b"\0\1secret").decode()}}
CITED: Json = {
    "citationsContent": {
        "content": [{"text": "A cache keeps what was asked before."}],
        "citations": [
            {
                "title": "On caches",
                "sourceContent": [{"text": "keeps"}],
                "location": {"documentChar": {"documentIndex": 0, "start": 0, "end": 14}},
            },
            {"title": "☃", "location": {"documentPage": {"documentIndex": 1, "start": 1, "end": 2}}},
        ],
    }
}
TRACE: Json = {"trace": {"promptRouter": {"invokedModelId": "amazon.nova-lite-v1:0"}}}
GUARDRAIL: Json = {"guardrailIdentifier": "abc123", "guardrailVersion": "1"}

_CONVERSE_CASES = [
    case("a question", ask(), converse_answer(text("A cache keeps what was asked before."))),
    case(
        "everything that may be asked",
        ask(
            {"text": "What is in it?"},
            {"image": {"format": "png", "source": {"bytes": PNG.encode()}}},
            {"document": {"format": "txt", "name": "notes", "source": {"bytes": b"a cache"}}},
            {"cachePoint": {"type": "default", "ttl": "5m"}},
            system=[{"text": "Be short."}, {"cachePoint": {"type": "default"}}],
            inferenceConfig={"maxTokens": 100, "temperature": 0.5, "topP": 0.25, "stopSequences": ["###"]},
            toolConfig=TOOLS,
            guardrailConfig=GUARDRAIL,
            additionalModelRequestFields={"top_k": 5},
            additionalModelResponseFieldPaths=["/stop_sequence"],
            requestMetadata={"team": "red"},
            performanceConfig={"latency": "standard"},
        ),
        converse_answer(
            text("Nothing."),
            reason="stop_sequence",
            additionalModelResponseFields={"stop_sequence": "###"},
            performanceConfig={"latency": "standard"},
            serviceTier={"type": "default"},
            **TRACE,
        ),
    ),
    case("a tool", ask(toolConfig=TOOLS), converse_answer(text("I look."), USE, NO_INPUT, reason="tool_use")),
    case(
        "a tool's result",
        {
            "modelId": MODEL,
            "messages": [
                {"role": "user", "content": [text("Weather?")]},
                {"role": "assistant", "content": [USE]},
                {
                    "role": "user",
                    "content": [{"toolResult": {"toolUseId": "tooluse_1", "content": [{"json": {"c": 1}}]}}],
                },
            ],
            "toolConfig": TOOLS,
        },
        converse_answer(text("One degree.")),
    ),
    case("thoughts", ask(), converse_answer(THOUGHT, REDACTED, text("So."))),
    case("citations", ask(), converse_answer(text("See: "), CITED, text(" So."))),
    case("unicode", ask(text(UNICODE)), converse_answer(text(UNICODE))),
    case("an emoji cut in two", ask(), converse_answer(text(EMOJI_IN_TWO))),
    case("a long answer", ask(), converse_answer(text(LONG[:20_000]))),
    case("an image", ask(), converse_answer({"image": {"format": "png", "source": {"bytes": PNG}}})),
    case("cut at the limit", ask(), converse_answer(text("A"), reason="max_tokens"), fate=Fate.NOT_KEPT),
    case(
        "the window is full",
        ask(),
        converse_answer(text("A"), reason="model_context_window_exceeded"),
        fate=Fate.NOT_KEPT,
    ),
    case(
        "a guardrail",
        ask(guardrailConfig=GUARDRAIL),
        converse_answer(text("No."), reason="guardrail_intervened"),
        fate=Fate.NOT_KEPT,
    ),
    case("filtered", ask(), converse_answer(text("No."), reason="content_filtered"), fate=Fate.NOT_KEPT),
    case("malformed", ask(), converse_answer(text("{"), reason="malformed_tool_use"), fate=Fate.NOT_KEPT),
    case("nothing said", ask(), converse_answer(THOUGHT), fate=Fate.NOT_KEPT),
    case(
        "a tool of the provider's",
        ask(toolConfig={"tools": [{"systemTool": {"name": "nova_grounding"}}]}),
        converse_answer(text("In the web.")),
        fate=Fate.BYPASSED,
    ),
    case(
        "a file elsewhere",
        ask({"document": {"format": "pdf", "name": "d", "source": {"s3Location": {"uri": "s3://b/d.pdf"}}}}),
        converse_answer(text("A file.")),
        fate=Fate.BYPASSED,
    ),
    case(
        "a guardrail that is edited",
        ask(guardrailConfig=GUARDRAIL | {"guardrailVersion": "DRAFT"}),
        converse_answer(text("Yes.")),
        fate=Fate.BYPASSED,
    ),
]


def _claude_blocks(answer: Json, _body: Json) -> list[bytes]:
    counts = {"inputTokenCount": 21, "outputTokenCount": 31, "invocationLatency": 9, "firstByteLatency": 5}
    events = [one for one in messages.events(answer) if one["type"] != "ping"]
    events[-1]["amazon-bedrock-invocationMetrics"] = counts
    return [frame(name, event) for name, event in chunks(events)]


CLAUDE = Api(
    "claude on bedrock",
    "/model/claude-sonnet-5-5/invoke",
    "anthropic-bedrock",
    _claude_blocks,
    lambda client: client.messages,
    "get_final_message",
    stream_path="/model/claude-sonnet-5-5/invoke-with-response-stream",
    stream_type=FRAMES,
)
"""Anthropic's own cases, asked with its SDK for Bedrock."""

_CLAUDE_CASES = [replace(one, api=CLAUDE, wire=wire, blocks=None) for one in messages.CASES if one.blocks is None]


def _nova(answer: Json) -> list[Json]:
    return [{name: {k: v for k, v in event.items() if k != "p"}} for name, event in converse_events(answer)]


def _invoke_blocks(answer: Json, _body: Json) -> list[bytes]:
    return [frame(name, event) for name, event in chunks(_nova(answer))]


INVOKE = Api(
    "invoke",
    "/model/eu.amazon.nova-lite-v1:0/invoke",
    "invoke",
    _invoke_blocks,
    lambda client: client,
    pieced=pieced,
    stream_path="/model/eu.amazon.nova-lite-v1:0/invoke-with-response-stream",
    stream_type=FRAMES,
)


def nova(**more: Any) -> Json:
    body = {"schemaVersion": "messages-v1", "messages": [{"role": "user", "content": [{"text": "Hi"}]}], **more}
    return {"modelId": "eu.amazon.nova-lite-v1:0", "body": json.dumps(body)}


def _nova_answer(*content: Json, reason: str = "end_turn") -> Json:
    whole = converse_answer(*content, reason=reason)
    del whole["metrics"]
    return whole


_INVOKE_CASES = [
    Case(INVOKE, "nova", nova(), _nova_answer(text("A cache keeps."), USE), helped=None, wire=wire),
    Case(
        INVOKE, "nova cut", nova(), _nova_answer(text("A"), reason="max_tokens"), Fate.NOT_KEPT, helped=None, wire=wire
    ),
]

CASES = [*_CONVERSE_CASES, *_CLAUDE_CASES, *_INVOKE_CASES]
