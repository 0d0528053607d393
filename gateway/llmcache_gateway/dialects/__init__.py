"""The dialects that the gateway knows, by the path they stand at."""

from collections.abc import Mapping
from typing import Final

from llmcache_gateway.dialects.anthropic_messages import AnthropicMessages
from llmcache_gateway.dialects.base import Dialect
from llmcache_gateway.dialects.openai_chat import OpenAIChat
from llmcache_gateway.dialects.openai_completions import OpenAICompletions
from llmcache_gateway.dialects.openai_embeddings import OpenAIEmbeddings
from llmcache_gateway.dialects.openai_responses import OpenAIResponses

_OPENAI: Final = OpenAIChat()
_ANTHROPIC: Final = AnthropicMessages()
_DIALECTS: tuple[Dialect, ...] = (_OPENAI, OpenAICompletions(), OpenAIResponses(), OpenAIEmbeddings(), _ANTHROPIC)
_BY_PATH = {dialect.path: dialect for dialect in _DIALECTS}


def dialect_of(method: str, path: str) -> Dialect | None:
    """Return the dialect of a request, or None when no dialect knows its path."""
    return _BY_PATH.get(path) if method == "POST" else None


def kin_of(path: str, headers: Mapping[str, str]) -> Dialect | None:
    """Return a dialect of the API that a request to an unknown path belongs to; None when nothing tells.

    Its errors are the ones that this client reads, its providers those that may know the path.
    """
    if "anthropic-version" in headers or path.startswith("/v1/messages/"):
        return _ANTHROPIC
    return None


__all__ = ["Dialect", "dialect_of", "kin_of"]
