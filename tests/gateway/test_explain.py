"""Explaining a request: its key, what went into it, what the cache would do, and what comes closest."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcache_gateway.explain import MOST_DIFFERENCES, Form, alike, differences
from tests.gateway.conftest import ADMIN, ADMIN_TOKEN, StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.providers import embeddings
from tests.gateway.test_hooks import SPEC
from tests.gateway.test_hooks import write as write_hook
from tests.gateway.test_rollout import question, rollout, switch

RED = {"Authorization": "Bearer sk-red-of-a-client"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-1, 1) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xy", max_size=2), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text("mn", min_size=1, max_size=2), JSON, max_size=3)


def of(body: Any = None, **more: Any) -> Form:
    parts: dict[str, Any] = {"dialect": "d", "upstream": ("u",), "tenant": "t", "namespace": "", "shares": []}
    return Form(**{**parts, "query": "", "headers": {}, "body": body or {}, **more})


@given(BODIES, BODIES)
def test_two_requests_differ_where_they_do_and_nowhere_else(one: dict[str, Any], other: dict[str, Any]) -> None:
    """As their canonical texts would: 1 is 1.0, and true is not 1."""
    equal = json.dumps(_numbers(one), sort_keys=True) == json.dumps(_numbers(other), sort_keys=True)
    assert (differences(of(one), of(other)) == []) == equal
    assert len(differences(of(one), of(other))) == len(differences(of(other), of(one))) <= MOST_DIFFERENCES


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return value + 0.0 if isinstance(value, int | float) and not isinstance(value, bool) else value


def test_a_difference_is_told_by_place_and_kind_not_by_what_was_written() -> None:
    one = of({"messages": [{"content": "my secret is 7"}], "temperature": 0.5, "stop": None}, tenant="red")
    other = of({"messages": [{"content": "my secret was 8"}, {}], "temperature": True}, tenant="blue")
    assert differences(one, other) == [
        {"where": "tenant", "this": "red", "that": "blue", "firstDifferenceAt": 0},
        {
            "where": "body.messages[0].content",
            "this": "a text of 14 characters",
            "that": "a text of 15 characters",
            "firstDifferenceAt": 10,
        },
        {"where": "body.messages[1]", "this": "not there", "that": "an object"},
        {"where": "body.stop", "this": "null", "that": "not there"},
        {"where": "body.temperature", "this": "0.5", "that": "true"},
    ]
    assert alike(differences(one, other)) == 10


async def explain(gateway: TestGateway, asked: Any, headers: dict[str, str] = ADMIN) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(f"{gateway.admin_url}/admin/v1/explain", json=asked, headers=headers)


def asking(body: dict[str, Any], path: str = "/v1/chat/completions", **more: Any) -> dict[str, Any]:
    return {"path": path, "body": body, **more}


async def explained(gateway: TestGateway, body: dict[str, Any], **more: Any) -> Any:
    answer = await explain(gateway, asking(body, **more))
    assert answer.status_code == 200
    assert "sk-" not in answer.text
    return answer.json()


async def test_the_key_is_the_one_that_the_request_has_and_nothing_is_asked(
    start_gateway: StartGateway, provider: Provider
) -> None:
    cache = {"key": {"ignore": ["seed"], "ignoreHeaders": ["X-Team*"]}}
    headers = RED | {"OpenAI-Beta": "b", "X-Team-A": "1", "X-My-Token": "sk-mine", "X-LLMCache-TTL": "60"}
    body = question("hello", seed=1, stream=False, user="me")
    async with start_gateway(manifest(provider.base_url, cache=cache)) as gateway:
        before = await explained(gateway, body, headers=headers)
        assert (before["decision"], provider.calls) == ({"outcome": "MISS", "reason": "nothing-stored"}, [])
        answer = await gateway.post(body, headers=headers)
        after = await explained(gateway, body, headers=headers)
        assert await gateway.metric('llmcache_hits_total{tier="memory"}') == 0
        versions = (await explain_stats(gateway))["versions"]
    assert before["key"] == after["key"] == answer.headers["X-LLMCache-Key"]
    assert after["decision"] == {"outcome": "HIT", "reason": "fresh"}
    assert (after["entry"]["key"], after["version"], after["policy"]) == (after["key"], "v1", "default")
    assert versions["v1"]["requests"] == 1
    made_of = after["ingredients"]
    assert made_of["members"] == {
        "counted": ["messages", "model"],
        "ignored": {"seed": "cache.key.ignore", "stream": "never counts", "user": "never counts"},
    }
    assert made_of["headers"] == {
        "counted": {"openai-beta": ["b"], "x-my-token": None},
        "ignored": {
            "authorization": "a credential: it makes the tenant",
            "x-llmcache-ttl": "of this gateway",
            "x-team-a": "cache.key.ignoreHeaders",
        },
    }
    assert made_of["settings"] == {"ignore": ["seed"], "ignoreHeaders": ["X-Team*"]}
    assert (made_of["dialect"], made_of["upstream"][0], made_of["tenant"]) == ("openai-chat", "main", after["tenant"])


async def explain_stats(gateway: TestGateway) -> Any:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{gateway.admin_url}/admin/v1/stats", headers=ADMIN)).json()


async def test_a_miss_shows_the_closest_stored_request_and_where_it_differs(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(manifest(provider.base_url)) as gateway:
        cache, other = question("What is a cache?", temperature=0), question("Something else", temperature=0)
        _, _, wanted, _ = [(await gateway.post(body, headers=RED)).headers for body in (other, cache, cache, other)]
        told = await explained(gateway, question("What is a cake?", temperature=0), headers=RED)
        assert told["decision"] == {"outcome": "MISS", "reason": "nothing-stored"}
        assert told["nearest"]["key"] == wanted["X-LLMCache-Key"]
        assert [one["where"] for one in told["nearest"]["differences"]] == ["body.messages[0].content"]
        assert told["nearest"]["differences"][0]["firstDifferenceAt"] == len("What is a ca")
        assert "cake" not in json.dumps(told)
        # Another tenant's is close, too, and says that it is another's.
        told = await explained(gateway, question("What is a cache?", temperature=0))
        assert [one["where"] for one in told["nearest"]["differences"]] == ["tenant"]
        far = await explained(gateway, {"model": "m", "prompt": "x"}, path="/v1/completions")
        assert far["nearest"]["key"] is None
        assert "0 of the requests asked most" in far["nearest"]["note"]


async def test_an_entry_of_the_other_version_is_the_nearest(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(rollout(provider.base_url)) as gateway:
        old = (await gateway.post(question("x"), headers=RED)).headers["X-LLMCache-Key"]
        switch(gateway, rollout(provider.base_url, "v1", ("v2", 100)))
        told = await explained(gateway, question("x"), headers=RED)
    assert (told["version"], told["decision"]["outcome"]) == ("v2", "MISS")
    assert told["nearest"] == {"key": old, "differences": [{"where": "version", "this": "v2", "that": "v1"}]}


async def test_each_decision_has_its_reason(start_gateway: StartGateway, provider: Provider) -> None:
    now = [1000.0]
    cache = {"ttl": "10s", "staleWhileRevalidate": "10s"}
    async with start_gateway(manifest(provider.base_url, cache=cache), clock=lambda: now[0]) as gateway:
        await gateway.post(question("x"))

        async def decision(body: dict[str, Any] | None = None, **more: Any) -> tuple[str, str]:
            told = (await explained(gateway, body or question("x"), **more))["decision"]
            return told["outcome"], told["reason"]

        assert await decision() == ("HIT", "fresh")
        assert await decision(headers={"Cache-Control": "no-cache"}) == ("MISS", "request")
        assert await decision(headers={"Cache-Control": "no-cache, only-if-cached"}) == ("ERROR", "request")
        assert await decision(headers={"Cache-Control": "no-store"}) == ("BYPASS", "no-store")
        assert await decision(headers={"Cache-Control": "no-store, only-if-cached"}) == ("ERROR", "no-store")
        assert await decision(headers={"X-LLMCache-Version": "v1"}) == ("ERROR", "not_for_clients")
        assert await decision(headers={"X-LLMCache-Admin": ADMIN_TOKEN, "X-LLMCache-Version": "v1"}) == ("HIT", "fresh")
        assert await decision(path="/v1/files") == ("BYPASS", "unknown-path")
        assert await decision({"model": 1}) == ("ERROR", "missing_model")
        now[0] += 15
        assert await decision() == ("STALE", "stale-while-revalidate")
        assert await decision(headers={"Cache-Control": "max-age=1"}) == ("MISS", "stale")
        async with httpx.AsyncClient() as client:
            selection = {"model": "m"}
            await client.post(f"{gateway.admin_url}/admin/v1/invalidate", json=selection, headers=ADMIN)
        assert (await decision())[0] == "MISS"


async def test_a_miss_says_where_the_semantic_cache_was_not_looked_into(
    start_gateway: StartGateway, provider: Provider
) -> None:
    for enabled in (True, False):
        async with start_gateway(manifest(provider.base_url, semantic={"enabled": enabled})) as gateway:
            decision = (await explained(gateway, question("x")))["decision"]
        assert decision["outcome"] == "MISS"
        assert ("X-LLMCache-Debug" in decision.get("semantic", "")) is enabled


async def test_the_inputs_of_embeddings_are_counted(start_gateway: StartGateway, provider: Provider) -> None:
    provider.behave = embeddings.BEHAVIOUR
    async with start_gateway(manifest(provider.base_url)) as gateway:
        await gateway.post({"model": "e", "input": ["a", "b"]}, path="/v1/embeddings")
        told = await explained(gateway, {"model": "e", "input": ["a", "b", "c"]}, path="/v1/embeddings")
        whole = await explained(gateway, {"model": "e", "input": ["b", "a"]}, path="/v1/embeddings")
    assert told["decision"] == {"outcome": "MISS", "reason": "by-input", "inputs": 3, "inputsStored": 2}
    assert whole["decision"]["outcome"] == "HIT"


async def test_a_key_of_a_hook_is_told(start_gateway: StartGateway, provider: Provider, tmp_path: Path) -> None:
    (tmp_path / "hooks").mkdir()
    write_hook(tmp_path / "hooks", "async def build_key(request, default_key): return 'one for all'")
    async with start_gateway(manifest(provider.base_url, hooks=SPEC), hooks=tmp_path / "hooks") as gateway:
        key = (await gateway.post(question("a"))).headers["X-LLMCache-Key"]
        told = await explained(gateway, question("b"))
    assert (told["key"], told["decision"]["outcome"]) == (key, "HIT")
    assert told["ingredients"]["replacedBy"] == "the hook build_key"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ([], "body"),
        ({"path": "/v1/chat/completions"}, "body"),
        ({"body": {}}, "path"),
        (asking({}, headers=[]), "headers"),
        (asking({}, tenant="a:b"), "tenant"),
        (asking({}, version="v1"), "version"),
    ],
)
async def test_what_is_no_request_is_refused_with_its_place(gateway: TestGateway, asked: Any, param: str) -> None:
    answer = await explain(gateway, asked)
    assert (answer.status_code, answer.json()["param"]) == (400, param)
    assert (await explain(gateway, asked, headers={})).status_code == 401
