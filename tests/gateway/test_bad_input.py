"""What goes wrong is said clearly, in the provider's own shape; nothing of it is stored, and the next request works."""

import asyncio
import gzip
import json
import zlib
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web

from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, chunks_of, completion, raw_server, send_events
from tests.redis_server import free_port

GOOD: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
STREAMED: dict[str, Any] = {**GOOD, "stream": True}


async def works_again(gateway: TestGateway, provider: Provider) -> None:
    """Show that nothing was stored or broken: the same good request is a MISS, then a HIT."""
    provider.behave = None
    outcomes = [(await gateway.post(GOOD)).headers["X-LLMCache"] for _ in range(2)]
    assert outcomes == ["MISS", "HIT"]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"", 400, "invalid_json", None),
        (b"{", 400, "invalid_json", None),
        (b"[]", 400, "invalid_json", None),
        (b'{"model": "m", "model": "n"}', 400, "duplicate_member", None),
        (b'{"model": "\xff"}', 400, "invalid_json", None),
        (b'{"messages": []}', 400, "missing_model", "model"),
        (b'{"model": "nobody-serves-this", "messages": []}', 404, "model_not_found", "model"),
        (b'{"model": "gpt-4o", "pad": "' + b"x" * 5000 + b'"}', 413, "request_too_large", None),
    ],
)
async def test_a_bad_request_is_refused_in_openais_shape(
    start_gateway: StartGateway, provider: Provider, body: bytes, status: int, code: str, param: str | None
) -> None:
    config = manifest(provider.base_url, limits={"requestBytes": "4k"})
    config["spec"]["upstreams"][0]["models"] = ["gpt-*"]
    async with start_gateway(config) as gateway:
        response = await gateway.post(body)
        assert response.status_code == status
        error = response.json()["error"]
        assert (error["code"], error["param"]) == (code, param)
        assert error["message"]
        assert error["type"]
        assert response.headers["Cache-Status"] == f'llmcache; detail="{code}"'
        assert not provider.calls
        await works_again(gateway, provider)


async def test_a_body_over_the_limit_is_refused_even_when_its_length_is_not_announced(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async def chunks() -> Any:
        for _ in range(10):
            yield b"x" * 1000

    async with start_gateway(manifest(provider.base_url, limits={"requestBytes": "4k"})) as gateway:
        async with httpx.AsyncClient() as client:
            response = await client.post(f"{gateway.url}/v1/chat/completions", content=chunks())
        assert response.status_code == 413
        await works_again(gateway, provider)


PLAIN = json.dumps(GOOD).encode()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", gzip.compress(PLAIN)), ("x-gzip", gzip.compress(PLAIN)), ("deflate", zlib.compress(PLAIN))],
)
async def test_a_compressed_body_is_the_same_request(
    gateway: TestGateway, provider: Provider, encoding: str, body: bytes
) -> None:
    assert (await gateway.post(body, headers={"Content-Encoding": encoding})).headers["X-LLMCache"] == "MISS"
    assert (await gateway.post(PLAIN)).headers["X-LLMCache"] == "HIT"
    assert provider.calls[0]["raw"] == PLAIN
    assert "Content-Encoding" not in provider.calls[0]["headers"]


@pytest.mark.parametrize(
    ("encoding", "body", "status", "says"),
    [
        ("br", b"x", 415, "'br' is not accepted"),
        ("zstd", b"x", 415, "'zstd' is not accepted"),
        ("gzip, gzip", gzip.compress(gzip.compress(PLAIN)), 415, "is not accepted"),
        ("gzip", b"not gzip", 400, "not valid gzip"),
        ("gzip", gzip.compress(PLAIN)[:-9], 400, "not one whole gzip stream"),
        ("gzip", gzip.compress(PLAIN) + b"more", 400, "not one whole gzip stream"),
        ("gzip", gzip.compress(b" " * 10_000_000), 413, "larger than"),
    ],
)
async def test_a_body_that_is_not_what_its_encoding_says_is_refused(
    start_gateway: StartGateway, provider: Provider, encoding: str, body: bytes, status: int, says: str
) -> None:
    async with start_gateway(manifest(provider.base_url, limits={"requestBytes": "1Mi"})) as gateway:
        response = await gateway.post(body, headers={"Content-Encoding": encoding})
        assert response.status_code == status
        assert says in response.json()["error"]["message"]
        await works_again(gateway, provider)


