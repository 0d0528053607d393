"""Requests of one model whose last messages differ only in case share an entry."""

from llmcache_gateway.hooks import Request


async def build_key(request: Request, default_key: str) -> str:
    if request.dialect != "openai-chat" or len(request.members["messages"]) != 1:
        return default_key
    return f"{request.model} {request.members['messages'][0]['content']}".lower()
