"""Chat completions of the providers that speak OpenAI's API, each with what it adds to them."""

import json
from typing import Any

from tests.gateway.corpus.case import UNICODE, Api, Case, Fate, Json, pieces, restless, without
from tests.gateway.corpus.chat import USAGE, blocks, call, completion, data, says


def _with_usage(answer: Json, body: Json) -> list[bytes]:
    """Return a stream whose last chunk has the usage, whether it was asked for or not; the others say null."""
    *chunks, done = blocks(answer, {})
    read = [json.loads(chunk[6:]) | {"usage": None} for chunk in chunks]
    for chunk in read:
        chunk.pop("obfuscation")
    read[-1]["usage"] = answer["usage"]
    return [*map(data, read), done]


def _from_openrouter(answer: Json, body: Json) -> list[bytes]:
    """Return a stream whose usage comes with one more part that says nothing."""
    *chunks, done = blocks(answer, {})
    top = {name: value for name, value in answer.items() if name != "choices"}
    nothing = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    last = top | {"object": "chat.completion.chunk", "choices": [nothing]}
    return [*chunks, data(last), done]


def _from_mistral(answer: Json, body: Json) -> list[bytes]:
    """Return a stream of Mistral's: no options, padding in each chunk, thoughts as parts and the answer as text."""
    assert "stream_options" not in body, "Mistral refuses stream_options"
    message, end = answer["choices"][0]["message"], answer["choices"][0]["finish_reason"]
    content = message["content"]
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        if part["type"] == "thinking":
            thought = part["thinking"][0]["text"]
            rest = {name: value for name, value in part.items() if name != "thinking"}
            texts = [[{"type": "text", "text": piece}] for piece in pieces(thought)]
            deltas += [{"content": [{"thinking": text, **rest}]} for text in texts]
        else:
            deltas += [{"content": piece} for piece in pieces(part["text"])]
    if message.get("tool_calls"):
        deltas.append({"content": "", "tool_calls": message["tool_calls"]})
    top = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    top["object"] = "chat.completion.chunk"
    last = len(deltas) - 1
    chunks = [
        {**top, "choices": [{"index": 0, "delta": delta, "finish_reason": end if at == last else None}], "p": "ab" * at}
        for at, delta in enumerate(deltas)
    ]
    chunks[-1]["usage"] = answer["usage"]
    return [*map(data, chunks), b"data: [DONE]"]


def _from_groq(answer: Json, body: Json) -> list[bytes]:
    """Return a stream of Groq's, which has the request's id and the usage in a member of their own."""
    of_groq = answer["x_groq"]
    chunks = [json.loads(chunk[6:]) for chunk in blocks(answer, body)[:-1]]
    for chunk in chunks:
        for name in ("x_groq", "obfuscation"):
            chunk.pop(name, None)
    chunks[0]["x_groq"] = of_groq
    ends = [chunk for chunk in chunks if chunk["choices"]]
    ends[-1]["x_groq"] = {**of_groq, "usage": answer["usage"]}
    return [*map(data, chunks), b"data: [DONE]"]


def _from_azure(answer: Json, body: Json) -> list[bytes]:
    """Return a stream of Azure's: what it found in the prompt, in each piece, and in what was looked at afterwards."""
    found = answer["choices"][0]["content_filter_results"]
    top = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
    prompt = top | {"prompt_filter_results": answer["prompt_filter_results"]}
    chunks = [json.loads(chunk[6:]) for chunk in blocks(without(answer, {"prompt_filter_results"}), body)[:-1]]
    parts = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    for part in parts:
        part["content_filter_results"] = {}
    for part in parts[1:-1]:
        part["content_filter_results"] = {**found, "hate": {"filtered": False, "severity": "safe"}}
    offsets = {"check_offset": 44, "start_offset": 44, "end_offset": 198}
    late = {"index": 0, "finish_reason": None, "content_filter_results": found, "content_filter_offsets": offsets}
    ended = [at for at, chunk in enumerate(chunks) if chunk["choices"]][-1] + 1
    chunks.insert(ended, top | {"choices": [late]})
    return [data(prompt), *map(data, chunks), b"data: [DONE]"]


def _pieced(chunks: list[Json]) -> Json:
    """Put the chunks of a stream together, as clients do that have no helper for it."""
    whole: Json = {}
    for chunk in chunks:
        whole |= {name: value for name, value in chunk.items() if value is not None and name not in ("choices",)}
        for choice in chunk["choices"]:
            delta = choice["delta"]
            texts = [*_texts("reasoning", delta.get("reasoning")), *_texts("content", delta.get("content"))]
            for name, text in texts:
                whole[name] = whole.get(name, "") + text
            for one in delta.get("tool_calls") or ():
                made = whole.setdefault("calls", {}).setdefault(one["index"], {"arguments": ""})
                function = one["function"]
                made |= {"id": one.get("id") or made.get("id"), "name": function.get("name") or made.get("name")}
                made["arguments"] += function.get("arguments") or ""
            whole["finish_reason"] = choice["finish_reason"] or whole.get("finish_reason")
    return whole