@pytest.mark.parametrize("path", ["/v1/../admin", "/v1/%2e%2e/x", "/v1/x/./y", "/other/path"])
async def test_odd_paths_never_reach_the_provider(gateway: TestGateway, provider: Provider, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.running.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
    assert b'"error"' in answer
    assert not provider.calls


async def test_websockets_are_refused(gateway: TestGateway, provider: Provider) -> None:
    response = await gateway.post(GOOD, headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    assert response.status_code == 501
    assert not provider.calls


@pytest.mark.parametrize("body", [GOOD, STREAMED], ids=["unstreamed", "streamed"])
@pytest.mark.parametrize(
    ("status", "content_type", "answer"),
    [
        (500, "application/json", '{"error": {"message": "broken", "type": "server_error"}}'),
        (429, "application/json", '{"error": {"message": "slow down"}}'),
        (503, "text/html", "<html>down</html>"),
        (200, "text/html", "<html>a captive portal</html>"),
        (200, "application/json", '{"choices": '),
        (200, "application/json", ""),
    ],
)
async def test_a_providers_failure_passes_unchanged_and_is_not_stored(
    gateway: TestGateway, provider: Provider, body: Any, status: int, content_type: str, answer: str
) -> None:
    async def fail(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=answer, content_type=content_type, headers={"x-request-id": "r1"})

    provider.behave = fail
    response = await gateway.post(body)
    assert (response.status_code, response.text) == (status, answer)
    assert response.headers["Content-Type"].startswith(content_type)
    assert response.headers["x-request-id"] == "r1"
    assert response.headers["X-LLMCache"] == "MISS"
    assert "stored" not in response.headers["Cache-Status"]
    await works_again(gateway, provider)


async def test_a_provider_that_refuses_connections_is_502(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(manifest(f"http://127.0.0.1:{free_port()}/v1")) as gateway:
        response = await gateway.post(GOOD)
        assert response.status_code == 502
        error = response.json()["error"]
        assert error["code"] == "upstream_unreachable"
        assert "'main'" in error["message"]
        gateway.rewrite(manifest(provider.base_url))
        gateway.running.reloader.check()
        await works_again(gateway, provider)


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"this is not HTTP\r\n\r\n")
    await writer.drain()


async def _half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
    await writer.drain()


@pytest.mark.parametrize("behaviour", [_reset, _garbage, _half], ids=["reset", "garbage", "half-an-answer"])
@pytest.mark.parametrize("body", [GOOD, STREAMED], ids=["unstreamed", "streamed"])
async def test_a_provider_that_breaks_off_is_502(start_gateway: StartGateway, behaviour: Any, body: Any) -> None:
    async with raw_server(behaviour) as base_url, start_gateway(manifest(base_url)) as gateway:
        for _ in range(2):
            response = await gateway.post(body)
            assert response.status_code == 502
            assert response.json()["error"]["code"] == "upstream_unreachable"


@pytest.mark.parametrize("body", [GOOD, STREAMED], ids=["unstreamed", "streamed"])
async def test_a_provider_that_hangs_is_504(start_gateway: StartGateway, provider: Provider, body: Any) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        raise AssertionError

    async with start_gateway(manifest(provider.base_url, timeout="200ms")) as gateway:
        provider.behave = hang
        response = await gateway.post(body)
        assert response.status_code == 504
        assert response.json()["error"]["code"] == "upstream_timeout"
        assert "silent for 0.2 s" in response.json()["error"]["message"]
        await works_again(gateway, provider)


@pytest.mark.parametrize("ending", ["reset", "stall", "clean"])
async def test_a_stream_that_ends_early_reaches_the_sdk_as_an_error_or_short_and_is_never_stored(
    start_gateway: StartGateway, provider: Provider, ending: str
) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = await send_events_open(request, chunks_of(completion(1, "gpt-4o", "one two three"), True)[:3])
        if ending == "reset":
            assert request.transport is not None
            request.transport.abort()
        elif ending == "stall":
            await asyncio.sleep(30)
        return response

    async with start_gateway(manifest(provider.base_url, timeout="300ms")) as gateway:
        provider.behave = half
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
            stream: Any = await client.chat.completions.create(**STREAMED)
            if ending == "clean":
                assert [chunk async for chunk in stream]
            else:
                with pytest.raises(openai.APIError):
                    [chunk async for chunk in stream]
        provider.behave = None
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
            raw = await client.chat.completions.with_raw_response.create(**GOOD)
        assert raw.headers["X-LLMCache"] == "MISS"


async def test_an_error_in_the_middle_of_a_stream_reaches_the_sdk_and_is_not_stored(
    gateway: TestGateway, provider: Provider
) -> None:
    async def fail(request: web.Request) -> web.StreamResponse:
        chunks = chunks_of(completion(1, "gpt-4o", "one two"), True)
        return await send_events(request, [chunks[0], json.dumps({"error": {"message": "overloaded"}}), "[DONE]"])

    provider.behave = fail
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client:
        stream: Any = await client.chat.completions.create(**STREAMED)
        with pytest.raises(openai.APIError, match="overloaded"):
            [chunk async for chunk in stream]
    await works_again(gateway, provider)


async def test_an_answer_over_the_bound_passes_whole_and_is_not_stored(
    start_gateway: StartGateway, provider: Provider
) -> None:
    text = "word " * 4000

    async def large(request: web.Request) -> web.StreamResponse:
        answer = completion(1, "gpt-4o", text)
        if provider.calls[-1]["body"].get("stream"):
            return await send_events(request, chunks_of(answer, True))
        return web.json_response(answer)

    async with start_gateway(manifest(provider.base_url, limits={"entryBytes": "10k"})) as gateway:
        provider.behave = large
        for body in (GOOD, STREAMED):
            for _ in range(2):
                response = await gateway.post(body)
                assert response.headers["X-LLMCache"] == "MISS"
                assert response.text.count("word") == 4000
        assert await gateway.metric('llmcache_store_skipped_total{reason="too-large"}') == 4
        await works_again(gateway, provider)


async def hang_up_in_the_middle(gateway: TestGateway, provider: Provider) -> None:
    provider.chunk_seconds = 0.05
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.running.port)
    body = json.dumps(STREAMED).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await reader.readuntil(b"data: ")
    writer.transport.abort()
    await asyncio.sleep(1)
    provider.chunk_seconds = 0.0


async def test_a_client_that_hangs_up_in_the_middle_leaves_no_entry_and_no_error(
    gateway: TestGateway, provider: Provider
) -> None:
    await hang_up_in_the_middle(gateway, provider)
    labels = 'dialect="openai-chat",model="gpt-4o",outcome="ERROR",policy="default",version="v1"'
    assert await gateway.metric(f"llmcache_requests_total{{{labels}}}") == 0
    await works_again(gateway, provider)


async def test_the_answer_to_a_client_that_hung_up_is_recorded_where_the_policy_says_so(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(manifest(provider.base_url, cache={"recordAbandoned": True})) as gateway:
        await hang_up_in_the_middle(gateway, provider)
        response = await gateway.post(GOOD)
    assert response.headers["X-LLMCache"] == "HIT"
    assert response.json()["choices"][0]["message"]["content"] == "answer 1 to hi"
    assert len(provider.calls) == 1


async def test_an_answer_of_20_megabytes_comes_whole_and_is_kept_where_there_is_room(
    start_gateway: StartGateway, provider: Provider
) -> None:
    text = "twenty megabytes " * 1_200_000

    async def large(_: web.Request) -> web.StreamResponse:
        return web.json_response(completion(1, "gpt-4o", text))

    provider.behave = large
    for bound, outcomes in (("8Mi", ["MISS", "MISS"]), ("32Mi", ["MISS", "HIT"])):
        async with start_gateway(manifest(provider.base_url, limits={"entryBytes": bound})) as gateway:
            answers = [await gateway.post(GOOD) for _ in range(2)]
        assert [answer.headers["X-LLMCache"] for answer in answers] == outcomes
        assert all(answer.json()["choices"][0]["message"]["content"] == text for answer in answers)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", ""])
async def test_the_body_decides_and_not_what_its_content_type_says(
    gateway: TestGateway, provider: Provider, content_type: str
) -> None:
    body = json.dumps(GOOD).encode()
    await gateway.post(body, headers={"Content-Type": content_type})
    assert (await gateway.post(body, headers={"Content-Type": "application/json"})).headers["X-LLMCache"] == "HIT"
    response = await gateway.post(b"model=gpt-4o", headers={"Content-Type": content_type})
    assert response.status_code == 400


async def test_a_dead_redis_makes_misses_not_errors(start_gateway: StartGateway, provider: Provider) -> None:
    redis = {"external": {"url": f"redis://127.0.0.1:{free_port()}/0"}}
    config = manifest(provider.base_url, cache={"store": {"type": "redis"}}, redis=redis)
    async with start_gateway(config) as gateway:
        for _ in range(2):
            response = await gateway.post(GOOD)
            assert (response.status_code, response.headers["X-LLMCache"]) == (200, "MISS")
        status = await gateway.status()
        assert status["store"]["healthy"] is False
        assert await gateway.metric('llmcache_store_errors_total{op="get",store="redis"}') == 2


async def send_events_open(request: web.Request, data: list[str]) -> web.StreamResponse:
    """Begin a stream and leave it open."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for one in data:
        await response.write(f"data: {one}\n\n".encode())
    return response
