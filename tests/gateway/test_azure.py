"""Azure OpenAI: the deployment in the path, the version in the query, the key in a header of its own."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from aiohttp import web

from llmcache_gateway.dialects import dialect_of, kin_of
from llmcache_gateway.dialects.azure_filters import graver
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, completion
from tests.gateway.providers import embeddings

VERSION = "2024-10-21"
ASK = {"messages": [{"role": "user", "content": "Hi"}]}
CHAT = f"/openai/deployments/dep-1/chat/completions?api-version={VERSION}"


@pytest.fixture
async def azure(start_gateway: StartGateway, provider: Provider) -> AsyncIterator[TestGateway]:
    config = manifest(provider.base_url.removesuffix("/v1"))
    config["spec"]["upstreams"][0] |= {"provider": "azure", "credential": {"env": "KEY"}}

    async def behave(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if request.path.endswith("/embeddings"):
            return web.json_response(embeddings.embeddings({"model": "m", **body}))
        return web.json_response(completion(len(provider.calls), "gpt-6", "yes"))

    provider.behave = behave
    async with start_gateway(config, environment={"KEY": "azure-key"}) as gateway:
        yield gateway


async def outcomes(gateway: TestGateway, *asked: tuple[str, dict[str, Any]]) -> list[str]:
    return [(await gateway.post(body, path)).headers["X-LLMCache"] for path, body in asked]


async def test_the_deployment_in_the_path_is_the_model_and_the_key_goes_in_its_own_header(
    azure: TestGateway, provider: Provider
) -> None:
    assert await outcomes(azure, (CHAT, ASK), (CHAT, ASK)) == ["MISS", "HIT"]
    (call,) = provider.calls
    assert (call["path"], call["body"]) == (CHAT, ASK)
    assert (call["headers"]["api-key"], "Authorization" in call["headers"]) == ("azure-key", False)


async def test_version_deployment_and_named_model_each_count(azure: TestGateway) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        (CHAT, ASK),
        (CHAT.replace(VERSION, "2025-01-01-preview"), ASK),
        (CHAT.replace("dep-1", "dep-2"), ASK),
        (CHAT, {**ASK, "model": "gpt-6"}),
        (CHAT.replace("chat/", ""), {"prompt": "Hi"}),
    ]
    assert await outcomes(azure, *asked) == ["MISS"] * len(asked)


async def test_embeddings_of_a_deployment_are_hit_input_by_input(azure: TestGateway, provider: Provider) -> None:
    async with openai.AsyncAzureOpenAI(azure_endpoint=azure.url, api_key="k", api_version=VERSION) as client:
        first = await client.embeddings.create(model="ada", input=["a", "b"])
        again = await client.embeddings.create(model="ada", input=["c", "b"])
    assert [call["body"]["input"] for call in provider.calls] == [["a", "b"], ["c"]]
    assert provider.calls[1]["path"] == f"/openai/deployments/ada/embeddings?api-version={VERSION}"
    assert again.data[1].embedding == first.data[1].embedding


async def test_a_plain_client_reaches_azures_newer_api_at_either_root(azure: TestGateway, provider: Provider) -> None:
    asked = {**ASK, "model": "dep-1"}
    paths = ("/openai/v1/chat/completions", "/v1/chat/completions")
    assert await outcomes(azure, *((path, asked) for path in paths)) == ["MISS", "HIT"]
    assert provider.calls[0]["path"] == paths[0]


async def test_responses_of_the_azure_client_are_cached(azure: TestGateway, provider: Provider) -> None:
    path = f"/openai/responses?api-version={VERSION}"
    answer = {"id": "r", "status": "completed", "output": [{"type": "message", "content": [{"text": "yes"}]}]}

    async def behave(request: web.Request) -> web.StreamResponse:
        return web.json_response(answer)

    provider.behave = behave
    asked = {"model": "dep-1", "input": "Hi", "store": False}
    newer = path.replace("/openai/", "/openai/v1/")  # another path at Azure, though with the same query
    assert await outcomes(azure, (path, asked), (path, asked), (newer, asked)) == ["MISS", "HIT", "MISS"]
    assert provider.calls[0]["path"] == path


async def test_other_paths_of_a_deployment_pass_through(azure: TestGateway, provider: Provider) -> None:
    path = f"/openai/deployments/dalle/images/generations?api-version={VERSION}"
    assert await outcomes(azure, (path, {"prompt": "a cat"})) == ["BYPASS"]
    assert (provider.calls[0]["path"], provider.calls[0]["headers"]["api-key"]) == (path, "azure-key")


async def test_a_prompt_that_the_filter_refuses_is_told_as_azure_tells_it_and_not_stored(
    azure: TestGateway, provider: Provider
) -> None:
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}
    error = {"error": {"message": "filtered", "code": "content_filter", "status": 400, "innererror": inner}}

    async def behave(request: web.Request) -> web.StreamResponse:
        return web.json_response(error, status=400)

    provider.behave = behave
    async with openai.AsyncAzureOpenAI(azure_endpoint=azure.url, api_key="k", api_version=VERSION) as client:
        for _ in range(2):
            with pytest.raises(openai.BadRequestError) as caught:
                await client.chat.completions.create(model="dep-1", messages=[{"role": "user", "content": "Hi"}])
            assert caught.value.body == error["error"]
    assert len(provider.calls) == 2


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/openai/deployments/d/chat/completions", "openai-chat"),
        ("/openai/deployments/gpt-4o_2.b/completions", "openai-completions"),
        ("/openai/deployments/d/embeddings", "openai-embeddings"),
        ("/openai/deployments/d/audio/speech", None),
        ("/openai/deployments/a/b/chat/completions", None),
        ("/openai/deployments/%2e/chat/completions", None),
        ("/openai/deployments//chat/completions", None),
    ],
)
def test_which_paths_of_deployments_are_cached(path: str, name: str | None) -> None:
    found = dialect_of("POST", path)
    assert (found.name if found else None) == name
    kin = kin_of(path, {})
    assert kin is not None
    assert "azure" in kin.providers


@pytest.mark.parametrize(
    ("old", "new", "both"),
    [
        (None, {"hate": {"severity": "low"}}, {"hate": {"severity": "low"}}),
        ({"hate": {"severity": "high"}}, {"hate": {"severity": "safe"}}, {"hate": {"severity": "high"}}),
        ({"a": {"filtered": True}}, {"a": {"filtered": False}}, {"a": {"filtered": True}}),
        ({"a": {"filtered": False}}, {"b": {"detected": True}}, {"a": {"filtered": False}, "b": {"detected": True}}),
        ({"a": 1}, {"a": None}, {"a": 1}),
        ({"hate": {"severity": "x"}}, {"hate": {"severity": "y"}}, {"hate": {"severity": "y"}}),
    ],
)
def test_findings_add_up_to_the_graver_of_each(old: Any, new: Any, both: Any) -> None:
    assert graver(old, new) == both
