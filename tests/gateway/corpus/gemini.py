"""Google's content, of the Gemini API and of Vertex AI."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from tests.gateway.corpus.case import (
    EMOJI_IN_TWO,
    LONE,
    LONG,
    NUMBERS,
    PDF,
    PNG,
    UNICODE,
    Api,
    Case,
    Fate,
    Json,
    pieces,
)

USAGE: Json = {
    "promptTokenCount": 4200,
    "cachedContentTokenCount": 4096,
    "candidatesTokenCount": 31,
    "thoughtsTokenCount": 12,
    "totalTokenCount": 4243,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4200}],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 4096}],
    "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 31}],
}
RATINGS: list[Json] = [
    {"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"},
    {"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "LOW", "blocked": False},
]


def candidate(*parts: Json, reason: str = "STOP", index: int = 0, **more: Any) -> Json:
    return {"content": {"parts": list(parts), "role": "model"}, "finishReason": reason, "index": index, **more}


def answer(*candidates: Json, **more: Any) -> Json:
    whole = {
        "candidates": list(candidates),
        "usageMetadata": USAGE,
        "modelVersion": "gemini-3.8-flash",
        "responseId": "r1",
    }
    return whole | more


def text(text: str, **more: Any) -> Json:
    return {"text": text, **more}


def blocks(whole: Json, _body: Json) -> list[bytes]:
    """Return the blocks in which Google streams an answer: each an answer of its own."""
    return [b"data: " + json.dumps(one).encode() for one in _pieces(whole)]


def _pieces(whole: Json) -> Iterator[Json]:
    always = {name: value for name, value in whole.items() if name not in ("candidates", "usageMetadata")}
    so_far = {"promptTokenCount": 4200, "totalTokenCount": 4200} if "usageMetadata" in whole else None
    usage = {} if so_far is None else {"usageMetadata": so_far}
    candidates = whole.get("candidates", [])
    if not candidates:
        yield whole
    for at, one in enumerate(candidates):
        last = at == len(candidates) - 1
        at_the_end = {name: value for name, value in one.items() if name not in ("content", "safetyRatings")}
        known = {name: one[name] for name in ("index", "safetyRatings") if name in one}
        parts = [part for whole_part in one.get("content", {}).get("parts", []) for part in _cut(whole_part)]
        for part in parts[:-1]:
            yield {**always, "candidates": [{"content": {**one["content"], "parts": [part]}, **known}], **usage}
        end = {**known, **at_the_end}
        if "content" in one:
            end = {"content": {**one["content"], "parts": parts[-1:]} if parts else one["content"], **end}
        end_usage = {"usageMetadata": whole["usageMetadata"]} if last and usage else usage
        yield {**always, "candidates": [end], **end_usage}


def _cut(part: Json) -> list[Json]:
    if part.keys() <= {"text", "thought"} and part.get("text"):
        return [{**part, "text": piece} for piece in pieces(part["text"])]
    return [part]


def crlf(stream: list[bytes]) -> bytes:
    """Return a stream as Google writes it. It sends no comments: its SDK takes them for an answer."""
    return b"".join(block + b"\r\n\r\n" for block in stream)


def pieced(chunks: list[Json]) -> Json:
    """Return what the SDK's chunks say together; what it makes of the text of each is none of the provider's."""
    whole: Json = {"candidates": {}}
    for chunk in chunks:
        chunk.pop("parsed")
        for one in chunk.pop("candidates") or ():
            kept = whole["candidates"].setdefault(one["index"], {"parts": []})
            content = one.pop("content") or {}
            for part in content.pop("parts", None) or ():
                said = {name: value for name, value in part.items() if value is not None}
                last = kept["parts"][-1] if kept["parts"] else {}
                if said.keys() == last.keys() and said.keys() <= {"text", "thought"}:
                    last["text"] += said["text"]
                else:
                    kept["parts"].append(said)
            kept |= {name: value for name, value in (content | one).items() if value is not None}
        whole |= {name: value for name, value in chunk.items() if value is not None}
    return whole


def _api(sdk: str, root: str, model: str) -> Api:
    return Api(
        sdk,
        f"{root}{model}:generateContent",
        sdk,
        blocks,
        lambda client: client.models,
        pieced=pieced,
        stream_path=f"{root}{model}:streamGenerateContent",
    )


MODEL = "gemini-3.8-flash"
GEMINI = _api("gemini", "/v1/models/", MODEL)
VERTEX = _api("vertex", "/v1beta1/projects/p/locations/europe-west4/publishers/google/models/", MODEL)


def ask(contents: Any = "What is a cache?", **config: Any) -> Json:
    return {"model": MODEL, "contents": contents, "config": config}


def case(name: str, asked: Json, given: Json, api: Api = GEMINI, **more: Any) -> Case:
    return Case(api, name, asked, given, helped=None, **more)


WEATHER: Json = {
    "function_declarations": [
        {"name": "weather", "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}}
    ]
}


def call(args: Json, **more: Any) -> Json:
    return {"functionCall": {"name": "weather", "args": args, "id": "c1"}, **more}


SIGNATURE = base64.b64encode(b"signed \xff thought").decode()
PLAIN = answer(candidate(text("A cache keeps what was asked before."), safetyRatings=RATINGS))
CONVERSATION: list[Json] = [
    {"role": "user", "parts": [{"text": "Weather?"}]},
    {
        "role": "model",
        "parts": [
            {"text": "Let me look."},
            {"function_call": {"name": "weather", "args": {"city": "Graz"}}, "thought_signature": b"\x00\xff"},
        ],
    },
    {"role": "user", "parts": [{"function_response": {"name": "weather", "response": {"file_data": "snow ☃"}}}]},
]
IMAGE: Json = {"inline_data": {"mime_type": "image/png", "data": base64.b64decode(PNG)}}
PAPER: Json = {"inline_data": {"mime_type": "application/pdf", "data": base64.b64decode(PDF)}}
SCHEMA: Json = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
CITED: Json = {
    "citationSources": [
        {"startIndex": 0, "endIndex": 14, "uri": "https://example.org", "license": "mit"},
        {"startIndex": 2, "endIndex": 5},
    ]
}
LOGPROBS: Json = {
    "chosenCandidates": [{"token": "A", "tokenId": 5, "logProbability": -0.1}],
    "topCandidates": [{"candidates": [{"token": "A", "logProbability": -0.1}, {"token": "B", "logProbability": -3.5}]}],
}
GROUNDED: Json = {
    "webSearchQueries": ["cache"],
    "groundingChunks": [{"web": {"uri": "https://example.org", "title": "E"}}],
    "groundingSupports": [{"groundingChunkIndices": [0], "segment": {"endIndex": 14, "text": "A cache keeps."}}],
}
BLOCKED: Json = {
    "promptFeedback": {"blockReason": "SAFETY", "safetyRatings": RATINGS},
    "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
    "modelVersion": "gemini-3.8-flash",
}

CASES = [
    case("plain", ask(), PLAIN),
    case("plain", ask(), PLAIN | {"createTime": "2026-11-26T06:00:00.123456Z"}, VERTEX),
    case("a stream with the line ends that Google writes", ask(), PLAIN, wire=crlf),
    case("a system instruction", ask(system_instruction="Be brief."), PLAIN),
    case("labels and a system instruction", ask(system_instruction="Be brief.", labels={"team": "a"}), PLAIN, VERTEX),
    case("a conversation with tool results", ask(CONVERSATION, tools=[WEATHER]), PLAIN),
    case("a tool call", ask(tools=[WEATHER]), answer(candidate(call({"city": "Graz ☃"})))),
    case("a tool call", ask(tools=[WEATHER]), answer(candidate(call({"city": "Graz ☃"}))), VERTEX),
    case(
        "parallel tool calls",
        ask(tools=[WEATHER], tool_config={"function_calling_config": {"mode": "ANY"}}),
        answer(
            candidate(
                text("Let me look."), call({"city": "Graz"}, thoughtSignature=SIGNATURE), call({}), call({"city": ""})
            )
        ),
    ),
    case(
        "a tool call with all of JSON",
        ask(tools=[WEATHER]),
        answer(candidate(call({"deep": [1, 2.5, None, {"x": {}}], UNICODE: True}))),
    ),
    case("structured output", ask(response_mime_type="application/json", response_json_schema=SCHEMA),
         answer(candidate(text('{"name": "Graz"}')))),
    case(
        "thoughts",
        ask(thinking_config={"include_thoughts": True}),
        answer(candidate(text("What would a reader ☃ ask next?", thought=True), text("It keeps."))),
    ),
    case(
        "thoughts signed",
        ask(thinking_config={"include_thoughts": True, "thinking_budget": 512}),
        answer(
            candidate(
                text("What would a reader ask?", thought=True),
                text("It keeps."),
                text("", thoughtSignature=SIGNATURE),
            )
        ),
    ),
    case(
        "a signature with its text",
        ask(),
        answer(candidate(text("It keeps.", thoughtSignature=SIGNATURE), text(" Always."))),
        VERTEX,
    ),
    case("images and documents in the request", ask([IMAGE, PAPER, "What is it?"]), PLAIN),
    case("an image in the answer", ask(response_modalities=["TEXT", "IMAGE"]),
         answer(candidate(text("Here."), {"inlineData": {"mimeType": "image/png", "data": PNG}}))),
    case(
        "several candidates",
        ask(candidate_count=3, temperature=1.5),
        answer(
            candidate(text("A cache keeps.")),
            candidate(text("It gives back."), index=1, avgLogprobs=-0.25),
            candidate(text("Once more."), index=2),
        ),
    ),
    case("citations", ask(), answer(candidate(text("A cache keeps."), citationMetadata=CITED))),
    case(
        "log-probabilities",
        ask(response_logprobs=True, logprobs=2),
        answer(candidate(text("A"), logprobsResult=LOGPROBS, avgLogprobs=-0.1)),
        VERTEX,
    ),
    case("safety settings",
         ask(safety_settings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]), PLAIN),
    case("a stop sequence", ask(stop_sequences=["\n"], seed=5, top_k=3), PLAIN),
    case("no usage", ask(), {"candidates": [candidate(text("A cache keeps."))]}),
    case("unicode", ask(UNICODE, system_instruction=UNICODE),
         answer(candidate(text(UNICODE, thought=True), text(UNICODE)))),
    case("lone surrogates", ask(), answer(candidate(text(LONE)), responseId=LONE)),
    case("an emoji cut in two", ask(), answer(candidate(text(EMOJI_IN_TWO)))),
    case("huge and tiny numbers in a tool call", ask(tools=[WEATHER]), answer(candidate(call(NUMBERS)))),
    case("a long answer", ask(), answer(candidate(text(LONG, thought=True), text(LONG)))),
    case("cut at the limit", ask(max_output_tokens=2), answer(candidate(text("A cache"), reason="MAX_TOKENS")),
         fate=Fate.NOT_KEPT),
    case("blocked for safety", ask(), answer(candidate(text("A"), reason="SAFETY", safetyRatings=RATINGS)),
         fate=Fate.NOT_KEPT),
    case(
        "blocked without a word",
        ask(),
        answer({"finishReason": "PROHIBITED_CONTENT", "index": 0, "finishMessage": "no"}),
        VERTEX,
        fate=Fate.NOT_KEPT,
    ),
    case("a blocked prompt", ask(), BLOCKED, fate=Fate.NOT_KEPT),
    case("one of several blocked", ask(candidate_count=2),
         answer(candidate(text("A")), candidate(text("B"), reason="RECITATION", index=1)), fate=Fate.NOT_KEPT),
    case("fewer candidates than asked", ask(candidate_count=2), PLAIN, fate=Fate.NOT_KEPT),
    case("a malformed call", ask(tools=[WEATHER]),
         answer({"content": {}, "finishReason": "MALFORMED_FUNCTION_CALL", "index": 0}), fate=Fate.NOT_KEPT),
    case("nothing said", ask(), answer(candidate(text(""))), fate=Fate.NOT_KEPT),
    case("nothing but thoughts", ask(), answer(candidate(text("Hm.", thought=True))), fate=Fate.NOT_KEPT),
    case("a reason of tomorrow", ask(), answer(candidate(text("A"), reason="OTHER")), fate=Fate.NOT_KEPT),
    case("search in the web", ask(tools=[{"google_search": {}}]),
         answer(candidate(text("A cache keeps."), groundingMetadata=GROUNDED)), fate=Fate.BYPASSED),
    case("a search beside own tools", ask(tools=[WEATHER, {"google_search": {}}]), PLAIN, VERTEX, fate=Fate.BYPASSED),
    case("running code", ask(tools=[{"code_execution": {}}]),
         answer(candidate(
             {"executableCode": {"language": "PYTHON", "code": "1+1"}},
             {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
             text("2"),
         )), fate=Fate.BYPASSED),
    case("pages at addresses", ask(tools=[{"url_context": {}}]), PLAIN, fate=Fate.BYPASSED),
    case("a file at its address", ask([{"file_data": {"file_uri": "https://example.org/v1/files/abc",
                                                      "mime_type": "image/png"}}, "What is it?"]), PLAIN,
         fate=Fate.BYPASSED),
    case("an object in a bucket", ask([{"file_data": {"file_uri": "gs://b/o.pdf", "mime_type": "application/pdf"}}]),
         PLAIN, VERTEX, fate=Fate.BYPASSED),
    case("content kept at the provider", ask(cached_content="cachedContents/abc"), PLAIN, fate=Fate.BYPASSED),
    case("spoken", ask(response_modalities=["AUDIO"]),
         answer(candidate({"inlineData": {"mimeType": "audio/pcm", "data": PNG}})), fate=Fate.BYPASSED),
]  # fmt: skip
