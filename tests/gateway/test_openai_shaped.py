"""Providers that speak OpenAI's API: where each is asked, what of a request counts there, and what its SDK gets."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import groq
import openai
import pytest
from aiohttp import web
from mistralai.client import Mistral

from llmcache_gateway.config import load_config
from llmcache_gateway.dialects import dialect_of
from llmcache_gateway.dialects.azure_deployments import AZURES
from llmcache_gateway.dialects.base import Request
from llmcache_gateway.dialects.openai_shaped import ROOTS, TRAITS
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.record import Recording
from llmcache_gateway.upstreams.http import SHAPES
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.corpus.asking import Mistrals
from tests.gateway.provider import Provider, chunks_of, completion, send_events
from tests.gateway.providers import embeddings

ADDRESSES = {
    "openai": "/v1",
    "deepseek": "",
    "openrouter": "/api/v1",
    "mistral": "/v1",
    "xai": "/v1",
    "groq": "/openai/v1",
    "fireworks": "/inference/v1",
    "azure": "",
}


def counted(provider: str, members: dict[str, Any], path: str = "/v1/chat/completions") -> dict[str, Any]:
    body = {"model": "m", "messages": []} | members
    dialect = dialect_of("POST", path)
    assert dialect is not None
    return dialect.for_provider(provider).counted(dialect.parse(body, json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("provider", "member"),
    [
        ("deepseek", "user_id"),
        ("openrouter", "session_id"),
        ("openrouter", "trace"),
        ("fireworks", "prompt_cache_isolation_key"),
    ],
)
def test_what_only_one_provider_knows_to_change_nothing_counts_with_all_others(provider: str, member: str) -> None:
    for other in (*TRAITS, "echo"):
        assert (member in counted(other, {member: "x"})) is (other != provider)


@pytest.mark.parametrize("member", ["safe_prompt", "random_seed", "prompt_mode", "provider", "plugins", "documents"])
def test_what_changes_the_answer_counts_with_every_provider(member: str) -> None:
    assert all(member in counted(provider, {member: "x"}) for provider in TRAITS)


@pytest.mark.parametrize("provider", TRAITS)
def test_every_kind_of_provider_has_an_address_and_a_root(provider: str) -> None:
    assert provider in SHAPES
    assert any(provider in providers for providers in ROOTS.values())


def test_a_stream_of_openrouter_that_fails_half_way_is_not_stored() -> None:
    dialect = dialect_of("POST", "/api/v1/chat/completions")
    assert dialect is not None
    recording = Recording(dialect.for_provider("openrouter"), Request("m", True, {}, b"{}"), frozenset(), 10**6)
    choice = {"index": 0, "delta": {"content": "A"}, "finish_reason": None}
    broken = {"error": {"code": 502, "message": "gone"}, "choices": [choice | {"finish_reason": "error"}]}
    chunks: list[Any] = [{"id": "1", "choices": [choice]}, {"id": "1", **broken}]
    recording.add_events([b": OPENROUTER PROCESSING", *(b"data: " + json.dumps(one).encode() for one in chunks)], 0.0)
    recording.add_events([b"data: [DONE]"], 1.0)
    assert recording.verdict(200).reason == "error"


def test_tool_calls_that_share_a_number_are_not_put_together() -> None:
    dialect = dialect_of("POST", "/v1/chat/completions")
    assert dialect is not None
    calls = [{"index": 0, "id": name, "function": {"name": name, "arguments": "{}"}} for name in ("a", "b")]
    chunks = [
        {"choices": [{"index": 0, "delta": {"tool_calls": [one]}, "finish_reason": "tool_calls"}]} for one in calls
    ]
    with pytest.raises(ValueError, match="two calls have the number 0"):
        dialect.for_provider("mistral").assemble([b"data: " + json.dumps(one).encode() for one in chunks])


@pytest.mark.parametrize(
    ("provider", "address", "right"),
    [
        ("openai", "https://api.openai.com", "https://api.openai.com/v1"),
        ("deepseek", "https://api.deepseek.com/v1", "https://api.deepseek.com"),
        ("openrouter", "https://openrouter.ai/v1", "https://openrouter.ai/api/v1"),
        ("mistral", "https://api.mistral.ai", "https://api.mistral.ai/v1"),
        ("xai", "https://api.x.ai/", "https://api.x.ai/v1"),
        ("groq", "https://api.groq.com/v1", "https://api.groq.com/openai/v1"),
        ("fireworks", "https://api.fireworks.ai/v1", "https://api.fireworks.ai/inference/v1"),
    ],
)
def test_a_wrong_address_at_the_providers_own_host_is_refused_with_the_right_one(
    provider: str, address: str, right: str
) -> None:
    def config(base_url: str) -> str:
        given = manifest(base_url)
        given["spec"]["upstreams"][0]["provider"] = provider
        return json.dumps(given)

    with pytest.raises(ConfigError, match=f"baseURL.*write {right}"):
        load_config(config(address))
    for accepted in (right, f"{right}/", "http://proxy.example/anything"):
        load_config(config(accepted))


@pytest.fixture
async def shaped(start_gateway: StartGateway, provider: Provider) -> AsyncIterator[TestGateway]:
    """A gateway in front of all providers of this shape, of which each has its models."""
    address = provider.base_url.removesuffix("/v1")
    config = manifest(provider.base_url)
    main = config["spec"]["upstreams"][0]
    config["spec"]["upstreams"] = [
        {
            **main,
            "name": kind,
            "provider": kind,
            "baseURL": address + root,
            "models": [f"{kind}-*"],
            "credential": {"env": "KEY"},
        }
        for kind, root in ADDRESSES.items()
    ]
    async with start_gateway(config, environment={"KEY": "sk-own"}) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("kind", "root"),
    [(kind, root) for root, kinds in ROOTS.items() if root != AZURES for kind in sorted(kinds)],
    ids=str,
)
async def test_each_provider_is_asked_at_its_own_address_whichever_root_a_client_uses(
    shaped: TestGateway, provider: Provider, kind: str, root: str
) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        answer = completion(1, body["model"], "yes")
        return await send_events(request, chunks_of(answer, True)) if body.get("stream") else web.json_response(answer)

    provider.behave = behave
    client = openai.AsyncOpenAI(base_url=shaped.url + root, api_key="sk-client", max_retries=0)
    ask: dict[str, Any] = {"model": f"{kind}-1", "messages": [{"role": "user", "content": f"{kind} {root}"}]}
    outcomes = []
    for streamed in (False, True):
        raw = await client.chat.completions.with_raw_response.create(**ask, stream=streamed)
        outcomes.append(raw.headers["X-LLMCache"])
    assert outcomes == ["MISS", "HIT"]
    (call,) = provider.calls
    address = "/openai/v1" if kind == "azure" else ADDRESSES[kind]
    assert call["path"] == f"{address}/chat/completions"
    own = call["headers"].get("api-key") if kind == "azure" else call["headers"]["Authorization"]
    assert own in ("sk-own", "Bearer sk-own")
    await client.close()


async def test_a_root_of_one_provider_reaches_no_other(shaped: TestGateway) -> None:
    answer = await shaped.post({"model": "xai-1", "messages": []}, "/inference/v1/chat/completions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert "none lists the model" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/fim/completions", "/v1/fim/completions"),
        ("/api/v1/generation?id=1", "/api/v1/generation?id=1"),
        ("/openai/v1/audio/speech", "/openai/v1/audio/speech"),
        ("/inference/v1/rerank", "/inference/v1/rerank"),
        ("/beta/completions", "/beta/completions"),
        ("/user/balance", "/user/balance"),
    ],
)
async def test_a_path_of_one_provider_passes_through_to_it(
    shaped: TestGateway, provider: Provider, path: str, asked: str
) -> None:
    answer = await shaped.post({"model": "any"}, path)
    assert (answer.status_code, answer.headers["X-LLMCache"]) == (200, "BYPASS")
    assert provider.calls[0]["path"] == asked


async def test_mistral_embeddings_are_hit_input_by_input(shaped: TestGateway, provider: Provider) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        return web.json_response({"id": "e1", **embeddings.embeddings(await request.json())})

    provider.behave = behave
    client = Mistrals(shaped.url)
    first = await client.sdk.embeddings.create_async(model="mistral-embed", inputs=["a", "b"], output_dimension=2)
    again = await client.sdk.embeddings.create_async(model="mistral-embed", inputs=["c", "a"], output_dimension=2)
    assert [json.loads(call["raw"])["input"] for call in provider.calls] == [["a", "b"], ["c"]]
    assert again.data[1].embedding == first.data[0].embedding
    assert [one.index for one in again.data] == [0, 1]
    alone: dict[str, Any] = {"model": "mistral-embed", "inputs": "b", "output_dimension": 2}
    last = await asyncio.to_thread(lambda: client.sdk.embeddings.create(**alone))
    assert (client.outcome, last.data[0].embedding) == ("HIT", first.data[1].embedding)
    await client.aclose()


async def test_fim_passes_through_mistrals_sdk(shaped: TestGateway, provider: Provider) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        return web.json_response(completion(len(provider.calls), "codestral", "pass"))

    provider.behave = behave
    async with Mistral(api_key="sk-client", server_url=shaped.url) as client:
        for number in (1, 2):
            answer = await client.fim.complete_async(model="codestral-latest", prompt="def f():", suffix="return")
            assert answer.id == f"chatcmpl-{number}"
    assert provider.calls[0]["headers"]["Authorization"] == "Bearer sk-own"


async def test_groqs_sdk_raises_its_own_error_for_one_of_the_gateway(shaped: TestGateway) -> None:
    client = groq.AsyncGroq(base_url=shaped.url, api_key="sk-client", max_retries=0)
    with pytest.raises(groq.NotFoundError, match="No upstream serves the model 'unknown'"):
        await client.chat.completions.create(model="unknown", messages=[{"role": "user", "content": "Hi"}])
    await client.close()


async def test_a_provider_that_refuses_what_the_gateway_adds_with_422_is_asked_as_the_client_asked(
    start_gateway: StartGateway, provider: Provider
) -> None:
    """Mistral does, and it may stand behind `provider: openai`."""

    async def behave(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if "stream_options" in body:
            detail = [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]
            return web.json_response({"object": "error", "message": {"detail": detail}}, status=422)
        return await send_events(request, chunks_of(completion(1, "m", "yes"), False))

    provider.behave = behave
    ask = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    async with start_gateway(manifest(provider.base_url)) as gateway:
        answers = [await gateway.post(ask) for _ in range(2)]
    assert [(one.status_code, one.headers["X-LLMCache"]) for one in answers] == [(200, "MISS"), (200, "HIT")]


async def test_blank_lines_before_an_unstreamed_answer_are_no_part_of_what_it_says(
    shaped: TestGateway, provider: Provider
) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for piece in (b"\n", b"\n\n", json.dumps(completion(1, "m", "yes")).encode()):
            await response.write(piece)
        return response

    provider.behave = behave
    client = openai.AsyncOpenAI(base_url=shaped.url, api_key="sk-client", max_retries=0)
    ask: dict[str, Any] = {"model": "deepseek-1", "messages": [{"role": "user", "content": "Hi"}]}
    assert (await client.chat.completions.create(**ask)).choices[0].message.content == "yes"
    said = [one async for one in await client.chat.completions.create(**ask, stream=True)]
    assert "".join(one.choices[0].delta.content or "" for one in said) == "yes"
    assert len(provider.calls) == 1
    await client.close()
