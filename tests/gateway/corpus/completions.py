"""OpenAI completions."""

from itertools import zip_longest
from typing import Any

from tests.gateway.corpus.case import (
    EMOJI_IN_TWO,
    LONE,
    LONG,
    NUMBERS,
    TOMORROW,
    UNICODE,
    Api,
    Case,
    Fate,
    Json,
    pieces,
)
from tests.gateway.corpus.chat import WITH_USAGE, data


def completion(*choices: Json, **more: Any) -> Json:
    answer = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1_795_000_000,
        "model": "gpt-3.5-turbo-instruct",
        "choices": [{"index": at} | choice for at, choice in enumerate(choices)],
        "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9},
        "system_fingerprint": "fp_1",
    }
    return answer | more


def says(text: str, reason: str = "stop", **more: Any) -> Json:
    return {"text": text, "logprobs": None, "finish_reason": reason} | more


def blocks(answer: Json, body: Json) -> list[bytes]:
    """Return the blocks in which OpenAI streams a completion: its choices take turns, a piece each."""
    usage = bool((body.get("stream_options") or {}).get("include_usage"))
    top = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    if usage:
        top["usage"] = None
    turns = zip_longest(*(_parts(choice) for choice in answer["choices"]))
    chunks = [{**top, "choices": [part], "obfuscation": "x"} for turn in turns for part in turn if part is not None]
    if usage:
        chunks.append({**top, "choices": [], "usage": answer["usage"]})
    return [*map(data, chunks), b"data: [DONE]"]


def _parts(choice: Json) -> list[Json]:
    logprobs = choice["logprobs"]
    parts = []
    texts = pieces(choice["text"]) if logprobs is None else logprobs["tokens"]
    for at, piece in enumerate(texts):
        of_piece = logprobs and {name: values[at : at + 1] for name, values in logprobs.items()}
        parts.append({"index": choice["index"], "text": piece, "logprobs": of_piece, "finish_reason": None})
    return [*parts, {**choice, "text": "", "logprobs": None}]


def pieced(chunks: list[Json]) -> Json:
    """Put a stream's chunks together, as someone who streams completions does."""
    whole: Json = {name: value for name, value in chunks[0].items() if name not in ("choices", "obfuscation")}
    choices: dict[int, Json] = {}
    for chunk in chunks:
        whole["usage"] = chunk.get("usage") or whole.get("usage")
        for part in chunk["choices"]:
            choice = choices.setdefault(part["index"], {"text": "", "logprobs": []})
            old_text, old_logprobs = choice["text"], choice["logprobs"]
            choice |= part
            choice["text"] = old_text + part["text"]
            choice["logprobs"] = [*old_logprobs, *_tokens(part["logprobs"])]
    return whole | {"choices": [choices[index] for index in sorted(choices)]}


def _tokens(logprobs: Json | None) -> list[Any]:
    if logprobs is None:
        return []
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    return list(zip(*(logprobs[name] or [None] * len(logprobs["tokens"]) for name in names), strict=True))


def logprobs(*tokens: str) -> Json:
    return {
        "tokens": list(tokens),
        "token_logprobs": [None, *(-0.25 for _ in tokens[1:])],
        "top_logprobs": [{token: -0.25, "index": -9999.0} for token in tokens],
        "text_offset": [len("".join(tokens[:at])) for at in range(len(tokens))],
    }


API = Api("completions", "/v1/completions", "openai", blocks, lambda client: client.completions, pieced=pieced)


def ask(prompt: Any = "A cache", **more: Any) -> Json:
    return {"model": "gpt-3.5-turbo-instruct", "prompt": prompt} | more


def case(name: str, asked: Json, answer: Json, **more: Any) -> Case:
    return Case(API, name, asked, answer, helped=None, **more)


CASES = [
    case("plain", ask(), completion(says(" keeps what was asked."))),
    case("usage chunk", ask(), completion(says(" keeps what was asked.")), streamed=WITH_USAGE),
    case(
        "several prompts with several choices each",
        ask(["a", "b"], n=2),
        completion(says(" 1"), says(" 2 and more"), says(" 3"), says(" 4")),
        streamed=WITH_USAGE,
    ),
    case("a prompt of tokens", ask([1, 2, 3], seed=7, stop=["\n"]), completion(says(" keeps."))),
    case(
        "log-probabilities and an echo",
        ask(logprobs=2, echo=True, n=2),
        completion(
            says("A cache", logprobs=logprobs("A", " cache")),
            says("A ☃!", logprobs=logprobs("A", " ☃", "!")),
        ),
    ),
    case(
        "fields of tomorrow",
        ask(suffix="!", best_of=1, extra_body={"of_tomorrow": TOMORROW}),
        completion(says(" keeps.", of_choice=TOMORROW, stop_reason=None), of_answer=TOMORROW),
        streamed=WITH_USAGE,
    ),
    case("unicode", ask(UNICODE), completion(says(UNICODE))),
    case("lone surrogates", ask("surrogates"), completion(says(LONE), says(EMOJI_IN_TWO)), streamed=WITH_USAGE),
    case("huge and tiny numbers", ask(temperature=1e-300), completion(says("1", of_choice=NUMBERS), of=NUMBERS)),
    case("a long answer", ask(max_tokens=100_000), completion(says(LONG))),
    case("cut at the limit", ask(max_tokens=1), completion(says(" keeps", "length")), fate=Fate.NOT_KEPT),
    case("filtered", ask(), completion(says(" keeps", "content_filter")), fate=Fate.NOT_KEPT),
    case("nothing said", ask(), completion(says("")), fate=Fate.NOT_KEPT),
]
