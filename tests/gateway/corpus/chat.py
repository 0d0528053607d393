"""OpenAI chat completions."""

import json
from itertools import zip_longest
from typing import Any

from pydantic import BaseModel

from tests.gateway.corpus.case import (
    EMOJI_IN_TWO,
    LONE,
    LONG,
    NUMBERS,
    PDF,
    PNG,
    TOMORROW,
    UNICODE,
    Api,
    Case,
    Fate,
    Json,
    pieces,
    restless,
)

USAGE: Json = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
WITH_USAGE: Json = {"stream_options": {"include_usage": True}}


class City(BaseModel, extra="forbid"):
    name: str
    people: int


def completion(*choices: Json, **more: Any) -> Json:
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_795_000_000,
        "model": "gpt-6-2026-10-01",
        "choices": [{"index": at} | choice for at, choice in enumerate(choices)],
        "usage": USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_1",
    }
    return answer | more


def says(content: str | None, reason: str = "stop", *, of_choice: Json | None = None, **more: Any) -> Json:
    message = {"role": "assistant", "content": content, "refusal": None, **more}
    return {"message": message, "logprobs": None, "finish_reason": reason} | (of_choice or {})


def blocks(answer: Json, body: Json) -> list[bytes]:
    """Return the blocks in which OpenAI streams a completion: its choices take turns, a piece each."""
    usage = bool((body.get("stream_options") or {}).get("include_usage"))
    top = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    top["object"] = "chat.completion.chunk"
    if usage:
        top["usage"] = None
    turns = zip_longest(*(_parts(choice) for choice in answer["choices"]))
    chunks = [{**top, "choices": [part], "obfuscation": "x9"} for turn in turns for part in turn if part is not None]
    if usage:
        chunks.append({**top, "choices": [], "usage": answer["usage"]})
    return [*map(data, chunks), b"data: [DONE]"]


