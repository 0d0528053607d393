"""A stand-in for Amazon Bedrock, at the edge of the world: it checks signatures and speaks the binary wire format.

Its messages are written by code of its own, so that the gateway's are not checked against themselves.
"""

import json
import re
import struct
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.gateway.anthropic_provider import events_of, message
from tests.gateway.provider import Behaviour, serving

Event = tuple[str, dict[str, Any]]

REGION = "eu-central-1"
AWS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "the-gateways-own-secret",
    "AWS_SESSION_TOKEN": "the-gateways-session",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
"""The environment of a gateway that has a role of its own."""

BEARER = "bedrock-api-key-of-the-gateway"
USAGE = {
    "inputTokens": 21,
    "outputTokens": 3,
    "totalTokens": 2012,
    "cacheReadInputTokens": 1800,
    "cacheWriteInputTokens": 188,
    "cacheDetails": [{"ttl": "5m", "inputTokens": 188}],
}
FRAMES = "application/vnd.amazon.eventstream"


def frame(name: str, payload: Any, kind: str = "event") -> bytes:
    """Return one message of AWS's binary event stream."""
    names = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for key, value in names.items()
    )
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    prelude = struct.pack(">II", len(headers) + len(body) + 16, len(headers))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return whole + struct.pack(">I", zlib.crc32(whole))


def chunks(pieces: Iterable[dict[str, Any]]) -> Iterator[Event]:
    """Yield the events in which InvokeModel streams the pieces of a model's own stream."""
    for piece in pieces:
        yield "chunk", {"bytes": b64encode(json.dumps(piece).encode()).decode(), "p": "abcdefg"}


def converse_answer(*content: dict[str, Any], reason: str = "end_turn", **more: Any) -> dict[str, Any]:
    """Return an answer as Converse sends it."""
    return {
        "metrics": {"latencyMs": 310},
        "output": {"message": {"content": list(content), "role": "assistant"}},
        "stopReason": reason,
        "usage": USAGE,
        **more,
    }


def converse_events(answer: dict[str, Any]) -> Iterator[Event]:
    """Yield the events in which ConverseStream sends an answer."""
    for name, event in _converse_events(answer):
        yield name, {**event, "p": "abcdefghijk"}


def _converse_events(answer: dict[str, Any]) -> Iterator[Event]:
    said = answer["output"]["message"]
    yield "messageStart", {"role": said["role"]}
    for at, block in enumerate(said["content"]):
        start, deltas = _in_pieces(block)
        if start:
            yield "contentBlockStart", {"contentBlockIndex": at, "start": start}
        for delta in deltas:
            yield "contentBlockDelta", {"contentBlockIndex": at, "delta": delta}
        yield "contentBlockStop", {"contentBlockIndex": at}
    stop: dict[str, Any] = {
        name: answer[name] for name in ("stopReason", "additionalModelResponseFields") if name in answer
    }
    yield "messageStop", stop
    yield "metadata", {name: value for name, value in answer.items() if name not in {"output", *stop}}


