"""Google's embeddings: pure first, cutting and putting together above all; then the official SDK."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from google import genai
from google.genai.types import Content, EmbedContentConfig, Part
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.canonical import decode, encode
from llmcache_gateway.dialects import dialect_of
from llmcache_gateway.dialects.base import Request
from llmcache_gateway.dialects.gemini_embeddings import GeminiEmbedding, GeminiEmbeddings
from llmcache_gateway.errors import RequestError
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.corpus.asking import gemini, google_outcome, vertex
from tests.gateway.provider import Provider

pytestmark = [
    # Google's SDK derives its client from aiohttp's, of which aiohttp warns whoever does.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]

BATCH = GeminiEmbeddings("gemini-embeddings", "gemini")
ONE = GeminiEmbedding("gemini-embeddings", "gemini")
MODEL = "/v1beta/models/gemini-embedding-001"
TARGET = f"{MODEL}:batchEmbedContents"
TEXTS = st.lists(st.text("ab ☃", max_size=3), min_size=1, max_size=6)


def content(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}, **more}


def parse(members: Any, target: str = TARGET) -> Request:
    body = json.dumps(members).encode()
    dialect = dialect_of("POST", target.partition("?")[0])
    assert dialect is not None
    return dialect.parse(decode(body), body, target)


def batch(*texts: str, **more: Any) -> Request:
    return parse({"requests": [content(text, **more) for text in texts]})


def key(request: Request) -> bytes:
    return encode(BATCH.counted(request))


def vector(one: Any) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(one, sort_keys=True).encode()).digest()
    return {"values": [byte / 256 for byte in digest[:4]], "of_tomorrow": True}


def tokens(requests: list[Any]) -> int:
    return sum(len(one["content"]["parts"][0].get("text", "")) + 1 for one in requests)


def answer_to(body: bytes) -> dict[str, Any]:
    requests = json.loads(body)["requests"]
    details = [{"modality": "TEXT", "tokenCount": tokens(requests)}]
    usage = {"promptTokenCount": tokens(requests), "promptTokenDetails": details}
    return {"embeddings": [vector(one) for one in requests], "usageMetadata": usage}


@given(TEXTS)
def test_a_batch_is_cut_into_one_for_each_request(texts: list[str]) -> None:
    request = batch(*texts, taskType="RETRIEVAL_QUERY", outputDimensionality=4)
    parts = BATCH.split(request)
    assert parts is not None
    for part, text in zip(parts, texts, strict=True):
        alone = batch(text, taskType="RETRIEVAL_QUERY", outputDimensionality=4)
        assert key(part) == key(alone)
        assert key(part) == key(BATCH.parse(decode(part.body), part.body, TARGET))


@given(TEXTS, st.data())
def test_whatever_is_known_already_each_request_gets_its_own_embedding(texts: list[str], data: st.DataObject) -> None:
    """What the gateway does with a batch, its store being a dictionary that knows any of the requests."""
    request = batch(*texts)
    parts = BATCH.split(request)
    assert parts is not None
    keys = [key(part) for part in parts]
    known = data.draw(st.sets(st.sampled_from(keys)))
    store = {key(part): answer_to(part.body) for part in parts if key(part) in known}
    positions = [at for at, one in enumerate(keys) if one not in store and one not in keys[:at]]
    if positions:
        upstream = answer_to(BATCH.missing_body(request, positions))
        answers = BATCH.part_answers(upstream, [parts[at] for at in positions])
        assert all(BATCH.judge(answer).store for answer in answers)
        counts = [answer["usageMetadata"] for answer in answers]
        assert sum(one["promptTokenCount"] for one in counts) == upstream["usageMetadata"]["promptTokenCount"]
        store |= {keys[at]: answer for at, answer in zip(positions, answers, strict=True)}
    joined = BATCH.join([store[one] for one in keys])
    assert joined["embeddings"] == answer_to(request.body)["embeddings"]
    usage = joined["usageMetadata"]
    assert usage["promptTokenDetails"] == [{"modality": "TEXT", "tokenCount": usage["promptTokenCount"]}]


def test_a_batch_of_one_and_one_embedding_are_different_answers_and_keys() -> None:
    alone = parse(content("a"), f"{MODEL}:embedContent")
    assert encode(ONE.counted(alone)) != key(batch("a"))


@pytest.mark.parametrize("more", [{"taskType": "CLUSTERING"}, {"outputDimensionality": 8}, {"title": "t"}])
def test_what_changes_an_embedding_counts(more: dict[str, Any]) -> None:
    assert key(batch("a", **more)) != key(batch("a"))


def test_model_and_version_of_the_path_count() -> None:
    requests = {"requests": [content("a")]}
    targets = (TARGET, TARGET.replace("v1beta", "v1"), TARGET.replace("-001", "-002"))
    assert len({key(parse(requests, target)) for target in targets}) == len(targets)


@pytest.mark.parametrize("members", [{}, {"requests": []}, {"requests": ["a"]}, {"requests": {}}, {"requests": None}])
def test_what_is_no_list_of_requests_stays_whole(members: dict[str, Any]) -> None:
    assert BATCH.split(parse(members)) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"embeddings": [vector("a"), vector("b")]}, ""),
        ({"embeddings": [vector("a")]}, "incomplete"),
        ({"embeddings": [vector("a"), {"values": []}]}, "empty"),
        ({"embeddings": [vector("a"), {}]}, "no-answer"),
        ({"embeddings": {}}, "no-answer"),
        ({"error": {"code": 400}}, "error"),
        ([], "no-answer"),
    ],
)
def test_what_of_a_batch_is_stored(answer: Any, reason: str) -> None:
    assert BATCH.judge(answer, batch("a", "b")).reason == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"embedding": vector("a")}, ""),
        ({"embedding": {"values": []}}, "empty"),
        ({}, "no-answer"),
        ({"error": {"code": 400}, "embedding": vector("a")}, "error"),
    ],
)
def test_which_one_embedding_is_stored(answer: Any, reason: str) -> None:
    assert ONE.judge(answer).reason == reason


def test_a_file_that_only_its_address_stands_for_passes_by() -> None:
    file = {"content": {"parts": [{"fileData": {"fileUri": "gs://b/a.png"}}]}}
    assert BATCH.bypass(parse({"requests": [content("a"), file]})) == "remote-content"
    assert BATCH.bypass(batch("fileData")) is None
    assert BATCH.bypass(parse({"requests": []}, f"{TARGET}?alt=proto")) == "format"


def test_a_body_that_is_no_object_is_refused() -> None:
    with pytest.raises(RequestError, match="JSON object"):
        parse([])


@pytest.fixture
async def google(start_gateway: StartGateway, provider: Provider) -> AsyncIterator[TestGateway]:
    async def behave(request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        if request.path.endswith(":embedContent"):
            return web.json_response({"embedding": vector(json.loads(raw)["content"]), "truncated": False})
        return web.json_response(answer_to(raw))

    provider.behave = behave
    config = manifest(provider.base_url.removesuffix("/v1"))
    main = config["spec"]["upstreams"][0]
    config["spec"]["upstreams"] = [{**main, "name": kind, "provider": kind} for kind in ("gemini", "vertex")]
    async with start_gateway(config) as gateway:
        yield gateway


@asynccontextmanager
async def closing(client: genai.Client) -> AsyncIterator[genai.Client]:
    """Close a client of Google's at the end, whose sockets would warn in whichever test comes next."""
    try:
        yield client
    finally:
        await client.aio.aclose()
        client.close()


