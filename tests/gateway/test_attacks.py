"""What a review with hostile eyes found once: wrong answers, torn ones, and a gateway that fell over."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.gateway.conftest import ADMIN, StartGateway, TestGateway, manifest
from tests.gateway.provider import Provider, chunks_of, completion, send_events

GOOD: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


async def outcomes(gateway: TestGateway, *bodies: Any, **options: Any) -> list[str]:
    return [(await gateway.post(body, **options)).headers["X-LLMCache"] for body in bodies]


async def raw_request(gateway: TestGateway, data: bytes, *, until: bytes = b"") -> bytes:
    """Send bytes as they are, and return what comes until the connection closes or `until` is there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.running.port)
    writer.write(data)
    async with asyncio.timeout(5):
        answer = await (reader.readuntil(until) if until else reader.read())
    writer.close()
    return answer


def refuse_stream_options(provider: Provider) -> None:
    """Let a provider know nothing of `stream_options`, as older servers don't."""

    async def old(request: web.Request) -> web.StreamResponse:
        body = provider.calls[-1]["body"]
        if "stream_options" in body:
            return web.json_response({"error": {"message": "unknown field stream_options"}}, status=400)
        return await provider.chat(request, body)

    provider.behave = old


CREDENTIALS = ["Ocp-Apim-Subscription-Key", "x-goog-api-key", "x-litellm-api-key", "cf-aig-authorization", "Cookie"]


@pytest.mark.parametrize("name", CREDENTIALS)
async def test_a_credential_in_an_uncommon_header_was_nobodys_and_everybody_shared_its_answers(
    gateway: TestGateway, name: str
) -> None:
    assert await outcomes(gateway, GOOD, headers={name: "alice"}) == ["MISS"]
    assert await outcomes(gateway, GOOD, headers={name: "bob"}) == ["MISS"]
    assert await outcomes(gateway, GOOD, headers={name: "alice"}) == ["HIT"]


@pytest.mark.parametrize("name", CREDENTIALS)
async def test_a_clients_uncommon_credential_went_upstream_beside_the_gateways_own(
    start_gateway: StartGateway, provider: Provider, name: str
) -> None:
    config = manifest(provider.base_url)
    config["spec"]["upstreams"][0]["credential"] = {"env": "KEY"}
    async with start_gateway(config, environment={"KEY": "own"}) as gateway:
        await gateway.post(GOOD, headers={name: "the-clients"})
    assert name not in provider.calls[0]["headers"]
    assert provider.calls[0]["headers"]["Authorization"] == "Bearer own"


@pytest.mark.parametrize("name", ["x-portkey-config", "Helicone-Target-Url", "x-litellm-tags", "OpenAI-Foo", "X-Mine"])
async def test_a_header_that_nobody_knew_changed_the_answer_and_not_the_key(gateway: TestGateway, name: str) -> None:
    seen = [await outcomes(gateway, GOOD, headers={name: value}) for value in ("a", "b", "a")]
    assert seen == [["MISS"], ["MISS"], ["HIT"]]


async def test_headers_that_differ_from_request_to_request_do_not_split_entries(
    start_gateway: StartGateway, provider: Provider
) -> None:
    names = ["User-Agent", "traceparent", "X-Request-Id", "X-Forwarded-For", "X-Stainless-Retry-Count", "X-Team-1"]
    async with start_gateway(manifest(provider.base_url, cache={"key": {"ignoreHeaders": ["X-Team-*"]}})) as gateway:
        seen = [await outcomes(gateway, GOOD, headers={name: f"{name}{number}" for name in names}) for number in (0, 1)]
    assert seen == [["MISS"], ["HIT"]]
    assert provider.calls[0]["headers"]["X-Request-Id"] == "X-Request-Id0"


async def test_what_one_policy_lets_share_an_entry_was_found_by_requests_of_another(
    start_gateway: StartGateway, provider: Provider
) -> None:
    loose = {
        "name": "loose",
        "match": {"headers": [{"name": "X-Stainless-Loose", "value": "*"}]},
        "cache": {"key": {"ignore": ["temperature"], "normalize": ["case"]}},
    }
    async with start_gateway(manifest(provider.base_url, policies=[loose])) as gateway:
        loud = {"model": "gpt-4o", "temperature": 2, "messages": [{"role": "user", "content": "HI"}]}
        assert await outcomes(gateway, loud, GOOD, headers={"X-Stainless-Loose": "1"}) == ["MISS", "HIT"]
        assert await outcomes(gateway, GOOD) == ["MISS"]


