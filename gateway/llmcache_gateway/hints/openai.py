"""Where OpenAI's chat completions and responses take a mark: on a part of a message's content.

Format: the types of OpenAI's SDK (openai 3.54). Tools can't be marked, but come before the messages, so that a mark
behind the instructions covers them. OpenRouter takes the same places, and Anthropic's `cache_control` there too.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llmcache_gateway.hints.edits import Path
from llmcache_gateway.hints.prompt import Location, Prompt, PromptBuilder, has_text, items_of

INSTRUCTING: Final = frozenset({"system", "developer"})
"""Roles of messages that instruct. Those before all others are the system prompt."""

CHAT_PARTS: Final = frozenset({"text", "image_url", "input_audio", "file"})
RESPONSES_PARTS: Final = frozenset({"input_text", "input_image", "input_file"})
_TEXTS: Final = frozenset({"text", "input_text"})


def read_chat(members: Mapping[str, Any], whose: Iterable[Any]) -> Prompt:
    """Return the places of a chat completion's request where a part may be marked."""
    builder = PromptBuilder(whose)
    builder.read("tools", ("tools",), members.get("tools"), markable=False)
    _read_messages(builder, "messages", members.get("messages"), CHAT_PARTS, ("system", "developer", "user", "tool"))
    return builder.prompt()


def read_responses(members: Mapping[str, Any], whose: Iterable[Any]) -> Prompt:
    """Return the places of a response's request where a part may be marked."""
    builder = PromptBuilder([*whose, *(members.get(name) for name in ("previous_response_id", "conversation"))])
    for name in ("tools", "prompt", "instructions"):
        builder.read("tools", (name,), members.get(name), markable=False)
    _read_messages(builder, "input", members.get("input"), RESPONSES_PARTS, ("system", "developer", "user"))
    return builder.prompt()


def _read_messages(
    builder: PromptBuilder, name: str, messages: Any, parts: frozenset[str], with_texts: tuple[str, ...]
) -> None:
    """Read messages; `with_texts` are the roles whose bare text may be written as a list of one part."""
    beginning = True
    for at, message in enumerate(items_of(messages)):
        role = message.get("role") if isinstance(message, dict) else None
        beginning = beginning and isinstance(role, str) and role in INSTRUCTING
        location: Location = "system" if beginning else "message"
        number = builder.begin_message(str(role))
        rest, content = message, None
        if isinstance(message, dict):
            rest = {key: value for key, value in message.items() if key not in ("content", "role")}
            content = message.get("content")
        path: Path = (name, at, "content")
        if rest:
            builder.read(location, (name, at), rest, markable=False, message=number)
        if isinstance(content, list):
            for position, part in enumerate(content):
                builder.read(location, (*path, position), part, markable=_is_marked(part, parts), message=number)
        elif content is not None:
            markable = has_text(content) and role in with_texts
            builder.read(location, path, content, markable=markable, message=number)


def _is_marked(part: Any, kinds: frozenset[str]) -> bool:
    kind = part.get("type") if isinstance(part, dict) else None
    return isinstance(kind, str) and kind in kinds and (kind not in _TEXTS or has_text(part.get("text")))
