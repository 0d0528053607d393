"""Where Anthropic's messages take a mark: `cache_control` on a tool, or on a block of the system prompt or a message.

Format: the types of Anthropic's SDK (anthropic 2.12). The prompt is read tools first, then `system`, then messages.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llmcache_gateway.hints.edits import Path
from llmcache_gateway.hints.prompt import Location, Prompt, PromptBuilder, has_text, items_of

MARKED: Final = frozenset({"text", "image", "document", "search_result", "tool_use", "tool_result"})
"""Types of blocks that take a mark. Thinking does not; of others it is not known."""


def read_prompt(members: Mapping[str, Any], whose: Iterable[Any]) -> Prompt:
    """Return the places of a request where `cache_control` may stand."""
    builder = PromptBuilder(whose)
    for at, tool in enumerate(items_of(members.get("tools"))):
        markable = isinstance(tool, dict) and bool(tool) and not tool.get("defer_loading")
        builder.read("tools", ("tools", at), tool, markable=markable)
    _read_content(builder, "system", ("system",), members.get("system"))
    for at, message in enumerate(items_of(members.get("messages"))):
        if not isinstance(message, dict):
            break
        number = builder.begin_message(str(message.get("role")))
        # An instruction between the turns may last for one turn only.
        fixed = message.get("role") in ("user", "assistant")
        _read_content(builder, "message", ("messages", at, "content"), message.get("content"), number, fixed=fixed)
    return builder.prompt()


def _read_content(
    builder: PromptBuilder, location: Location, path: Path, content: Any, number: int = -1, *, fixed: bool = True
) -> None:
    if isinstance(content, list):
        for at, block in enumerate(content):
            builder.read(location, (*path, at), block, markable=fixed and _is_marked(block), message=number)
    elif content is not None:
        builder.read(location, path, content, markable=fixed and has_text(content), message=number)


def _is_marked(block: Any) -> bool:
    kind = block.get("type") if isinstance(block, dict) else None
    return isinstance(kind, str) and kind in MARKED and (kind != "text" or has_text(block.get("text")))
