"""How OpenAI answers `POST /v1/embeddings`."""

import base64
import hashlib
import json
import struct
from typing import Any

from aiohttp import web

from tests.gateway.provider import Behaviour


async def behave(request: web.Request) -> web.StreamResponse:
    """Answer as OpenAI does: the same embedding for the same input, an error for an empty one."""
    body = await request.json()
    if not all(inputs_of(body)):
        error = {"message": "'$.input' is invalid.", "type": "invalid_request_error", "param": None, "code": None}
        return web.json_response({"error": error}, status=400)
    return web.json_response(embeddings(body))


BEHAVIOUR: Behaviour = behave


def inputs_of(body: dict[str, Any]) -> list[Any]:
    value = body["input"]
    return [value] if isinstance(value, str) or isinstance(value[0], int) else value


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """Return embeddings as OpenAI sends them, members unknown to every SDK included."""
    inputs = inputs_of(body)
    tokens = sum(len(one.split()) if isinstance(one, str) else len(one) for one in inputs)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": at, "embedding": vector(one, body), "of_tomorrow": {"kept": True}}
            for at, one in enumerate(inputs)
        ],
        "model": f"{body['model']}-001",
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "details": {"cached_tokens": 0, "tier": "default"}},
        "field_of_tomorrow": {"kept": True},
    }


def vector(one: Any, body: dict[str, Any]) -> Any:
    """Return an embedding as wide as asked for: floats, or the same packed and in base64."""
    digest = hashlib.sha256(json.dumps(one).encode()).digest()
    floats = [byte / 256 for byte in digest][: body.get("dimensions", 4)]
    if body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()
    return floats