def _in_pieces(block: dict[str, Any]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    match block:
        case {"text": text}:
            return None, [{"text": piece} for piece in cut(text)]
        case {"toolUse": use}:
            start = {name: value for name, value in use.items() if name != "input"}
            pieces = cut(json.dumps(use["input"])) if use["input"] else [""]
            return {"toolUse": start}, [{"toolUse": {"input": piece}} for piece in pieces]
        case {"reasoningContent": {"redactedContent": data}}:
            return None, [{"reasoningContent": {"redactedContent": data}}]
        case {"reasoningContent": {"reasoningText": thought}}:
            deltas: list[dict[str, Any]] = [{"reasoningContent": {"text": piece}} for piece in cut(thought["text"])]
            return None, [*deltas, {"reasoningContent": {"signature": thought["signature"]}}]
        case {"citationsContent": {"content": [{"text": text}], "citations": citations}}:
            first, *rest = cut(text)
            return None, [{"text": first}, *({"citation": one} for one in citations), *({"text": one} for one in rest)]
        case {"image": {"format": form, "source": source}}:
            return {"image": {"format": form}}, [{"image": {"source": source}}]
    raise ValueError(f"not said in a stream: {block}")


def cut(text: str) -> list[str]:
    return [text[at : at + 5] for at in range(0, len(text), 5)] or [""]


@dataclass
class BedrockProvider:
    """What it was asked, and how it answers. `content` and `reason` replace those of its answers, `behave` all of it.

    `cut` ends streams after so many events, `failure` then says why.
    """

    url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    content: list[dict[str, Any]] | None = None
    reason: str = "end_turn"
    behave: Behaviour | None = None
    cut: int | None = None
    failure: bytes = b""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        call = {"path": request.raw_path, "headers": request.headers.copy(), "raw": raw}
        self.calls.append(call)
        refusal = self.refusal(request, raw)
        if refusal is not None:
            return error(403, "AccessDeniedException", refusal)
        if self.behave is not None:
            return await self.behave(request)
        found = re.fullmatch(r"/model/([^/]+)/([a-z-]+)", request.raw_path.partition("?")[0])
        if found is None:
            return web.json_response({"path": request.raw_path})
        model, verb = unquote(found[1]), found[2]
        body = json.loads(raw)
        if verb.startswith("converse"):
            answer = self.converse(body)
            return await self.send(request, answer, converse_events(answer), streams=verb == "converse-stream")
        if verb.startswith("invoke"):
            answer = self.invoke(model, body)
            pieces = chunks(_with_metrics(events_of(answer))) if answer.get("type") == "message" else iter(())
            return await self.send(request, answer, pieces, streams=verb.endswith("stream"))
        return web.json_response({"inputTokens": len(self.calls)})

    def refusal(self, request: web.Request, raw: bytes) -> str | None:
        """Return what is wrong with a request's credential."""
        given = request.headers.get("Authorization", "")
        if given == f"Bearer {BEARER}":
            return None
        match = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([^,]+), "
            r"Signature=([0-9a-f]{64})",
            given,
        )
        if match is None:
            return f"no credential: {given[:20]}"
        key_id, region, service, names, signature = match.groups()
        if (key_id, region, service) != (AWS["AWS_ACCESS_KEY_ID"], REGION, "bedrock"):
            return f"the signature is for {key_id} {region} {service}"
        if request.headers.get("X-Amz-Security-Token") != AWS["AWS_SESSION_TOKEN"]:
            return "no session token"
        unsigned = [n for n in request.headers if n.lower().startswith("x-amz") and n.lower() not in names.split(";")]
        if unsigned:
            return f"not signed: {unsigned}"
        signer = SigV4Auth(Credentials(key_id, AWS["AWS_SECRET_ACCESS_KEY"]), service, region)
        signed = {name: request.headers[name] for name in names.split(";")}
        url = f"http://{request.headers['Host']}{request.raw_path}"
        again = AWSRequest(method=request.method, url=url, data=raw, headers=signed)
        again.context["timestamp"] = request.headers["X-Amz-Date"]
        expected = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
        return None if expected == signature else "The request signature we calculated does not match"

    def converse(self, body: dict[str, Any]) -> dict[str, Any]:
        question = body["messages"][-1]["content"][-1].get("text")
        content = self.content or [{"text": f"answer {len(self.calls)} to {question}"}]
        return converse_answer(*content, reason=self.reason, field_of_tomorrow={"kept": True})

    def invoke(self, model: str, body: dict[str, Any]) -> dict[str, Any]:
        if "anthropic_version" in body:
            question = body["messages"][-1]["content"]
            content = self.content or [{"type": "text", "text": f"answer {len(self.calls)} to {question}"}]
            return message(len(self.calls), model, content, self.reason)
        if "inputText" in body:
            return {"embedding": [0.25, -1.5], "inputTextTokenCount": len(self.calls)}
        return {"something": "else"}

    async def send(
        self, request: web.Request, answer: dict[str, Any], events: Iterable[Event], *, streams: bool
    ) -> web.StreamResponse:
        known = {"x-amzn-RequestId": f"id-{len(self.calls)}", "X-Amzn-Bedrock-Input-Token-Count": "21"}
        if not streams:
            return web.json_response(answer, headers=known, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": FRAMES, **known})
        await response.prepare(request)
        for name, event in list(events)[: self.cut]:
            whole = frame(name, event)
            await response.write(whole[:20])  # so that messages are cut anywhere
            await response.write(whole[20:])
        if self.failure:
            await response.write(self.failure)
        await response.write_eof()
        return response


def _with_metrics(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for event in events:
        if event["type"] == "message_stop":
            counts = {"inputTokenCount": 21, "outputTokenCount": 31, "invocationLatency": 9, "firstByteLatency": 5}
            yield {**event, "amazon-bedrock-invocationMetrics": counts}
        elif event["type"] != "ping":
            yield event


def error(status: int, name: str, text: str) -> web.Response:
    return web.json_response({"message": text}, status=status, headers={"x-amzn-ErrorType": f"{name}:http://internal/"})


@asynccontextmanager
async def running_bedrock() -> AsyncIterator[BedrockProvider]:
    provider = BedrockProvider()
    async with serving(provider.handle) as provider.url:
        yield provider
