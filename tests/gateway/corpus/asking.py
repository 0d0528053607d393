"""Asks for an entry of the corpus with the official SDKs, and makes plain data of the objects that they return."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from inspect import isawaitable
from types import MappingProxyType
from typing import Any

import anthropic
import boto3
import groq
import httpx
import openai
from botocore import UNSIGNED
from botocore.config import Config
from google import genai
from google.genai.types import HttpOptions
from google.oauth2.credentials import Credentials
from mistralai.client import Mistral

from tests.gateway.corpus.case import Case

GOOGLES = ("gemini", "vertex")
AWSS = ("converse", "invoke")

ROOTS = {
    "openai": "/v1",
    "xai": "/v1",
    "openrouter": "/api/v1",
    "fireworks": "/inference/v1",
    "deepseek": "",
    "azure-v1": "/openai/v1",
}
"""Who is asked with OpenAI's SDK, and how its address ends."""

Answer = tuple[str | None, Any]
"""What the cache says it did, None without one, and the answer as plain data."""

Helped = tuple[list[Any], Any]
"""The events of a stream helper, and the answer that it puts together from them or the error that it raises."""

RAISED = (openai.OpenAIError, anthropic.AnthropicError, RuntimeError)
"""What helpers raise for an answer that is cut or refused."""


class _Asking:
    """One entry, as arguments for an SDK."""

    def __init__(self, case: Case, client: Any, headers: dict[str, str]) -> None:
        self._resource = case.api.resource(client)
        self._final = str(case.api.final)
        self._ask = case.ask | {"extra_headers": headers}
        self._streamed = self._ask | case.streamed
        self._helped = self._streamed | (case.helped or {})


class Asker(_Asking):
    """Asks for one entry, of a provider or of a gateway in front of it, with the asynchronous SDK."""

    async def whole(self) -> Answer:
        """Ask without a stream."""
        raw = await self._resource.with_raw_response.create(**self._ask)
        parsed = raw.parse()
        return raw.headers.get("X-LLMCache"), plain(await parsed if isawaitable(parsed) else parsed)

    async def stream(self) -> Answer:
        """Ask for a stream; the answer is the list of what came."""
        raw = await self._resource.with_raw_response.create(**self._streamed, stream=True)
        parsed = raw.parse()
        stream = await parsed if isawaitable(parsed) else parsed
        return raw.headers.get("X-LLMCache"), [plain(one) async for one in stream]

    async def helper(self) -> Helped:
        """Ask with the SDK's stream helper."""
        events = []
        async with self._resource.stream(**self._helped) as stream:
            try:
                async for one in stream:
                    events.append(plain(one))
                return events, plain(await getattr(stream, self._final)())
            except RAISED as error:
                return events, repr(error)


class SyncAsker(_Asking):
    """The same with the synchronous SDK."""

    def whole(self) -> Answer:
        raw = self._resource.with_raw_response.create(**self._ask)
        return raw.headers.get("X-LLMCache"), plain(raw.parse())

    def stream(self) -> Answer:
        raw = self._resource.with_raw_response.create(**self._streamed, stream=True)
        return raw.headers.get("X-LLMCache"), [plain(one) for one in raw.parse()]

    def helper(self) -> Helped:
        events = []
        with self._resource.stream(**self._helped) as stream:
            try:
                for one in stream:
                    events.append(plain(one))
                return events, plain(getattr(stream, self._final)())
            except RAISED as error:
                return events, repr(error)


class _AskingGoogle:
    """One entry, as arguments for Google's SDK, which takes headers among a request's options."""

    def __init__(self, case: Case, client: Any, headers: dict[str, str]) -> None:
        self._models = case.api.resource(client)
        self._ask = case.ask | {"config": {**case.ask.get("config", {}), "http_options": {"headers": headers}}}


class GoogleAsker(_AskingGoogle):
    """Asks for one entry with Google's SDK, which has no stream helper."""

    async def whole(self) -> Answer:
        answer = await self._models.generate_content(**self._ask)
        return google_outcome(answer), plain(answer)

    async def stream(self) -> Answer:
        chunks = [one async for one in await self._models.generate_content_stream(**self._ask)]
        outcome, *_ = [google_outcome(one) for one in chunks]
        return outcome, [plain(one) for one in chunks]


class GoogleSyncAsker(_AskingGoogle):
    """The same with the synchronous SDK."""

    def whole(self) -> Answer:
        answer = self._models.generate_content(**self._ask)
        return google_outcome(answer), plain(answer)

    def stream(self) -> Answer:
        chunks = list(self._models.generate_content_stream(**self._ask))
        outcome, *_ = [google_outcome(one) for one in chunks]
        return outcome, [plain(one) for one in chunks]


