"""Which upstream a request goes to: a table."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pytest

from llmcache_gateway.dialects import dialect_of, kin_of
from llmcache_gateway.errors import RequestError
from llmcache_gateway.upstreams import choice
from llmcache_gateway.upstreams.base import Answer, Call

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


@dataclass(frozen=True)
class Endpoint:
    """An upstream that nobody sends anything to."""

    name: str
    provider: str
    models: str = "*"
    passthrough: bool = False
    translates: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.name, self.provider)

    def serves(self, model: str) -> bool:
        return fnmatchcase(model, self.models)

    def send(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        raise NotImplementedError


OPENAI = Endpoint("openai", "openai")
GPT = Endpoint("gpt", "openai", "gpt-*")
ANTHROPIC = Endpoint("anthropic", "anthropic")
CLAUDE = Endpoint("claude", "anthropic", "claude-*")
GEMINI = Endpoint("gemini", "gemini")
VERTEX = Endpoint("vertex", "vertex")
ECHO = Endpoint("echo", "echo")
TRANSLATED = Endpoint("anthropic", "anthropic", "anthropic/*", translates="openai-chat")
IN_VERTEX = "/v1/projects/p/locations/l/publishers"


@pytest.mark.parametrize(
    ("upstreams", "path", "model", "chosen"),
    [
        ([OPENAI, ANTHROPIC], CHAT, "m", OPENAI),
        ([OPENAI, ANTHROPIC], MESSAGES, "m", ANTHROPIC),
        ([ANTHROPIC, OPENAI], CHAT, "m", OPENAI),
        ([GPT, ANTHROPIC, TRANSLATED], CHAT, "anthropic/claude-1", TRANSLATED),
        ([ANTHROPIC, TRANSLATED, OPENAI], CHAT, "anthropic/claude-1", TRANSLATED),
        ([OPENAI, ANTHROPIC, TRANSLATED], CHAT, "anthropic/claude-1", OPENAI),
        ([ANTHROPIC, TRANSLATED], CHAT, "claude-1", None),
        ([ANTHROPIC, TRANSLATED], MESSAGES, "anthropic/claude-1", ANTHROPIC),
        ([TRANSLATED], MESSAGES, "anthropic/claude-1", None),
        ([GPT, OPENAI], CHAT, "gpt-4o", GPT),
        ([GPT, OPENAI], CHAT, "o3", OPENAI),
        ([CLAUDE, ANTHROPIC], MESSAGES, "m", ANTHROPIC),
        ([CLAUDE, ECHO], MESSAGES, "m", ECHO),
        ([GPT, ECHO], CHAT, "m", ECHO),
        ([ECHO, ANTHROPIC], MESSAGES, "claude-1", ECHO),
        ([ANTHROPIC], CHAT, "claude-1", None),
        ([OPENAI], MESSAGES, "gpt-4o", None),
        ([GPT, CLAUDE], MESSAGES, "gpt-4o", None),
        ([OPENAI, VERTEX, GEMINI], "/v1beta/models/m:generateContent", "m", GEMINI),
        ([OPENAI, GEMINI, VERTEX], f"{IN_VERTEX}/google/models/m:streamGenerateContent", "m", VERTEX),
        ([ANTHROPIC, GEMINI, VERTEX], f"{IN_VERTEX}/anthropic/models/m:rawPredict", "m", VERTEX),
        ([GEMINI, ECHO], "/v1/publishers/google/models/m:generateContent", "m", ECHO),
    ],
)
def test_a_model_goes_to_the_first_upstream_that_speaks_the_api_and_serves_it(
    upstreams: list[Endpoint], path: str, model: str, chosen: Endpoint | None
) -> None:
    dialect = dialect_of("POST", path)
    assert dialect is not None
    if chosen is not None:
        assert choice.for_model(upstreams, dialect, model) is chosen
        return
    with pytest.raises(RequestError, match=f"{model}.*{path}") as caught:
        choice.for_model(upstreams, dialect, model)
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("upstreams", "path", "headers", "chosen"),
    [
        ([OPENAI, ANTHROPIC], "/v1/models", {}, OPENAI),
        ([ANTHROPIC, OPENAI], "/v1/models", {}, ANTHROPIC),
        ([OPENAI, ANTHROPIC], "/v1/models", {"anthropic-version": "2026-10-21"}, ANTHROPIC),
        ([OPENAI, CLAUDE, ANTHROPIC], "/v1/files", {"anthropic-version": "2026-10-21"}, CLAUDE),
        ([OPENAI, ANTHROPIC], "/v1/messages/batches", {}, ANTHROPIC),
        ([OPENAI, ECHO], "/v1/models", {"anthropic-version": "2026-10-21"}, ECHO),
        ([OPENAI, GPT], "/v1/models", {"anthropic-version": "2026-10-21"}, OPENAI),
        ([OPENAI, GEMINI], "/v1/models", {}, OPENAI),
        ([OPENAI, GEMINI], "/v1/models", {"x-goog-api-key": "k"}, GEMINI),
        ([OPENAI, GEMINI], "/v1/models/ft:gpt-4o:o::abc", {}, OPENAI),
        ([OPENAI, GEMINI], "/v1/models/gemini-3.8-flash:countTokens", {}, GEMINI),
        ([OPENAI, VERTEX, GEMINI], "/v1beta/cachedContents", {}, GEMINI),
        ([OPENAI, VERTEX, GEMINI], "/upload/v1beta/files", {}, GEMINI),
        ([OPENAI, GEMINI, VERTEX], f"{IN_VERTEX}/google/models/m:countTokens", {}, VERTEX),
        ([ANTHROPIC, VERTEX], f"{IN_VERTEX}/anthropic/models/c:rawPredict", {"anthropic-version": "x"}, VERTEX),
        ([OPENAI, ECHO], "/v1beta/models", {}, ECHO),
    ],
)
def test_a_path_without_a_model_goes_to_the_first_upstream_that_speaks_its_api(
    upstreams: list[Endpoint], path: str, headers: dict[str, str], chosen: Endpoint
) -> None:
    assert choice.for_path(upstreams, kin_of(path, headers)) is chosen
