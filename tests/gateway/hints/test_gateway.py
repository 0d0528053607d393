"""Hints on the way upstream, over real sockets: what the provider is asked, and what clients notice of it (nothing)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.gateway.anthropic_provider import AnthropicProvider, events_of, running_anthropic, send_events
from tests.gateway.anthropic_provider import error as anthropic_error
from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.hints import rules
from tests.gateway.provider import Provider

CLAUDE = "claude-sonnet-5-5"
LONG = "You answer questions about caches. " * 200
"""Longer than any model's shortest prefix, but one."""

MARK = {"type": "ephemeral"}
HEADERS = {"x-api-key": "k", "anthropic-version": "2026-10-21"}


@pytest.fixture
async def claude() -> AsyncIterator[AnthropicProvider]:
    async with running_anthropic() as provider:
        yield provider


def in_front_of(provider: AnthropicProvider, **hints: Any) -> dict[str, Any]:
    config = manifest(provider.base_url, hints=hints)
    config["spec"]["upstreams"][0]["provider"] = "anthropic"
    return config


def asked(question: str, system: Any = LONG, **more: Any) -> dict[str, Any]:
    return {"model": CLAUDE, "max_tokens": 9, "system": system, **more, "messages": [user(question)]}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


async def ask(gateway: TestGateway, body: Any) -> httpx.Response:
    response = await gateway.post(body, "/v1/messages", headers=HEADERS)
    assert response.status_code == 200, response.text
    return response


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


async def test_a_prefix_that_came_before_is_marked_and_one_that_did_not_is_not(
    start_gateway: StartGateway, claude: AnthropicProvider
) -> None:
    async with start_gateway(in_front_of(claude)) as gateway:
        for question in ("one", "two"):
            await ask(gateway, asked(question))
        await ask(gateway, asked("three", system=LONG + " And nothing else."))
        shown = await gateway.metric('llmcache_hints_total{hint="cache_control",upstream="main"}')
    first, second, third = (call["body"] for call in claude.calls)
    assert first == asked("one")
    assert second == asked("two", system=[text(LONG, cache_control=MARK)])
    assert third == asked("three", system=LONG + " And nothing else.")
    assert shown == 1


async def test_without_hints_in_the_manifest_the_provider_is_asked_for_the_clients_bytes(
    start_gateway: StartGateway, provider: Provider
) -> None:
    body = json.dumps({"model": "gpt-5.6", "messages": [{"role": "system", "content": LONG}, user("x")]}, indent=3)
    async with start_gateway(manifest(provider.base_url)) as gateway:
        for _ in range(3):
            await gateway.post(body.encode(), headers={"Cache-Control": "no-cache"})
    assert {call["raw"] for call in provider.calls} == {body.encode()}


async def test_a_request_that_gets_no_hint_goes_upstream_byte_by_byte(
    start_gateway: StartGateway, provider: Provider
) -> None:
    body = json.dumps({"model": "of-nobody", "messages": [{"role": "system", "content": LONG}, user("x")]}, indent=3)
    always = {"mode": "always", "points": [{"location": "system"}]}
    async with start_gateway(manifest(provider.base_url, hints=always)) as gateway:
        await gateway.post(body.encode())
    assert provider.calls[0]["raw"] == body.encode()


async def test_entries_and_hits_know_nothing_of_hints(start_gateway: StartGateway, claude: AnthropicProvider) -> None:
    async with start_gateway(in_front_of(claude)) as gateway:
        await ask(gateway, asked("one"))
        hinted = await ask(gateway, asked("two"))
        marked = asked("two", system=[text(LONG, cache_control=MARK)])
        again = [await ask(gateway, asked("two")), await ask(gateway, marked)]
        gateway.rewrite(in_front_of(claude, mode="off"))
        assert gateway.running.reloader.check()
        again.append(await ask(gateway, asked("two")))
    assert [one.headers["X-LLMCache"] for one in again] == ["HIT", "HIT", "HIT"]
    assert {one.headers["X-LLMCache-Key"] for one in again} == {hinted.headers["X-LLMCache-Key"]}
    assert len(claude.calls) == 2


