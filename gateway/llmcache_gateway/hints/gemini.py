"""Where a request for Google's content can be parted into a cached content and the rest.

Format: google-genai 3.6. A cached content holds the system prompt, tools, their settings and the first contents; a
request that uses it may have none of the first three, and at least one of the last. So it is all or nothing before the
contents, and a content is not cut in two: that would be another prompt.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from llmcache_gateway.dialects.gemini_generate import FILES, generation_config
from llmcache_gateway.dialects.reading import holds_member
from llmcache_gateway.hints.choice import BYTES_PER_TOKEN
from llmcache_gateway.hints.prompt import Location, Place, Prompt, PromptBuilder
from llmcache_gateway.plainjson import RawMembers, raw_members

BEFORE: Final = {
    "tools": ("tools",),
    "toolConfig": ("toolConfig", "tool_config"),
    "systemInstruction": ("systemInstruction", "system_instruction"),
}
"""What comes before the contents, each with the names that it may have, in the order in which it is read."""

AS_MEDIA_ARE_READ: Final = ("mediaResolution", "audioTimestamp")
"""Settings of a request that change what its media are to the model. A cached content was read without them."""

FILE_BYTES: Final = 2**20
"""What a file stands for that is only named: nobody knows, but it may be long enough."""

_items: Final = msgspec.json.Decoder(list[msgspec.Raw])


def read_prompt(members: Mapping[str, Any], whose: Iterable[Any]) -> Prompt:
    """Return the places up to which a request's beginning can be a cached content; ValueError where none can."""
    config = generation_config(members)
    if any(config.get(name) is not None for name in AS_MEDIA_ARE_READ):
        raise ValueError("how its media are to be read can't be told to a cached content")
    builder = PromptBuilder(whose)
    before = {name: _one_of(members, names) for name, names in BEFORE.items()}
    last = next((name for name in reversed(BEFORE) if before[name]), None)
    location: Location = "system" if last == "systemInstruction" else "tools"
    for name, value in before.items():
        builder.read(location, (name,), [name, value], markable=name == last, extra=_named_files(value))
    contents = members.get("contents")
    if not isinstance(contents, list) or not all(isinstance(content, dict) for content in contents):
        raise ValueError("its contents are no list of contents")
    for number, content in enumerate(contents):
        builder.begin_message(str(content.get("role", "user")))
        markable = number + 1 < len(contents) and _can_end(content)
        extra = _named_files(content)
        builder.read("message", ("contents", number), content, markable=markable, message=number, extra=extra)
    return builder.prompt()


def worth_keeping(places: Iterable[Place], minimum_tokens: int) -> list[Place]:
    """Return those of some places whose beginning may be as long as what the provider keeps."""
    return [place for place in places if place.size >= minimum_tokens * BYTES_PER_TOKEN]


def stable(prompt: Prompt, minimum_tokens: int) -> list[Place]:
    """Return where what many requests have in common may end, the longest first.

    That is what comes before the contents, and the first content where it is as long again: a document, and not what
    each conversation begins with otherwise.
    """
    least = minimum_tokens * BYTES_PER_TOKEN
    before = next((place for place in prompt.places if place.location != "message"), None)
    first = next((place for place in prompt.places if place.message == 0), None)
    kept = before if before is not None and before.size >= least else None
    longer = first is not None and first.size - (kept.size if kept is not None else 0) >= least
    return [place for place in (first if longer else None, kept) if place is not None]


def using(body: bytes, name: str, place: Place) -> bytes:
    """Return a request that uses a cached content in place of its beginning up to a place."""
    members, contents = _parted(body, place)
    left = {member: value for member, value in members.items() if member not in _NAMES}
    left["contents"] = msgspec.Raw(msgspec.json.encode(contents[place.message + 1 :]))
    return msgspec.json.encode({**left, "cachedContent": name})


def creation(body: bytes, place: Place, **said: str) -> bytes:
    """Return the request for a cached content of a request's beginning up to a place; `said` are its own members."""
    members, contents = _parted(body, place)
    begins = {name: members[one] for name, names in BEFORE.items() for one in names if members.get(one, _NULL) != _NULL}
    if place.message >= 0:
        begins["contents"] = msgspec.Raw(msgspec.json.encode(contents[: place.message + 1]))
    return msgspec.json.encode({**said, **begins})


_NAMES: Final = frozenset(one for names in BEFORE.values() for one in names)
_NULL: Final = msgspec.Raw(b"null")


def _parted(body: bytes, place: Place) -> tuple[RawMembers, list[msgspec.Raw]]:
    members = raw_members(body)
    if members is None or "contents" not in members:
        raise ValueError("it can't be parted")
    return members, _items.decode(members["contents"])


def _one_of(members: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return a member that may have one of several names; ValueError where it has two."""
    found = [members[name] for name in names if members.get(name) is not None]
    if len(found) > 1:
        raise ValueError(f"it has {' and '.join(names)}")
    return found[0] if found else None


def _can_end(content: Mapping[str, Any]) -> bool:
    """Say whether a cached content may end with this one: with what a user says, not with what a function does."""
    parts = content.get("parts")
    return (
        content.get("role", "user") == "user"
        and isinstance(parts, list)
        and bool(parts)
        and all(
            isinstance(part, dict) and not {"functionResponse", "function_response"} & part.keys() for part in parts
        )
    )


def _named_files(value: Any) -> int:
    return FILE_BYTES if holds_member(value, FILES, frozenset()) else 0
