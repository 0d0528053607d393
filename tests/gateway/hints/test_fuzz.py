"""No request that a provider accepts without a hint is refused with one, whatever clients send."""

import copy
import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcache_gateway.canonical import decode, encode
from llmcache_gateway.config.hints import HintPoint, Hints
from llmcache_gateway.dialects import Dialect, dialect_of
from llmcache_gateway.hints.capabilities import Capabilities, shipped_rows
from llmcache_gateway.hints.hinter import Asked, Hinted, Hinter, Observed
from tests.gateway.hints import requests, rules

CAPABILITIES = Capabilities(shipped_rows())


class Case(NamedTuple):
    """A provider, one of its models, and an API of it that clients speak."""

    provider: str
    model: str
    path: str
    requests: requests.Requests
    refuses: rules.Refuses
    hint: str | None


CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
OPUS, LITE = "anthropic.claude-opus-5-v1:0", "us.amazon.nova-lite-v1:0"
CASES = [
    Case("anthropic", "claude-sonnet-5-5", MESSAGES, requests.ANTHROPIC, rules.anthropic, "cache_control"),
    Case("anthropic", "anthropic/claude-opus-5", CHAT, requests.CHAT, rules.translated, "cache_control"),
    Case("bedrock", "bedrock/anthropic.claude-opus-5-v1:0", CHAT, requests.CHAT, rules.translated, "cache_control"),
    Case("openrouter", "anthropic/claude-opus-5", MESSAGES, requests.ANTHROPIC, rules.anthropic, "cache_control"),
    Case("openrouter", "anthropic/claude-opus-5", CHAT, requests.CHAT, rules.openrouter, "cache_control"),
    Case("openrouter", "openai/gpt-6.1-sol", CHAT, requests.CHAT, rules.openrouter, "prompt_cache_breakpoint"),
    Case("openai", "gpt-6.1-sol", CHAT, requests.CHAT, rules.openai, "prompt_cache_breakpoint"),
    Case("openai", "gpt-6.1-sol", RESPONSES, requests.RESPONSES, rules.openai, "prompt_cache_breakpoint"),
    Case("openai", "gpt-4o", CHAT, requests.CHAT, rules.keyed, "prompt_cache_key"),
    Case("openai", "gpt-5.5", RESPONSES, requests.RESPONSES, rules.keyed, "prompt_cache_key"),
    Case("azure", "gpt-6.1-sol", CHAT, requests.CHAT, rules.keyed, "prompt_cache_key"),
    Case("mistral", "mistral-large", CHAT, requests.CHAT, rules.keyed, "prompt_cache_key"),
    Case("fireworks", "kimi-k3", CHAT, requests.CHAT, rules.keyed, "prompt_cache_key"),
    Case("xai", "grok-4.1", CHAT, requests.CHAT, rules.hintless, "x-grok-conv-id"),
    Case("xai", "grok-4.1", RESPONSES, requests.RESPONSES, rules.keyed, "prompt_cache_key"),
    Case("bedrock", OPUS, f"/model/{OPUS}/converse", requests.CONVERSE, rules.converse, "cachePoint"),
    Case("bedrock", LITE, f"/model/{LITE}/converse", requests.CONVERSE, rules.nova, "cachePoint"),
    Case("bedrock", OPUS, f"/model/{OPUS}/invoke", requests.ANTHROPIC, rules.anthropic, "cache_control"),
    Case("bedrock", LITE, f"/model/{LITE}/invoke", requests.CONVERSE, rules.hintless, None),
    Case("bedrock", "openai.gpt-oss-120b", "/model/openai.gpt-oss-120b/converse", requests.CONVERSE, rules.nova, None),
    Case("groq", "openai/gpt-oss-120b", CHAT, requests.CHAT, rules.hintless, None),
    Case("deepseek", "deepseek-v4-pro", CHAT, requests.CHAT, rules.hintless, None),
    Case("openai", "of-nobody", CHAT, requests.CHAT, rules.hintless, None),
    Case("anthropic", "of-nobody", MESSAGES, requests.ANTHROPIC, rules.hintless, None),
]

ROLES = st.none() | st.sampled_from(["system", "developer", "user", "assistant", "tool"])
POINTS = st.lists(
    st.one_of(
        st.builds(HintPoint, location=st.sampled_from(["system", "tools"])),
        st.just(HintPoint(location="message", index=-1)),
        st.builds(HintPoint, location=st.just("message"), role=ROLES, index=st.none() | st.integers(-4, 4)),
    ),
    max_size=4,
)
TTLS = st.none() | st.sampled_from(["5m", "30m", "1h", "12h"])
ENDS = [
    HintPoint(location="message", index=-1),
    HintPoint(location="tools"),
    HintPoint(location="message", role="user"),
    HintPoint(location="system"),
]
HINTS = st.builds(
    Hints,
    mode=st.sampled_from(["always", "onRepeat"]),
    points=st.sampled_from([st.just(ENDS), st.just(ENDS), POINTS]).flatmap(lambda chosen: chosen),
    ttl=TTLS,
)


