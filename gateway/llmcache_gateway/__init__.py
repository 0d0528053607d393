"""LLMCache's data plane: an HTTP gateway that caches the answers of LLM providers."""

__version__ = "0.1.0"
