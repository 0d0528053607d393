"""The dialects that the gateway knows, by the path they stand at."""

from collections.abc import Mapping
from typing import Final

from llmcache_gateway.dialects import bedrock_paths, google_paths
from llmcache_gateway.dialects.anthropic_messages import AnthropicMessages
from llmcache_gateway.dialects.anthropic_vertex import AnthropicVertex, predicting
from llmcache_gateway.dialects.azure_deployments import AZURES, AzureResponses, deployed
from llmcache_gateway.dialects.base import Dialect
from llmcache_gateway.dialects.bedrock_converse import BedrockConverse
from llmcache_gateway.dialects.bedrock_invoke import BedrockInvoke
from llmcache_gateway.dialects.gemini_embeddings import GeminiEmbedding, GeminiEmbeddings
from llmcache_gateway.dialects.gemini_generate import GeminiGenerate
from llmcache_gateway.dialects.openai_chat import OpenAIChat
from llmcache_gateway.dialects.openai_completions import OpenAICompletions
from llmcache_gateway.dialects.openai_embeddings import OpenAIEmbeddings
from llmcache_gateway.dialects.openai_responses import OpenAIResponses
from llmcache_gateway.dialects.openai_shaped import ROOTS

_ANTHROPIC: Final = AnthropicMessages()
_ANTHROPIC_VERTEX: Final = AnthropicVertex()
_GEMINI: Final = GeminiGenerate("gemini-generate", "/v1beta/models/MODEL:generateContent", "gemini")
_VERTEX: Final = GeminiGenerate(
    "vertex-generate",
    "/v1/projects/PROJECT/locations/LOCATION/publishers/google/models/MODEL:generateContent",
    "vertex",
)
_CONVERSE: Final = BedrockConverse()
_INVOKE: Final = BedrockInvoke()
_EMBEDDINGS: Final[Mapping[tuple[bool, str], Dialect]] = {
    (False, "embedContent"): GeminiEmbedding("gemini-embeddings", "gemini"),
    (False, "batchEmbedContents"): GeminiEmbeddings("gemini-embeddings", "gemini"),
    (True, "embedContent"): GeminiEmbedding("vertex-embeddings", "vertex"),
    (True, "batchEmbedContents"): GeminiEmbeddings("vertex-embeddings", "vertex"),
}
_CHATS: Final = {root: OpenAIChat(root) for root in ROOTS}
_SHAPED: Final = (OpenAICompletions, OpenAIResponses, OpenAIEmbeddings)
_DIALECTS: Final[tuple[Dialect, ...]] = (
    *(_CHATS[root] for root in ROOTS if root != AZURES),
    *(shaped(root) for root in ROOTS if root != AZURES for shaped in _SHAPED),
    AzureResponses(),
    _ANTHROPIC,
)
_BY_PATH: Final = {dialect.path: dialect for dialect in _DIALECTS}
_KIN: Final[tuple[tuple[tuple[str, ...], Dialect], ...]] = (
    *(((f"{root}/",), _CHATS[root]) for root in ROOTS if root not in ("", "/v1")),
    (("/chat/", "/beta/", "/models", "/user/"), _CHATS[""]),
    (("/v1/fim/", "/v1/agents/", "/v1/ocr"), _CHATS["/v1"].for_provider("mistral")),
)
"""What paths begin with that only some providers of OpenAI's shape have."""


def dialect_of(method: str, path: str) -> Dialect | None:
    """Return the dialect of a request, or None when no dialect knows its path."""
    if method != "POST":
        return None
    found = _BY_PATH.get(path)
    if found is not None:
        return found
    asking = bedrock_paths.asking(path)
    if asking is not None:
        return _CONVERSE if asking["verb"].startswith("converse") else _INVOKE
    if path.startswith("/openai/deployments/"):
        return deployed(path)
    if predicting(path) is not None:
        return _ANTHROPIC_VERTEX
    generating = google_paths.generating(path)
    if generating is not None:
        return _VERTEX if generating["vertex"] else _GEMINI
    embedding = google_paths.embedding(path)
    return None if embedding is None else _EMBEDDINGS[bool(embedding["vertex"]), embedding["verb"]]


def kin_of(path: str, headers: Mapping[str, str]) -> Dialect | None:
    """Return a dialect of the API that a request to an unknown path belongs to; None when nothing tells.

    Its errors are the ones that this client reads, its providers those that may know the path.
    """
    if path.startswith(bedrock_paths.BEDROCKS):
        return _CONVERSE
    googles = google_paths.GOOGLES.match(path) is not None
    if not googles and ("anthropic-version" in headers or path.startswith("/v1/messages/")):
        return _ANTHROPIC
    if googles or google_paths.API_KEY in headers:
        return _VERTEX if google_paths.is_vertex(path) else _GEMINI
    return next((kin for begins, kin in _KIN if path.startswith(begins)), None)


def credentials_taken_out(path: str, query: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a query without the credentials that Google's clients may put there, and the headers that say the same.

    On a path that is not Google's a field of such a name is none, and stays.
    """
    return google_paths.credentials_taken_out(query) if google_paths.may_carry_credentials(path) else (query, [])


__all__ = ["Dialect", "credentials_taken_out", "dialect_of", "kin_of"]
