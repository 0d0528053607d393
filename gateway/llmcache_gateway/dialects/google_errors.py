"""Errors as Google's APIs write them, which its SDKs turn into exceptions."""

from typing import Any, Final

_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Names of google.rpc.Code, by the HTTP status that each is written with."""


def error_body(status: int, message: str) -> dict[str, Any]:
    """Return `{"error": {code, message, status}}`."""
    named = _STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    return {"error": {"code": status, "message": message, "status": named}}
