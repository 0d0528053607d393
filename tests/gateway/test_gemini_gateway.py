"""Google's clients at the gateway: streams of both forms, credentials wherever they stand, errors, other paths."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.gateway.conftest import ADMIN, StartGateway, TestGateway, manifest
from tests.gateway.corpus.gemini import answer, blocks, candidate, text
from tests.gateway.provider import serving
from tests.gateway.test_command_line import finish, start

MODEL = "/v1beta/models/gemini-3.8-flash"
WHOLE, EVENTS, ARRAY = (
    f"{MODEL}:generateContent",
    f"{MODEL}:streamGenerateContent?alt=sse",
    f"{MODEL}:streamGenerateContent",
)
VERTEX = "/v1/projects/p/locations/l/publishers/google/models/gemini-3.8-flash:generateContent"
KEY = "AIzaSy-the-clients"
CLIENT = {"x-goog-api-key": KEY}


def question(words: str = "Hi", **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": words}]}], **more}


@dataclass
class Google:
    """What it was asked. `cut` ends streams after so many events; each waits for `go`."""

    url: str = ""
    calls: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    cut: int | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 200
    last_end: bytes = b"\r\n\r\n"
    then: dict[str, Any] | None = None
    """What a stream that was cut still says."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.calls.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        self.asked.set()
        if self.status != 200:
            body = {"error": {"code": self.status, "message": "no", "status": "UNAVAILABLE"}}
            return web.json_response(body, status=self.status)
        if not request.path.endswith(("enerateContent",)):
            return web.Response(body=b'{"odd":  1}', headers={"Content-Type": "application/json; charset=UTF-8"})
        whole = answer(candidate(text(f"answer {len(self.calls)} to all of this")))
        if "stream" not in request.path:
            return web.json_response(whole)
        assert request.query["alt"] == "sse", "the gateway reads events only"
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        sent = blocks(whole, {})[: self.cut]
        for at, one in enumerate(sent):
            await response.write(one + (self.last_end if at == len(sent) - 1 else b"\r\n\r\n"))
            await self.go.wait()
        if self.then is not None:
            await response.write(b"data: " + json.dumps(self.then).encode() + b"\r\n\r\n")
        return response


@pytest.fixture
async def google() -> AsyncIterator[Google]:
    provider = Google()
    provider.go.set()
    async with serving(provider.handle) as provider.url:
        yield provider


def config(google: Google, provider: str = "gemini", credential: Any = None, **spec: Any) -> dict[str, Any]:
    made = manifest(google.url, **spec)
    made["spec"]["upstreams"][0] |= {"provider": provider, "credential": credential or {"passthrough": True}}
    return made


@pytest.fixture
async def gateway(start_gateway: StartGateway, google: Google) -> AsyncIterator[TestGateway]:
    async with start_gateway(config(google)) as gateway:
        yield gateway


async def ask(gateway: TestGateway, path: str = WHOLE, body: Any = None, **headers: str) -> tuple[str, Any]:
    """Return what the cache did, and the text that the answer has."""
    given = await gateway.post(question() if body is None else body, path, headers=CLIENT | headers)
    assert given.status_code == 200, given.text
    if given.headers["Content-Type"].startswith("text/event-stream"):
        pieces = [json.loads(line[6:]) for line in given.text.splitlines() if line]
    else:
        pieces = given.json() if isinstance(given.json(), list) else [given.json()]
    said = [piece["candidates"][0]["content"]["parts"][0]["text"] for piece in pieces]
    return given.headers["X-LLMCache"], "".join(said)


@pytest.mark.parametrize("first", [WHOLE, EVENTS, ARRAY])
async def test_one_entry_serves_all_three_forms(gateway: TestGateway, google: Google, first: str) -> None:
    assert await ask(gateway, first) == ("MISS", "answer 1 to all of this")
    for form in (WHOLE, EVENTS, ARRAY, f"{ARRAY}?alt=json", f"{WHOLE}?alt=sse"):
        assert await ask(gateway, form) == ("HIT", "answer 1 to all of this")
    assert len(google.calls) == 1