def _texts(name: str, content: Any) -> list[tuple[str, str]]:
    """Return the texts of content, each with what it is: under this name, or a thought."""
    if isinstance(content, str):
        return [(name, content)]
    texts: list[tuple[str, str]] = []
    for part in content or ():
        texts += [(name, part["text"])] if "text" in part else _texts("thought", part["thinking"])
    return texts


def _shaped(name: str, path: str, stream: Any, **more: Any) -> Api:
    final = {"final": "get_final_completion"} if name not in ("mistral", "groq") else {"pieced": _pieced}
    return Api(name, path, name, stream, lambda client: client.chat.completions, **final, **more)


AZURE = _shaped("azure", "/openai/deployments/dep-1/chat/completions", _from_azure)
AZURE_V1 = _shaped("azure-v1", "/openai/v1/chat/completions", blocks)
DEEPSEEK = _shaped("deepseek", "/chat/completions", _with_usage)
OPENROUTER = _shaped("openrouter", "/api/v1/chat/completions", _from_openrouter)
MISTRAL = _shaped("mistral", "/v1/chat/completions", _from_mistral)
XAI = _shaped("xai", "/v1/chat/completions", _with_usage)
GROQ = _shaped("groq", "/openai/v1/chat/completions", _from_groq)
FIREWORKS = _shaped("fireworks", "/inference/v1/chat/completions", _with_usage)

MODELS = {
    AZURE: "dep-1",
    AZURE_V1: "dep-1",
    DEEPSEEK: "deepseek-chat",
    OPENROUTER: "or/some-model",
    MISTRAL: "mistral-large-latest",
    XAI: "grok-4",
    GROQ: "groq/gpt-oss-120b",
    FIREWORKS: "accounts/fireworks/models/m",
}
HIT: Json = {"prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 9}
OF_FILTERS = {"prompt_filter_results", "content_filter_results"}  # the helper keeps what was found last
NULLS = {"prefix", "tool_calls"}
SEARCH: Json = {"type": "browser_search"}


def case(api: Api, name: str, answer: Json, fate: Fate = Fate.KEPT, **more: Any) -> Case:
    ask = {"model": MODELS[api], "messages": [{"role": "user", "content": "What is a cache?"}]}
    extra = {
        name: more.pop(name) for name in ("blocks", "wire", "unsaid", "unlike", "helped", "streamed") if name in more
    }
    if api in (MISTRAL, GROQ):
        extra["helped"] = None
    if api is MISTRAL:
        extra["unsaid"] = frozenset({"prefix"} if answer["choices"][0]["message"]["tool_calls"] else NULLS)
    if api is AZURE:
        extra |= {"unsaid": frozenset({"content_filter_offsets"}), "unlike": frozenset(OF_FILTERS)}
    if api is OPENROUTER:
        extra["unlike"] = frozenset({"role"})  # said again with the usage, and the helper appends it to itself
    return Case(api, name, ask | more, answer, fate, **extra)


def _mistrals(content: Any, reason: str = "stop", **more: Any) -> Json:
    message = {"role": "assistant", "content": content, "tool_calls": None, "prefix": False, **more}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "num_cached_tokens": 0}
    names: Json = {"id": "m1", "object": "chat.completion", "created": 1_795_000_000, "model": "mistral-large-2611"}
    return {**names, "choices": [choice], "usage": usage}


def _groqs(*choices: Json) -> Json:
    usage = USAGE | {"queue_time": 0.06, "prompt_time": 0.01, "completion_time": 0.02, "total_time": 0.03}
    return completion(*choices, usage=usage, usage_breakdown=None, x_groq={"id": "req_01"})


def _azures(severity: str, *, filtered: bool = False, reason: str = "stop", **more: Any) -> Json:
    found: Json = {"hate": {"filtered": filtered, "severity": severity}, **more}
    prompt = [{"prompt_index": 0, "content_filter_results": {"jailbreak": {"filtered": False, "detected": False}}}]
    said = says("A cache keeps.", reason, of_choice={"content_filter_results": found})
    return completion(said, prompt_filter_results=prompt)


NOT_LOOKED: Json = {"code": "content_filter_error", "message": "The contents are not filtered"}
THOUGHT: Json = {"type": "thinking", "thinking": [{"type": "text", "text": "Let me think about it."}], "closed": True}
CALLS = [{"index": at, **call(at)} for at in (0, 1)]
PLAIN = completion(says("A cache keeps what was asked before."))

