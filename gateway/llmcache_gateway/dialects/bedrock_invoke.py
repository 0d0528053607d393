"""Bedrock's InvokeModel: `/model/MODEL/invoke` and `/invoke-with-response-stream`, whose bodies are the models' own.

Formats: botocore 1.44's model of bedrock-runtime, and AWS's descriptions of each model's body. A stream's messages are
`chunk`s that hold a piece of the model's own stream in base64. Claude and Nova are read, streamed and not; of the other
families only whole answers are; what is of none passes by.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from typing import Any, Final

from llmcache_gateway.dialects import bedrock_converse, bedrock_stream
from llmcache_gateway.dialects.anthropic_messages import AnthropicMessages
from llmcache_gateway.dialects.base import BodyDialect, Request, Verdict, refuse
from llmcache_gateway.dialects.bedrock_errors import error_body, error_event
from llmcache_gateway.dialects.bedrock_families import Family, family_of, flaw
from llmcache_gateway.dialects.bedrock_paths import is_draft, is_edited, read_request
from llmcache_gateway.dialects.frames import name_of, named_block
from llmcache_gateway.dialects.reading import first_not, with_model
from llmcache_gateway.dialects.turns import Turn
from llmcache_gateway.headers import Headers
from llmcache_gateway.plainjson import dumps, loads
from llmcache_gateway.sse import data_event, event_data

_CLAUDE: Final = AnthropicMessages()

_METRICS: Final = "amazon-bedrock-invocationMetrics"
"""A member that Bedrock adds to the last piece of a stream. An answer that isn't streamed has it in headers."""

_COUNTS: Final = {
    "inputTokenCount": ("input_tokens", "inputTokens"),
    "outputTokenCount": ("output_tokens", "outputTokens"),
    "cacheReadInputTokenCount": ("cache_read_input_tokens", "cacheReadInputTokenCount", "cacheReadInputTokens"),
    "cacheWriteInputTokenCount": ("cache_creation_input_tokens", "cacheWriteInputTokenCount", "cacheWriteInputTokens"),
}
"""Counts of these metrics, and what Claude and Nova call them in their usage."""

_GUARDRAIL: Final = "amazon-bedrock-guardrailAction"
"""A member that Bedrock adds to the answer when a guardrail has looked at it."""

_GUARDRAIL_NAME: Final = "X-Amzn-Bedrock-GuardrailIdentifier"
_GUARDRAIL_VERSION: Final = "X-Amzn-Bedrock-GuardrailVersion"
"""Headers that name the guardrail that is to look at it, and its version."""


class BedrockInvoke(BodyDialect):
    """The dialect of InvokeModel."""

    name = "bedrock-invoke"
    path = "/model/MODEL/invoke"
    providers = frozenset({"bedrock"})
    key_headers = _CLAUDE.key_headers

    def parse(self, members: Any, body: bytes, target: str = "") -> Request:
        return read_request(members, body, target)

    def counted(self, request: Request) -> dict[str, Any]:
        family = _family(request)
        if family is Family.CLAUDE:
            members = _CLAUDE.counted(request)
        else:
            members = bedrock_converse.counted(request.members) if family is Family.NOVA else request.members
        return with_model(members, request.model)

    def last_turn(self, members: Mapping[str, Any]) -> Turn | None:
        model = members.get("model")
        family = family_of(members, model if isinstance(model, str) else "")
        if family is Family.CLAUDE:
            return _CLAUDE.last_turn(members)
        return bedrock_converse.last_turn(members) if family is Family.NOVA else None

    def answer_text(self, answer: Any) -> str | None:
        if isinstance(answer, dict) and answer.get("type") == "message":
            return _CLAUDE.answer_text(answer)
        return bedrock_converse.answer_text(answer)

    def bypass(self, request: Request, admitted: frozenset[str] = frozenset()) -> str | None:
        family = _family(request)
        if is_draft(request.model) and "stateful" not in admitted:
            return "stateful"
        if family is Family.CLAUDE:
            return _CLAUDE.bypass(request, admitted)
        if family is Family.NOVA:
            return first_not(admitted, bedrock_converse.bypasses(request))
        return "unknown-shape" if family is None or request.stream else None

    def bypass_of(self, headers: Headers) -> str | None:
        named = headers.getall(_GUARDRAIL_NAME, ())
        versions = headers.getall(_GUARDRAIL_VERSION, ("",))
        return "stateful" if any(is_edited(named, version) for version in versions) else None

    def is_terminal(self, block: bytes) -> bool:
        try:
            piece = _piece(block)
        except ValueError:
            return False
        return isinstance(piece, dict) and (piece.get("type") == "message_stop" or bedrock_stream.LAST in piece)

    def judge(self, answer: Any, request: Request | None = None) -> Verdict:
        if not isinstance(answer, dict):
            return refuse("no-answer")
        if answer.get(_GUARDRAIL, "NONE") != "NONE":
            return refuse("filtered")
        if answer.get("type") in ("message", "error"):
            return _CLAUDE.judge(answer, request)
        if "output" in answer:
            return bedrock_converse.judge(answer)
        reason = flaw(answer)
        return refuse() if reason is None else refuse(reason)

    def assemble(self, blocks: list[bytes]) -> dict[str, Any]:
        pieces = [_piece(block) for block in blocks]
        if not all(isinstance(piece, dict) for piece in pieces):
            raise ValueError("the stream holds what is no piece of an answer")
        for piece in pieces:
            piece.pop(_METRICS, None)
        if pieces and "type" in pieces[0]:
            return _CLAUDE.assemble([data_event(dumps(piece)) for piece in pieces])
        return bedrock_stream.assemble(_named(piece) for piece in pieces)

    def replay(self, answer: Mapping[str, Any]) -> Iterator[bytes]:
        if answer.get("type") == "message":
            pieces = [loads(event_data(block) or b"") for block in _CLAUDE.replay(answer)]
        else:
            pieces = [{name: event} for name, event in bedrock_stream.events(answer)]
        pieces[-1][_METRICS] = _metrics(answer.get("usage"))
        return map(chunk, pieces)

    def error_body(self, status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
        return error_body(status, message)

    def error_event(self, status: int, message: str, code: str | None) -> bytes:
        return error_event(message)


def chunk(piece: Mapping[str, Any]) -> bytes:
    """Return the block with a piece of a model's own stream."""
    return named_block("chunk", dumps({"bytes": b64encode(dumps(piece)).decode()}))


def _family(request: Request) -> Family | None:
    return family_of(request.members, request.model)


def _piece(block: bytes) -> Any:
    """Return the piece of the model's own stream that a block holds; ValueError when it holds none."""
    if name_of(block) != "chunk":
        raise ValueError(f"{name_of(block)!r} is no known event")
    try:
        return loads(b64decode(loads(event_data(block) or b"")["bytes"], validate=True))
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError(f"not a piece of a stream: {error!r}") from error


def _named(piece: dict[str, Any]) -> bedrock_stream.Event:
    """Return Nova's event: the one member of a piece is its name."""
    if len(piece) != 1:
        raise ValueError("a piece of the stream is no event of Nova's")
    return next(iter(piece.items()))


def _metrics(usage: Any) -> dict[str, Any]:
    """Return what Bedrock says of a call at the end of its stream, as far as its answer tells: no times."""
    if not isinstance(usage, dict):
        return {}
    known = {count: [usage[name] for name in names if name in usage] for count, names in _COUNTS.items()}
    return {count: values[0] for count, values in known.items() if values}
