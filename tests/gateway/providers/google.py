"""A stand-in for Google's API that keeps cached contents, and refuses what Google documents that it refuses.

An answer's text is a digest of the prompt that the model is given, so that one answered with a cached content can be
compared to one answered without.
"""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.gateway.provider import serving

FILE_TOKENS = 50_000

BEFORE = {
    "systemInstruction": ("systemInstruction", "system_instruction"),
    "tools": ("tools",),
    "toolConfig": ("toolConfig", "tool_config"),
}
_PATH = re.compile(
    r"/(?P<version>v1(?:beta1?|alpha)?)/(?P<parent>projects/[^/]+/locations/[^/]+/)?"
    r"(?:(?P<model>(?:publishers/google/)?models/[^/:]+):(?P<verb>\w+)|cachedContents(?P<id>/[\w-]+)?)"
)


class Refused(Exception):
    """What a request is refused with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Kept:
    """A cached content."""

    owner: str
    model: str
    body: dict[str, Any]
    tokens: int
    ends: float


@dataclass
class GoogleProvider:
    """What it was asked, and keeps. `made` and `deleted` name contents in the order in which that happened."""

    url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    contents: dict[str, Kept] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    renewed: list[tuple[str, str]] = field(default_factory=list)
    now: Callable[[], float] = time.time
    refusing: tuple[int, str] | None = None
    """How requests that use a cached content are refused, whatever they say."""

    refusing_to_make: tuple[int, str] | None = None
    make: asyncio.Event = field(default_factory=asyncio.Event)
    """A content is made once this is set."""

    delete: asyncio.Event = field(default_factory=asyncio.Event)
    asked_to_make: int = 0
    keys: dict[str, str] = field(default_factory=dict)
    """Whose the API keys are; one that is not named belongs to nobody else."""

    revoked: set[str] = field(default_factory=set)
    minimum: int = 1024
    """Fewest tokens that it keeps."""

    def using(self) -> list[str | None]:
        """Return the cached content that each request for an answer used."""
        return [call["body"].get("cachedContent") for call in self.calls if "enerateContent" in call["path"]]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw else {}
        headers = dict(request.headers)
        call = {"method": request.method, "path": request.raw_path, "headers": headers, "body": body, "raw": raw}
        self.calls.append(call)
        found = _PATH.fullmatch(request.path)
        key = headers.get("x-goog-api-key") or headers.get("Authorization", "")
        owner = self.keys.get(key, key)
        try:
            if key in self.revoked:
                raise Refused(400, "API key not valid. Please pass a valid API key.")
            if found is None or not owner:
                raise Refused(404 if owner else 403, "Requested entity was not found.")
            if found["verb"] is not None:
                return await self._answer(request, found, owner, body)
            return web.json_response(await self._keep(request.method, found, owner, body))
        except Refused as error:
            status = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED"}.get(error.status, "NOT_FOUND")
            said = {"error": {"code": error.status, "message": str(error), "status": status}}
            return web.json_response(said, status=error.status)

    async def _keep(self, method: str, found: re.Match[str], owner: str, body: dict[str, Any]) -> Any:
        parent = found["parent"] or ""
        if method == "POST" and not found["id"]:
            self.asked_to_make += 1
            await self.make.wait()
            return self._made(parent, owner, body)
        if method == "GET" and not found["id"]:
            return {"cachedContents": [{"name": name} for name, one in self.contents.items() if one.owner == owner]}
        name = f"{parent}cachedContents{found['id'] or ''}"
        kept = self._own(name, owner)
        if method == "DELETE":
            await self.delete.wait()
            del self.contents[name]
            self.deleted.append(name)
            return {}
        if method != "PATCH" or not body.keys() <= {"ttl", "expireTime"}:
            raise Refused(400, "Only ttl and expire_time can be updated.")
        kept.ends = self.now() + _seconds(body.get("ttl"))
        self.renewed.append((name, body["ttl"]))
        return {"name": name, "model": kept.model}

    def _made(self, parent: str, owner: str, body: dict[str, Any]) -> Any:
        if self.refusing_to_make is not None:
            raise Refused(*self.refusing_to_make)
        known = {
            "model",
            "displayName",
            "ttl",
            "expireTime",
            "contents",
            *(n for names in BEFORE.values() for n in names),
        }
        if unknown := body.keys() - known:
            raise Refused(400, f'Invalid JSON payload received. Unknown name "{min(unknown)}"')
        model = body.get("model", "")
        if not re.fullmatch(re.escape(f"{parent}publishers/google/" if parent else "") + r"models/[\w.-]+", model):
            raise Refused(400, f"Invalid model name: {model}")
        seconds = _seconds(body.get("ttl"))
        _refuse_contents(body.get("contents", []), empty=True)
        tokens = _tokens(_prompt(body))
        if tokens < self.minimum:
            said = f"total_token_count={tokens}, min_total_token_count={self.minimum}"
            raise Refused(400, f"Cached content is too small. {said}")
        name = f"{parent}cachedContents/c{len(self.made)}"
        self.contents[name] = Kept(owner, model, body, tokens, self.now() + seconds)
        self.made.append(name)
        return {"name": name, "model": model, "usageMetadata": {"totalTokenCount": tokens}, "expireTime": "2030"}

    def _own(self, name: str, owner: str) -> Kept:
        kept = self.contents.get(name)
        if kept is None or kept.owner != owner or kept.ends <= self.now():
            raise Refused(403, "CachedContent not found (or permission denied)")
        return kept

    async def _answer(
        self, request: web.Request, found: re.Match[str], owner: str, body: dict[str, Any]
    ) -> web.StreamResponse:
        name = body.get("cachedContent") or body.get("cached_content")
        prompt, cached = _prompt(body), 0
        _refuse_contents(body.get("contents"), empty=False)
        if name is not None:
            if self.refusing is not None:
                raise Refused(*self.refusing)
            if any(body.get(one) is not None for names in BEFORE.values() for one in names):
                raise Refused(
                    400,
                    "CachedContent can not be used with GenerateContent request setting system_instruction, tools or "
                    "tool_config.",
                )
            kept = self._own(name, owner)
            if kept.model != f"{found['parent'] or ''}{found['model']}":
                raise Refused(400, "Model used by GenerateContent request and CachedContent has to be the same.")
            held, cached = _prompt(kept.body), kept.tokens
            prompt = {**held, "contents": held["contents"] + prompt["contents"]}
        digest = hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).hexdigest()
        usage = {"promptTokenCount": _tokens(prompt), "candidatesTokenCount": 7}
        if cached:
            usage["cachedContentTokenCount"] = cached
        return await _said(request, digest, usage)


def _prompt(body: dict[str, Any]) -> dict[str, Any]:
    """Return what the model reads of a request, or of a cached content."""
    prompt = {name: next((body[one] for one in names if body.get(one)), None) for name, names in BEFORE.items()}
    return {**prompt, "contents": body.get("contents") or []}


def _tokens(prompt: dict[str, Any]) -> int:
    written = json.dumps({name: value for name, value in prompt.items() if value})
    return len(written) // 4 + FILE_TOKENS * written.count('"fileData"')


def _refuse_contents(contents: Any, *, empty: bool) -> None:
    if not isinstance(contents, list) or (not contents and not empty):
        raise Refused(400, "* GenerateContentRequest.contents: contents is not specified")
    for content in contents:
        if not isinstance(content, dict) or not isinstance(content.get("parts"), list) or not content["parts"]:
            raise Refused(400, "* GenerateContentRequest.contents: parts must not be empty")
        if content.get("role", "user") not in ("user", "model", "function"):
            raise Refused(400, "Please use a valid role: user, model.")
    if empty and contents and _is_no_question(contents[-1]):
        raise Refused(400, "Requests ending with a model turn are not supported.")


def _is_no_question(content: dict[str, Any]) -> bool:
    return content.get("role", "user") != "user" or "unctionResponse" in json.dumps(content["parts"])


def _seconds(ttl: Any) -> float:
    if not isinstance(ttl, str) or not re.fullmatch(r"[0-9]+(\.[0-9]{1,9})?s", ttl) or float(ttl[:-1]) <= 0:
        raise Refused(400, f"Invalid value for ttl: {ttl}")
    return float(ttl[:-1])


async def _said(request: web.Request, text: str, usage: dict[str, int]) -> web.StreamResponse:
    def piece(text: str, **more: Any) -> dict[str, Any]:
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **more}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r"}

    if "stream" not in request.path:
        return web.json_response(piece(text, finishReason="STOP"))
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for one in (piece(text[:9]), piece(text[9:], finishReason="STOP")):
        await response.write(b"data: " + json.dumps(one).encode() + b"\r\n\r\n")
    return response


@asynccontextmanager
async def running_google() -> AsyncIterator[GoogleProvider]:
    provider = GoogleProvider()
    provider.make.set()
    provider.delete.set()
    async with serving(provider.handle) as provider.url:
        yield provider