async def test_a_client_that_marks_itself_is_left_alone(start_gateway: StartGateway, claude: AnthropicProvider) -> None:
    own = asked("one", system=[text("short", cache_control=MARK), text(LONG)])
    async with start_gateway(in_front_of(claude, mode="always", points=[{"location": "system"}])) as gateway:
        await ask(gateway, own)
    assert claude.calls[0]["body"] == own


@pytest.mark.parametrize(
    ("points", "marked"),
    [
        ([{"location": "tools"}], ["tools.1"]),
        ([{"location": "system"}], ["system.0"]),
        ([{"location": "message", "index": 0}], ["messages.0.content.0"]),
        ([{"location": "message", "index": -1}], ["messages.2.content.1"]),
        ([{"location": "message", "role": "user"}], ["messages.2.content.1"]),
        ([{"location": "message", "role": "user", "index": 0}], ["messages.0.content.0"]),
        ([{"location": "message", "role": "assistant", "index": -1}], ["messages.1.content.0"]),
        ([{"location": "message", "role": "system"}], ["system.0"]),
        ([{"location": "message", "index": 7}], []),
        ([{"location": "system"}, {"location": "tools"}], ["tools.1", "system.0"]),
    ],
)
async def test_points_name_places_by_location_role_and_index(
    start_gateway: StartGateway, claude: AnthropicProvider, points: list[dict[str, Any]], marked: list[str]
) -> None:
    body = {
        "model": CLAUDE,
        "max_tokens": 9,
        "tools": [{"name": name, "input_schema": {"type": "object"}} for name in ("a", "b")],
        "system": "Be brief.",
        "messages": [
            user("a document"),
            {"role": "assistant", "content": [text("noted"), {"type": "thinking", "thinking": "", "signature": "s"}]},
            user([text("and"), text("a question"), text("")]),
        ],
    }
    async with start_gateway(in_front_of(claude, mode="always", points=points)) as gateway:
        await ask(gateway, body)
    sent = claude.calls[0]["body"]
    assert [where for where, block, _ in rules._blocks(sent) if "cache_control" in block] == marked
    assert rules.anthropic(sent) is None


async def test_a_longer_time_is_asked_for_where_the_model_has_it(
    start_gateway: StartGateway, claude: AnthropicProvider
) -> None:
    always = {"mode": "always", "points": [{"location": "system"}], "ttl": "1h"}
    async with start_gateway(in_front_of(claude, **always)) as gateway:
        await ask(gateway, asked("one"))
    assert claude.calls[0]["body"]["system"] == [text(LONG, cache_control={"type": "ephemeral", "ttl": "1h"})]


async def test_a_conversation_is_marked_where_its_last_request_ended_and_where_all_have_the_same(
    start_gateway: StartGateway, claude: AnthropicProvider
) -> None:
    turns = [user("first question")]
    async with start_gateway(in_front_of(claude)) as gateway:
        for answer in ("first answer", "second answer", ""):
            await ask(gateway, asked("", messages=None) | {"messages": turns})
            turns = [*turns, {"role": "assistant", "content": answer}, user("next question")]
    marked = [
        [where for where, block, _ in rules._blocks(call["body"]) if "cache_control" in block] for call in claude.calls
    ]
    assert marked == [[], ["system.0", "messages.0.content.0"], ["system.0", "messages.2.content.0"]]


def chat(question: str, model: str = "gpt-6.1-sol", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "developer", "content": LONG}, user(question)], **more}


