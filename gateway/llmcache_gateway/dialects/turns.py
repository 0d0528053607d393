"""The last user turn of a request, and the text of an answer: what the semantic cache reads."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Turn(NamedTuple):
    """The text of the last user turn, and all the rest of the members that count, in which it is not there."""

    text: str
    rest: dict[str, Any]


def last_message(members: Mapping[str, Any], name: str) -> Turn | None:
    """Return the last of the messages under a member, where a user says one text in it; None where that isn't so.

    A message of several parts has none: nobody can say which of them is the question and which its material.
    """
    messages = members.get(name)
    if not isinstance(messages, list) or not messages:
        return None
    last = messages[-1]
    if not isinstance(last, dict) or last.get("role") != "user" or not isinstance(last.get("content"), str):
        return None
    return Turn(last["content"], {**members, name: [*messages[:-1], {**last, "content": None}]})


def last_of_parts(members: Mapping[str, Any], name: str, parts: str) -> Turn | None:
    """Return the same where a message is a list of parts, under a member: one that has a text and nothing else.

    A message without a role is a user's.
    """
    messages = members.get(name)
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(messages, list) or not isinstance(last, dict) or last.get("role", "user") != "user":
        return None
    said = last.get(parts)
    part = said[0] if isinstance(said, list) and len(said) == 1 else None
    if not isinstance(part, dict) or part.keys() != {"text"} or not isinstance(part["text"], str):
        return None
    return Turn(part["text"], {**members, name: [*messages[:-1], {**last, parts: None}]})


def text_of_parts(parts: Any, kind: str | None) -> str | None:
    """Return what parts say together, each of this `type`, or of none, with a `text`; None where any is another."""
    if not isinstance(parts, list) or not parts:
        return None
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == kind]
    said = [text for text in texts if isinstance(text, str)]
    return "".join(said) if len(said) == len(parts) else None