async def test_a_cut_answer_stored_by_one_policy_was_served_under_another(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async def cut(_: web.Request) -> web.StreamResponse:
        return web.json_response(completion(1, "gpt-4o", "half", finish_reason="length"))

    provider.behave = cut
    also = {
        "name": "also",
        "match": {"headers": [{"name": "X-Stainless-Also", "value": "*"}]},
        "cache": {"storeAlso": ["truncated"]},
    }
    async with start_gateway(manifest(provider.base_url, policies=[also])) as gateway:
        assert await outcomes(gateway, GOOD, GOOD, headers={"X-Stainless-Also": "1"}) == ["MISS", "HIT"]
        assert await outcomes(gateway, GOOD) == ["MISS"]


@pytest.mark.parametrize("before", [b": keep-alive\n", b"\xef\xbb\xbf", b": one\n: two\n"])
async def test_a_comment_or_mark_in_front_of_an_events_data_took_the_event_out_of_the_recording(
    gateway: TestGateway, provider: Provider, before: bytes
) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        data = chunks_of(completion(1, "gpt-4o", "The dose is NOT safe"), True)
        at = 0 if before.startswith(b"\xef") else next(at for at, one in enumerate(data) if "NOT" in one)
        for number, one in enumerate(data):
            await response.write((before if number == at else b"") + f"data: {one}\n\n".encode())
        return response

    provider.behave = stream
    assert await outcomes(gateway, {**GOOD, "stream": True}) == ["MISS"]
    response = await gateway.post(GOOD)
    assert response.headers["X-LLMCache"] == "HIT"
    assert response.json()["choices"][0]["message"]["content"] == "The dose is NOT safe"


@pytest.mark.parametrize(
    "spec",
    [
        {"cache": {"store": {"type": "redis"}}, "redis": {"external": {"url": "redis://host:notaport"}}},
        {"cache": {"store": {"type": "redis"}}, "redis": {"external": {"url": "redis://host:99999"}}},
        {"upstreams": [{"name": "u", "provider": "openai", "baseURL": "http://127.0.0.1:99999999/v1"}]},
    ],
)
async def test_an_address_that_is_none_ended_the_watch_for_changes(gateway: TestGateway, spec: dict[str, Any]) -> None:
    good = manifest("http://127.0.0.1:9/v1", prefix={"version": "v2"})
    bad = manifest("http://127.0.0.1:9/v1")
    bad["spec"] |= spec
    gateway.rewrite(bad)
    assert gateway.running.reloader.check() is False
    assert "is no address" in (await gateway.status())["configError"]
    gateway.rewrite(good)
    await asyncio.sleep(2)
    assert (await gateway.status())["prefix"]["version"] == "v2"


@pytest.mark.parametrize("base_url", ["https://user:hunter2@host/v1", "https://key@host/v1"])
async def test_a_password_in_an_address_stood_in_a_config_map(gateway: TestGateway, base_url: str) -> None:
    gateway.rewrite(manifest(base_url))
    assert gateway.running.reloader.check() is False


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"[" + b"[]," * 9_000_000 + b"1]", "more than 1000000 values"),
        (b"1." + b"9" * 20_000_000, "could not be parsed"),
        (b"9" * 20_000_000, "could not be parsed"),
        (b"1e999999999999999999999", "could not be parsed"),
        (b"{" + b",".join(b'"%d":0' % number for number in range(1_500_000)) + b"}", "more than 1000000 values"),
    ],
    ids=["lists", "digits", "integer", "exponent", "members"],
)
async def test_a_small_compressed_body_filled_the_memory_and_stopped_everybody(
    gateway: TestGateway, provider: Provider, value: bytes, says: str
) -> None:
    body = gzip.compress(b'{"model":"m","x":' + value + b"}")
    asked = asyncio.create_task(gateway.post(body, headers={"Content-Encoding": "gzip"}))
    response = await asked
    assert response.status_code == 400
    assert says in response.json()["error"]["message"]
    assert not provider.calls


async def test_a_long_text_full_of_commas_is_no_such_body(gateway: TestGateway) -> None:
    text = 'a, [b], {c}, \\ " ' * 200_000
    assert await outcomes(gateway, {**GOOD, "messages": [{"role": "user", "content": text}]}) == ["MISS"]


@pytest.mark.parametrize(
    "reply", [b"$abc\r\n", b":5\r\n", b"*2\r\n:1\r\n:2\r\n", b"$-5\r\n", b"HTTP/1.1 400 Bad\r\n\r\n"]
)
async def test_a_redis_that_talks_nonsense_made_errors(
    start_gateway: StartGateway, provider: Provider, reply: bytes
) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(reply)
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    config = manifest(provider.base_url, cache={"store": {"type": "redis"}}, redis={"external": {"url": url}})
    async with server, start_gateway(config) as gateway:
        for _ in range(2):
            response = await gateway.post(GOOD)
            assert (response.status_code, response.headers["X-LLMCache"]) == (200, "MISS")
        assert (await gateway.status())["store"]["healthy"] is False