def _asked(case: Case, dialect: Dialect, body: bytes) -> Asked:
    members = dialect.parse(decode(body), body, case.path).members
    return Asked(dialect.name, case.provider, "main", case.model, "tenant", members, body, {})


def _ask_twice(case: Case, wanted: Hints, body: dict[str, Any]) -> tuple[bytes, Dialect, Hinted | None]:
    dialect = dialect_of("POST", case.path)
    assert dialect is not None
    named = {"anthropic_version": "bedrock-2023-05-31"} if case.path.startswith("/model/") else {"model": case.model}
    raw = json.dumps({**body, **named}, indent=1).encode()
    hinter = Hinter(CAPABILITIES, Observed.nothing(), lambda: 0.0)
    hinter.hinted(wanted, _asked(case, dialect, raw))
    return raw, dialect, hinter.hinted(wanted, _asked(case, dialect, raw))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.provider} {case.model} {case.path}")
def test_what_a_provider_accepts_it_accepts_with_our_hints_and_reads_the_same(case: Case) -> None:
    with_hint = 0

    @settings(max_examples=200, deadline=None)
    @given(case.requests, HINTS)
    def holds(body: dict[str, Any], wanted: Hints) -> None:
        nonlocal with_hint
        raw, dialect, hinted = _ask_twice(case, wanted, body)
        if hinted is None:
            return
        with_hint += 1
        assert hinted.hint == case.hint
        sent = json.loads(hinted.body)
        if case.refuses(json.loads(raw)) is None:
            assert case.refuses(sent) is None
        plain = dialect.parse(decode(raw), raw, case.path)
        marked = dialect.parse(decode(hinted.body), hinted.body, case.path)
        assert encode(dialect.counted(marked)) == encode(dialect.counted(plain)), "a hint changed what is asked"
        assert _unmarked(sent, hinted) == json.loads(raw)

    holds()
    # So that it is about something: an odd request, and one with marks of its own, rightly gets none.
    assert with_hint >= 5 if case.hint else not with_hint


def _unmarked(sent: dict[str, Any], hinted: Hinted) -> dict[str, Any]:
    """Take out just the marks that were put in, so that what is left must be the client's."""
    body = copy.deepcopy(sent)
    if hinted.hint == "prompt_cache_key":
        assert body.pop("prompt_cache_key").startswith("llmcache-")
    elif hinted.header is None:
        for place in hinted.places:
            parent: Any = body
            for step in place.path[:-1]:
                parent = parent[step]
            value = parent[place.path[-1]]
            if hinted.hint == "cachePoint":
                assert parent.pop(int(place.path[-1]) + 1).keys() == {"cachePoint"}
            elif place.is_bare:
                (block,) = value
                parent[place.path[-1]] = block["text"]
                assert block.keys() == {"type", "text", hinted.hint}
            else:
                del value[hinted.hint]
    return body


def test_bytes_that_get_no_mark_are_the_clients_own() -> None:
    tool = '{ "name" : "f",  "input_schema": {"z": 1.50, "a":1e2}}'
    answered = '{"role":"assistant", "content":[{ "input":{"b":2,  "a":1}, "type":"tool_use", "id":"t", "name":"f" }]}'
    raw = (
        '{"model":"claude-sonnet-5-5", "max_tokens": 9, "tools":[' + tool + '], "system": "\\u00e9",'
        ' "messages": [ {"role":"user","content":"x"}, ' + answered + " ]}"
    ).encode()
    wanted = Hints(mode="always", points=[HintPoint(location="system")])
    hinter = Hinter(CAPABILITIES, Observed.nothing(), lambda: 0.0)
    dialect = dialect_of("POST", MESSAGES)
    assert dialect is not None
    hinted = hinter.hinted(wanted, _asked(CASES[0]._replace(model="claude-sonnet-5-5"), dialect, raw))
    assert hinted is not None
    block = b'[{"type":"text","text":"\\u00e9","cache_control":{"type":"ephemeral"}}]'
    assert all(part in hinted.body for part in (tool.encode(), answered.encode(), block))


@given(st.lists(st.sampled_from(["a", "b", ""]), max_size=12), POINTS)
def test_never_more_marks_than_the_provider_takes(words: list[str], points: list[HintPoint]) -> None:
    body = {"max_tokens": 9, "system": "s", "messages": [{"role": "user", "content": word} for word in words]}
    _, _, hinted = _ask_twice(CASES[0], Hints(mode="always", points=points), body)
    marked = [place.path for place in hinted.places] if hinted is not None else []
    assert len(marked) == len({path[:2] if path[0] == "messages" else path[:1] for path in marked}) <= 4
