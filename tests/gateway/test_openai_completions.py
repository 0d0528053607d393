"""The completions dialect: pure first, then the official SDK over a real gateway."""

import asyncio
import copy
import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.dialects.base import Request
from llmcache_gateway.dialects.openai_completions import OpenAICompletions
from llmcache_gateway.errors import RequestError
from llmcache_gateway.sse import data_event
from tests.gateway.conftest import TestGateway
from tests.gateway.provider import Provider
from tests.gateway.providers import completions

DIALECT = OpenAICompletions()
ASK: dict[str, Any] = {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon"}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "several choices": {"n": 3},
    "several prompts": {"prompt": ["Once", "upon", "a time"], "n": 2},
    "log-probabilities": {"logprobs": 2, "n": 2},
    "options": {"suffix": " end", "echo": True, "best_of": 2, "temperature": 0.5, "seed": 7, "stop": ["\n"]},
}


def parse(members: dict[str, Any]) -> Request:
    return DIALECT.parse(members, json.dumps(members).encode())


def blocks_of(*chunks: Any) -> list[bytes]:
    return [data_event(json.dumps(chunk).encode()) for chunk in chunks] + [b"data: [DONE]"]


def part(text: str, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish, **more}
    return {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}


VALUES = st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5)
OBJECTS = st.dictionaries(st.text("xyz", min_size=1, max_size=3), VALUES, max_size=2)
LOGPROBS = st.fixed_dictionaries(
    {},
    optional={
        "tokens": st.lists(st.text(max_size=3), max_size=3),
        "token_logprobs": st.none() | st.lists(st.none() | st.floats(-9, 0), max_size=3),
        "top_logprobs": st.lists(
            st.none() | st.dictionaries(st.sampled_from(["index", "text", "a"]), st.floats(-9, 0)), max_size=3
        ),
        "text_offset": st.lists(st.integers(0, 99), max_size=3),
    },
)
CHOICE = st.fixed_dictionaries(
    {"text": st.text(max_size=20), "finish_reason": st.sampled_from(["stop", "length", None])},
    optional={"logprobs": st.none() | LOGPROBS, "token_ids": st.lists(st.integers()), "x": VALUES | OBJECTS},
)
ANSWER = st.builds(
    lambda choices, more: {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": at, **choice} for at, choice in enumerate(choices)],
        **more,
    },
    st.lists(CHOICE, min_size=1, max_size=3),
    st.fixed_dictionaries(
        {}, optional={"usage": st.none() | st.just({"total_tokens": 3}), "system_fingerprint": VALUES, "x": OBJECTS}
    ),
)


@given(ANSWER)
def test_an_answer_survives_being_streamed_and_put_together_again(answer: dict[str, Any]) -> None:
    assert DIALECT.assemble(list(DIALECT.replay(copy.deepcopy(answer)))) == answer


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_stream_of_the_provider_makes_its_unstreamed_answer(case: dict[str, Any]) -> None:
    answer = completions.text_completion(1, ASK | case)
    blocks = [data_event(data.encode()) for data in completions.chunks_of(answer, usage=True)]
    assert DIALECT.assemble(blocks) == answer
    assert [DIALECT.is_terminal(block) for block in blocks] == [False] * (len(blocks) - 1) + [True]


def test_a_token_called_index_is_no_index() -> None:
    def alternatives(text: str) -> dict[str, Any]:
        return {"tokens": [text], "top_logprobs": [{text: -0.5, "index": -0.5}]}

    answer = DIALECT.assemble(
        blocks_of(part("a", logprobs=alternatives("a")), part("b", logprobs=alternatives("b")), part("", "stop"))
    )
    assert answer["choices"][0]["logprobs"] == {
        "tokens": ["a", "b"],
        "top_logprobs": [{"a": -0.5, "index": -0.5}, {"b": -0.5, "index": -0.5}],
    }