async def test_openai_gets_a_breakpoint_behind_what_all_requests_begin_with(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(manifest(provider.base_url, hints={})) as gateway:
        for question in ("one", "two"):
            await gateway.post(chat(question))
    mark = {"mode": "explicit"}
    assert provider.calls[1]["body"]["messages"][0] == {
        "role": "developer",
        "content": [text(LONG, prompt_cache_breakpoint=mark)],
    }
    assert provider.calls[1]["body"]["messages"][1] == user("two")


async def test_older_models_of_openai_get_a_key_that_names_what_requests_have_in_common(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(manifest(provider.base_url, hints={})) as gateway:
        for question in ("one", "two", "three"):
            await gateway.post(chat(question, "gpt-4o"))
        other = chat("two", "gpt-4o") | {"messages": [{"role": "system", "content": "x" * 9000}, user("two")]}
        for question in ("four", "five"):
            await gateway.post(other | {"messages": [other["messages"][0], user(question)]})
    keys = [call["body"].get("prompt_cache_key") for call in provider.calls]
    assert (keys[0], keys[3]) == (None, None)
    assert keys[1] == keys[2] != keys[4]
    assert all(call["body"]["messages"][0]["content"] in (LONG, "x" * 9000) for call in provider.calls)


async def test_tenants_have_no_key_in_common(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(manifest(provider.base_url, hints={})) as gateway:
        for tenant in ("a", "b"):
            for question in ("one", "two"):
                await gateway.post(chat(question, "gpt-4o"), headers={"Authorization": f"Bearer {tenant}"})
    keys = [call["body"].get("prompt_cache_key") for call in provider.calls]
    assert (keys[0], keys[2]) == (None, None)
    assert keys[1] != keys[3]


async def test_responses_get_a_breakpoint_on_a_part_of_the_input(
    start_gateway: StartGateway, provider: Provider
) -> None:
    points = [{"location": "system"}, {"location": "message", "role": "user"}]
    config = manifest(provider.base_url, hints={"mode": "always", "points": points})
    items = [{"role": "developer", "content": LONG}, user([{"type": "input_text", "text": "x"}])]
    async with start_gateway(config) as gateway:
        await gateway.post({"model": "gpt-6.1-sol", "store": False, "input": items}, "/v1/responses")
    mark = {"mode": "explicit"}
    assert provider.calls[0]["body"]["input"] == [
        {"role": "developer", "content": [{"type": "input_text", "text": LONG, "prompt_cache_breakpoint": mark}]},
        user([{"type": "input_text", "text": "x", "prompt_cache_breakpoint": mark}]),
    ]


async def test_a_policy_has_hints_of_its_own(start_gateway: StartGateway, claude: AnthropicProvider) -> None:
    config = in_front_of(claude)
    del config["spec"]["hints"]
    points = [{"location": "system"}]
    config["spec"]["policies"] = [
        {"name": "p", "match": {"models": [CLAUDE]}, "hints": {"mode": "always", "points": points}}
    ]
    async with start_gateway(config) as gateway:
        await ask(gateway, asked("one"))
        await ask(gateway, asked("one", model="claude-opus-5"))
    assert claude.calls[0]["body"]["system"] == [text(LONG, cache_control=MARK)]
    assert claude.calls[1]["body"]["system"] == LONG


async def test_a_request_that_may_not_meet_the_cache_is_given_hints_too(
    start_gateway: StartGateway, claude: AnthropicProvider
) -> None:
    async with start_gateway(in_front_of(claude, mode="always", points=[{"location": "system"}])) as gateway:
        await ask(gateway, asked("one", tools=[{"type": "web_search_20250305", "name": "web_search"}]))
    assert claude.calls[0]["body"]["system"] == [text(LONG, cache_control=MARK)]


def refuse_hints(message: str) -> Callable[[web.Request], Any]:
    async def behave(request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        if b"cache_control" in raw:
            return anthropic_error(400, "invalid_request_error", message)
        return anthropic_error(418, "teapot", "without hints it comes here")

    return behave


REFUSAL = "system.0.cache_control: Extra inputs are not permitted"


def taking_no_hints(claude: AnthropicProvider, message: str = REFUSAL) -> Callable[[web.Request], Any]:
    """Return the behaviour of a provider that has taken its hint back, and answers all else."""

    async def behave(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if "cache_control" in json.dumps(body):
            return anthropic_error(400, "invalid_request_error", message)
        answer = claude.answer(len(claude.calls), body)
        return await send_events(request, events_of(answer)) if body.get("stream") else web.json_response(answer)

    return behave


async def test_a_hint_that_is_refused_is_left_away_at_once_and_for_a_while(
    start_gateway: StartGateway, claude: AnthropicProvider
) -> None:
    claude.behave = taking_no_hints(claude)
    async with start_gateway(in_front_of(claude, mode="always", points=[{"location": "system"}])) as gateway:
        for question in ("one", "two"):
            await ask(gateway, asked(question))
        await ask(gateway, asked("one", model="claude-opus-5"))
        again = await ask(gateway, asked("one"))
        downs = await gateway.metric('llmcache_hint_stand_downs_total{hint="cache_control",upstream="main"}')
        shown = (await gateway.status())["hints"]["standDowns"]
    hinted = ["cache_control" in json.dumps(call["body"]) for call in claude.calls]
    assert hinted == [True, False, False, True, False]
    assert again.headers["X-LLMCache"] == "HIT"
    assert downs == 2
    assert [(one["upstream"], one["model"], one["refused"]) for one in shown] == [
        ("main", CLAUDE, "cache_control"),
        ("main", "claude-opus-5", "cache_control"),
    ]
    assert all(0 < one["seconds"] <= 600 for one in shown)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hint_that_is_refused_without_being_named_is_left_away_once_the_request_is_answered_without(
    start_gateway: StartGateway, claude: AnthropicProvider, stream: bool
) -> None:
    claude.behave = taking_no_hints(claude, "Invalid request.")
    async with start_gateway(in_front_of(claude, mode="always", points=[{"location": "system"}])) as gateway:
        for question in ("one", "two"):
            await ask(gateway, asked(question, stream=stream))
        (down,) = (await gateway.status())["hints"]["standDowns"]
    assert ["cache_control" in json.dumps(call["body"]) for call in claude.calls] == [True, False, False]
    assert (down["model"], down["refused"]) == (CLAUDE, "cache_control")


async def test_a_refusal_of_something_else_is_asked_again_once_and_then_it_is_the_clients(
    start_gateway: StartGateway, claude: AnthropicProvider
) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        return anthropic_error(400, "invalid_request_error", "messages: at least one message is required")

    claude.behave = behave
    async with start_gateway(in_front_of(claude, mode="always", points=[{"location": "system"}])) as gateway:
        for _ in range(2):
            response = await gateway.post(asked("one"), "/v1/messages", headers=HEADERS)
            assert (response.status_code, "at least one message" in response.text) == (400, True)
        assert (await gateway.status())["hints"]["standDowns"] == []
        assert await gateway.metric('llmcache_hint_stand_downs_total{hint="cache_control",upstream="main"}') == 0
    assert ["cache_control" in json.dumps(call["body"]) for call in claude.calls] == [True, False, True, False]


async def test_what_is_wrong_without_the_hint_too_is_told_as_the_provider_says_it(
    start_gateway: StartGateway, claude: AnthropicProvider
) -> None:
    claude.behave = refuse_hints("cache_control: no")
    async with start_gateway(in_front_of(claude, mode="always", points=[{"location": "system"}])) as gateway:
        response = await gateway.post(asked("one"), "/v1/messages", headers=HEADERS)
    assert (response.status_code, len(claude.calls)) == (418, 2)


async def test_an_upstream_that_refuses_hint_and_usage_is_asked_without_both(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async def behave(request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        for name in (b"prompt_cache_breakpoint", b"stream_options"):
            if name in raw:
                return web.json_response({"error": {"message": f"unknown {name.decode()}"}}, status=400)
        return await provider.chat(request, json.loads(raw))

    provider.behave = behave
    always = {"mode": "always", "points": [{"location": "system"}]}
    async with start_gateway(manifest(provider.base_url, hints=always)) as gateway:
        response = await gateway.post(chat("one", stream=True))
    assert response.status_code == 200
    assert provider.calls[-1]["body"] == chat("one", stream=True)
    assert len(provider.calls) == 3


async def test_what_was_seen_is_remembered_over_a_reload(
    start_gateway: StartGateway, claude: AnthropicProvider
) -> None:
    async with start_gateway(in_front_of(claude)) as gateway:
        await ask(gateway, asked("one"))
        gateway.rewrite(in_front_of(claude, ttl="1h"))
        assert gateway.running.reloader.check()
        await ask(gateway, asked("two"))
    assert claude.calls[1]["body"]["system"] == [text(LONG, cache_control={"type": "ephemeral", "ttl": "1h"})]


async def test_a_manifest_teaches_the_gateway_a_model(start_gateway: StartGateway, claude: AnthropicProvider) -> None:
    row = {"models": ["our-model"], "family": "claude-opus-5"}
    always = {"mode": "always", "points": [{"location": "system"}], "capabilities": [row]}
    async with start_gateway(in_front_of(claude, **always)) as gateway:
        await ask(gateway, asked("one", model="our-model"))
    assert claude.calls[0]["body"]["system"] == [text(LONG, cache_control=MARK)]


async def test_a_hook_changes_the_clients_request_and_what_it_makes_of_it_is_marked(
    start_gateway: StartGateway, claude: AnthropicProvider, tmp_path: Path
) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "mine.py").write_text(
        "from llmcache_gateway.hooks import *\n"
        "async def pre_upstream(call):\n"
        "    assert isinstance(call.members['system'], str)\n"
        "    return Changes(members={'system': call.members['system'].upper()})\n"
    )
    config = in_front_of(claude, mode="always", points=[{"location": "system"}])
    config["spec"]["hooks"] = {"configMapRef": {"name": "mine"}}
    async with start_gateway(config, hooks=tmp_path / "hooks") as gateway:
        await ask(gateway, asked("one"))
    assert claude.calls[0]["body"]["system"] == [text(LONG.upper(), cache_control=MARK)]


async def test_a_stale_entry_is_refreshed_although_the_upstream_refuses_the_hint(
    start_gateway: StartGateway, claude: AnthropicProvider
) -> None:
    now = [1000.0]
    config = in_front_of(claude, mode="always", points=[{"location": "system"}])
    config["spec"]["cache"] = {"ttl": "10s", "staleWhileRevalidate": "1h"}
    async with start_gateway(config, clock=lambda: now[0]) as gateway:
        await ask(gateway, asked("one"))
        claude.behave = taking_no_hints(claude)
        now[0] += 11
        assert (await ask(gateway, asked("one"))).headers["X-LLMCache"] == "STALE"
        async with asyncio.timeout(20):
            while not await gateway.metric('llmcache_refreshes_total{result="stored"}'):  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.05)
        assert (await ask(gateway, asked("one"))).headers["X-LLMCache"] == "HIT"
    assert ["cache_control" in json.dumps(call["body"]) for call in claude.calls] == [True, True, False]


async def test_a_stream_whose_hint_is_refused_is_asked_for_again_and_streams(
    start_gateway: StartGateway, claude: AnthropicProvider
) -> None:
    claude.behave = taking_no_hints(claude)
    async with start_gateway(in_front_of(claude, mode="always", points=[{"location": "system"}])) as gateway:
        response = await ask(gateway, asked("one", stream=True))
    assert response.text.count("event: message_stop") == 1
    assert len(claude.calls) == 2


async def test_clients_that_wait_for_one_call_are_all_given_the_answer_without_the_hint(
    start_gateway: StartGateway, claude: AnthropicProvider
) -> None:
    claude.behave = taking_no_hints(claude)
    async with start_gateway(in_front_of(claude, mode="always", points=[{"location": "system"}])) as gateway:
        given = await asyncio.gather(*(ask(gateway, asked("one")) for _ in range(8)))
    assert len({response.text for response in given}) == 1
    assert len(claude.calls) == 2


async def test_a_chat_completion_that_is_translated_for_claude_is_marked_as_claude_is(
    start_gateway: StartGateway, claude: AnthropicProvider
) -> None:
    points = [{"location": "system"}, {"location": "message", "role": "user"}]
    async with start_gateway(in_front_of(claude, mode="always", points=points)) as gateway:
        response = await gateway.post(chat("one", f"anthropic/{CLAUDE}"), headers={"Authorization": "Bearer k"})
    assert response.status_code == 200, response.text
    sent = claude.calls[0]["body"]
    assert sent["system"] == [text(LONG, cache_control=MARK)]
    assert sent["messages"] == [user([text("one", cache_control=MARK)])]
    assert rules.anthropic(sent) is None


async def test_grok_is_told_by_a_header_which_requests_begin_alike(
    start_gateway: StartGateway, provider: Provider
) -> None:
    config = manifest(provider.base_url, hints={})
    config["spec"]["upstreams"][0]["provider"] = "xai"
    async with start_gateway(config) as gateway:
        for question in ("one", "two", "three"):
            await gateway.post(chat(question, "grok-4.1"))
    names = [call["headers"].get("x-grok-conv-id") for call in provider.calls]
    assert names[0] is None
    assert names[1] == names[2]
    assert str(names[1]).startswith("llmcache-")
    assert [call["body"] for call in provider.calls] == [chat(one, "grok-4.1") for one in ("one", "two", "three")]