async def test_a_client_that_offers_http2_was_refused(gateway: TestGateway) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    assert await outcomes(gateway, GOOD, headers=headers) == ["MISS"]


async def test_a_large_event_became_an_error_although_it_only_should_not_be_stored(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        return await send_events(request, chunks_of(completion(1, "gpt-4o", "x" * 100_000), True))

    provider.behave = stream
    async with start_gateway(manifest(provider.base_url, limits={"entryBytes": "16Ki"})) as gateway:
        for _ in range(2):
            response = await gateway.post({**GOOD, "stream": True})
            assert response.text.count("x" * 100_000) == 1
            assert response.text.endswith("data: [DONE]\n\n")
            assert response.headers["X-LLMCache"] == "MISS"


async def test_an_upstream_without_stream_options_refused_what_it_would_have_answered(
    gateway: TestGateway, provider: Provider
) -> None:
    refuse_stream_options(provider)
    streamed = {**GOOD, "stream": True}
    assert await outcomes(gateway, streamed, streamed) == ["MISS", "HIT"]


async def test_a_bypass_sends_exactly_what_the_client_sent(start_gateway: StartGateway, provider: Provider) -> None:
    async with start_gateway(manifest(provider.base_url, cache={"mode": "Disabled"})) as gateway:
        await gateway.post({**GOOD, "stream": True})
    assert "stream_options" not in provider.calls[0]["body"]


@pytest.mark.parametrize(
    "path", ["/v1/x%2f..%2f..%2fadmin", "/v1/..%2fadmin", "/v1/x\\..\\..\\admin", "/v1/..;/x", "/v1/%252e%252e/x"]
)
async def test_escaped_slashes_and_backslashes_hid_the_way_up(
    gateway: TestGateway, provider: Provider, path: str
) -> None:
    answer = await raw_request(gateway, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400")
    assert not provider.calls


async def test_other_paths_than_the_apis_reached_an_anthropic_upstream_with_the_gateways_key(
    start_gateway: StartGateway, provider: Provider
) -> None:
    config = manifest(provider.base_url.removesuffix("/v1"))
    config["spec"]["upstreams"][0] |= {"provider": "anthropic", "credential": {"env": "KEY"}}
    async with start_gateway(config, environment={"KEY": "own"}) as gateway, httpx.AsyncClient() as client:
        response = await client.delete(f"{gateway.url}/api/admin/everything", headers={"anthropic-version": "x"})
    assert response.status_code == 404
    assert not provider.calls


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files"])
async def test_a_client_that_waits_for_100_continue_waited_for_ever(gateway: TestGateway, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n".encode()
    assert await raw_request(gateway, head, until=b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_an_answer_was_said_to_be_stored_that_no_store_could_keep(
    start_gateway: StartGateway, provider: Provider
) -> None:
    async with start_gateway(manifest(provider.base_url, cache={"store": {"l1": {"bytes": "1Ki"}}})) as gateway:
        for _ in range(2):
            response = await gateway.post(GOOD)
            assert "stored" not in response.headers["Cache-Status"]
        assert await gateway.metric("llmcache_stored_total") == 0
        assert await gateway.metric('llmcache_store_skipped_total{reason="no-room"}') == 2


@pytest.mark.parametrize("model", ["\ud800", "m" * 257, "a\nb"])
async def test_a_models_name_ended_the_metrics(gateway: TestGateway, model: str) -> None:
    response = await gateway.post(json.dumps({**GOOD, "model": model}).encode())
    assert response.status_code == 400
    assert await gateway.metric('llmcache_misses_total{reason="miss"}') == 0
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{gateway.admin_url}/metrics")).status_code == 200


async def test_bytes_beyond_ascii_in_a_secret_header_made_an_error_of_ours(
    start_gateway: StartGateway, provider: Provider, tmp_path: Path
) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "k").write_text("red: sk-red-12345")
    config = manifest(provider.base_url, tenancy={"keys": {"secretRef": {"name": "s", "key": "k"}}})
    del config["spec"]["upstreams"][0]["credential"]
    async with start_gateway(config, secrets=tmp_path) as gateway, httpx.AsyncClient() as client:
        strange = httpx.Headers([(b"Authorization", b"Bearer \xff\xfe")])
        assert (await client.post(f"{gateway.url}/v1/chat/completions", headers=strange)).status_code == 401
        assert (await client.get(f"{gateway.admin_url}/admin/v1/status", headers=strange)).status_code == 401
        assert (await client.get(f"{gateway.admin_url}/admin/v1/status", headers=ADMIN)).status_code == 200
        lower = await client.post(
            f"{gateway.url}/v1/chat/completions", headers={"Authorization": "bearer sk-red-12345"}, json=GOOD
        )
        assert lower.status_code == 200


@pytest.mark.parametrize(
    "event", ['event: error\ndata: {"message": "broke"}', 'data: {"object": "error", "message": "broke"}']
)
async def test_an_error_event_without_an_error_member_was_stored_as_an_answer(
    gateway: TestGateway, provider: Provider, event: str
) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        chunks = [f"data: {one}" for one in chunks_of(completion(1, "gpt-4o", "half"), True)]
        for one in [*chunks[:-1], event, chunks[-1]]:
            await response.write(f"{one}\n\n".encode())
        return response

    provider.behave = stream
    streamed = {**GOOD, "stream": True}
    assert await outcomes(gateway, streamed, streamed) == ["MISS", "MISS"]


async def test_an_answer_with_fewer_choices_than_asked_was_stored_as_whole(gateway: TestGateway) -> None:
    two = {**GOOD, "n": 2}
    assert await outcomes(gateway, two, two) == ["MISS", "MISS"]
    assert 'detail="incomplete"' in (await gateway.post(two)).headers["Cache-Status"]


async def test_a_header_taken_away_by_connection_counted_as_if_it_had_gone_upstream(
    gateway: TestGateway, provider: Provider
) -> None:
    await outcomes(gateway, GOOD, headers={"OpenAI-Beta": "x=1", "Connection": "openai-beta"})
    assert "OpenAI-Beta" not in provider.calls[0]["headers"]
    assert await outcomes(gateway, GOOD, headers={"OpenAI-Beta": "x=1"}) == ["MISS"]
    assert await outcomes(gateway, GOOD) == ["HIT"]


async def test_no_cache_was_answered_from_the_cache_when_the_upstream_failed(
    gateway: TestGateway, provider: Provider
) -> None:
    async def fail(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500, text="{}")

    await outcomes(gateway, GOOD)
    provider.behave = fail
    for control in ("no-cache", "max-age=0"):
        response = await gateway.post(GOOD, headers={"Cache-Control": control})
        assert response.status_code == 500


@pytest.mark.parametrize("mode", ["Disabled", "OptIn", "Enabled"])
async def test_a_request_for_what_is_cached_only_was_asked_and_paid_for_where_it_passes_the_cache_by(
    start_gateway: StartGateway, provider: Provider, mode: str
) -> None:
    wish = "only-if-cached, no-store" if mode == "Enabled" else "only-if-cached"
    async with start_gateway(manifest(provider.base_url, cache={"mode": mode})) as gateway:
        response = await gateway.post(GOOD, headers={"Cache-Control": wish})
    assert (response.status_code, response.json()["error"]["code"]) == (504, "only_if_cached")
    assert provider.calls == []


async def test_an_empty_cache_object_went_upstream(gateway: TestGateway, provider: Provider) -> None:
    await gateway.post({**GOOD, "cache": None})
    assert provider.calls[0]["body"] == GOOD


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
async def test_a_last_event_without_its_blank_line_was_lost_and_its_stream_never_stored(
    gateway: TestGateway, provider: Provider, ending: str
) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        *events, last = chunks_of(completion(1, "gpt-4o", "whole"), True)
        await response.write("".join(f"data: {one}\n\n" for one in events).encode() + f"data: {last}{ending}".encode())
        return response

    provider.behave = stream
    answers = [await gateway.post({**GOOD, "stream": True}) for _ in range(2)]
    assert [answer.headers["X-LLMCache"] for answer in answers] == ["MISS", "HIT"]
    assert all(answer.text.endswith("data: [DONE]\n\n") for answer in answers)


async def test_half_an_event_at_the_end_of_a_stream_is_passed_on_to_nobody(
    gateway: TestGateway, provider: Provider
) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        first, second, *_ = chunks_of(completion(1, "gpt-4o", "half"), True)
        await response.write(f"data: {first}\n\ndata: {second[:30]}".encode())
        return response

    provider.behave = stream
    for _ in range(2):
        answer = await gateway.post({**GOOD, "stream": True})
        assert (answer.headers["X-LLMCache"], answer.text.count("data: ")) == ("MISS", 1)


async def test_a_stale_stream_was_never_refreshed_from_an_upstream_without_stream_options(
    start_gateway: StartGateway, provider: Provider
) -> None:
    refuse_stream_options(provider)
    streamed, now = {**GOOD, "stream": True}, [1000.0]
    cache = {"ttl": "10s", "staleWhileRevalidate": "1h"}
    async with start_gateway(manifest(provider.base_url, cache=cache), clock=lambda: now[0]) as gateway:
        await outcomes(gateway, streamed)
        now[0] += 11
        assert await outcomes(gateway, streamed) == ["STALE"]
        async with asyncio.timeout(5):
            while not await gateway.metric('llmcache_refreshes_total{result="stored"}'):  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.05)
        assert await outcomes(gateway, streamed) == ["HIT"]