CASES = [
    case(AZURE, "plain", _azures("low")),
    case(AZURE, "usage asked for", _azures("medium"), streamed={"stream_options": {"include_usage": True}}),
    case(AZURE, "filtered", _azures("high", filtered=True, reason="content_filter"), Fate.NOT_KEPT),
    case(AZURE, "filtered afterwards", _azures("high", filtered=True), Fate.NOT_KEPT),
    case(AZURE, "not looked at", _azures("safe", error=NOT_LOOKED), Fate.NOT_KEPT),
    case(AZURE, "data of one's own", _azures("safe"), Fate.BYPASSED, extra_body={"data_sources": [{"type": "x"}]}),
    case(AZURE_V1, "plain", PLAIN),
    case(DEEPSEEK, "plain", PLAIN | {"usage": USAGE | HIT}),
    case(DEEPSEEK, "kept alive by comments", PLAIN | {"usage": USAGE | HIT}, wire=restless),
    case(DEEPSEEK, "thinking", completion(says("It keeps.", reasoning_content="What might it be?"))),
    case(DEEPSEEK, "tools", completion(says(None, "tool_calls", tool_calls=[call(1)]))),
    case(DEEPSEEK, "only thoughts", completion(says("", reasoning_content="Hm.")), Fate.NOT_KEPT),
    case(DEEPSEEK, "no capacity", completion(says("A", "insufficient_system_resource")), Fate.NOT_KEPT),
    case(
        OPENROUTER,
        "plain",
        completion(
            says("A cache keeps.", of_choice={"native_finish_reason": "STOP"}),
            provider="Google",
            usage=USAGE | {"cost": 0.00014, "is_byok": False},
        ),
    ),
    case(OPENROUTER, "processing", PLAIN, wire=lambda blocks: b": OPENROUTER PROCESSING\n\n" * 3 + restless(blocks)),
    case(OPENROUTER, "an error as an answer", completion(says("A", "error")), Fate.NOT_KEPT),
    case(OPENROUTER, "model that searches", PLAIN, Fate.BYPASSED, model="or/some-model:online"),
    case(OPENROUTER, "plugin that searches", PLAIN, Fate.BYPASSED, extra_body={"plugins": [{"id": "web"}]}),
    case(OPENROUTER, "plugin that reads files", PLAIN, extra_body={"plugins": [{"id": "file-parser"}]}),
    case(MISTRAL, "plain", _mistrals("A cache keeps what was asked before."), safe_prompt=True),
    case(MISTRAL, "unicode", _mistrals(UNICODE)),
    case(
        MISTRAL,
        "thinking",
        _mistrals([THOUGHT, {"type": "text", "text": "A cache keeps."}]),
        model="magistral-medium-latest",
    ),
    case(MISTRAL, "tools", _mistrals("", "tool_calls", tool_calls=CALLS)),
    case(MISTRAL, "cut at the model's limit", _mistrals("A cache", "model_length"), Fate.NOT_KEPT),
    case(MISTRAL, "failed", _mistrals("A cache", "error"), Fate.NOT_KEPT),
    case(XAI, "plain", completion(says("A cache.", reasoning_content="Hm."), usage=USAGE | {"num_sources_used": 0})),
    case(XAI, "end of turn", completion(says("A cache.", "end_turn"))),
    case(XAI, "live search", PLAIN, Fate.BYPASSED, extra_body={"search_parameters": {"mode": "auto"}}),
    case(XAI, "no search", PLAIN, extra_body={"search_parameters": {"mode": "off"}}),
    case(XAI, "deferred", PLAIN, Fate.BYPASSED, extra_body={"deferred": True}),
    case(GROQ, "plain", _groqs(says("A cache keeps what was asked before."))),
    case(GROQ, "usage asked for", _groqs(says("A cache.")), extra_body={"stream_options": {"include_usage": True}}),
    case(GROQ, "reasoning", _groqs(says("A cache.", reasoning="What might it be?")), reasoning_format="parsed"),
    case(GROQ, "tools", _groqs(says(None, "tool_calls", tool_calls=[call(1), call(2)]))),
    case(GROQ, "search in the browser", _groqs(says("A cache.")), Fate.BYPASSED, tools=[SEARCH]),
    case(GROQ, "compound", _groqs(says("A cache.")), Fate.BYPASSED, model="groq/compound-mini"),
    case(FIREWORKS, "plain", PLAIN | {"perf_metrics": {"server-time-to-first-token": 0.1}}),
    case(FIREWORKS, "thinking", completion(says("It keeps.", reasoning_content="What might it be?"))),
]