async def test_an_array_is_given_piece_by_piece_as_the_provider_makes_it(gateway: TestGateway, google: Google) -> None:
    google.go.clear()
    async with (
        httpx.AsyncClient(base_url=gateway.url, headers=CLIENT) as client,
        client.stream("POST", ARRAY, json=question()) as response,
    ):
        assert response.headers["Content-Type"] == "application/json; charset=UTF-8"
        parts = response.aiter_bytes()
        first = await anext(parts)
        assert json.loads(first + b"]")[0]["candidates"][0]["content"]["parts"]
        google.go.set()
        whole = first + b"".join([part async for part in parts])
    assert len(json.loads(whole)) == 6
    again = await gateway.post(question(), ARRAY, headers=CLIENT)
    assert (again.headers["X-LLMCache"], again.json()) == ("HIT", json.loads(whole))


@pytest.mark.parametrize("then", [None, {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}])
async def test_a_stream_that_ends_before_its_reason_to_end_is_not_stored(
    gateway: TestGateway, google: Google, then: dict[str, Any] | None
) -> None:
    google.cut, google.then = 2, then
    for _ in range(2):
        given = await gateway.post(question(), EVENTS, headers=CLIENT)
        assert given.headers["X-LLMCache"] == "MISS"
    assert len(google.calls) == 2
    assert await gateway.metric('llmcache_store_skipped_total{reason="unterminated"}') == 2


async def test_a_last_event_counts_though_its_blank_line_is_missing_and_half_of_one_does_not(
    gateway: TestGateway, google: Google
) -> None:
    google.last_end = b"\r\n"
    assert await ask(gateway, EVENTS) == ("MISS", "answer 1 to all of this")
    assert await ask(gateway, ARRAY) == ("HIT", "answer 1 to all of this")
    google.last_end = b"\r\n\r\ndata: {"
    assert await ask(gateway, EVENTS, question("Ho")) == ("MISS", "answer 2 to all of this")
    assert await ask(gateway, ARRAY, question("Ho")) == ("HIT", "answer 2 to all of this")


async def test_a_pace_is_kept_for_arrays_too(start_gateway: StartGateway, google: Google) -> None:
    async with start_gateway(config(google, cache={"replay": {"pace": "Recorded"}})) as gateway:
        google.go.clear()
        async with (
            httpx.AsyncClient(base_url=gateway.url, headers=CLIENT) as client,
            client.stream("POST", EVENTS, json=question()) as response,
        ):
            parts = response.aiter_bytes()
            await anext(parts)
            await asyncio.sleep(0.1)
            google.go.set()
            assert [part async for part in parts]
        given = await gateway.post(question(), ARRAY, headers=CLIENT)
        assert (given.headers["X-LLMCache"], len(given.json())) == ("HIT", 6)
        assert "Content-Length" not in given.headers


async def test_coalesced_clients_get_the_form_that_each_asked_for(gateway: TestGateway, google: Google) -> None:
    google.go.clear()
    asked = asyncio.gather(*(ask(gateway, form) for form in (EVENTS, ARRAY, WHOLE, EVENTS)))
    await google.asked.wait()
    await asyncio.sleep(0.2)
    google.go.set()
    given = await asked
    assert sorted(outcome for outcome, _ in given) == ["COALESCED", "COALESCED", "COALESCED", "MISS"]
    assert {said for _, said in given} == {"answer 1 to all of this"}


# --- Credentials


