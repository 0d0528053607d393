"""Policies, and what they change: keys, storing, sampling, sharing."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.normalize import normalize
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, completion


def body(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


async def outcomes(gateway: TestGateway, *bodies: Any, **options: Any) -> list[str]:
    return [(await gateway.post(one, **options)).headers["X-LLMCache"] for one in bodies]


async def test_the_first_policy_that_matches_is_in_force_and_named(
    start_gateway: StartGateway, provider: Provider
) -> None:
    policies = [
        {"name": "codex", "match": {"models": ["*-codex*"]}, "cache": {"mode": "Disabled"}},
        {"name": "vip", "match": {"headers": [{"name": "X-Plan", "value": "vip*"}]}, "cache": {"ttl": "24h"}},
        {"name": "every-gpt", "match": {"models": ["gpt-*"], "dialects": ["openai-chat"]}, "cache": {"ttl": "5m"}},
    ]
    async with start_gateway(manifest(provider.base_url, policies=policies)) as gateway:
        table = [
            ({"model": "gpt-5-codex"}, {}, "codex", None),
            ({"model": "gpt-4o"}, {"X-Plan": "vip-1"}, "vip", 86400),
            ({"model": "gpt-4o-mini"}, {"x-plan": "basic"}, "every-gpt", 300),
            ({"model": "other"}, {}, "default", 3600),
        ]
        for change, headers, policy, ttl in table:
            request = {**body(), **change}
            await gateway.post(request, headers=headers)
            response = await gateway.post(request, headers={**headers, "X-LLMCache-Debug": "1"})
            assert response.headers["X-LLMCache-Policy"] == policy
            if ttl is None:
                assert response.headers["Cache-Status"] == 'llmcache; fwd=bypass; detail="disabled"'
            else:
                left = int(response.headers["Cache-Status"].split("ttl=")[1].split(";")[0])
                assert ttl - 30 < left <= ttl
            labels = f'dialect="openai-chat",model="{request["model"]}",outcome="MISS",policy="{policy}",version="v1"'
            assert await gateway.metric(f"llmcache_requests_total{{{labels}}}") == (0 if ttl is None else 1)
        response = await gateway.post(body())
        assert "X-LLMCache-Policy" not in response.headers


async def test_a_policy_may_share_entries_of_some_requests_only(
    start_gateway: StartGateway, provider: Provider
) -> None:
    policies = [{"name": "faq", "match": {"models": ["faq-*"]}, "tenancy": {"isolation": "Shared"}}]
    async with start_gateway(manifest(provider.base_url, policies=policies)) as gateway:
        one, two = {"Authorization": "Bearer 1"}, {"Authorization": "Bearer 2"}
        assert await outcomes(gateway, body(model="faq-1"), headers=one) == ["MISS"]
        assert await outcomes(gateway, body(model="faq-1"), headers=two) == ["HIT"]
        assert await outcomes(gateway, body(), headers=one) == ["MISS"]
        assert await outcomes(gateway, body(), headers=two) == ["MISS"]


async def test_ignored_members_do_not_split_entries(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(manifest(provider.base_url, cache={"key": {"ignore": ["seed", "trace"]}})) as gateway:
        assert await outcomes(gateway, body(seed=1), body(seed=2, trace="x"), body()) == ["MISS", "HIT", "HIT"]
        assert await outcomes(gateway, body(temperature=1)) == ["MISS"]


@pytest.mark.parametrize(
    ("steps", "same", "different"),
    [
        (["whitespace"], "  what\n is  a\tcache? ", "What is a cache?"),
        (["case"], "What IS a cache?", "what is a  cache?"),
        (["punctuation"], "what is a cache?! ", "what, is a cache?"),
        (["punctuation", "case", "whitespace"], " WHAT is\na cache . ", "what is the cache"),
    ],
)
async def test_texts_are_evened_out_only_as_asked(
    start_gateway: StartGateway, provider: Provider, steps: list[str], same: str, different: str
) -> None:
    first = "what is a cache" if "punctuation" in steps else "what is a cache?"
    async with start_gateway(manifest(provider.base_url, cache={"key": {"normalize": steps}})) as gateway:
        assert await outcomes(gateway, body(first), body(same), body(different)) == ["MISS", "HIT", "MISS"]
    assert provider.calls[0]["body"]["messages"][0]["content"] == first


@given(st.sampled_from(["tools", "tool_choice", "response_format", "model", "stop"]), st.text(max_size=9))
def test_what_is_no_text_is_never_evened_out(member: str, text: str) -> None:
    members = {
        member: [{"text": text, "content": text}],
        "messages": [{"tool_calls": [{"arguments": text}], "name": text}],
    }
    assert normalize(members, ["whitespace", "case", "punctuation"]) == members


@pytest.fixture
def builders(tmp_path: Path) -> Iterator[None]:
    """A module with key builders, importable for the length of a test."""
    (tmp_path / "site_keys.py").write_text(
        "def by_question(request, default): return request.members['messages'][-1]['content'].lower()\n"
        "def broken(request, default): raise RuntimeError('no')\n"
        "def number(request, default): return 5\n"
        "def same(request, default): return default\n"
        "value = 5\n"
    )
    sys.path.insert(0, str(tmp_path))
    yield
    sys.path.remove(str(tmp_path))
    sys.modules.pop("site_keys", None)


@pytest.mark.usefixtures("builders")
async def test_a_key_builder_decides_what_is_equal_inside_its_tenant(
    start_gateway: StartGateway, provider: Provider
) -> None:
    cache = {"key": {"builder": "site_keys:by_question"}}
    async with start_gateway(manifest(provider.base_url, cache=cache)) as gateway:
        assert await outcomes(gateway, body("Hi"), body("hi", temperature=0.9), body("ho")) == ["MISS", "HIT", "MISS"]
        assert await outcomes(gateway, body("hi"), headers={"Authorization": "Bearer x"}) == ["MISS"]


@pytest.mark.usefixtures("builders")
@pytest.mark.parametrize("function", ["broken", "number", "same"])
async def test_a_builder_that_fails_leaves_the_default_key(
    start_gateway: StartGateway, provider: Provider, function: str
) -> None:
    cache = {"key": {"builder": f"site_keys:{function}"}}
    async with start_gateway(manifest(provider.base_url, cache=cache)) as gateway:
        assert await outcomes(gateway, body("Hi"), body("hi"), body("Hi")) == ["MISS", "MISS", "HIT"]


@pytest.mark.usefixtures("builders")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module:f", "No module named"),
        ("site_keys:no_such_function", "no_such_function"),
        ("site_keys:value", "is not a function"),
    ],
)
async def test_a_builder_that_cannot_be_loaded_is_a_configuration_error(
    start_gateway: StartGateway, provider: Provider, name: str, says: str
) -> None:
    async with start_gateway(manifest(provider.base_url)) as gateway:
        gateway.rewrite(manifest(provider.base_url, cache={"key": {"builder": name}}))
        assert gateway.running.reloader.check() is False
        error = (await gateway.status())["configError"]
        assert "spec.cache.key.builder" in error
        assert says in error


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"finish_reason": "length"}, "truncated"),
        ({"finish_reason": "content_filter"}, "filtered"),
        ({"message": {"role": "assistant", "content": None, "refusal": "no"}}, "refused"),
    ],
)
async def test_answers_that_are_not_whole_are_stored_only_where_a_policy_says_so(
    start_gateway: StartGateway, provider: Provider, choice: dict[str, Any], reason: str
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(completion(1, "gpt-4o", "text", **choice))

    provider.behave = answer
    policies = [{"name": "also", "match": {"models": ["also-*"]}, "cache": {"storeAlso": [reason]}}]
    async with start_gateway(manifest(provider.base_url, policies=policies)) as gateway:
        assert await outcomes(gateway, body(), body()) == ["MISS", "MISS"]
        assert (await gateway.post(body())).headers["Cache-Status"].endswith(f'detail="{reason}"')
        assert await outcomes(gateway, body(model="also-1"), body(model="also-1")) == ["MISS", "HIT"]
        assert await gateway.metric(f'llmcache_store_skipped_total{{reason="{reason}"}}') == 3


async def test_requests_are_admitted_only_where_a_policy_says_so(
    start_gateway: StartGateway, provider: Provider
) -> None:
    policies = [{"name": "also", "match": {"models": ["also-*"]}, "cache": {"admit": ["hosted-tools"]}}]
    async with start_gateway(manifest(provider.base_url, policies=policies)) as gateway:
        search: dict[str, Any] = {"web_search_options": {}}
        assert await outcomes(gateway, body(**search), body(**search)) == ["BYPASS", "BYPASS"]
        admitted = body(model="also-1", **search)
        assert await outcomes(gateway, admitted, admitted) == ["MISS", "HIT"]


async def test_sampling_requests_are_cached_unless_a_policy_excludes_them(
    start_gateway: StartGateway, provider: Provider
) -> None:
    policies = [{"name": "exact", "match": {"models": ["exact-*"]}, "cache": {"sampling": "Bypass"}}]
    async with start_gateway(manifest(provider.base_url, policies=policies)) as gateway:
        assert await outcomes(gateway, body(temperature=0.7), body(temperature=0.7)) == ["MISS", "HIT"]
        for sampling in ({"temperature": 0.7}, {"n": 2}):
            excluded = await gateway.post(body(model="exact-1", **sampling))
            assert excluded.headers["Cache-Status"] == 'llmcache; fwd=bypass; detail="sampling"'
        for greedy in ({"temperature": 0}, {"temperature": 0.0, "n": 1}):
            assert await outcomes(gateway, body(model="exact-1", **greedy)) != ["BYPASS"]


async def test_admitting_one_reason_lets_nothing_in_that_has_another_too(
    start_gateway: StartGateway, provider: Provider
) -> None:
    remote = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/i.png"}}]}
    async with start_gateway(manifest(provider.base_url, cache={"admit": ["stateful"]})) as gateway:
        assert await outcomes(gateway, body(store=True)) == ["MISS"]
        both = await gateway.post({**body(store=True), "messages": [remote]})
        assert both.headers["Cache-Status"] == 'llmcache; fwd=bypass; detail="remote-content"'


async def test_allowing_one_flaw_stores_no_answer_that_has_another_too(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        both = completion(1, "gpt-4o", "cut", finish_reason="length")
        both["choices"].append({"index": 1, "message": {"content": None, "refusal": "no"}, "finish_reason": "stop"})
        return web.json_response(both)

    provider.behave = answer
    async with start_gateway(manifest(provider.base_url, cache={"storeAlso": ["truncated"]})) as gateway:
        assert await outcomes(gateway, body(), body()) == ["MISS", "MISS"]
        assert (await gateway.post(body())).headers["Cache-Status"].endswith('detail="refused"')
