"""The official openai SDK, pointed at the gateway, over every store."""

import asyncio
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, completion

STORES: dict[str, dict[str, Any]] = {
    "memory": {"type": "memory"},
    "redis": {"type": "redis"},
    "tiered": {"type": "tiered", "l1": {"entries": 100}},
}
QUESTION: list[Any] = [{"role": "user", "content": "What is a cache?"}]


def sdk(gateway: TestGateway, api_key: str = "sk-test") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=api_key, max_retries=0)


async def ask(client: openai.AsyncOpenAI, **more: Any) -> tuple[str, dict[str, Any]]:
    """Return what the cache did, and the whole answer."""
    response = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=QUESTION, **more)
    return response.headers["X-LLMCache"], response.parse().model_dump()


async def ask_streamed(client: openai.AsyncOpenAI, **more: Any) -> tuple[str, list[dict[str, Any]]]:
    """Return what the cache did, and the chunks without what differs from stream to stream."""
    response = await client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=QUESTION, stream=True, **more
    )
    return response.headers["X-LLMCache"], [chunk.model_dump() async for chunk in response.parse()]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"]["content"] or "" for chunk in chunks for choice in chunk["choices"])


@pytest.fixture(params=STORES)
async def cached(
    request: pytest.FixtureRequest, start_gateway: StartGateway, provider: Provider, redis_url: str
) -> Any:
    store = STORES[request.param]
    spec: dict[str, Any] = {"cache": {"store": store}}
    if store["type"] != "memory":
        spec["redis"] = {"external": {"url": redis_url}}
    async with start_gateway(manifest(provider.base_url, **spec)) as gateway:
        yield gateway


async def settled(gateway: TestGateway) -> None:
    """Wait until what was taken on to be stored has been written."""
    await gateway.running.reloader.current.store.flush()


async def test_unstreamed_miss_then_hit_is_the_same_answer(cached: TestGateway, provider: Provider) -> None:
    async with sdk(cached) as client:
        assert (first := await ask(client))[0] == "MISS"
        await settled(cached)
        assert await ask(client) == ("HIT", first[1])
    assert len(provider.calls) == 1


async def test_streamed_miss_then_hit_is_the_same_stream(cached: TestGateway, provider: Provider) -> None:
    async with sdk(cached) as client:
        assert (first := await ask_streamed(client))[0] == "MISS"
        assert text_of(first[1]) == "answer 1 to What is a cache?"
        await settled(cached)
        assert await ask_streamed(client) == ("HIT", first[1])
    assert len(provider.calls) == 1


async def test_streamed_entry_serves_an_unstreamed_client_with_every_field(
    cached: TestGateway, provider: Provider
) -> None:
    async with sdk(cached) as client:
        await ask_streamed(client)
        await settled(cached)
        outcome, answer = await ask(client)
    assert outcome == "HIT"
    whole = completion(1, "gpt-4o", "answer 1 to What is a cache?")
    del whole["choices"][0]["message"]["annotations"]  # the provider's stream has none
    assert answer == ChatCompletion.model_validate(whole).model_dump()
    assert len(provider.calls) == 1


async def test_unstreamed_entry_serves_a_streamed_client(cached: TestGateway, provider: Provider) -> None:
    async with sdk(cached) as client:
        _, answer = await ask(client)
        await settled(cached)
        outcome, chunks = await ask_streamed(client, stream_options={"include_usage": True})
    assert outcome == "HIT"
    assert text_of(chunks) == answer["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"] == answer["usage"]
    assert chunks[-1]["choices"] == []
    assert all(chunk["field_of_tomorrow"] == {"kept": True} for chunk in chunks)
    assert len(provider.calls) == 1


async def test_stream_helper_of_the_sdk_works_on_miss_and_hit(cached: TestGateway) -> None:
    async with sdk(cached) as client:
        answers = []
        for _ in range(2):
            async with client.chat.completions.stream(model="gpt-4o", messages=QUESTION) as stream:
                async for _event in stream:
                    pass
                answers.append(await stream.get_final_completion())
            await settled(cached)
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content
    assert answers[0].model_dump() == answers[1].model_dump()


async def test_sync_sdk_gets_miss_then_hit(cached: TestGateway, provider: Provider) -> None:
    def both() -> list[str]:
        with openai.OpenAI(base_url=f"{cached.url}/v1", api_key="sk-test", max_retries=0) as client:
            create = client.chat.completions.with_raw_response.create
            return [create(model="gpt-4o", messages=QUESTION).headers["X-LLMCache"] for _ in range(2)]

    assert await asyncio.to_thread(both) == ["MISS", "HIT"]
    assert len(provider.calls) == 1


async def test_usage_chunk_is_asked_for_upstream_and_hidden_from_a_client_that_did_not_ask(
    gateway: TestGateway, provider: Provider
) -> None:
    async with sdk(gateway) as client:
        _, chunks = await ask_streamed(client)
    assert provider.calls[0]["body"]["stream_options"] == {"include_usage": True}
    assert all(chunk["choices"] for chunk in chunks)
    raw = await gateway.post({"model": "gpt-4o", "messages": QUESTION, "stream": True})
    assert '"usage"' not in raw.text


async def test_two_credentials_never_share_an_entry(gateway: TestGateway, provider: Provider) -> None:
    async with sdk(gateway, "sk-one") as one, sdk(gateway, "sk-two") as two:
        outcomes = [(await ask(client))[0] for client in (one, two, one, two)]
    assert outcomes == ["MISS", "MISS", "HIT", "HIT"]
    assert [call["headers"]["Authorization"] for call in provider.calls] == ["Bearer sk-one", "Bearer sk-two"]
