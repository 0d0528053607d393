"""AWS's clients at the gateway: signatures and bearer keys, streams in both ways, errors, bodies of all models."""

import asyncio
import json
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import anthropic
import boto3
import httpx
import pytest
import trustme
from aiohttp import web
from botocore.config import Config
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError, EventStreamError

from tests.gateway.conftest import StartGateway, TestGateway, manifest
from tests.gateway.corpus.asking import Bedrock
from tests.gateway.providers.bedrock import AWS, BEARER, FRAMES, REGION, BedrockProvider, error, frame, running_bedrock
from tests.gateway.test_command_line import address, finish, serving, start, without_package

MODEL = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-5-5-20260901-v1:0"
ESCAPED = MODEL.replace(":", "%3A").replace("/", "%2F")
CONVERSE = f"/model/{ESCAPED}/converse"
QUESTION = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
CLAUDES = {"anthropic_version": "2026-10-21", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
async def aws() -> AsyncIterator[BedrockProvider]:
    async with running_bedrock() as provider:
        yield provider


def config(aws: BedrockProvider, credential: Any = None, **spec: Any) -> dict[str, Any]:
    """Return a manifest whose upstream signs, or has a bearer key."""
    made = manifest(aws.url, **spec)
    upstream = made["spec"]["upstreams"][0]
    del upstream["credential"]
    upstream |= {"provider": "bedrock", **({"credential": credential} if credential else {"region": REGION})}
    return made


@pytest.fixture
def role(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's own role, as its pod would have it."""
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def gateway(start_gateway: StartGateway, aws: BedrockProvider, role: None) -> AsyncIterator[TestGateway]:
    async with start_gateway(config(aws)) as gateway:
        yield gateway


def signing(url: str, **more: Any) -> Any:
    """Return AWS's SDK as it comes: it signs with the client's own credentials."""
    options = {
        "aws_access_key_id": "AKIACLIENT",
        "aws_secret_access_key": "the-clients",
        "aws_session_token": "session",
    }
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name=REGION,
        config=Config(retries={"total_max_attempts": 1}),
        **(options | more),
    )


def events(stream: bytes) -> list[Any]:
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    return list(buffer)


# --- One entry, whoever asks and however it is signed


async def test_a_request_is_signed_by_the_gateway_and_one_entry_serves_all(
    gateway: TestGateway, aws: BedrockProvider
) -> None:
    seen = [await gateway.post(QUESTION, path) for path in (CONVERSE, f"{CONVERSE}-stream", CONVERSE)]
    assert [one.headers["X-LLMCache"] for one in seen] == ["MISS", "HIT", "HIT"]
    assert seen[0].json() == seen[2].json()
    assert seen[0].json()["field_of_tomorrow"] == {"kept": True}
    assert seen[1].headers["Content-Type"] == FRAMES
    last = events(seen[1].content)[-1]
    assert last.headers[":event-type"] == "metadata"
    assert json.loads(last.payload)["usage"] == seen[0].json()["usage"]
    (call,) = aws.calls
    assert (call["path"], call["headers"]["Authorization"][:4]) == (CONVERSE, "AWS4")


async def test_a_recorded_stream_is_given_again_message_by_message(gateway: TestGateway, aws: BedrockProvider) -> None:
    aws.content = [{"text": "a stream"}, {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": [1]}}}]
    first, again = [await gateway.post(QUESTION, f"{CONVERSE}-stream") for _ in range(2)]
    assert (first.headers["X-LLMCache"], again.headers["X-LLMCache"]) == ("MISS", "HIT")
    assert first.headers["x-amzn-RequestId"] == "id-1"
    assert first.content == again.content
    assert [json.loads(one.payload)["p"] for one in events(again.content)] == ["abcdefghijk"] * len(
        events(again.content)
    )
    whole = await gateway.post(QUESTION, CONVERSE)
    assert whole.headers["X-LLMCache"] == "HIT"
    assert whole.json()["output"]["message"]["content"] == aws.content


@pytest.mark.parametrize("path", [f"/model/{MODEL.replace('/', '%2F')}/converse", f"{CONVERSE}-stream"])
async def test_a_model_is_one_however_it_is_escaped(gateway: TestGateway, aws: BedrockProvider, path: str) -> None:
    assert (await gateway.post(QUESTION, CONVERSE)).headers["X-LLMCache"] == "MISS"
    assert (await gateway.post(QUESTION, path)).headers["X-LLMCache"] == "HIT"
    # What the client escaped, the provider gets, and the signature is for that.
    other = await gateway.post(QUESTION, "/model/a:b%2Fc/converse")
    assert (other.status_code, aws.calls[-1]["path"]) == (200, "/model/a:b%2Fc/converse")


async def test_what_differs_from_attempt_to_attempt_is_no_part_of_the_key_nor_of_the_signature(
    gateway: TestGateway, aws: BedrockProvider
) -> None:
    for number in ("1", "2"):
        headers = {
            "amz-sdk-invocation-id": number,
            "amz-sdk-request": f"attempt={number}",
            "X-Amz-Date": f"2026112{number}T000000Z",
            "X-Amz-Content-SHA256": number,
            "X-Amz-Security-Token": "the-clients",
            "x-api-key": "one-client",
        }
        given = await gateway.post(QUESTION, CONVERSE, headers=headers)
        assert given.headers["X-LLMCache"] == ("MISS" if number == "1" else "HIT")
    assert "the-clients" not in str(aws.calls)
    assert aws.calls[0]["headers"]["amz-sdk-invocation-id"] == "1"


async def test_a_stream_and_an_answer_asked_for_together_are_one_call(
    gateway: TestGateway, aws: BedrockProvider
) -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse:
        begun.set()
        await go.wait()
        aws.behave = None
        answer = aws.converse(json.loads(await request.read()))
        return web.json_response(answer)

    aws.behave = wait
    first = asyncio.create_task(gateway.post(QUESTION, CONVERSE))
    await begun.wait()
    second = asyncio.create_task(gateway.post(QUESTION, f"{CONVERSE}-stream"))
    await asyncio.sleep(0.1)
    go.set()
    whole, streamed = await asyncio.gather(first, second)
    assert (whole.headers["X-LLMCache"], len(aws.calls)) == ("MISS", 1)
    assert streamed.headers["X-LLMCache"] in ("COALESCED", "HIT")
    assert events(streamed.content)[-1].headers[":event-type"] == "metadata"


# --- Who asks


async def test_anthropics_sdk_sends_a_key_and_the_gateway_its_own(
    start_gateway: StartGateway, aws: BedrockProvider
) -> None:
    own = config(aws, {"env": "AWS_BEARER_TOKEN_BEDROCK"})
    async with start_gateway(own, environment={"AWS_BEARER_TOKEN_BEDROCK": BEARER}) as gateway:
        client = anthropic.AsyncAnthropicBedrock(base_url=gateway.url, api_key="sk-of-the-client", aws_region=REGION)
        async with client:
            ask: Any = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
            message = await client.messages.create(**ask)
            async with client.messages.stream(**ask) as stream:
                assert await stream.get_final_text() == message.content[0].text == "answer 1 to Hi"
                assert stream.response.headers["X-LLMCache"] == "HIT"
    (call,) = aws.calls
    assert call["headers"]["Authorization"] == f"Bearer {BEARER}"
    assert "sk-of-the-client" not in str(call)


async def test_a_bearer_key_may_be_passed_on_and_makes_the_tenant(
    start_gateway: StartGateway, aws: BedrockProvider
) -> None:
    async with start_gateway(config(aws, {"passthrough": True})) as gateway:
        for key, expected in ((BEARER, 200), (BEARER, 200), ("another", 403)):
            given = await gateway.post(QUESTION, CONVERSE, headers={"Authorization": f"Bearer {key}"})
            assert given.status_code == expected
    assert len(aws.calls) == 2


async def test_a_signature_names_no_tenant_and_the_client_is_told_what_to_do(
    gateway: TestGateway, aws: BedrockProvider
) -> None:
    client = signing(gateway.url)
    with pytest.raises(ClientError, match=r"AWS_BEARER_TOKEN_BEDROCK.*x-api-key.*spec\.tenancy") as caught:
        await asyncio.to_thread(client.converse, modelId=MODEL, **QUESTION)
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    with pytest.raises(ClientError, match="signed for AWS"):
        await asyncio.to_thread(client.converse_stream, modelId=MODEL, **QUESTION)
    client.close()
    other = await gateway.post(QUESTION, "/v1/chat/completions", headers={"Authorization": "aws4-hmac-sha256 x"})
    assert other.status_code == 403
    assert aws.calls == []


async def test_where_all_share_entries_a_signature_is_dropped_and_the_gateways_own_takes_its_place(
    start_gateway: StartGateway, aws: BedrockProvider, role: None
) -> None:
    async with start_gateway(config(aws, tenancy={"isolation": "Shared"})) as gateway:
        client = signing(gateway.url)
        for expected in ("MISS", "HIT"):
            given = await asyncio.to_thread(client.converse, modelId=MODEL, **QUESTION)
            assert given["ResponseMetadata"]["HTTPHeaders"]["x-llmcache"] == expected
        client.close()
    assert "AKIACLIENT" not in str(aws.calls)


async def test_a_signature_is_not_passed_on(start_gateway: StartGateway, aws: BedrockProvider) -> None:
    shared = config(aws, {"passthrough": True}, tenancy={"isolation": "Shared"})
    async with start_gateway(shared) as gateway:
        client = signing(gateway.url)
        with pytest.raises(ClientError, match="signed for AWS"):
            await asyncio.to_thread(client.converse, modelId=MODEL, **QUESTION)
        counted = {"input": {"converse": QUESTION}}
        with pytest.raises(ClientError, match="holds for one host only"):
            await asyncio.to_thread(client.count_tokens, modelId=MODEL, **counted)
        client.close()
    assert aws.calls == []


async def test_boto3_sends_the_gateways_key_as_its_bearer_token_over_https(
    start_gateway: StartGateway, aws: BedrockProvider, role: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "keys").write_text("red: sk-of-red-team")
    keys = {"keys": {"secretRef": {"name": "team", "key": "keys"}}}
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))

    def ask(url: str, key: str) -> str:
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", key)
        nothing = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key", "aws_session_token"))
        with closing(signing(url, **nothing)) as client:
            given = client.converse(modelId=MODEL, **QUESTION)
        return str(given["ResponseMetadata"]["HTTPHeaders"]["x-llmcache"])

    async with (
        start_gateway(config(aws, tenancy=keys), secrets=tmp_path) as gateway,
        _https(gateway, authority) as url,
    ):
        for expected in ("MISS", "HIT"):
            assert await asyncio.to_thread(ask, url, "sk-of-red-team") == expected
        with pytest.raises(ClientError, match="not known here"):
            await asyncio.to_thread(ask, url, "sk-of-nobody")
    assert "sk-of-red-team" not in str(aws.calls)


@asynccontextmanager
async def _https(gateway: TestGateway, authority: trustme.CA) -> AsyncIterator[str]:
    """What ends TLS in front of a gateway, as an ingress does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    connections: set[asyncio.Task[Any] | None] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()  # so that the other side ends, too

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        there, here = await asyncio.open_connection("127.0.0.1", gateway.running.port)
        await asyncio.gather(copy(reader, here), copy(there, writer), return_exceptions=True)
        for side in (here, writer):
            side.close()
            with suppress(OSError):
                await side.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    await asyncio.gather(*filter(None, connections))


async def test_without_credentials_a_gateway_says_so(
    start_gateway: StartGateway, aws: BedrockProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in AWS:
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_EC2_METADATA_DISABLED", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, AWS[name])
    async with start_gateway(config(aws)) as gateway:
        given = await gateway.post(QUESTION, CONVERSE)
    assert (given.status_code, given.json()["code"]) == (502, "ServiceUnavailableException")
    assert "no AWS credentials" in given.json()["message"]
    assert aws.calls == []


async def test_a_log_of_every_level_holds_no_token_of_the_role_though_the_library_that_signs_would_write_it(
    aws: BedrockProvider, tmp_path: Path
) -> None:
    file = tmp_path / "llmcache.yaml"
    file.write_text(json.dumps(config(aws)))
    async with (
        serving(file, "--log-level", "debug", **AWS) as (process, lines),
        httpx.AsyncClient(timeout=30) as client,
    ):
        assert (await client.post(address(lines, "gateway") + CONVERSE, json=QUESTION)).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, _, err = await finish(process)
    assert "CACHE MISS" in err
    assert AWS["AWS_SESSION_TOKEN"] not in err


async def test_without_the_client_a_gateway_starts_and_says_what_bedrock_needs(
    aws: BedrockProvider, tmp_path: Path
) -> None:
    absent = without_package(tmp_path, "botocore")
    file = tmp_path / "llmcache.yaml"
    file.write_text(json.dumps(manifest(None)))
    async with serving(file, PYTHONPATH=absent):
        pass
    file.write_text(json.dumps(config(aws)))
    code, _, err = await finish(await start("serve", "--config", str(file), PYTHONPATH=absent))
    assert code == 2
    assert "spec.upstreams[0].provider: provider bedrock needs the package botocore" in err
    assert "llmcache-operator[gateway,bedrock]" in err


# --- Errors


async def test_an_error_of_the_provider_is_the_one_that_the_sdk_raises(
    gateway: TestGateway, aws: BedrockProvider
) -> None:
    async def busy(request: web.Request) -> web.StreamResponse:
        return error(429, "ThrottlingException", "Too many requests")

    aws.behave = busy
    sdk = Bedrock(gateway.url)
    for ask in (sdk.client.converse, sdk.client.converse_stream):
        with pytest.raises(sdk.client.exceptions.ThrottlingException, match="Too many requests"):
            await asyncio.to_thread(ask, modelId=MODEL, **QUESTION)
    sdk.close()
    assert len(aws.calls) == 2


async def test_an_exception_in_a_stream_reaches_the_sdk_and_nothing_is_stored(
    gateway: TestGateway, aws: BedrockProvider
) -> None:
    aws.cut, aws.failure = 2, frame("modelStreamErrorException", {"message": "The model broke"}, "exception")
    sdk = Bedrock(gateway.url)

    def ask() -> list[Any]:
        with closing(sdk.client.converse_stream(modelId=MODEL, **QUESTION)["stream"]) as stream:
            return list(stream)

    for _ in range(2):
        with pytest.raises(EventStreamError, match=r"modelStreamErrorException.*The model broke"):
            await asyncio.to_thread(ask)
    aws.failure = b""
    assert len(await asyncio.to_thread(ask)) == 2  # it only ends
    aws.failure = b"\0\0\0\x20\0\0\0\0\0\0\0\0"  # a message that is damaged
    with pytest.raises(EventStreamError, match=r"serviceUnavailableException.*can't be read"):
        await asyncio.to_thread(ask)
    sdk.close()
    assert len(aws.calls) == 4


@pytest.mark.parametrize("verb", ["converse", "invoke"])
async def test_errors_of_the_gateway_have_the_providers_shape(gateway: TestGateway, verb: str) -> None:
    path = f"/model/m/{verb}"
    bad = await gateway.post(b"{", path)
    assert (bad.status_code, bad.json()["code"]) == (400, "ValidationException")
    nothing = await gateway.post(QUESTION | CLAUDES, path, headers={"Cache-Control": "only-if-cached"})
    assert (nothing.status_code, nothing.json()["code"]) == (504, "ModelTimeoutException")
    unreadable = await gateway.post(QUESTION, f"/model/%ff/{verb}")
    assert (unreadable.status_code, unreadable.json()["message"]) == (400, "The path names no model that can be read.")
    dots = await gateway.post(QUESTION, f"/model/..%2f../{verb}")
    assert dots.status_code == 400


# --- Bodies of other models, and other paths


async def test_an_embedding_is_kept(gateway: TestGateway, aws: BedrockProvider) -> None:
    body = {"inputText": "Hi", "dimensions": 256}
    for expected in ("MISS", "HIT"):
        given = await gateway.post(body, "/model/amazon.titan-embed-text-v2:0/invoke")
        assert (given.headers["X-LLMCache"], given.json()["embedding"]) == (expected, [0.25, -1.5])
    assert len(aws.calls) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/model/new.model-v1:0/invoke", {"question": "Hi"}),
        ("/model/amazon.titan-text-v1/invoke-with-response-stream", {"inputText": "Hi"}),
    ],
)
async def test_what_the_gateway_cannot_judge_passes_by_and_says_so(
    gateway: TestGateway, aws: BedrockProvider, path: str, body: dict[str, Any]
) -> None:
    for _ in range(2):
        given = await gateway.post(body, path)
        assert given.headers["Cache-Status"] == 'llmcache; fwd=bypass; detail="unknown-shape"'
    assert len(aws.calls) == 2


async def test_a_guardrail_that_is_edited_keeps_answers_out_of_the_cache_also_where_a_header_names_it(
    gateway: TestGateway, aws: BedrockProvider
) -> None:
    async def given(version: str) -> list[str]:
        headers = {"X-Amzn-Bedrock-GuardrailIdentifier": "abc123", "X-Amzn-Bedrock-GuardrailVersion": version}
        paths = (f"/model/{ESCAPED}/invoke", f"/model/{ESCAPED}/invoke-with-response-stream")
        return [
            (await gateway.post(CLAUDES, path, headers=headers)).headers["Cache-Status"] for path in paths for _ in "12"
        ]

    assert await given("DRAFT") == ['llmcache; fwd=bypass; detail="stateful"'] * 4
    assert [one.split(";")[1].strip() for one in await given("1")] == ["fwd=miss", "hit", "hit", "hit"]


async def _in_pieces() -> AsyncIterator[bytes]:
    yield b'{ "input"'
    yield b": {}}"


async def test_every_other_path_passes_through_signed(gateway: TestGateway, aws: BedrockProvider) -> None:
    path = "/guardrail/abc/version/1/apply?x=a%20b"
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        counted = await client.post(f"/model/{ESCAPED}/count-tokens", content=_in_pieces())
        listed = await client.get("/async-invoke?statusEquals=Completed&maxResults=5")
        applied = await client.post(path, json={"source": "INPUT"})
    for given in (counted, listed, applied):
        assert (given.status_code, given.headers["X-LLMCache"]) == (200, "BYPASS")
    assert aws.calls[0]["raw"] == b'{ "input": {}}'
    assert aws.calls[2]["path"] == path