async def test_each_way_to_send_a_credential_makes_its_tenant(gateway: TestGateway, google: Google) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as client:

        async def outcome(path: str, **headers: str) -> str:
            given = await client.post(path, json=question(), headers=headers)
            return given.headers["X-LLMCache"]

        assert await outcome(WHOLE, **{"x-goog-api-key": "one"}) == "MISS"
        assert await outcome(f"{WHOLE}?key=one") == "HIT"  # the same credential, said elsewhere
        assert await outcome(f"{EVENTS}&key=one") == "HIT"
        assert await outcome(f"{WHOLE}?%6bey=o%6ee") == "HIT"
        assert await outcome(f"{WHOLE}?key=two") == "MISS"
        assert await outcome(f"{WHOLE}?key=two", **{"x-goog-api-key": "one"}) == "MISS"
        assert await outcome(WHOLE, Authorization="Bearer one") == "MISS"
        assert await outcome(f"{WHOLE}?access_token=one") == "HIT"
        assert await outcome(WHOLE) == "MISS"
    assert [call[1] for call in google.calls] == [WHOLE] * 5
    assert [call[2].get("x-goog-api-key") for call in google.calls][:2] == ["one", "two"]


@pytest.mark.parametrize(
    ("provider", "path", "header", "value"),
    [("gemini", WHOLE, "x-goog-api-key", "own"), ("vertex", VERTEX, "Authorization", "Bearer own")],
)
async def test_the_upstreams_own_credential_takes_the_place_of_the_clients(
    start_gateway: StartGateway, google: Google, provider: str, path: str, header: str, value: str
) -> None:
    own = config(google, provider, {"env": "OWN"})
    async with start_gateway(own, environment={"OWN": "own"}) as gateway:
        for target in (
            f"{path}?key={KEY}",
            f"{path}?access_token={KEY}",
            path.replace("generate", "count") + f"?key={KEY}",
        ):
            for headers in ({}, CLIENT, {"Authorization": f"Bearer {KEY}"}):
                await gateway.post(question(target), target, headers=headers)
    assert len(google.calls) == 9
    for _, target, sent, _ in google.calls:
        assert KEY not in f"{target} {sent}"
        assert sent[header] == value


async def test_a_key_of_the_gateways_own_may_come_as_googles_clients_send_it(
    start_gateway: StartGateway, google: Google, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    (secrets / "team").mkdir(parents=True)
    (secrets / "team" / "keys").write_text("red: sk-of-red-team")
    spec = config(google, credential={"env": "OWN"}, tenancy={"keys": {"secretRef": {"name": "team", "key": "keys"}}})
    async with start_gateway(spec, secrets=secrets, environment={"OWN": "own"}) as gateway:
        seen = [
            (await gateway.post(question(), path, headers=headers)).status_code
            for path, headers in (
                (WHOLE, {"x-goog-api-key": "sk-of-red-team"}),
                (f"{WHOLE}?key=sk-of-red-team", {}),
                (f"{WHOLE}?key=sk-of-red-team", {"x-goog-api-key": "sk-of-red-team"}),
                (f"{WHOLE}?key=sk-of-nobody", {}),
                (WHOLE, {}),
            )
        ]
    assert seen == [200, 200, 401, 401, 401]


async def test_a_key_in_the_query_is_shown_nowhere_and_the_request_can_be_asked_again(
    start_gateway: StartGateway, google: Google, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO, "llmcache_gateway")
    target = f"{EVENTS}&key={KEY}"
    async with start_gateway(config(google)) as gateway:
        async with httpx.AsyncClient(base_url=gateway.admin_url, headers=ADMIN) as admin:
            given = [await gateway.post(question(), target) for _ in range(3)]
            hot = await admin.get("/admin/v1/hot")
            asked = {"path": target, "body": question()}
            explained = await admin.post("/admin/v1/explain", json=asked)
            assert explained.json()["key"] == given[0].headers["X-LLMCache-Key"]
            assert explained.json()["decision"]["outcome"] == "HIT"
            near = await admin.post("/admin/v1/explain", json={"path": target, "body": question("Ho")})
            differences = near.json()["nearest"]["differences"]
            assert [one["where"] for one in differences] == ["body.contents[0].parts[0].text"]
            lines = tmp_path / "requests.jsonl"
            lines.write_text("\n".join(json.dumps(one) for one in hot.json()["requests"]))
            warmed = await finish(
                await start("warm", "--url", gateway.url, "--requests", str(lines), LLMCACHE_API_KEY=KEY)
            )
            assert warmed[:2] == (0, "0 stored, 1 already there, 0 failed\n")
            taken = await admin.post(
                "/admin/v1/invalidate", json={"request": {"path": f"{WHOLE}?key={KEY}", "body": question()}}
            )
            assert taken.json()["deleted"] == 1
        assert (await gateway.post(question(), target)).headers["X-LLMCache"] == "MISS"
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "CACHE HIT" in logged
    assert KEY not in hot.text + explained.text + near.text + logged


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v1/models?key=abc&pageSize=2", "/v1/models?pageSize=2"),
        ("/v1beta/models?pageSize=2&access_token=abc", "/v1beta/models?pageSize=2"),
        ("/v1/threads?key=abc", "/v1/threads?key=abc"),
    ],
)
async def test_a_key_is_taken_for_a_credential_on_googles_paths_only(
    gateway: TestGateway, google: Google, path: str, sent: str
) -> None:
    await gateway.post(question(), path)
    assert google.calls[0][1] == sent