async def ask(client: genai.Client, model: str, *texts: str) -> tuple[str | None, list[Any], Any]:
    config = EmbedContentConfig(output_dimensionality=4)
    contents: Any = [Content(parts=[Part(text=text)]) for text in texts]
    answer = await client.aio.models.embed_content(model=model, contents=contents, config=config)
    return google_outcome(answer), [one.values for one in answer.embeddings or []], answer


async def test_a_batch_of_the_sdk_is_hit_request_by_request(google: TestGateway, provider: Provider) -> None:
    async with closing(gemini(google.url)) as client:
        outcome, first, _ = await ask(client, "gemini-embedding-001", "a", "b", "a")
        assert (outcome, first[0] == first[2], first[0] == first[1]) == ("MISS", True, False)
        outcome, again, _ = await ask(client, "gemini-embedding-001", "c", "b")
        assert (outcome, again[1]) == ("MISS", first[1])
        outcome, alone, _ = await ask(client, "gemini-embedding-001", "c")
        assert (outcome, alone[0]) == ("HIT", again[0])
    asked = [[one["content"]["parts"][0]["text"] for one in call["body"]["requests"]] for call in provider.calls]
    assert asked == [["a", "b"], ["c"]]


@pytest.mark.parametrize("texts", [("a",), ("a", "b")])
async def test_vertex_is_asked_for_one_or_for_a_batch_and_both_are_kept(
    google: TestGateway, provider: Provider, texts: tuple[str, ...]
) -> None:
    async with closing(vertex(google.url)) as client:
        asked = [await ask(client, "gemini-embedding-2", *texts) for _ in range(2)]
    assert [outcome for outcome, _, _ in asked] == ["MISS", "HIT"]
    assert (asked[0][1] == asked[1][1], len(asked[0][1]), len(provider.calls)) == (True, len(texts), 1)
    verb = "embedContent" if len(texts) == 1 else "batchEmbedContents"
    assert provider.calls[0]["path"].endswith(f"/publishers/google/models/gemini-embedding-2:{verb}")


async def test_an_answer_with_too_few_embeddings_is_passed_on_and_not_stored(
    google: TestGateway, provider: Provider
) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        return web.json_response({"embeddings": [vector("a")]})

    provider.behave = behave
    body = {"requests": [content("a"), content("b")]}
    given = [await google.post(body, TARGET) for _ in range(2)]
    assert [one.headers["X-LLMCache"] for one in given] == ["MISS", "MISS"]
    assert given[0].json() == {"embeddings": [vector("a")]}
