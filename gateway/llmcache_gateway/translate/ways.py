"""The two ways to reach a model that speaks Anthropic's messages: Anthropic's own API, and Bedrock's InvokeModel."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote

from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.sse import data_event, event_data
from llmcache_gateway.translate.request import Translated


class Way(Protocol):
    """How one kind of provider is asked for a message."""

    @property
    def prefix(self) -> str:
        """What a model's name begins with that is reached this way."""

    def reaches(self, model: str) -> bool:
        """Say whether a model, named without the prefix, speaks messages there."""

    def target(self, model: str, stream: bool) -> str:
        """Return the path to ask."""

    def headers(self, asked: Translated) -> Mapping[str, str]:
        """Return the headers that a request has beside the client's, unless the client sends its own."""

    def body(self, asked: Translated) -> dict[str, Any]:
        """Return the body to send."""

    def event(self, block: bytes) -> bytes | None:
        """Return an event block of its streams as one of a message's; ValueError when it is none."""

    def error(self, body: Any, headers: Mapping[str, str]) -> Any:
        """Return the body of an error as Anthropic's API has it."""


class Anthropic:
    """Anthropic's own API."""

    prefix = "anthropic/"

    def reaches(self, model: str) -> bool:
        return True

    def target(self, model: str, stream: bool) -> str:
        return "/v1/messages"

    def headers(self, asked: Translated) -> Mapping[str, str]:
        return {"anthropic-version": asked.version}

    def body(self, asked: Translated) -> dict[str, Any]:
        return asked.body

    def event(self, block: bytes) -> bytes | None:
        return block

    def error(self, body: Any, headers: Mapping[str, str]) -> Any:
        return body


class Bedrock:
    """Bedrock's InvokeModel, which has the model in its path and each event of a stream in one of its own."""

    prefix = "bedrock/"

    _VERSION: Final = "bedrock-2023-05-31"
    _ELSEWHERE: Final = frozenset({"model", "stream", "service_tier"})
    """Members that are said by path and headers there."""

    def reaches(self, model: str) -> bool:
        return "anthropic." in model

    def target(self, model: str, stream: bool) -> str:
        return f"/model/{quote(model, safe='')}/invoke{'-with-response-stream' if stream else ''}"

    def headers(self, asked: Translated) -> Mapping[str, str]:
        return {}

    def body(self, asked: Translated) -> dict[str, Any]:
        rest = {name: value for name, value in asked.body.items() if name not in self._ELSEWHERE}
        return {"anthropic_version": self._VERSION, **rest}

    def event(self, block: bytes) -> bytes | None:
        said = event_data(block)
        if said is None:
            return None
        kind, _, name = block.partition(b"\n")[0].partition(b": ")
        if kind != b"event":
            return data_event(dumps({"type": "error", **self._told(loads(said), name.decode())}))
        if name != b"chunk":
            return None
        return data_event(b64decode(loads(said)["bytes"]))

    def error(self, body: Any, headers: Mapping[str, str]) -> Any:
        named = headers.get("x-amzn-errortype", "").partition(":")[0]
        return self._told(body, named or "api_error")

    @staticmethod
    def _told(body: Any, named: str) -> dict[str, Any]:
        message = body.get("message") if isinstance(body, dict) else None
        return {"error": {"type": named, "message": message or "the provider says nothing more"}}


WAYS: Final[Mapping[str, Way]] = {"anthropic": Anthropic(), "bedrock": Bedrock()}
"""By the provider of the upstream, as the manifest names it."""
