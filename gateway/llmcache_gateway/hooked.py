"""Where hooks meet a request: what each is given, and what its result may change."""

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from llmcache_gateway import canonical
from llmcache_gateway.exchange import Question
from llmcache_gateway.freshness import MAX_TAGS, TAG
from llmcache_gateway.headers import CREDENTIAL_HEADERS, HOP_BY_HOP
from llmcache_gateway.hook_runner import HookFailed, Hooks
from llmcache_gateway.hooks import Call, Candidate, Changes, Decision, Request, Response
from llmcache_gateway.plainjson import raw_members
from llmcache_gateway.record import Recording
from llmcache_gateway.trusted import TRUSTED_HEADERS
from llmcache_gateway.upstreams.base import Call as UpstreamCall

_HIDDEN: Final = frozenset(name.lower() for name in (*CREDENTIAL_HEADERS, *TRUSTED_HEADERS))
_FIXED_HEADERS: Final = _HIDDEN | HOP_BY_HOP | {"host", "content-length", "content-encoding", "expect"}
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""What a header may be called (RFC 9110, section 5.6.2)."""

_FIXED_MEMBERS: Final = frozenset({"stream", "stream_options"})


def defines(hooks: Hooks | None, name: str) -> bool:
    """Say whether a hook is there to be called."""
    return hooks is not None and name in hooks.names


async def built_key(hooks: Hooks | None, question: Question, default_key: str) -> str | None:
    """Return what build_key makes of a request; None when the default key is to be used."""
    if hooks is None:
        return None

    def read(result: Any) -> str | None:
        if not isinstance(result, str):
            raise TypeError(f"it must return a string, not {type(result).__name__}")
        return None if result == default_key else result

    request = question.request
    given = Request(
        dialect=question.dialect.name,
        model=request.model,
        stream=request.stream,
        members=copy.deepcopy(request.members),
        headers=_shown(question),
    )
    try:
        built: str | None = await hooks.call("build_key", read, given, default_key)
    except HookFailed:
        return None
    return built


async def changed_call(hooks: Hooks | None, question: Question, call: UpstreamCall) -> UpstreamCall:
    """Return a call as pre_upstream changes it. Where that fails, the call goes on, and its answer is not stored."""
    if hooks is None or "pre_upstream" not in hooks.names or not isinstance(call.body, bytes):
        return call

    given = Call(
        dialect=question.dialect.name,
        model=question.request.model,
        upstream=question.upstream.name,
        stream=question.request.stream,
        members=canonical.decode(call.body),
        headers=_shown(question),
    )
    try:
        changed: UpstreamCall = await hooks.call("pre_upstream", lambda result: _changed(call, result), given)
    except HookFailed:
        question.unchanged = True
        return call
    return changed


def _changed(call: UpstreamCall, changes: Any) -> UpstreamCall:
    if changes is None:
        return call
    if not isinstance(changes, Changes):
        raise TypeError(f"it must return Changes or None, not {type(changes).__name__}")
    touched = {*changes.members, *changes.without}
    if touched & _FIXED_MEMBERS:
        raise ValueError(f"{', '.join(sorted(touched & _FIXED_MEMBERS))} can't be changed")
    headers = call.headers.copy()
    for name, value in changes.headers.items():
        if name.lower() in _FIXED_HEADERS or not _TOKEN.fullmatch(name) or not value.isprintable():
            raise ValueError(f"the header {name!r} can't be set")
        headers[name] = value
    body = call.body
    if touched:
        members = raw_members(call.body) if isinstance(call.body, bytes) else None
        if members is None:
            raise ValueError("the body's members can't be told apart")
        # What is not touched stays as the client wrote it.
        kept = {name: value for name, value in members.items() if name not in touched}
        body = msgspec.json.encode(kept | {k: v for k, v in changes.members.items() if k not in changes.without})
    return replace(call, headers=headers, body=body)


def observe(hooks: Hooks | None, question: Question, status: int, recording: Recording, *, streamed: bool) -> None:
    """Give an answer to post_response, without waiting for it."""
    if hooks is None or "post_response" not in hooks.names:
        return
    given = Response(
        dialect=question.dialect.name,
        model=question.request.model,
        upstream=question.upstream.name,
        status=status,
        streamed=streamed,
        answer=recording.answer(),
    )
    hooks.call_soon("post_response", given)


async def decision(hooks: Hooks | None, question: Question, recording: Recording, key: str, ttl: float) -> Decision:
    """Return what pre_store decides, made fit to be obeyed; the default decision when it says nothing or fails."""
    keep = Decision(ttl=ttl, tags=question.controls.tags)
    if hooks is None or "pre_store" not in hooks.names:
        return keep

    def read(result: Any) -> Decision:
        if result is None:
            return keep
        if not isinstance(result, Decision):
            raise TypeError(f"it must return Decision or None, not {type(result).__name__}")
        asked = ttl if result.ttl is None else float(result.ttl)
        if not asked >= 0:
            raise ValueError("ttl must be a number of seconds, 0 or more")
        if isinstance(result.tags, str) or not all(TAG.fullmatch(tag) for tag in result.tags):
            raise ValueError("tags must be a list of texts of up to 100 letters, digits and ._:/@=+-")
        tags = tuple(dict.fromkeys((*question.controls.tags, *result.tags)))
        if len(tags) > MAX_TAGS:
            raise ValueError(f"an entry has at most {MAX_TAGS} tags")
        return Decision(veto=bool(result.veto), ttl=min(ttl, asked), tags=tags)

    given = Candidate(
        key=key,
        dialect=question.dialect.name,
        model=question.request.model,
        policy=question.settings.policy,
        ttl=ttl,
        tags=question.controls.tags,
        answer=recording.answer(),
    )
    try:
        decided: Decision = await hooks.call("pre_store", read, given)
    except HookFailed:
        return keep
    return decided


def _shown(question: Question) -> dict[str, str]:
    """Return the client's headers without credentials."""
    hidden = _HIDDEN | {name.lower() for name in question.dropped}
    headers: Mapping[str, str] = question.headers
    return {name.lower(): value for name, value in headers.items() if name.lower() not in hidden}
