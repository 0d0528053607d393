"""What every dialect does to read a request."""

from collections.abc import Iterator
from typing import Any, Final

from llmcache_gateway.dialects.base import Request
from llmcache_gateway.errors import RequestError

MAX_MODEL: Final = 256
"""Longest name of a model. It stands in logs, metrics and entries."""

_URLS: Final = ("url", "image_url", "file_url", "video_url", "audio_url", "document_url")

_MAYBE_URLS: Final = ("file_data", "fileData")
"""Members that hold a file, or with OpenRouter its address."""


def read_request(members: Any, body: bytes) -> Request:
    """Return the request of a JSON body with `model` and `stream`; RequestError(400) when it is none."""
    if not isinstance(members, dict):
        raise RequestError(400, "The body must be a JSON object.", code="invalid_json")
    model = members.get("model")
    if not isinstance(model, str) or not model:
        raise RequestError(400, "you must provide a model parameter", code="missing_model", param="model")
    if len(model) > MAX_MODEL or not model.isprintable():
        message = f"'model' must be a printable name of at most {MAX_MODEL} characters."
        raise RequestError(400, message, code="invalid_model", param="model")
    stream = members.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise RequestError(400, "'stream' must be true or false.", code="invalid_type", param="stream")
    return Request(model=model, stream=bool(stream), members=members, body=body)


def without(value: Any, names: frozenset[str]) -> Any:
    """Return an object without the members of these names; anything else as it is."""
    if isinstance(value, dict) and not names.isdisjoint(value):
        return {name: item for name, item in value.items() if name not in names}
    return value


def names_remote(content: Any) -> bool:
    """Say whether a message's content names something that stands outside the request, so that it may change.

    That is a file by its id, or anything by a URL that isn't a `data:` URL, in a part or in an object inside one.
    """
    if isinstance(content, str):
        return False  # by far the most, and asked of each message of each request
    if not isinstance(content, list):
        return any(map(_is_remote, _objects(content)))
    return any(_is_remote(one) for part in content for one in _objects(part))


def _objects(part: Any) -> list[dict[str, Any]]:
    if not isinstance(part, dict):
        return []
    return [part, *(value for value in part.values() if isinstance(value, dict))]


def _is_remote(part: dict[str, Any]) -> bool:
    if part.get("file_id"):
        return True
    urls = [part.get(name) for name in _URLS]
    if any(isinstance(url, str) and url and url[:5].lower() != "data:" for url in urls):
        return True
    return any(str(part[name])[:8].lower().startswith(("http://", "https://")) for name in _MAYBE_URLS if name in part)


def holds_member(value: Any, names: frozenset[str], users_own: frozenset[str]) -> bool:
    """Say whether an object, or anything in it, has a member of one of these names.

    What stands in members named in `users_own` is not looked at: there every name is the user's own.
    """
    if isinstance(value, list):
        return any(holds_member(item, names, users_own) for item in value)
    if not isinstance(value, dict):
        return False
    return any(
        name in names
        or (isinstance(item, dict | list) and name not in users_own and holds_member(item, names, users_own))
        for name, item in value.items()
    )


def with_model(counted: dict[str, Any], model: str) -> dict[str, Any]:
    """Return what counts of a body with the model that its path names.

    A body may name a model, too: a text in one case and a list in the other can't be taken for each other.
    """
    return {**counted, "model": [model, counted["model"]] if "model" in counted else model}


def first_not(admitted: frozenset[str], reasons: Iterator[str]) -> str | None:
    """Return the first reason that is not admitted."""
    for reason in reasons:
        if reason not in admitted:
            return reason
    return None
