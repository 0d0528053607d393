"""What goes wrong in a cache that many people use today, each as a test of this one.

The wrongs were reproduced on LiteLLM's proxy cache (1.106 to 1.109) or are open in its tracker; the number is the
thread's, where there is one.
"""

import asyncio
import json
from typing import Any

import openai
import pytest
from aiohttp import web

from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, completion

GOOD: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


async def outcomes(gateway: TestGateway, *bodies: Any, **options: Any) -> list[str]:
    return [(await gateway.post(body, **options)).headers["X-LLMCache"] for body in bodies]


@pytest.mark.parametrize(
    "parameter",
    [
        {"guided_json": {"type": "object"}},
        {"min_p": 0.1},
        {"num_ctx": 4096},  # 42400
        {"top_k": 5},  # 5049
        {"thinking": {"type": "enabled"}},  # 9844
        {"reasoning_effort": "high"},  # 9844
        {"safety_settings": []},
        {"extra_body": {"min_p": 0.1}},
        {"guardrails": ["x"]},
        {"tags": ["x"]},
    ],
)
async def test_a_parameter_left_out_of_the_key_gave_the_first_askers_answer(
    gateway: TestGateway, parameter: dict[str, Any]
) -> None:
    changed = {name: [value] for name, value in parameter.items()}
    assert await outcomes(gateway, GOOD, {**GOOD, **parameter}, {**GOOD, **changed}) == ["MISS", "MISS", "MISS"]


async def test_values_written_without_delimiters_ran_into_each_other(gateway: TestGateway) -> None:
    one, other = {**GOOD, "stop": "xseed: y"}, {**GOOD, "stop": "x", "seed": "y"}
    assert await outcomes(gateway, one, other) == ["MISS", "MISS"]


async def test_member_order_split_the_cache(gateway: TestGateway) -> None:  # 40128
    bodies = [b'{"model":"m","top_p":1,"temperature":0,"messages":[{"role":"user","content":"hi"}]}']
    bodies += [b'{"messages":[{"content":"hi","role":"user"}],"temperature":0,"top_p":1,"model":"m"}']
    assert await outcomes(gateway, *bodies) == ["MISS", "HIT"]


async def test_zero_and_zero_point_zero_split_the_cache(gateway: TestGateway) -> None:
    bodies = [json.dumps(GOOD)[:-1].encode() + b',"temperature":%s}' % text for text in (b"0", b"0.0", b"0e3")]
    assert await outcomes(gateway, *bodies) == ["MISS", "HIT", "HIT"]


async def test_streamed_and_unstreamed_requests_never_shared_an_entry(gateway: TestGateway) -> None:
    assert await outcomes(gateway, {**GOOD, "stream": True}, GOOD, {**GOOD, "stream": False}) == ["MISS", "HIT", "HIT"]


async def test_the_user_member_split_the_cache(gateway: TestGateway) -> None:
    assert await outcomes(gateway, {**GOOD, "user": "u1"}, {**GOOD, "user": "u2"}, GOOD) == ["MISS", "HIT", "HIT"]


async def test_teams_got_each_others_answers(gateway: TestGateway) -> None:  # 29955, 25447
    assert await outcomes(gateway, GOOD, headers={"Authorization": "Bearer team-a"}) == ["MISS"]
    assert await outcomes(gateway, GOOD, headers={"Authorization": "Bearer team-b"}) == ["MISS"]


@pytest.mark.parametrize(
    "claim",
    [
        {"cache": {"namespace": "team-a"}},
        {"metadata": {"redis_namespace": "team-a"}},
        {"metadata": {"user_api_key_team_id": "team-a"}},
    ],
)
async def test_a_client_chose_whose_entries_it_read(gateway: TestGateway, claim: dict[str, Any]) -> None:
    await outcomes(gateway, {**GOOD, **claim}, headers={"Authorization": "Bearer team-a"})
    assert await outcomes(gateway, {**GOOD, **claim}, headers={"Authorization": "Bearer team-b"}) == ["MISS"]


async def test_conversations_of_more_than_four_messages_were_never_cached(gateway: TestGateway) -> None:
    turns = [{"role": ("user", "assistant")[at % 2], "content": str(at)} for at in range(11)]
    body = {"model": "gpt-4o", "messages": turns}
    assert await outcomes(gateway, body, body) == ["MISS", "HIT"]


async def test_cache_control_headers_did_nothing(gateway: TestGateway) -> None:
    await outcomes(gateway, GOOD)
    assert await outcomes(gateway, GOOD, headers={"Cache-Control": "no-cache"}) == ["MISS"]
    assert await outcomes(gateway, GOOD, headers={"Cache-Control": "no-store"}) == ["BYPASS"]


async def test_nothing_said_whether_it_was_a_hit_and_the_key_was_shown_on_some_hits_only(gateway: TestGateway) -> None:
    keys = set()
    for body in (GOOD, GOOD, {**GOOD, "stream": True}):  # 8570: never on a streamed hit
        response = await gateway.post(body)
        keys.add(response.headers["X-LLMCache-Key"])
        assert response.headers["X-LLMCache"] in ("MISS", "HIT")
    assert len(keys) == 1


async def test_a_replayed_stream_lost_its_chunks(gateway: TestGateway, provider: Provider) -> None:  # 24579, 11145
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
        streams = []
        for _ in range(2):
            stream: Any = await client.chat.completions.create(**GOOD, stream=True)
            streams.append([chunk.choices[0].delta.content async for chunk in stream])
    assert streams[0] == streams[1]
    assert len(streams[0]) > 3
    assert len(provider.calls) == 1


async def test_truncated_answers_were_cached_and_served_as_whole(gateway: TestGateway, provider: Provider) -> None:
    async def cut(_: web.Request) -> web.StreamResponse:
        return web.json_response(completion(1, "gpt-4o", "half of it", finish_reason="length"))

    provider.behave = cut
    assert await outcomes(gateway, GOOD, GOOD) == ["MISS", "MISS"]


async def test_an_unreachable_redis_hung_every_request(start_gateway: StartGateway, provider: Provider) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # 35273, 34299, 36804
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    config = manifest(provider.base_url, cache={"store": {"type": "redis"}}, redis={"external": {"url": url}})
    async with server, start_gateway(config) as gateway, asyncio.timeout(5):
        assert await outcomes(gateway, GOOD, GOOD) == ["MISS", "MISS"]


async def test_two_requests_with_the_same_text_and_different_images_were_one(gateway: TestGateway) -> None:
    def asked(image: str) -> dict[str, Any]:
        parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": image}}]
        return {"model": "gpt-4o", "messages": [{"role": "user", "content": parts}]}

    images = ["data:image/png;base64,AAAA", "data:image/png;base64,BBBB"]
    assert await outcomes(gateway, *(asked(image) for image in images)) == ["MISS", "MISS"]
    assert await outcomes(gateway, *(asked(image) for image in images)) == ["HIT", "HIT"]
