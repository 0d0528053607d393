"""An upstream whose models speak Anthropic's messages, asked for chat completions."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from multidict import CIMultiDict

from llmcache_gateway.errors import RequestError, UpstreamError
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.sse import CONTENT_TYPE, END_OF_EVENT, MAX_EVENT_BYTES, EventSplitter
from llmcache_gateway.translate import answer
from llmcache_gateway.translate.request import translated
from llmcache_gateway.translate.stream import Chunks
from llmcache_gateway.translate.ways import WAYS
from llmcache_gateway.upstreams.base import Answer, Call, Upstream

DROPPED_HEADER: Final = "LLMCache-Dropped"
"""Names the members of a request that the model's own API has no place for."""

_OF_THE_BODY: Final = ("Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "ETag")
_REQUEST_IDS: Final = ("request-id", "x-amzn-RequestId")
_OPENAIS: Final = ("OpenAI-Beta", "OpenAI-Organization", "OpenAI-Project")


class TranslatedUpstream:
    """Takes chat completions for models named `anthropic/…` or `bedrock/…`, asks for messages, and answers in kind.

    `max_tokens` bounds the answer where a request does not; `clock` tells Unix seconds.
    """

    translates = "openai-chat"

    def __init__(self, upstream: Upstream, *, max_tokens: int, clock: Callable[[], float]) -> None:
        self._upstream = upstream
        self._way = WAYS[upstream.provider]
        self._max_tokens = max_tokens
        self._clock = clock
        self.name = upstream.name
        self.provider = upstream.provider
        self.passthrough = upstream.passthrough
        self.identity = (*upstream.identity, self.translates, str(max_tokens))

    def serves(self, model: str) -> bool:
        inner = model.removeprefix(self._way.prefix)
        return model.startswith(self._way.prefix) and self._way.reaches(inner) and self._upstream.serves(inner)

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Answer]:
        chat = loads(call.body) if isinstance(call.body, bytes) else None
        if not isinstance(chat, dict):
            raise RequestError(400, "The body must be a JSON object.", code="invalid_json")
        model = str(chat.get("model", ""))
        inner = model.removeprefix(self._way.prefix)
        asked = translated(chat, inner, self._max_tokens)
        headers = CIMultiDict(call.headers)
        for name in _OPENAIS:
            headers.popall(name, None)
        for name, value in self._way.headers(asked).items():
            headers.setdefault(name, value)
        target = self._way.target(inner, asked.body.get("stream", False))
        sent = Call("POST", target, headers, dumps(self._way.body(asked)), decoded=True)
        async with self._upstream.send(sent) as given:
            said = CIMultiDict(given.headers)
            for name in _OF_THE_BODY:
                said.popall(name, None)
            for name in _REQUEST_IDS:
                if name in said:
                    said["x-request-id"] = said[name]
            if asked.dropped:
                said[DROPPED_HEADER] = ", ".join(asked.dropped)
            created = int(self._clock())
            if given.content_type == CONTENT_TYPE:
                said["Content-Type"] = CONTENT_TYPE
                options = chat.get("stream_options")
                chunks = Chunks(
                    model, created, with_usage=isinstance(options, dict) and options.get("include_usage") is True
                )
                yield Answer(given.status, said, self._events(given, chunks))
                return
            said["Content-Type"] = "application/json"
            status = 503 if given.status == answer.OVERLOADED else given.status
            body = self._whole(given, b"".join([chunk async for chunk in given.chunks]), model, created)
            yield Answer(status, said, _once(dumps(body)))

    def _whole(self, given: Answer, body: bytes, model: str, created: int) -> dict[str, Any]:
        try:
            said = loads(body)
        except ValueError:
            said = None
        if given.status != 200:
            return answer.error(self._way.error(said, given.headers))
        try:
            if not isinstance(said, dict):
                raise ValueError("no JSON object")
            return answer.completion(said, model, created)
        except ValueError as error:
            raise self._unreadable(error) from None

    async def _events(self, given: Answer, chunks: Chunks) -> AsyncIterator[bytes]:
        splitter = EventSplitter(MAX_EVENT_BYTES)
        try:
            async for piece in given.chunks:
                events = (self._way.event(block) for block in splitter.feed(piece))
                made = [one for event in events if event is not None for one in chunks.feed(event)]
                if made:
                    yield END_OF_EVENT.join(made) + END_OF_EVENT
        except (ValueError, KeyError, TypeError) as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> UpstreamError:
        return UpstreamError(f"upstream {self.name!r} gave an answer that is no message: {error}")


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
