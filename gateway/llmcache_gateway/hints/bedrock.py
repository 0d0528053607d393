"""Where Bedrock's Converse takes a mark: `cachePoint`, an item of its own behind a tool or a block.

Format: botocore 1.44's model of bedrock-runtime. The prompt is read tools first, then `system`, then messages. On
InvokeModel, Claude's bodies are those of Anthropic's messages.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llmcache_gateway.hints.prompt import Prompt, PromptBuilder, has_text, items_of

MARKED: Final = frozenset({"image", "document", "toolUse", "toolResult"})
"""Members that make a block behind which a mark may stand, beside a text. Reasoning does not; others are not known."""


def read_converse(members: Mapping[str, Any], whose: Iterable[Any]) -> Prompt:
    """Return the places of a request behind which `cachePoint` may stand."""
    builder = PromptBuilder(whose)
    config = members.get("toolConfig")
    for at, tool in enumerate(items_of(config.get("tools")) if isinstance(config, dict) else ()):
        markable = isinstance(tool, dict) and tool.keys() == {"toolSpec"}
        builder.read("tools", ("toolConfig", "tools", at), tool, markable=markable)
    for at, block in enumerate(items_of(members.get("system"))):
        builder.read("system", ("system", at), block, markable=_is_text(block))
    for number, message in enumerate(items_of(members.get("messages"))):
        if not isinstance(message, dict):
            break
        builder.begin_message(str(message.get("role")))
        for at, block in enumerate(items_of(message.get("content"))):
            markable = _is_text(block) or (isinstance(block, dict) and len(block) == 1 and not MARKED.isdisjoint(block))
            builder.read("message", ("messages", number, "content", at), block, markable=markable, message=number)
    return builder.prompt()


def _is_text(block: Any) -> bool:
    return isinstance(block, dict) and block.keys() == {"text"} and has_text(block["text"])