class Bedrock:
    """AWS's SDK for Bedrock, which signs nothing and sends the headers of who asks: it has no argument for them."""

    def __init__(self, url: str) -> None:
        self.client = boto3.client(
            "bedrock-runtime",
            endpoint_url=url,
            region_name="eu-central-1",
            config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}, max_pool_connections=50),
        )
        self.client.meta.events.register("before-send.bedrock-runtime", self._add_headers)

    def _add_headers(self, request: Any, **_: Any) -> None:
        request.headers.update(_SENT.get())

    def close(self) -> None:
        self.client.close()


_SENT: ContextVar[Mapping[str, str]] = ContextVar("headers of the request that is asked", default=MappingProxyType({}))


class BedrockSyncAsker:
    """Asks for one entry with AWS's SDK, which has no stream helper: by Converse or, with a body, by InvokeModel."""

    def __init__(self, case: Case, client: Bedrock, headers: dict[str, str]) -> None:
        self._client = client.client
        self._ask = case.ask
        self._headers = headers

    def whole(self) -> Answer:
        if "body" in self._ask:
            given = self._asked(self._client.invoke_model)
            return _taken_out(given), exact(json.loads(given["body"].read()))
        given = self._asked(self._client.converse)
        return _taken_out(given), exact(given)

    def stream(self) -> Answer:
        if "body" in self._ask:
            given = self._asked(self._client.invoke_model_with_response_stream)
            pieces = [json.loads(one["chunk"]["bytes"]) for one in given["body"]]
        else:
            given = self._asked(self._client.converse_stream)
            pieces = list(given["stream"])
        return _taken_out(given), [{"members": exact(one)} for one in pieces]

    def _asked(self, ask: Callable[..., Any]) -> Any:
        token = _SENT.set(self._headers)
        try:
            return ask(**self._ask)
        finally:
            _SENT.reset(token)


class BedrockAsker(BedrockSyncAsker):
    """The same beside others: AWS's SDK is a synchronous one only."""

    async def whole(self) -> Answer:  # type: ignore[override]
        return await asyncio.to_thread(super().whole)

    async def stream(self) -> Answer:  # type: ignore[override]
        return await asyncio.to_thread(super().stream)


def _taken_out(given: Any) -> str | None:
    """Return what the cache says it did, and take the HTTP headers, which are no part of the answer, out of it."""
    outcome: str | None = given.pop("ResponseMetadata")["HTTPHeaders"].get("x-llmcache")
    return outcome


class Mistrals:
    """Mistral's SDK, which shows no headers of an answer, and what the cache did for the last one."""

    def __init__(self, url: str) -> None:
        self.outcome: str | None = None
        self._sync = httpx.Client(event_hooks={"response": [self._note]}, timeout=30)
        self._async = httpx.AsyncClient(event_hooks={"response": [self._note_async]}, timeout=30)
        clients: dict[str, Any] = {"client": self._sync, "async_client": self._async}
        self.sdk = Mistral(api_key="sk-test", server_url=url, **clients)

    def _note(self, response: httpx.Response) -> None:
        self.outcome = response.headers.get("X-LLMCache")

    async def _note_async(self, response: httpx.Response) -> None:
        self._note(response)

    def close(self) -> None:
        self._sync.close()

    async def aclose(self) -> None:
        await self._async.aclose()
        self._sync.close()


class _AskingMistral:
    """One entry, as arguments for Mistral's SDK."""

    def __init__(self, case: Case, client: Mistrals, headers: dict[str, str]) -> None:
        self._client = client
        self._chat = client.sdk.chat
        self._ask = case.ask | {"http_headers": headers}


class MistralAsker(_AskingMistral):
    """Asks for one entry with Mistral's SDK, which has no stream helper."""

    async def whole(self) -> Answer:
        answer = await self._chat.complete_async(**self._ask)
        return self._client.outcome, plain(answer)

    async def stream(self) -> Answer:
        async with await self._chat.stream_async(**self._ask) as stream:
            return self._client.outcome, [plain(one.data) async for one in stream]


class MistralSyncAsker(_AskingMistral):
    """The same with the synchronous SDK."""

    def whole(self) -> Answer:
        answer = self._chat.complete(**self._ask)
        return self._client.outcome, plain(answer)

    def stream(self) -> Answer:
        with self._chat.stream(**self._ask) as stream:
            return self._client.outcome, [plain(one.data) for one in stream]


def google_outcome(answer: Any) -> str | None:
    """Return what the cache says it did, and take the HTTP headers, which are no part of the answer, out of it."""
    outcome: str | None = httpx.Headers(answer.sdk_http_response.headers).get("X-LLMCache")
    answer.sdk_http_response = None
    return outcome


def asker(case: Case, client: Any, headers: dict[str, str]) -> Any:
    """Return who asks for one entry with the asynchronous SDK."""
    aws = dict.fromkeys(AWSS, BedrockAsker)
    kinds: dict[str, Any] = {**dict.fromkeys(GOOGLES, GoogleAsker), **aws, "mistral": MistralAsker}
    return kinds.get(case.api.sdk, Asker)(case, client, headers)


