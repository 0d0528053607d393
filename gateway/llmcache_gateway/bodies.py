"""Request bodies: read whole, decoded, within bounds."""

import asyncio
import zlib
from typing import Final

import msgspec
from aiohttp import HttpVersion11, web

from llmcache_gateway.errors import RequestError
from llmcache_gateway.plainjson import raw_members

_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's names for the encodings: 16 added to the window's size means gzip's frame (zlib.h, inflateInit2)."""


async def read_body(http: web.BaseRequest, limit: int) -> bytes:
    """Return a request's body without its content encoding.

    RequestError(413) when it is larger than `limit` bytes, before or after decoding, 415 for an encoding other
    than gzip and deflate, 400 when it is not what its encoding says; ConnectionResetError when it ends early.
    """
    encoding = http.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", *_WINDOW_BITS):
        message = f"Content-Encoding {encoding[:50]!r} is not accepted: send gzip, deflate, or the plain body."
        raise RequestError(415, message, code="unsupported_encoding")
    await invite_body(http)
    body = await _read(http, limit)
    return body if encoding == "identity" else _inflate(body, encoding, limit)


async def invite_body(http: web.BaseRequest) -> None:
    """Tell a client that waits for it to send its body (RFC 9110, section 10.1.1)."""
    if http.headers.get("Expect", "").lower() == "100-continue" and http.version >= HttpVersion11:
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        http.writer.output_size = 0  # it is no part of the answer


async def _read(http: web.BaseRequest, limit: int) -> bytes:
    length = http.content_length
    if length is not None:
        if length > limit:
            raise _too_large(limit)
        try:
            return await http.content.readexactly(length) if length else b""
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("the client hung up in the middle of its request") from None
    body = bytearray()
    async for chunk in http.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _inflate(body: bytes, encoding: str, limit: int) -> bytes:
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise RequestError(400, f"The body is not valid {encoding}: {error}.", code="invalid_encoding") from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not inflater.eof or inflater.unused_data:
        raise RequestError(400, f"The body is not one whole {encoding} stream.", code="invalid_encoding")
    return plain


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f"The body is larger than {limit} bytes.", code="request_too_large")


def without_cache_member(body: bytes) -> bytes:
    """Return a JSON object's bytes without its `cache` member; all others stay as they were written."""
    members = raw_members(body)
    if members is None:
        raise RequestError(400, "'cache' can't be taken out of this body.", code="invalid_json", param="cache")
    members.pop("cache", None)
    return msgspec.json.encode(members)
