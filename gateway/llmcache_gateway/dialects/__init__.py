"""The dialects that the gateway knows, by the path they stand at."""

from llmcache_gateway.dialects.base import Dialect
from llmcache_gateway.dialects.openai_chat import OpenAIChat

_DIALECTS: tuple[Dialect, ...] = (OpenAIChat(),)
_BY_PATH = {dialect.path: dialect for dialect in _DIALECTS}


def dialect_of(method: str, path: str) -> Dialect | None:
    """Return the dialect of a request, or None when no dialect knows its path."""
    return _BY_PATH.get(path) if method == "POST" else None


__all__ = ["Dialect", "dialect_of"]