@pytest.mark.parametrize("blocks", [[], [b"data: [DONE]"], [b"data: 5"], [b"data: {"], [b'data: {"choices":[{}]}']])
def test_what_is_no_stream_of_completions_is_said_to_be_none(blocks: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"."):
        DIALECT.assemble(blocks)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"choices": [{"text": "a", "finish_reason": "stop"}]}, ""),
        ({"choices": [{"text": "a", "finish_reason": "length"}]}, "truncated"),
        ({"choices": [{"text": "a", "finish_reason": "content_filter"}]}, "filtered"),
        ({"choices": [{"text": "a", "finish_reason": None}]}, "incomplete"),
        ({"choices": [{"text": "a"}]}, "incomplete"),
        ({"choices": [{"text": "a", "finish_reason": ["stop"]}]}, "incomplete"),
        ({"choices": [{"text": "", "finish_reason": "stop"}]}, "empty"),
        ({"choices": [{"text": "a", "finish_reason": "stop"}, {"text": "a", "finish_reason": "length"}]}, "truncated"),
        ({"choices": [{"text": "a", "finish_reason": "length"}, {"text": "a"}]}, "incomplete"),
        ({"choices": [{"finish_reason": "stop"}]}, "no-answer"),
        ({"choices": [5]}, "no-answer"),
        ({"choices": []}, "empty"),
        ({"choices": [], "error": {"message": "x"}}, "error"),
        ({"error": {"message": "x"}}, "no-answer"),
        (None, "no-answer"),
    ],
)
def test_only_complete_successful_answers_are_stored(answer: Any, reason: str) -> None:
    verdict = DIALECT.judge(answer)
    assert (verdict.store, verdict.reason) == (reason == "", reason)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"user": "a", "stream": True, "stream_options": {"include_usage": True}}, {}),
        ({"prompt": ["a"]}, {"prompt": "a"}),
        ({"prompt": [[1, 2]]}, {"prompt": [1, 2]}),
    ],
)
def test_what_does_not_change_the_answer_does_not_count(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert DIALECT.counted(parse(ASK | left)) == DIALECT.counted(parse(ASK | right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"prompt": ["a", "b"]}, {"prompt": ["ab"]}),
        ({"prompt": [1]}, {"prompt": "1"}),
        ({"prompt": [[1], [2]]}, {"prompt": [[1, 2]]}),
        *[({name: value}, {}) for name, value in [("n", 2), ("best_of", 2), ("echo", True), ("suffix", "x")]],
        *[({name: value}, {}) for name, value in [("logprobs", 0), ("seed", 1), ("max_tokens", 9), ("x", None)]],
    ],
)
def test_what_may_change_the_answer_counts(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert DIALECT.counted(parse(ASK | left)) != DIALECT.counted(parse(ASK | right))


def test_usage_is_asked_for_and_its_chunk_hidden_as_in_chat() -> None:
    request = parse(ASK | {"stream": True})
    assert json.loads(DIALECT.for_upstream(request)) == ASK | {
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = completions.text_completion(1, ASK)
    with_usage = [data_event(data.encode()) for data in completions.chunks_of(answer, usage=True)]
    without = completions.chunks_of(answer, usage=False)
    shown = [block for block in (DIALECT.for_client(block, request) for block in with_usage) if block is not None]
    assert [json.loads(block[6:]) for block in shown[:-1]] == [json.loads(data) for data in without[:-1]]


def test_a_body_without_a_model_is_refused() -> None:
    with pytest.raises(RequestError):
        parse({"prompt": "a"})


def sdk(gateway: TestGateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-test", max_retries=0)


async def ask(client: openai.AsyncOpenAI, **more: Any) -> tuple[str, dict[str, Any]]:
    """Return what the cache did, and the whole answer."""
    response = await client.completions.with_raw_response.create(**ASK | more)
    return response.headers["X-LLMCache"], response.parse().to_dict()


async def ask_streamed(client: openai.AsyncOpenAI, **more: Any) -> tuple[str, list[dict[str, Any]]]:
    """Return what the cache did, and the chunks."""
    response = await client.completions.with_raw_response.create(**ASK | more, stream=True)
    return response.headers["X-LLMCache"], [chunk.to_dict() async for chunk in response.parse()]


@pytest.fixture
def answered(provider: Provider) -> Provider:
    provider.behave = completions.answering(provider)
    return provider


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_miss_then_hit_is_the_same_answer(gateway: TestGateway, answered: Provider, case: dict[str, Any]) -> None:
    async with sdk(gateway) as client:
        outcome, first = await ask(client, **case)
        assert (outcome, first) == ("MISS", completions.text_completion(1, ASK | case))
        assert await ask(client, **case, user="someone") == ("HIT", first)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_streamed_miss_then_hit_is_the_same_stream(
    gateway: TestGateway, answered: Provider, case: dict[str, Any]
) -> None:
    async with sdk(gateway) as client:
        outcome, first = await ask_streamed(client, **case)
        assert outcome == "MISS"
        assert all(chunk["choices"] and "usage" not in chunk for chunk in first)
        assert await ask_streamed(client, **case) == ("HIT", first)
    assert len(answered.calls) == 1


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_streamed_entry_serves_an_unstreamed_client_with_every_field(
    gateway: TestGateway, answered: Provider, case: dict[str, Any]
) -> None:
    async with sdk(gateway) as client:
        await ask_streamed(client, **case)
        assert await ask(client, **case) == ("HIT", completions.text_completion(1, ASK | case))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_unstreamed_entry_serves_a_streamed_client_with_every_field(
    gateway: TestGateway, answered: Provider, case: dict[str, Any]
) -> None:
    async with sdk(gateway) as client:
        _, answer = await ask(client, **case)
        outcome, chunks = await ask_streamed(client, **case, stream_options={"include_usage": True})
    assert outcome == "HIT"
    assert DIALECT.assemble(blocks_of(*chunks)) == answer
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], answer["usage"])


async def test_sync_sdk_gets_miss_then_hit_streamed_and_not(gateway: TestGateway, answered: Provider) -> None:
    def both() -> list[Any]:
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="sk-test", max_retries=0) as client:
            create = client.completions.with_raw_response.create
            responses = [create(**ASK), create(**ASK)]
            streams = [client.completions.create(**ASK, stream=True) for _ in range(2)]
            text = ["".join(chunk.choices[0].text for chunk in stream) for stream in streams]
            return [*(response.headers["X-LLMCache"] for response in responses), *text]

    answer = completions.text_completion(1, ASK)["choices"][0]["text"]
    assert await asyncio.to_thread(both) == ["MISS", "HIT", answer, answer]
    assert len(answered.calls) == 1
