"""Vectors from an upstream, whatever it answers, and that each text is asked for once."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import yaml
from aiohttp import web

from llmcache_gateway.config import MAKERS, load_config
from llmcache_gateway.dialects.openai_embeddings import OpenAIEmbeddings
from llmcache_gateway.errors import ConfigError, EmbeddingError
from llmcache_gateway.semantic.embedders import Vectors
from llmcache_gateway.semantic.embeddings import MAX_CALLS, Embeddings
from llmcache_gateway.semantic.indexes.base import Vector
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Behaviour, Provider
from tests.gateway.semantic.questions import DEBUG, RESET, SAME, ask_until_hit, chat, until

KEY = {"env": "KEY"}
MODEL = {"upstream": "vectors", "model": "text-embedding-3-small"}


class Counting:
    """An embedder that waits until it is let go, and notes what it is asked."""

    identity = "counting"
    threshold: float | None = None
    dimensions = 4

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.go = asyncio.Event()
        self.gives: Vectors | None = None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.calls.append(list(texts))
        await self.go.wait()
        return np.eye(4, dtype=np.float32)[[0] * len(texts)] if self.gives is None else self.gives


async def all_calls_under_way(embeddings: Embeddings, embedder: Counting) -> list[asyncio.Task[Vector]]:
    """Ask for as many texts as calls may be under way, each in a call of its own, which wait to be let go."""
    asked = []
    for number in range(MAX_CALLS):
        asked.append(asyncio.create_task(embeddings.vector(f"first {number}")))
        while len(embedder.calls) <= number:  # noqa: ASYNC110 (tasks take turns)
            await asyncio.sleep(0)
    return asked


async def test_what_is_asked_for_while_calls_are_under_way_goes_together() -> None:
    embedder = Counting()
    embeddings = Embeddings(embedder)
    asked = await all_calls_under_way(embeddings, embedder)
    asked += [asyncio.create_task(embeddings.vector(str(number))) for number in range(10)]
    again = asyncio.create_task(embeddings.vector("first 0"))
    await asyncio.sleep(0)
    embedder.go.set()
    await asyncio.gather(*asked, again)
    assert embedder.calls[MAX_CALLS:] == [[str(number) for number in range(10)]]
    before = len(embedder.calls)
    await embeddings.vector("3")
    assert len(embedder.calls) == before  # remembered
    await embeddings.close()


async def test_what_is_asked_for_in_the_very_turn_in_which_all_calls_end_is_not_forgotten() -> None:
    """A call counted until the turn after its end: what was asked for in between waited until somebody else asked."""
    embedder = Counting()
    embeddings = Embeddings(embedder)
    asked = await all_calls_under_way(embeddings, embedder)
    embedder.go.set()
    late = asyncio.create_task(embeddings.vector("late"))  # its turn comes right after theirs
    await asyncio.wait_for(late, 20)
    assert embedder.calls[MAX_CALLS:] == [["late"]]
    await asyncio.gather(*asked)
    await embeddings.close()


async def test_no_more_is_remembered_than_was_said() -> None:
    embedder = Counting()
    embedder.go.set()
    for remembered, calls in ((1, ["a", "b", "a"]), (0, ["a", "a", "b", "a"])):
        embeddings = Embeddings(embedder, remembered=remembered)
        embedder.calls.clear()
        for text in "aaba":
            await embeddings.vector(text)
        assert embedder.calls == [[text] for text in calls]
        await embeddings.close()


async def test_who_stops_waiting_takes_nothing_from_who_asks_again() -> None:
    embedder = Counting()
    embeddings = Embeddings(embedder)
    first = asyncio.create_task(embeddings.vector("a"))
    while not embedder.calls:  # noqa: ASYNC110
        await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(embeddings.vector("a"))
    embedder.go.set()
    assert (await second)[0] == 1.0
    assert embedder.calls == [["a"]]
    await embeddings.close()


@pytest.mark.parametrize(
    ("gives", "why"),
    [
        (np.zeros((2, 4), np.float32), "for 1 texts"),
        (np.zeros(4, np.float32), "for 1 texts"),
        (np.full((1, 4), np.nan, np.float32), "no numbers"),
        (np.full((1, 4), np.inf, np.float32), "no numbers"),
        (np.full((1, 4), 3.0, np.float32), "length is not 1"),
        (np.eye(5, dtype=np.float32)[:1], "were 4 long, now 5"),
    ],
)
async def test_what_is_no_vector_is_an_error_and_the_next_text_is_asked_for_again(gives: Vectors, why: str) -> None:
    embedder = Counting()
    embedder.go.set()
    embeddings = Embeddings(embedder)
    await embeddings.vector("good")
    embedder.gives = gives
    with pytest.raises(EmbeddingError, match=why):
        await embeddings.vector("bad")
    embedder.gives = None
    assert len(await embeddings.vector("bad")) == 4
    await embeddings.close()


def of_text(text: str, dimensions: int = 8) -> list[float]:
    """Return a vector that is the same for texts of the same last words."""
    seed = int.from_bytes(hashlib.sha256(text.split("I ")[-1].encode()).digest()[:4], "big")
    return [float(value) for value in np.random.default_rng(seed).normal(size=dimensions)]


def embeddings_of(asked: dict[str, Any], dimensions: int = 8) -> dict[str, Any]:
    data = [
        {"object": "embedding", "index": at, "embedding": of_text(text, dimensions)}
        for at, text in enumerate(asked["input"])
    ]
    data.reverse()  # its order is said by `index`
    return {"object": "list", "model": asked["model"], "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def config(provider: Provider, vectors: str | None = None, **semantic: Any) -> dict[str, Any]:
    made = manifest(
        provider.base_url,
        semantic={"enabled": True, "threshold": 0.9, "verifier": "none", "deadline": "5s", "embedding": MODEL}
        | semantic,
    )
    upstream = {"name": "vectors", "provider": "openai", "models": ["text-embedding-*"], "credential": KEY}
    made["spec"]["upstreams"].append(upstream | {"baseURL": vectors or provider.base_url, "timeout": "5s"})
    return made


def answering(provider: Provider, answer: Behaviour) -> None:
    """Have the provider answer requests for vectors in one way, and chats as ever."""

    async def behave(request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/embeddings":
            return await answer(request)
        return await provider.chat(request, provider.calls[-1]["body"])

    provider.behave = behave


def asked_for_vectors(provider: Provider) -> list[dict[str, Any]]:
    return [call for call in provider.calls if call["path"] == "/v1/embeddings"]


async def well(request: web.Request) -> web.Response:
    return web.json_response(embeddings_of(json.loads(await request.read())))


async def test_vectors_come_from_the_upstream_with_its_own_credential(
    start_gateway: StartGateway, provider: Provider
) -> None:
    answering(provider, well)
    async with start_gateway(config(provider), environment={"KEY": "sk-vectors"}) as gateway:
        first = await gateway.post(chat(RESET), headers={"Authorization": "Bearer client"})
        answer = await ask_until_hit(gateway, chat(SAME), headers={"Authorization": "Bearer client"})
        assert answer.json() == first.json()
        call, *_ = asked_for_vectors(provider)
        assert call["headers"]["Authorization"] == "Bearer sk-vectors"
        assert call["body"] == {"model": "text-embedding-3-small", "input": [RESET], "encoding_format": "float"}
        texts = [text for call in asked_for_vectors(provider) for text in call["body"]["input"]]
        assert sorted(texts) == sorted({RESET, SAME})  # each once


async def test_the_length_that_is_asked_for_is_told(start_gateway: StartGateway, provider: Provider) -> None:
    answering(provider, well)
    async with start_gateway(
        config(provider, embedding=MODEL | {"dimensions": 8}), environment={"KEY": "k"}
    ) as gateway:
        await gateway.post(chat(RESET))
        assert asked_for_vectors(provider)[0]["body"]["dimensions"] == 8


@pytest.mark.parametrize(
    ("provider_kind", "path", "header", "length"),
    [
        ("openai", "/v1/embeddings", "Authorization", "dimensions"),
        ("azure", "/openai/v1/embeddings", "api-key", "dimensions"),
        ("openrouter", "/api/v1/embeddings", "Authorization", "dimensions"),
        ("mistral", "/v1/embeddings", "Authorization", "output_dimension"),
        ("xai", "/v1/embeddings", "Authorization", "dimensions"),
        ("groq", "/openai/v1/embeddings", "Authorization", "dimensions"),
        ("fireworks", "/inference/v1/embeddings", "Authorization", "dimensions"),
    ],
)
async def test_each_kind_of_provider_that_makes_vectors_is_asked_in_its_own_way(
    start_gateway: StartGateway, provider: Provider, provider_kind: str, path: str, header: str, length: str
) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        return await (well(request) if request.path == path else provider.chat(request, provider.calls[-1]["body"]))

    provider.behave = behave
    made = config(provider, embedding=MODEL | {"dimensions": 8})
    root = "" if provider_kind == "azure" else path.removesuffix("/embeddings")
    made["spec"]["upstreams"][-1] |= {
        "provider": provider_kind,
        "baseURL": provider.base_url.removesuffix("/v1") + root,
    }
    async with start_gateway(made, environment={"KEY": "sk-vectors"}) as gateway:
        await gateway.post(chat(RESET))
        answer = await ask_until_hit(gateway, chat(SAME))
    assert answer.headers["X-LLMCache"] == "HIT"
    call = next(call for call in provider.calls if call["path"] == path)
    assert call["headers"][header].removeprefix("Bearer ") == "sk-vectors"
    wanted = {"model": "text-embedding-3-small", "input": [RESET], "encoding_format": "float", length: 8}
    assert call["body"] == wanted


def test_those_that_make_vectors_are_those_whose_embeddings_are_cached() -> None:
    assert set(MAKERS) == OpenAIEmbeddings.speakers


@pytest.mark.parametrize(
    ("upstream", "embedding", "message"),
    [
        ({"provider": "deepseek"}, MODEL, "openai, azure, openrouter, mistral, xai, groq, fireworks"),
        ({"provider": "anthropic"}, MODEL, "whose provider makes vectors: openai, azure, "),
        ({"credential": {"passthrough": True}}, MODEL, "passes no client's credential on"),
        ({"provider": "mistral"}, {"upstream": "vectors"}, "embedding.model: must be set"),
    ],
)
def test_an_upstream_that_makes_no_vectors_is_refused_with_those_that_do(
    upstream: dict[str, Any], embedding: dict[str, Any], message: str
) -> None:
    made = config(Provider("http://127.0.0.1:1"), embedding=embedding)
    made["spec"]["upstreams"][-1] |= upstream
    with pytest.raises(ConfigError, match=message):
        load_config(yaml.safe_dump(made))


def _embedding(value: Any) -> Behaviour:
    async def behave(request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        answer = embeddings_of(asked)
        for one in answer["data"]:
            one["embedding"] = value
        return web.json_response(answer)

    return behave


def _text(text: str, status: int = 200) -> Behaviour:
    async def behave(request: web.Request) -> web.Response:
        return web.Response(text=text, status=status, content_type="application/json")

    return behave


BAD: dict[str, Behaviour] = {
    "an error": _text('{"error": {}}', 500),
    "no JSON": _text("<html>"),
    "no vectors": _text('{"data": []}'),
    "too many vectors": _text('{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1]}]}'),
    "no numbers": _text('{"data": [{"index": 0, "embedding": [NaN, 1.0]}]}'),
    "too large numbers": _text('{"data": [{"index": 0, "embedding": [1e999, 1.0]}]}'),
    "words": _embedding(["a", "b"]),
    "zeros": _embedding([0.0] * 8),
    "a vector of vectors": _embedding([[1.0, 2.0], [3.0, 4.0]]),
    "another length than was asked for": _embedding([1.0, 2.0, 3.0]),
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
async def test_whatever_the_embedding_service_answers_the_provider_answers_the_client(
    start_gateway: StartGateway, provider: Provider, answer: Behaviour
) -> None:
    answering(provider, answer)
    async with start_gateway(
        config(provider, embedding=MODEL | {"dimensions": 8}), environment={"KEY": "k"}
    ) as gateway:
        first = await gateway.post(chat(RESET), headers=DEBUG)
        assert first.status_code == 200
        assert first.headers["X-LLMCache-Semantic"] == "no-embedding"
        assert (await gateway.post(chat(RESET))).headers["X-LLMCache"] == "HIT"
        answering(provider, well)  # it recovers
        await until(lambda: _is_hit(gateway))


async def _is_hit(gateway: TestGateway) -> bool:
    await gateway.post(chat(RESET), headers={"Cache-Control": "no-cache"})
    return (await gateway.post(chat(SAME), headers={"Cache-Control": "only-if-cached"})).status_code == 200


async def test_a_service_that_is_away_is_not_waited_for_again_and_again(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(config(provider, "http://127.0.0.1:9/v1"), environment={"KEY": "k"}) as gateway:
        for number in range(8):
            answer = await gateway.post(chat(f"Question {number}?"), headers=DEBUG)
            assert answer.headers["X-LLMCache-Semantic"] == "no-embedding"
        assert await gateway.metric('llmcache_store_circuit_open{op="embed",store="embedding"}') == 1


async def test_a_service_that_is_slow_holds_nobody_up_beyond_the_deadline(
    start_gateway: StartGateway, provider: Provider
) -> None:
    go = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        await go.wait()
        return await well(request)

    answering(provider, slow)
    async with start_gateway(config(provider, deadline="50ms"), environment={"KEY": "k"}) as gateway:
        answer = await gateway.post(chat(RESET), headers=DEBUG)
        assert answer.headers["X-LLMCache"] == "MISS"
        assert answer.headers["X-LLMCache-Semantic"].startswith("deadline")
        assert await gateway.metric('llmcache_semantic_rejected_total{guard="deadline"}') == 1
        go.set()
