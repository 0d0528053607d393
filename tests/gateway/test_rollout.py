"""A rollout as clients see it: each request has one version, and a change of the share drops none."""

import asyncio
import itertools
import json
from collections import Counter
from typing import Any

import httpx
import openai
from aiohttp import web

from tests.gateway.conftest import ADMIN, StartGateway, TestGateway, by_hand, manifest
from tests.gateway.provider import Provider, completion, send_events
from tests.gateway.providers import embeddings
from tests.gateway.test_sdk import sdk


def rollout(
    base_url: str | None, version: str = "v1", following: tuple[str, int] | None = None, **spec: Any
) -> dict[str, Any]:
    """Return a gateway's configuration; `following` is the next version and its share."""
    prefix: dict[str, Any] = {"version": version}
    if following is not None:
        prefix["next"] = {"version": following[0], "percent": following[1]}
    return by_hand(manifest(base_url, prefix=prefix, **spec))


def question(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def switch(gateway: TestGateway, config: dict[str, Any]) -> None:
    gateway.rewrite(config)
    assert gateway.running.reloader.check() is True


async def versions(gateway: TestGateway, count: int) -> list[str]:
    """Return the version that each of so many requests belongs to."""
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        answers = [await client.post("/v1/chat/completions", json=question(str(n))) for n in range(count)]
    for answer in answers:
        prefix = answer.headers["X-LLMCache-Prefix"]
        assert answer.headers["X-LLMCache-Key"].startswith(f"{prefix}:")
    return [answer.headers["X-LLMCache-Prefix"].removeprefix("test:") for answer in answers]


async def test_a_greater_share_moves_requests_and_the_entries_of_each_version_stay(
    start_gateway: StartGateway, provider: Provider
) -> None:
    seen: list[list[str]] = []
    async with start_gateway(rollout(provider.base_url)) as gateway:
        for percent in (0, 25, 60, 100):
            switch(gateway, rollout(provider.base_url, "v1", ("v2", percent)))
            assert (await gateway.status())["prefix"]["next"] == {"version": "v2", "percent": percent}
            seen.append(await versions(gateway, 40))
            assert await versions(gateway, 40) == seen[-1]
        assert set(seen[0]) == {"v1"}
        assert set(seen[3]) == {"v2"}
        assert 0 < seen[1].count("v2") < seen[2].count("v2") < 40
        for before, after in itertools.pairwise(seen):
            assert all(later == "v2" for earlier, later in zip(before, after, strict=True) if earlier == "v2")
        # Each was asked upstream once for each version: nothing was lost, nothing was given to the other version.
        assert len(provider.calls) == 80
        switch(gateway, rollout(provider.base_url, "v2"))
        assert (await gateway.status())["prefix"] == {"name": "test", "version": "v2", "next": None}
        assert set(await versions(gateway, 40)) == {"v2"}
        switch(gateway, rollout(provider.base_url, "v1"))
        assert set(await versions(gateway, 40)) == {"v1"}
        assert len(provider.calls) == 80
        assert await gateway.metric("llmcache_express_total") > 0
        labels = 'dialect="openai-chat",model="m",outcome="MISS",policy="default"'
        for version in ("v1", "v2"):
            assert await gateway.metric(f'llmcache_requests_total{{{labels},version="{version}"}}') == 40


async def test_sdk_traffic_through_a_whole_rollout_loses_nothing_and_mixes_nothing(
    start_gateway: StartGateway, provider: Provider
) -> None:
    """No two calls upstream have one answer, so that its text tells by whom it was seen first."""

    async def behave(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        text = body["messages"][-1]["content"]
        answer = completion(len(provider.calls), "m", f"call {len(provider.calls)} to {text}")
        if body.get("stream"):
            await asyncio.sleep(0.01)
            return await send_events(request, [json.dumps(one) for one in _chunks(answer)] + ["[DONE]"], 0.002)
        return web.json_response(answer)

    provider.behave = behave
    made: dict[str, str] = {}  # an answer's text → the one version whose clients may see it
    asked = Counter[str]()
    stop = asyncio.Event()

    async def client_of(number: int, client: openai.AsyncOpenAI) -> None:
        turn = number
        while not stop.is_set():
            turn += 1
            text, streamed = f"q{turn % 23}", bool((turn + number) % 2)
            messages: list[Any] = [{"role": "user", "content": text}]
            raw = await client.chat.completions.with_raw_response.create(model="m", messages=messages, stream=streamed)
            version = raw.headers["X-LLMCache-Prefix"]
            if streamed:
                pieces = [one.choices[0].delta.content or "" async for one in raw.parse() if one.choices]  # type: ignore[union-attr]
                said = "".join(pieces)
            else:
                said = raw.parse().choices[0].message.content or ""  # type: ignore[union-attr]
            assert said.endswith(f" to {text}")
            assert made.setdefault(said, version) == version
            asked[version] += 1

    async with start_gateway(rollout(provider.base_url)) as gateway, sdk(gateway) as one, sdk(gateway) as other:
        clients = [asyncio.create_task(client_of(n, (one, other)[n % 2])) for n in range(6)]

        async def traffic() -> None:
            before = asked.total()
            while asked.total() < before + 60 and not any(each.done() for each in clients):  # noqa: ASYNC110 (no event)
                await asyncio.sleep(0.01)

        for percent in (0, 25, 100):
            await traffic()
            switch(gateway, rollout(provider.base_url, "v1", ("v2", percent)))
        await traffic()
        switch(gateway, rollout(provider.base_url, "v2"))
        await traffic()
        stop.set()
        await asyncio.gather(*clients)  # an error or a torn stream of any request fails here
    assert asked["test:v1"] > 20
    assert asked["test:v2"] > 20


def _chunks(answer: dict[str, Any]) -> list[dict[str, Any]]:
    top = {"id": answer["id"], "object": "chat.completion.chunk", "created": 1, "model": "m"}
    text = answer["choices"][0]["message"]["content"]
    deltas = [{"role": "assistant", "content": ""}, {"content": text[:4]}, {"content": text[4:]}]
    chunks = [{**top, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**top, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return [*chunks, {**top, "choices": [], "usage": answer["usage"]}]


async def test_all_inputs_of_an_embeddings_request_are_of_one_version(
    start_gateway: StartGateway, provider: Provider
) -> None:
    """Decided input by input, half of them would be looked for under either version."""
    provider.behave = embeddings.BEHAVIOUR
    async with start_gateway(rollout(provider.base_url, "v1", ("v2", 50))) as gateway:
        found = Counter[str]()
        for at in range(12):
            body = {"model": "e", "input": [f"{at} {letter}" for letter in "abcdefgh"]}
            answers = [await gateway.post(body, path="/v1/embeddings") for _ in range(2)]
            assert [answer.headers["X-LLMCache"] for answer in answers] == ["MISS", "HIT"]
            prefix, again = (answer.headers["X-LLMCache-Prefix"] for answer in answers)
            assert prefix == again
            found[prefix] += 8
            assert len(await entries(gateway, f"{prefix}:")) == found[prefix]
        assert set(found) == {"test:v1", "test:v2"}


async def entries(gateway: TestGateway, part: str) -> list[str]:
    async with httpx.AsyncClient() as client:
        listed = (await client.get(f"{gateway.admin_url}/admin/v1/entries?limit=1000", headers=ADMIN)).json()
    return [entry["key"] for entry in listed["entries"] if part in entry["key"]]


async def invalidate(gateway: TestGateway, selection: dict[str, Any]) -> int:
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{gateway.admin_url}/admin/v1/invalidate", json=selection, headers=ADMIN)
    assert answer.status_code == 200
    matched: int = answer.json()["matched"]
    return matched


async def test_entries_of_the_next_version_are_invalidated_by_version_and_by_request(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(rollout(provider.base_url, "v1", ("v2", 50))) as gateway:
        before = await versions(gateway, 20)
        assert await invalidate(gateway, {"version": "v2"}) == before.count("v2")
        assert await entries(gateway, ":v2:") == []
        assert len(await entries(gateway, ":v1:")) == before.count("v1")
        # By request: wherever its answer stands, it is taken back.
        switch(gateway, rollout(provider.base_url, "v1", ("v2", 100)))
        answer = await gateway.post(question("0"))
        assert answer.headers["X-LLMCache-Prefix"] == "test:v2"
        asked = {"path": "/v1/chat/completions", "tenant": "anonymous"}
        assert await invalidate(gateway, {"request": asked | {"body": question("0")}}) == 1 + (before[0] == "v1")


async def test_one_request_stored_under_two_versions_is_reclaimed_twice(
    start_gateway: StartGateway, provider: Provider
) -> None:
    """Its keys differ in the version only: a scan must not take the second for the first."""
    async with start_gateway(rollout(provider.base_url)) as gateway:
        await gateway.post(question("x"))
        switch(gateway, rollout(provider.base_url, "v2"))
        await gateway.post(question("x"))
        assert await invalidate(gateway, {"all": True}) == 2
        assert await entries(gateway, "") == []


async def test_gateways_agree_on_the_version_of_each_request_without_being_told(
    start_gateway: StartGateway, provider: Provider, redis_url: str
) -> None:
    shared = {"redis": {"url": redis_url}, "cache": {"store": {"type": "tiered", "timeout": "2s"}}}
    config = rollout(provider.base_url, "v1", ("v2", 40), **shared)
    async with start_gateway(config) as gateway, start_gateway(config) as other:
        here = await versions(gateway, 30)
        await gateway.running.reloader.current.store.flush()
        assert await versions(other, 30) == here
    assert len(provider.calls) == 30
    assert set(here) == {"v1", "v2"}


async def test_a_stale_entry_is_refreshed_under_its_own_version(
    start_gateway: StartGateway, provider: Provider
) -> None:
    cache = {"ttl": "1s", "staleWhileRevalidate": "1h"}
    now = [1000.0]
    config = rollout(provider.base_url, "v1", ("v2", 100), cache=cache)
    async with start_gateway(config, clock=lambda: now[0]) as gateway:
        for outcome, calls in (("MISS", 1), ("STALE", 2)):
            answer = await gateway.post(question("x"))
            assert (answer.headers["X-LLMCache"], answer.headers["X-LLMCache-Prefix"]) == (outcome, "test:v2")
            while await gateway.metric("llmcache_stored_total") < calls:  # noqa: ASYNC110 (refreshed in the background)
                await asyncio.sleep(0.01)
            now[0] += 10 if outcome == "MISS" else 0
        assert (await gateway.post(question("x"))).headers["X-LLMCache"] == "HIT"
        assert await entries(gateway, ":v1:") == []
