"""The embeddings dialect: pure first, cutting and putting together above all; then the official SDK."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import openai
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.canonical import decode, encode
from llmcache_gateway.dialects.base import Request
from llmcache_gateway.dialects.openai_embeddings import OpenAIEmbeddings
from llmcache_gateway.errors import RequestError
from tests.gateway.conftest import TestGateway
from tests.gateway.provider import Provider
from tests.gateway.providers import embeddings

DIALECT = OpenAIEmbeddings()
MODEL = "text-embedding-3-small"
TOKENS = st.lists(st.integers(0, 9), min_size=1, max_size=4)
INPUTS = st.lists(st.text("ab ☃", max_size=3), min_size=1, max_size=6) | st.lists(TOKENS, min_size=1, max_size=6)
INPUT = INPUTS | TOKENS | st.text(max_size=9)


def parse(members: dict[str, Any]) -> Request:
    body = json.dumps(members).encode()
    return DIALECT.parse(decode(body), body)


def asking(value: Any, **more: Any) -> Request:
    return parse({"model": MODEL, "input": value, **more})


def key(request: Request) -> bytes:
    return encode(DIALECT.counted(request))


def answer_to(request: Request, body: bytes | None = None) -> dict[str, Any]:
    return embeddings.embeddings(json.loads(request.body if body is None else body))


def parts_of(request: Request) -> list[Request]:
    parts = DIALECT.split(request)
    assert parts is not None
    return parts


@given(INPUT)
def test_a_request_is_cut_into_one_for_each_input(value: Any) -> None:
    request = asking(value, dimensions=3, encoding_format="base64", user="me", x=[1.5])
    inputs = embeddings.inputs_of({"input": value})
    parts = parts_of(request)
    assert [part.members["input"] for part in parts] == inputs
    for part, one in zip(parts, inputs, strict=True):
        alone = asking(one, dimensions=3, encoding_format="base64", x=[1.5])
        assert key(part) == key(alone) == key(asking([one], dimensions=3, encoding_format="base64", x=[1.5]))
        assert key(part) == key(DIALECT.parse(decode(part.body), part.body))
        assert parts_of(part) == [part]


@given(INPUT, INPUT)
def test_equal_keys_are_equal_inputs(left: Any, right: Any) -> None:
    for one in parts_of(asking(left)):
        for other in parts_of(asking(right)):
            assert (key(one) == key(other)) == (one.members["input"] == other.members["input"])


@pytest.mark.parametrize(
    "value", [None, 5, [], [[]], ["a", 5], ["a", None], [1, "a"], [[1], "a"], [[1], []], [True], [1.5], {"a": 1}, [{}]]
)
def test_what_is_no_list_of_texts_or_tokens_stays_whole(value: Any) -> None:
    assert DIALECT.split(asking(value)) is None


def test_a_text_with_half_an_emoji_stays_whole_or_is_cut_right() -> None:
    request = asking(["a", "\ud83d"])
    parts = DIALECT.split(request)
    assert parts is None or [part.members["input"] for part in parts] == ["a", "\ud83d"]


@given(INPUT, st.data())
def test_whatever_is_known_already_each_input_gets_its_own_embedding(value: Any, data: st.DataObject) -> None:
    """What the gateway does with a request, its store being a dictionary that knows any of the inputs."""
    request = asking(value, user="me")
    parts = parts_of(request)
    keys = [key(part) for part in parts]
    known = data.draw(st.sets(st.sampled_from(keys)))
    store = {key(part): answer_to(part) for part in parts if key(part) in known}

    positions = [at for at, one in enumerate(keys) if one not in store and one not in keys[:at]]
    if positions:
        upstream = answer_to(request, DIALECT.missing_body(request, positions))
        data.draw(st.randoms()).shuffle(upstream["data"])
        answers = DIALECT.part_answers(upstream, [parts[at] for at in positions])
        assert all(DIALECT.judge(answer).store for answer in answers)
        store |= {keys[at]: answer for at, answer in zip(positions, answers, strict=True)}

    expected = answer_to(request)
    joined = DIALECT.join([store[one] for one in keys])
    assert joined["data"] == expected["data"]
    assert {name: joined[name] for name in joined if name != "usage"} == {
        name: expected[name] for name in expected if name != "usage"
    }


@given(INPUTS, st.integers(0, 10**6), st.integers(0, 9))
def test_an_answer_that_is_cut_and_joined_is_the_same(value: list[Any], tokens: int, cached: int) -> None:
    request = asking(value)
    answer = answer_to(request)
    answer["usage"] = {"prompt_tokens": tokens, "cost": None, "x": True, "details": {"cached": cached, "tier": "a"}}
    cut = DIALECT.part_answers(answer, parts_of(request))
    assert DIALECT.join(cut) == answer
    assert list(DIALECT.join(cut)) == list(answer)
    assert all(one["usage"]["prompt_tokens"] >= 0 for one in cut)
    assert [len(one["data"]) for one in cut] == [1] * len(value)


def test_usage_is_shared_out_by_the_size_of_the_inputs() -> None:
    parts = parts_of(asking([[1] * 5, [1], [1, 2]]))
    answer = {"data": [{"index": at, "embedding": [0.5]} for at in range(3)], "usage": {"prompt_tokens": 8}}
    assert [one["usage"]["prompt_tokens"] for one in DIALECT.part_answers(answer, parts)] == [5, 1, 2]
    answer["usage"] = {"cost": 0.8}
    assert [one["usage"]["cost"] for one in DIALECT.part_answers(answer, parts)] == pytest.approx([0.5, 0.1, 0.2])
    assert DIALECT.join(DIALECT.part_answers(answer, parts))["usage"]["cost"] == pytest.approx(0.8)


@pytest.mark.parametrize("usage", [{}, {"usage": None}])
def test_an_answer_without_usage_is_cut_and_joined_too(usage: dict[str, Any]) -> None:
    answer = {"data": [{"index": at, "embedding": "AAAA"} for at in range(2)]} | usage
    assert DIALECT.join(DIALECT.part_answers(answer, parts_of(asking(["a", "b"])))) == answer


def test_only_some_parts_know_their_usage() -> None:
    def part(**more: Any) -> dict[str, Any]:
        return {"data": [{"index": 0, "embedding": [0.5]}], **more}

    assert DIALECT.join([part(), part(usage={"a": 1}), part(usage={"a": 2, "b": 3})])["usage"] == {"a": 3, "b": 3}


def items(*indexes: Any) -> dict[str, Any]:
    return {"data": [{"index": index, "embedding": [0.5]} for index in indexes]}


@pytest.mark.parametrize(
    "answer", [items(0), items(0, 1, 2), items(0, 0), items(1, 2), items(0, None), items(0, True), {"data": None}, {}]
)
def test_an_answer_that_does_not_say_what_belongs_where_is_never_cut(answer: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="embeddings for 2 inputs"):
        DIALECT.part_answers(answer, parts_of(asking(["a", "b"])))


@pytest.mark.parametrize(
    ("value", "positions", "sent"),
    [
        ('["a", "b",  "c"]', [0, 2], b'["a","c"]'),
        ('["a", "\\u0062"]', [1], b'["\\u0062"]'),
        ("[[1, 2],[3]]", [0], b"[[1, 2]]"),
        ('["a","b"]', [0, 1], None),
        ('"a"', [0], None),
        ("[1,2]", [0], None),
    ],
)
def test_only_the_missing_inputs_go_upstream_and_all_else_as_it_came(
    value: str, positions: Sequence[int], sent: bytes | None
) -> None:
    body = f'{{"model":"m","input":{value},"dimensions":3.0,"x":{{"y" : 1e0}}}}'.encode()
    request = DIALECT.parse(decode(body), body)
    expected = body if sent is None else b'{"model":"m","input":' + sent + b',"dimensions":3.0,"x":{"y" : 1e0}}'
    assert DIALECT.missing_body(request, positions) == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (items(0), ""),
        (items(1, 0), ""),
        ({"data": [{"index": 0, "embedding": "AAAA"}]}, ""),
        (items(0, 2), "no-answer"),
        (items(0, 0), "no-answer"),
        (items("0"), "no-answer"),
        ({"data": [{"embedding": [0.5]}]}, "no-answer"),
        ({"data": [{"index": 0}]}, "no-answer"),
        ({"data": [{"index": 0, "embedding": []}]}, "empty"),
        ({"data": [{"index": 0, "embedding": ""}]}, "empty"),
        ({"data": [5]}, "no-answer"),
        ({"data": []}, "empty"),
        (items(0) | {"error": {"message": "x"}}, "error"),
        ({"error": {"message": "x"}}, "no-answer"),
        (None, "no-answer"),
    ],
)
def test_only_complete_successful_answers_are_stored(answer: Any, reason: str) -> None:
    verdict = DIALECT.judge(answer)
    assert (verdict.store, verdict.reason) == (reason == "", reason)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("https://example.org/a.png", None),
        (["https://example.org/a.png"], None),
        ([{"text": "a"}], None),
        ([{"image": "https://example.org/a.png"}], "remote-content"),
        ([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}], "remote-content"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}], None),
    ],
)
def test_requests_that_a_hit_could_not_serve_are_kept_away(value: Any, reason: str | None) -> None:
    assert DIALECT.bypass(asking(value)) == reason


def test_who_asks_does_not_count_and_how_it_is_packed_does() -> None:
    assert key(asking("a", user="me", encoding_format="float")) == key(asking(["a"]))
    different: list[dict[str, Any]] = [
        {},
        {"encoding_format": "base64"},
        {"dimensions": 3},
        {"dimensions": 4},
        {"x": 1},
    ]
    assert len({key(asking("a", **more)) for more in different}) == len(different)


def test_there_is_no_stream() -> None:
    assert not asking("a", stream=True).stream
    with pytest.raises(ValueError, match="no stream"):
        DIALECT.assemble([])
    with pytest.raises(ValueError, match="no stream"):
        DIALECT.replay({})
    with pytest.raises(RequestError):
        parse({"input": "a"})


@pytest.fixture
def answered(provider: Provider) -> Provider:
    provider.behave = embeddings.BEHAVIOUR
    return provider


@pytest.mark.parametrize("more", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}, {"dimensions": 2}])
@pytest.mark.parametrize("value", ["one text", ["a", "b", "a"], [1, 2, 3], [[1], [2, 3]]], ids=str)
async def test_miss_then_hit_is_the_same_answer(
    gateway: TestGateway, answered: Provider, value: Any, more: dict[str, Any]
) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-test", max_retries=0) as client:
        raw = [
            await client.embeddings.with_raw_response.create(model=MODEL, input=value, user=user, **more)
            for user in ("one", "two")
        ]
    assert [one.headers["X-LLMCache"] for one in raw] == ["MISS", "HIT"]
    assert raw[0].parse().to_dict(warnings=False) == raw[1].parse().to_dict(warnings=False)
    sent = answered.calls[0]["body"]
    expected = embeddings.embeddings({**sent, "input": value})
    assert raw[1].http_response.json() == expected
    if more.get("encoding_format") != "base64":
        vectors = [embeddings.vector(one, more) for one in embeddings.inputs_of({**sent, "input": value})]
        assert [one.embedding for one in raw[1].parse().data] == vectors
    assert len(answered.calls) == 1


async def test_sync_sdk_gets_miss_then_hit(gateway: TestGateway, answered: Provider) -> None:
    def both() -> list[Any]:
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="sk-test", max_retries=0) as client:
            create = client.embeddings.with_raw_response.create
            raw = [create(model=MODEL, input=["a", "b"]) for _ in range(2)]
            return [(one.headers["X-LLMCache"], one.parse().to_dict()) for one in raw]

    (first, left), (second, right) = await asyncio.to_thread(both)
    assert (first, second, left) == ("MISS", "HIT", right)


async def test_an_error_is_given_and_not_kept(gateway: TestGateway, answered: Provider) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-test", max_retries=0) as client:
        for _ in range(2):
            with pytest.raises(openai.BadRequestError, match="is invalid"):
                await client.embeddings.create(model=MODEL, input=["a", ""])
    assert len(answered.calls) == 2


async def test_only_missing_inputs_go_upstream_and_come_back_at_their_positions(
    gateway: TestGateway, answered: Provider
) -> None:
    async def ask(value: Any, **headers: str) -> Any:
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        return await gateway.post({"model": MODEL, "input": value}, path="/v1/embeddings", headers=names)

    def statuses(response: Any) -> str:
        return str(response.headers["Cache-Status"].split("; key")[0])

    assert statuses(await ask(["a", "b"])) == "llmcache; fwd=miss; stored"
    partial = await ask(["c", "b", "d", "a", "c"])
    assert statuses(partial) == "llmcache; fwd=partial; stored"
    assert answered.calls[1]["body"]["input"] == ["c", "d"]
    assert [one["embedding"] for one in partial.json()["data"]] == [embeddings.vector(one, {}) for one in "cbdac"]
    assert [one["index"] for one in partial.json()["data"]] == [0, 1, 2, 3, 4]
    assert statuses(await ask(["d", "a", "b"])).startswith("llmcache; hit; ttl=")
    assert (await ask("c")).headers["X-LLMCache"] == "HIT"
    assert (await ask(["d", "e"], Cache_Control="only-if-cached")).status_code == 504
    assert (await ask(["a", "b"], Cache_Control="no-cache")).headers["X-LLMCache"] == "MISS"
    assert answered.calls[2]["body"]["input"] == ["a", "b"]
    assert (await ask(["a", "b"], Authorization="Bearer other")).headers["X-LLMCache"] == "MISS"


async def test_an_upstream_error_for_the_missing_inputs_is_given_as_it_is(
    gateway: TestGateway, answered: Provider
) -> None:
    await gateway.post({"model": MODEL, "input": ["a", "b"]}, path="/v1/embeddings")
    response = await gateway.post({"model": MODEL, "input": ["a", ""]}, path="/v1/embeddings")
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "'$.input' is invalid."


async def test_an_answer_that_fits_no_positions_is_asked_for_whole_and_not_kept(
    gateway: TestGateway, answered: Provider
) -> None:
    async def twice_the_first(_: web.Request) -> web.StreamResponse:
        one = {"object": "embedding", "index": 0, "embedding": [1.0]}
        return web.json_response({"object": "list", "model": MODEL, "data": [one, one]})

    answered.behave = twice_the_first
    for _ in range(2):
        response = await gateway.post({"model": MODEL, "input": ["a", "b"]}, path="/v1/embeddings")
        assert response.status_code == 200
        assert response.headers["X-LLMCache"] == "MISS"


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"{}", b'{"data": []}', b'{"data": [1]}'])
async def test_an_entry_that_makes_no_answer_is_a_miss(gateway: TestGateway, answered: Provider, body: bytes) -> None:
    request = {"model": MODEL, "input": ["a", "b"]}
    first = await gateway.post(request, path="/v1/embeddings")
    store = gateway.running.reloader.current.store
    await store.flush()
    async for keys in store.scan():
        for key in keys:
            entry = await store.peek(key)
            assert entry is not None
            store.put_soon(key, msgspec.structs.replace(entry, blocks=[body]))
    await store.flush()
    again = await gateway.post(request, path="/v1/embeddings")
    assert (again.status_code, again.headers["X-LLMCache"]) == (200, "MISS")
    assert again.json() == first.json()