# --- Errors and other paths


async def test_errors_of_the_gateway_have_googles_shape(gateway: TestGateway) -> None:
    bad = await gateway.post(b"{", WHOLE, headers=CLIENT)
    assert (bad.status_code, bad.json()["error"]["code"], bad.json()["error"]["status"]) == (
        400,
        400,
        "INVALID_ARGUMENT",
    )
    cached = await gateway.post(question(), WHOLE, headers=CLIENT | {"Cache-Control": "only-if-cached"})
    assert (cached.status_code, cached.json()["error"]["status"]) == (504, "DEADLINE_EXCEEDED")
    dots = await gateway.post(question(), "/v1beta/models/..%2f..:generateContent", headers=CLIENT)
    assert (dots.status_code, dots.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    other = await gateway.post(question(), VERTEX, headers=CLIENT)
    assert (other.status_code, other.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert "none speaks that API" in other.json()["error"]["message"]


async def test_errors_of_the_provider_are_passed_on_and_not_stored(gateway: TestGateway, google: Google) -> None:
    google.status = 503
    for form in (WHOLE, EVENTS, ARRAY):
        given = await gateway.post(question(), form, headers=CLIENT)
        assert (given.status_code, given.json()["error"]["status"]) == (503, "UNAVAILABLE")
    assert len(google.calls) == 3


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1beta/models?pageSize=5"),
        ("GET", "/v1/models"),
        ("POST", f"{MODEL}:countTokens"),
        ("POST", f"{MODEL}:asyncBatchEmbedContent"),
        ("POST", "/v1beta/cachedContents"),
        ("DELETE", "/v1beta/cachedContents/abc"),
        ("POST", "/upload/v1beta/files?uploadType=media"),
        ("GET", "/download/v1beta/files/abc:download?alt=media"),
    ],
)
async def test_every_other_path_passes_through_byte_for_byte(
    gateway: TestGateway, google: Google, method: str, path: str
) -> None:
    body = b'{ "contents":[] ,"x": 1.0}'
    async with httpx.AsyncClient(base_url=gateway.url, headers=CLIENT) as client:
        given = await client.request(method, path, content=None if method == "GET" else body)
    assert (given.content, given.headers["Content-Type"]) == (b'{"odd":  1}', "application/json; charset=UTF-8")
    assert given.headers["Cache-Status"].startswith('llmcache; fwd=bypass; detail="unknown-path"')
    sent_method, sent_path, sent_headers, sent_body = google.calls[0]
    assert (sent_method, sent_path, sent_headers["x-goog-api-key"]) == (method, path, KEY)
    assert sent_body == (b"" if method == "GET" else body)
