"""How OpenAI answers `POST /v1/completions`."""

import json
from typing import Any

from aiohttp import web

from tests.gateway.provider import Behaviour, Provider, send_events


def answering(provider: Provider) -> Behaviour:
    """Return a provider's behaviour: `n` choices to each prompt, numbered by the call, streamed or not."""

    async def behave(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        answer = text_completion(len(provider.calls), body)
        if not body.get("stream"):
            return web.json_response(answer)
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return await send_events(request, chunks_of(answer, usage))

    return behave


def text_completion(number: int, body: dict[str, Any]) -> dict[str, Any]:
    """Return a completion as OpenAI sends it, members unknown to every SDK included."""
    prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
    texts = [f" {at} of {number} to {prompt}" for prompt in prompts for at in range(body.get("n", 1))]
    return {
        "id": f"cmpl-{number}",
        "object": "text_completion",
        "created": 1_795_000_000 + number,
        "model": body["model"],
        "choices": [
            {
                "text": text,
                "index": at,
                "logprobs": _logprobs(text) if body.get("logprobs") is not None else None,
                "finish_reason": "stop",
                "stop_reason": {"of": "tomorrow"},
            }
            for at, text in enumerate(texts)
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9},
        "system_fingerprint": "fp_1",
        "field_of_tomorrow": {"kept": True},
    }


def chunks_of(answer: dict[str, Any], usage: bool) -> list[str]:
    """Return the data of the events in which OpenAI streams a completion: the choices take turns, a word each."""
    top = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    if usage:
        top["usage"] = None
    data = []
    words = {choice["index"]: choice["text"].split(" ")[1:] for choice in answer["choices"]}
    for at in range(max(map(len, words.values()))):
        for choice in answer["choices"]:
            piece = " ".join(["", *words[choice["index"]][at : at + 1]])
            logprobs = choice["logprobs"] and {name: items[at : at + 1] for name, items in choice["logprobs"].items()}
            part = {"text": piece, "index": choice["index"], "logprobs": logprobs, "finish_reason": None}
            data.append({**top, "choices": [part], "obfuscation": "x"})
    for choice in answer["choices"]:
        data.append({**top, "choices": [{**choice, "text": "", "logprobs": None}]})
    if usage:
        data.append({**top, "choices": [], "usage": answer["usage"]})
    return [*(json.dumps(one) for one in data), "[DONE]"]


def _logprobs(text: str) -> dict[str, Any]:
    tokens = [f" {word}" for word in text.split(" ")[1:]]
    return {
        "tokens": tokens,
        "token_logprobs": [-0.25 for _ in tokens],
        "top_logprobs": [{token: -0.25, "index": -1.5} for token in tokens],
        "text_offset": [at * 3 for at, _ in enumerate(tokens)],
    }
