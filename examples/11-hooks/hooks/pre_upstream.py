"""No call asks for more than 1000 tokens, and each says where it comes from."""

from llmcache_gateway.hooks import Call, Changes


async def pre_upstream(call: Call) -> Changes | None:
    if call.dialect != "openai-chat":
        return None
    tokens = min(call.members.get("max_tokens") or 1000, 1000)
    return Changes(members={"max_tokens": tokens}, headers={"X-Origin": "llmcache"})
