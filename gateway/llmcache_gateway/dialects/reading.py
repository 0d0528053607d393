"""What every dialect does to read a request."""

from typing import Any

from llmcache_gateway.dialects.base import Request
from llmcache_gateway.errors import RequestError


def read_request(members: Any, body: bytes) -> Request:
    """Return the request of a JSON body with `model` and `stream`; RequestError(400) when it is none."""
    if not isinstance(members, dict):
        raise RequestError(400, "The body must be a JSON object.", code="invalid_json")
    model = members.get("model")
    if not isinstance(model, str) or not model:
        raise RequestError(400, "you must provide a model parameter", code="missing_model", param="model")
    stream = members.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise RequestError(400, "'stream' must be true or false.", code="invalid_type", param="stream")
    return Request(model=model, stream=bool(stream), members=members, body=body)


def without(value: Any, names: frozenset[str]) -> Any:
    """Return an object without the members of these names; anything else as it is."""
    if isinstance(value, dict) and not names.isdisjoint(value):
        return {name: item for name, item in value.items() if name not in names}
    return value