def sync_asker(case: Case, client: Any, headers: dict[str, str]) -> Any:
    """Return who asks for one entry with the synchronous SDK."""
    aws = dict.fromkeys(AWSS, BedrockSyncAsker)
    kinds: dict[str, Any] = {**dict.fromkeys(GOOGLES, GoogleSyncAsker), **aws, "mistral": MistralSyncAsker}
    return kinds.get(case.api.sdk, SyncAsker)(case, client, headers)


def clients(url: str) -> dict[str, Any]:
    """Return the asynchronous SDKs, by the names that the APIs give them."""
    return {
        **{
            name: openai.AsyncOpenAI(base_url=f"{url}{root}", api_key="sk-test", max_retries=0)
            for name, root in ROOTS.items()
        },
        "azure": openai.AsyncAzureOpenAI(**azure(url)),
        "groq": groq.AsyncGroq(base_url=url, api_key="sk-test", max_retries=0),
        "mistral": Mistrals(url),
        "anthropic": anthropic.AsyncAnthropic(base_url=url, api_key="sk-test", max_retries=0),
        "anthropic-vertex": anthropic.AsyncAnthropicVertex(**anthropic_vertex(url)),
        "gemini": gemini(url).aio,
        "vertex": vertex(url).aio,
        "anthropic-bedrock": anthropic.AsyncAnthropicBedrock(
            base_url=url, api_key="sk-test", aws_region="eu-central-1", max_retries=0
        ),
        **dict.fromkeys(AWSS, Bedrock(url)),
    }


def sync_clients(url: str) -> dict[str, Any]:
    return {
        **{
            name: openai.OpenAI(base_url=f"{url}{root}", api_key="sk-test", max_retries=0)
            for name, root in ROOTS.items()
        },
        "azure": openai.AzureOpenAI(**azure(url)),
        "groq": groq.Groq(base_url=url, api_key="sk-test", max_retries=0),
        "mistral": Mistrals(url),
        "anthropic": anthropic.Anthropic(base_url=url, api_key="sk-test", max_retries=0),
        "anthropic-vertex": anthropic.AnthropicVertex(**anthropic_vertex(url)),
        "gemini": gemini(url),
        "vertex": vertex(url),
        "anthropic-bedrock": anthropic.AnthropicBedrock(
            base_url=url, api_key="sk-test", aws_region="eu-central-1", max_retries=0
        ),
        **dict.fromkeys(AWSS, Bedrock(url)),
    }


def azure(url: str) -> dict[str, Any]:
    """Return the arguments of OpenAI's SDK for Azure."""
    return {"azure_endpoint": url, "api_key": "sk-test", "api_version": "2024-10-21", "max_retries": 0}


def anthropic_vertex(url: str) -> dict[str, Any]:
    """Return the arguments of Anthropic's SDK for Vertex AI."""
    of_google = {"region": "europe-west4", "project_id": "p", "access_token": "ya29.test"}
    return {"base_url": f"{url}/v1", **of_google, "max_retries": 0}


def gemini(url: str) -> genai.Client:
    """Return Google's SDK for the Gemini API."""
    return genai.Client(api_key="sk-test", http_options=HttpOptions(base_url=url))


def vertex(url: str) -> genai.Client:
    """Return Google's SDK for Vertex AI."""
    options = HttpOptions(base_url=url)
    token = Credentials(token="ya29.test")  # type: ignore[no-untyped-call]
    return genai.Client(vertexai=True, project="p", location="europe-west4", credentials=token, http_options=options)


def plain(value: Any) -> Any:
    """Return an SDK's object as data that is equal only for equal objects.

    That is its class, its members, unknown ones included, and those of them that were sent: null is not the same as
    nothing. A number keeps its type and its sign (1 is not 1.0), and the two halves of an emoji are the emoji.
    """
    members = value.model_dump(warnings=False)
    sent = value.model_dump(warnings=False, exclude_unset=True)
    return {"class": type(value).__name__, "members": exact(members), "sent": exact(sent)}


def exact(value: Any) -> Any:
    if isinstance(value, dict):
        return {exact(name): exact(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return value if value is None or isinstance(value, bool) else f"{type(value).__name__} {value!r}"


def differences(found: Any, expected: Any, at: str = "$") -> list[str]:
    """Return where two pieces of plain data differ, member by member."""
    return list(_differences(found, expected, at))


def _differences(found: Any, expected: Any, at: str) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(expected, dict):
        for name in sorted(found.keys() | expected.keys()):
            if name not in expected:
                yield f"{at}.{name}: unexpected {_short(found[name])}"
            elif name not in found:
                yield f"{at}.{name}: missing {_short(expected[name])}"
            else:
                yield from _differences(found[name], expected[name], f"{at}.{name}")
    elif isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        if len(found) != len(expected):
            yield f"{at}: {len(found)} items, expected {len(expected)}"
        for index, (one, other) in enumerate(zip(found, expected, strict=False)):
            yield from _differences(one, other, f"{at}[{index}]")
    elif found != expected:
        yield f"{at}: {_short(found)}, expected {_short(expected)}"


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) < 200 else f"{text[:200]}… ({len(text)})"
