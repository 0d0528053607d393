"""An upstream that is reached over HTTP."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from llmcache_gateway.dialects.bedrock_paths import BEDROCKS
from llmcache_gateway.dialects.openai_shaped import ROOTS, TRAITS
from llmcache_gateway.errors import RequestError, UpstreamError
from llmcache_gateway.headers import CREDENTIAL_HEADERS, sent_on
from llmcache_gateway.upstreams.base import Answer, Call, Signer


@dataclass(frozen=True, slots=True)
class Shape:
    """How the endpoints of one kind of provider are addressed.

    `credential` makes the header that carries an API key. `places` are what the gateway's paths begin with that it
    knows, the first that fits, each with what stands there below the address in the manifest.
    """

    credential: Callable[[str], tuple[str, str]]
    places: Mapping[str, str]


def _bearer(key: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {key}"


MAX_SIGNED_BYTES: Final = 64 * 2**20
"""Longest body that is held to be signed: more than any provider takes whose requests are signed."""


def _shaped(provider: str) -> Shape:
    """Return how a provider is addressed that speaks OpenAI's API: its address stands for each of its roots."""
    return Shape(_bearer, {f"{root}/": "/" for root, providers in ROOTS.items() if provider in providers})


_GOOGLES: Final = {begins: begins for begins in ("/v1", "/upload/v1", "/download/v1")}

SHAPES: Final = {provider: _shaped(provider) for provider in TRAITS} | {
    "azure": Shape(lambda key: ("api-key", key), {"/openai/": "/openai/", "/v1/": "/openai/v1/"}),
    "anthropic": Shape(lambda key: ("x-api-key", key), {"/v1/": "/v1/"}),
    "gemini": Shape(lambda key: ("x-goog-api-key", key), _GOOGLES),
    "vertex": Shape(_bearer, _GOOGLES),
    "bedrock": Shape(_bearer, dict(zip(BEDROCKS, BEDROCKS, strict=True))),
}
"""One for each provider that is reached over HTTP, by its name in the manifest."""


class HTTPUpstream:
    """A provider endpoint, addressed as `SHAPES` has it for its provider.

    `credential` is the API key to send, None to send none; with `passthrough` the client's own goes on; a `signer`
    makes one for each request. `timeout_seconds` bounds each silence: to connect, until the answer begins, between
    two pieces of it.
    """

    translates = ""

    def __init__(
        self,
        *,
        name: str,
        provider: str,
        base_url: str,
        models: list[str],
        credential: str | None,
        passthrough: bool,
        timeout_seconds: float,
        session: aiohttp.ClientSession,
        signer: Signer | None = None,
    ) -> None:
        self.name = name
        self.provider = provider
        self.identity = (name, provider, base_url.rstrip("/"))
        self._shape = SHAPES[provider]
        self._base_url = base_url.rstrip("/")
        self._models = models
        self._credential = credential
        self.passthrough = passthrough
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeout_seconds, sock_read=timeout_seconds)
        self._seconds = timeout_seconds
        self._session = session
        self._signer = signer

    def serves(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self._models)

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Answer]:
        url, headers, body = self._url(call.target), self._headers(call), call.body
        if self._signer is not None:
            held = b""
            if self._signer.reads_body:
                body = held = await _held(body)
            headers.update(await self._signer.sign(call.method, str(url), headers, held))
        try:
            response = await self._session.request(
                call.method,
                url,
                headers=headers,
                skip_auto_headers=("User-Agent", "Content-Type", "Accept-Encoding"),
                data=body,
                timeout=self._timeout,
                allow_redirects=False,
                auto_decompress=call.decoded,
            )
        except TimeoutError:
            raise UpstreamError(self._silent("before it answered"), timed_out=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamError(f"upstream {self.name!r} could not be reached: {_reason(error)}") from None
        # Left before the body has been read to its end, this closes the connection: nobody pays for the rest.
        async with response:
            yield Answer(response.status, response.headers, self._chunks(response))

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except TimeoutError:
            raise UpstreamError(self._silent("in the middle of its answer"), timed_out=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamError(f"upstream {self.name!r} broke off its answer: {_reason(error)}") from None

    def _silent(self, when: str) -> str:
        return f"upstream {self.name!r} was silent for {self._seconds:g} s {when}"

    def _url(self, target: str) -> URL:
        for begins, becomes in self._shape.places.items():
            if target.startswith(begins):
                # encoded=True keeps the client's own escapes; the caller has refused dot segments.
                return URL(self._base_url + becomes + target.removeprefix(begins), encoded=True)
        path, known = target.partition("?")[0], " or ".join(self._shape.places)
        raise RequestError(404, f"No upstream serves the path {path}: it must begin with {known}.", code="unknown_path")

    def _headers(self, call: Call) -> CIMultiDict[str]:
        headers = CIMultiDict(sent_on(call.headers))
        if not self.passthrough:
            for name in CREDENTIAL_HEADERS:
                headers.popall(name, None)
            if self._credential is not None:
                name, value = self._shape.credential(self._credential)
                headers[name] = value
        if call.decoded:
            headers["Accept-Encoding"] = "identity"
        return headers


async def _held(body: bytes | AsyncIterator[bytes] | None) -> bytes:
    """Return a whole body; RequestError(413) when it is larger than is held."""
    if body is None or isinstance(body, bytes):
        return body or b""
    held = bytearray()
    async for part in body:
        held += part
        if len(held) > MAX_SIGNED_BYTES:
            raise RequestError(413, f"The body is larger than {MAX_SIGNED_BYTES} bytes.", code="too_large")
    return bytes(held)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer"
    return str(error) or type(error).__name__
