"""Decides whether an answer is stored, and makes the entry of it."""

from dataclasses import dataclass
from typing import Literal

from llmcache_gateway.dialects.base import Dialect, Verdict, refuse
from llmcache_gateway.entry import Entry
from llmcache_gateway.plainjson import loads

Form = Literal["json", "sse"]


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When an answer is recorded, and for how long it may be served, in seconds."""

    now: float
    ttl: float


def judge_json(dialect: Dialect, status: int, body: bytes) -> Verdict:
    """Say whether an unstreamed answer may be stored."""
    if status != 200:
        return refuse("status")
    try:
        answer = loads(body)
    except ValueError:
        return refuse("not-json")
    return dialect.judge(answer)


def judge_stream(dialect: Dialect, status: int, blocks: list[bytes], *, ended: bool) -> Verdict:
    """Say whether a streamed answer may be stored. `ended`: its terminal event has come."""
    if status != 200:
        return refuse("status")
    if not ended:
        return refuse("unterminated")
    try:
        return dialect.judge(dialect.assemble(blocks))
    except ValueError:
        return refuse("no-answer")


def entry(form: Form, blocks: list[bytes], *, content_type: str, model: str, lifetime: Lifetime) -> Entry:
    """Return the entry of an answer that may be stored."""
    return Entry(
        form=form,
        content_type=content_type,
        blocks=blocks,
        model=model,
        stored_at=lifetime.now,
        expires_at=lifetime.now + lifetime.ttl,
    )