def data(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode()


def _parts(choice: Json) -> list[Json]:
    """Return a choice in parts: the role, every text in pieces, what is said once, and why it ended."""
    message = choice["message"]
    first = {"role": message["role"], "content": message["content"] and ""}
    if "refusal" in message:
        first["refusal"] = None
    deltas: list[Json] = [first]
    for name in ("reasoning_content", "reasoning", "refusal"):
        deltas += [{name: piece} for piece in pieces(message.get(name) or "")]
    deltas += [{"reasoning_details": [one]} for one in _details(message.get("reasoning_details") or [])]
    texts = [{"content": piece} for piece in pieces(message["content"] or "")]
    deltas += texts
    for at, call in enumerate(message.get("tool_calls") or ()):
        kind = "custom" if "custom" in call else "function"
        name = "input" if kind == "custom" else "arguments"
        deltas.append({"tool_calls": [{"index": at, **call, kind: {**call[kind], name: ""}}]})
        deltas += [{"tool_calls": [{"index": at, kind: {name: one}}]} for one in pieces(call[kind][name])]
    if message.get("function_call"):
        deltas.append({"function_call": {**message["function_call"], "arguments": ""}})
        deltas += [{"function_call": {"arguments": one}} for one in pieces(message["function_call"]["arguments"])]
    known = {"role", "content", "refusal", "reasoning_content", "reasoning", "reasoning_details", "tool_calls"}
    known.add("function_call")
    deltas += [{name: value} for name, value in message.items() if name not in known]
    parts = [{"index": choice["index"], "delta": delta, "logprobs": None, "finish_reason": None} for delta in deltas]
    tokens = ((choice["logprobs"] or {}).get("content")) or []
    for at, (part, _) in enumerate(zip(parts[1:], texts, strict=False)):
        if tokens:
            last = at == len(texts) - 1
            part["logprobs"] = choice["logprobs"] | {"content": tokens[at:] if last else tokens[at : at + 1]}
    end = {name: value for name, value in choice.items() if name != "message"}
    return [*parts, end | {"delta": {}, "logprobs": None}]


def _details(details: list[Json]) -> list[Json]:
    """Return OpenRouter's reasoning details as it streams them: each piece says again what kind it is of."""
    return [{**one, "text": piece} for one in details for piece in pieces(one["text"])]


def _from_azure(answer: Json, body: Json) -> list[bytes]:
    """Return a stream of Azure's, which begins with a chunk of no choices for what it found in the prompt."""
    rest = {name: value for name, value in answer.items() if name != "prompt_filter_results"}
    filters = answer["prompt_filter_results"]
    first = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": filters}
    return [data(first), *blocks(rest, body)]


def _from_deepseek(answer: Json, body: Json) -> list[bytes]:
    """Return a stream of DeepSeek's, whose last chunk has the usage, whether it was asked for or not."""
    *chunks, done = blocks(answer, {})
    last = json.loads(chunks[-1][6:]) | {"usage": answer["usage"]}
    return [*chunks[:-1], data(last), done]


API = Api(
    "chat", "/v1/chat/completions", "openai", blocks, lambda client: client.chat.completions, "get_final_completion"
)


def ask(content: Any = "What is a cache?", **more: Any) -> Json:
    return {"model": "gpt-6", "messages": [{"role": "user", "content": content}]} | more


def case(name: str, asked: Json, answer: Json, **more: Any) -> Case:
    return Case(API, name, asked, answer, **more)


TOOL: Json = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def call(number: int, city: str = "Graz ☃") -> Json:
    arguments = json.dumps({"city": city}, ensure_ascii=False)
    return {"id": f"call_{number}", "type": "function", "function": {"name": "weather", "arguments": arguments}}


def token(text: str, logprob: float = -0.25) -> Json:
    likely = [{"token": text, "logprob": logprob, "bytes": list(text.encode())}]
    likely.append({"token": "<|end|>", "logprob": -9999.0, "bytes": None})
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": likely}


def likely(text: str, *tokens: str) -> Json:
    logprobs = {"content": [token(one) for one in tokens], "refusal": None}
    return says(text, of_choice={"logprobs": logprobs})


def moderated(flagged: bool) -> Json:
    result = {
        "type": "moderation_result",
        "model": "omni",
        "flagged": flagged,
        "categories": {"hate": flagged},
        "category_scores": {"hate": 1e-7},
        "category_applied_input_types": {"hate": ["text"]},
    }
    return {"type": "moderation_results", "model": "omni", "results": [result]}


CUSTOM: Json = {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": 'SELECT "a"\n FROM b'}}
FILTERS: Json = {"hate": {"filtered": False, "severity": "safe"}, "jailbreak": {"filtered": False, "detected": False}}
CITED: Json = {
    "type": "url_citation",
    "url_citation": {"start_index": 0, "end_index": 4, "title": "E", "url": "https://example.org"},
}
SCHEMA: Json = {
    "type": "json_schema",
    "json_schema": {"name": "City", "strict": True, "schema": City.model_json_schema()},
}
PLAIN = completion(says("A cache keeps what was asked before."))
CONVERSATION: list[Json] = [
    {"role": "developer", "content": "Be brief.", "name": "boss"},
    {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
    {"role": "assistant", "content": None, "tool_calls": [call(1), call(2, "Linz")]},
    {"role": "tool", "tool_call_id": "call_1", "content": "snow"},
    {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "fog"}]},
    {"role": "user", "content": ""},
]

CASES = [
    case("plain", ask(), completion(says("A cache keeps.", annotations=[])), unsaid=frozenset({"annotations"})),
    case("usage chunk", ask(), PLAIN, streamed=WITH_USAGE),
    case("usage chunk declined", ask(), PLAIN, streamed={"stream_options": {"include_usage": False}}),
    case("obfuscation declined", ask(), PLAIN, streamed={"stream_options": {"include_obfuscation": False}}),
    case("a stream through proxies", ask(), PLAIN, streamed=WITH_USAGE, wire=restless),
    case("a conversation with tool results", ask(messages=CONVERSATION, tools=[TOOL]), PLAIN),
    case("one tool call", ask(tools=[TOOL]), completion(says(None, "tool_calls", tool_calls=[call(1)]))),
    case(
        "parallel tool calls",
        ask(tools=[TOOL], parallel_tool_calls=True, tool_choice="required"),
        completion(says(None, "tool_calls", tool_calls=[call(1), call(2, "Linz"), call(3, "")])),
        streamed=WITH_USAGE,
    ),
    case(
        "a text and a tool call",
        ask(tools=[TOOL]),
        completion(says("Let me look.", "tool_calls", tool_calls=[call(1)])),
    ),
    case(
        "a custom tool call",
        ask(tools=[{"type": "custom", "custom": {"name": "sql"}}]),
        completion(says(None, "tool_calls", tool_calls=[CUSTOM, CUSTOM | {"id": "call_2"}])),
        helped=None,  # it parses function tools only
    ),
    case(
        "a function call of the old kind",
        ask(functions=[{"name": "weather", "parameters": {"type": "object"}}]),
        completion(says(None, "function_call", function_call=call(1)["function"])),
    ),
    case("three choices", ask(n=3), completion(says("one"), says("two and more"), says("three")), streamed=WITH_USAGE),
    case(
        "choices that call tools and choices that don't",
        ask(n=2, tools=[TOOL]),
        completion(says("Let me think."), says(None, "tool_calls", tool_calls=[call(1), call(2)])),
    ),
    case(
        "reasoning content, as DeepSeek has it",
        ask(extra_body={"thinking": {"type": "enabled"}}),
        completion(says("It keeps.", reasoning_content="What would a cache do? ☃ It keeps things.")),
    ),
    case(
        "reasoning and its details, as OpenRouter has them",
        ask(reasoning_effort="high"),
        completion(
            says(
                "It keeps.",
                reasoning="It thinks, and keeps.",
                reasoning_details=[
                    {"type": "reasoning.text", "text": "It thinks,", "format": "anthropic-claude-v1", "index": 0},
                    {"type": "reasoning.text", "text": " and keeps.", "format": "anthropic-claude-v1", "index": 1},
                ],
            ),
            provider="Anthropic",
        ),
        unlike=frozenset({"format"}),  # the helper itself writes what each piece repeats one after the other
    ),
    case(
        "log-probabilities",
        ask(logprobs=True, top_logprobs=2),
        completion(likely("A ☃!", "A", " ☃", "!")),
    ),
    case(
        "log-probabilities of two choices",
        ask(logprobs=True, top_logprobs=2, n=2),
        completion(likely("A cache", "A", " cache"), says("Yes")),
        streamed=WITH_USAGE,
    ),
    case(
        "images in the request",
        ask(
            [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
            ]
        ),
        PLAIN,
    ),
    case(
        "files and sound in the request",
        ask(
            [
                {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            ]
        ),
        PLAIN,
    ),
    case(
        "structured output",
        ask(response_format=SCHEMA),
        completion(says('{"name": "Graz", "people": 305314}')),
        helped={"response_format": City},
    ),
    case("JSON mode", ask(response_format={"type": "json_object"}), completion(says('{"a": [1, 2]}\n\n'))),
    case(
        "fields of tomorrow",
        ask(extra_body={"parameter_of_tomorrow": TOMORROW}),
        completion(
            says("A cache keeps.", of_choice={"of_choice": TOMORROW}, of_message=TOMORROW),
            usage={**USAGE, "of_usage": TOMORROW, "completion_tokens_details": {"of_details": TOMORROW}},
            of_answer=TOMORROW,
        ),
        streamed=WITH_USAGE,
    ),
    case("unicode", ask(UNICODE), completion(says(UNICODE, reasoning_content=UNICODE))),
    case("lone surrogates", ask("surrogates"), completion(says(LONE, reasoning_content=LONE), of_answer=LONE)),
    case("an emoji cut in two", ask("👍"), completion(says(EMOJI_IN_TWO)), streamed=WITH_USAGE),
    case(
        "lone surrogates in a tool call",
        ask(tools=[TOOL]),
        completion(says(None, "tool_calls", tool_calls=[call(1, LONE)])),
        helped=None,  # its parser of arguments refuses them
    ),
    case(
        "huge and tiny numbers",
        ask(seed=2**63 - 1, temperature=1e-300, top_p=0.1, logit_bias={"50256": -100}),
        completion(says("1", of_choice={"of_choice": NUMBERS}), of_answer=NUMBERS),
        streamed=WITH_USAGE,
    ),
    case(
        "empty strings",
        ask("", stop=""),
        completion(says("", "tool_calls", tool_calls=[call(1)], reasoning_content=""), system_fingerprint=""),
        unsaid=frozenset({"reasoning_content"}),  # an empty text has no piece
    ),
    case("a long answer", ask(max_completion_tokens=100_000), completion(says(LONG))),
    case("modalities without audio", ask(modalities=["text"]), PLAIN),
    case("service tier", ask(service_tier="flex"), PLAIN | {"service_tier": "flex"}),
    case(
        "who asks and what for",
        ask(user="u", safety_identifier="s", metadata={"a": "b"}, prompt_cache_key="k", store=False),
        PLAIN | {"metadata": {"a": "b"}},
    ),
    case(
        "citations",
        ask(),
        completion(says("A cache keeps.", annotations=[CITED, CITED])),
    ),
    case(
        "a prediction, and usage in full",
        ask(prediction={"type": "content", "content": "A cache"}, verbosity="low"),
        completion(
            says("A cache keeps."),
            usage={
                **USAGE,
                "prompt_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 64, "audio_tokens": 0},
                "completion_tokens_details": {
                    "reasoning_tokens": 3,
                    "accepted_prediction_tokens": 2,
                    "rejected_prediction_tokens": 0,
                },
            },
        ),
        streamed=WITH_USAGE,
    ),
    case(
        "content filters, as Azure has them",
        ask(),
        completion(
            says("A cache keeps.", of_choice={"content_filter_results": FILTERS}),
            prompt_filter_results=[{"prompt_index": 0, "content_filter_results": FILTERS}],
        ),
        blocks=_from_azure,
        unlike=frozenset({"prompt_filter_results"}),  # the helper passes over a chunk that has no choice
    ),
    case(
        "usage with the end, as DeepSeek has it",
        ask(),
        PLAIN | {"usage": USAGE | {"prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 9}},
        blocks=_from_deepseek,
        unlike=frozenset({"usage"}),  # streamed though nobody asked, which only a recorded stream tells
    ),
    case("cut at the limit", ask(max_completion_tokens=4), completion(says("A cache", "length")), fate=Fate.NOT_KEPT),
    case("filtered", ask(), completion(says("A", "content_filter")), fate=Fate.NOT_KEPT),
    case(
        "flagged by moderation",
        ask(extra_body={"moderation": {"model": "omni"}}),
        PLAIN | {"moderation": {"input": moderated(False), "output": moderated(True)}},
        fate=Fate.NOT_KEPT,
    ),
    case(
        "passed by moderation",
        ask(extra_body={"moderation": {"model": "omni"}}),
        PLAIN | {"moderation": {"input": moderated(False), "output": moderated(False)}},
    ),
    case("refused", ask(), completion(says(None, refusal="No, I won't.")), fate=Fate.NOT_KEPT),
    case("one of two choices cut", ask(n=2), completion(says("a"), says("b", "length")), fate=Fate.NOT_KEPT),
    case("nothing said", ask(), completion(says("")), fate=Fate.NOT_KEPT),
    case("kept by the provider", ask(store=True), PLAIN, fate=Fate.BYPASSED),
    case(
        "search in the web",
        ask(web_search_options={}),
        completion(says("A cache keeps.", annotations=[CITED])),
        fate=Fate.BYPASSED,
    ),
    case(
        "an image from elsewhere",
        ask([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]),
        PLAIN,
        fate=Fate.BYPASSED,
    ),
    case(
        "sound as an answer",
        ask(modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"}),
        completion(
            says(
                None,
                audio={"id": "audio_1", "data": "UklGRg==", "expires_at": 1_795_000_100, "transcript": "A cache."},
            )
        ),
        fate=Fate.BYPASSED,
    ),
]
