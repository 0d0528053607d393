"""Errors as Bedrock's API writes them, which AWS's SDKs turn into exceptions.

Bedrock names an error in a header; its SDKs take a member `code` of the body for the same.
"""

from typing import Any, Final

from llmcache_gateway.dialects.frames import named_block
from llmcache_gateway.plainjson import dumps

_NAMES: Final = {
    401: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    500: "InternalServerException",
    504: "ModelTimeoutException",
}


def error_body(status: int, message: str) -> dict[str, Any]:
    """Return `{message, code}`."""
    named = _NAMES.get(status, "ValidationException" if status < 500 else "ServiceUnavailableException")
    return {"message": message, "code": named}


def error_event(message: str) -> bytes:
    """Return the message that ends a stream as a failed one."""
    return named_block("serviceUnavailableException", dumps({"message": message}), "exception")
