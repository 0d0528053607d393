"""The digest: another one for every difference that can change the answer, the same for the rest."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from llmcache_gateway import key
from llmcache_gateway.canonical import decode
from llmcache_gateway.config import Cache
from llmcache_gateway.dialects import (
    Dialect,
    anthropic_messages,
    dialect_of,
    openai_chat,
    openai_embeddings,
    openai_responses,
)
from llmcache_gateway.dialects.openai_chat import OpenAIChat
from llmcache_gateway.heads import Head
from llmcache_gateway.policy import default_settings
from tests.gateway.test_canonical import JSON, same

PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]
SETTINGS = default_settings(Cache(), "Credential", None)
WHERE: dict[str, Any] = {
    "query": "",
    "headers": CIMultiDict[str](),
    "upstream": ("name", "openai", "https://x/v1"),
    "tenant": "t",
    "namespace": "",
}


def digest(dialect: Dialect, members: dict[str, Any], **where: Any) -> str:
    request = dialect.parse({"model": "m", **members}, b"{}")
    where = WHERE | where
    head = Head("POST", f"{dialect.path}?{where.pop('query')}", where.pop("headers"))
    return key.digest(dialect=dialect, request=request, settings=SETTINGS, head=head, **where)


def dialect_at(path: str) -> Dialect:
    dialect = dialect_of("POST", path)
    assert dialect is not None
    return dialect


@pytest.mark.parametrize("path", PATHS)
@given(left=JSON, right=JSON)
def test_a_member_that_nobody_knows_counts_with_every_difference_in_it(path: str, left: Any, right: Any) -> None:
    dialect = dialect_at(path)
    equal = digest(dialect, {"of_tomorrow": left}) == digest(dialect, {"of_tomorrow": right})
    assert equal == same(left, right)


@st.composite
def near_misses(draw: st.DrawFn) -> tuple[Any, Any]:
    """A JSON value, and the same one with one thing changed, added, removed or retyped at some depth."""
    value = draw(JSON.filter(lambda one: isinstance(one, dict | list) and bool(one)))

    def changed(one: Any) -> Any:
        if isinstance(one, dict) and one:
            name = draw(st.sampled_from(sorted(one)))
            how = draw(st.sampled_from(["inside", "remove", "rename", "add"]))
            rest = {other: item for other, item in one.items() if other != name}
            if how == "remove":
                return rest
            if how == "rename":
                return rest | {name + "_": one[name]}
            return one | {name + "+": None} if how == "add" else rest | {name: changed(one[name])}
        if isinstance(one, list) and one:
            at = draw(st.integers(0, len(one) - 1))
            how = draw(st.sampled_from(["inside", "remove", "add"]))
            if how == "inside":
                return [*one[:at], changed(one[at]), *one[at + 1 :]]
            return one[:at] + one[at + 1 :] if how == "remove" else [*one, None]
        retyped: list[Any] = [str(one), [one], {"": one}, None if one is not None else 0]
        return draw(st.sampled_from([new for new in retyped if not same(new, one)]))

    return value, changed(value)


@given(near_misses())
def test_a_near_miss_at_any_depth_is_another_key(pair: tuple[Any, Any]) -> None:
    left, right = (digest(OpenAIChat(), {"tools": [{"function": {"parameters": value}}]}) for value in pair)
    assert (left == right) == same(*pair)


@pytest.mark.parametrize(
    "where",
    [
        {"query": "api-version=2"},
        {"upstream": ("other", "openai", "https://x/v1")},
        {"upstream": ("name", "openai", "https://y/v1")},
        {"tenant": "u"},
        {"namespace": "n"},
        {"headers": CIMultiDict({"OpenAI-Project": "p"})},
        {"headers": CIMultiDict({"OpenAI-Organization": "p"})},
        {"headers": CIMultiDict({"OpenAI-Beta": "p"})},
    ],
)
def test_what_stands_around_the_body_counts(where: dict[str, Any]) -> None:
    assert digest(OpenAIChat(), {}, **where) != digest(OpenAIChat(), {})


def test_two_dialects_never_share_a_key() -> None:
    assert len({digest(dialect_at(path), {}) for path in PATHS}) == len(PATHS)


def test_parts_of_a_key_cannot_run_into_each_other() -> None:
    ways: list[dict[str, Any]] = [
        {"tenant": "ab", "namespace": "c"},
        {"tenant": "a", "namespace": "bc"},
        {"upstream": ("a", "b")},
        {"upstream": ("ab",)},
        {"query": '","'},
        {"namespace": '","'},
    ]
    assert len({digest(OpenAIChat(), {}, **way) for way in ways}) == len(ways)


def test_a_schema_change_changes_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(OpenAIChat(), {})
    monkeypatch.setattr(key, "SCHEMA", key.SCHEMA + 1)
    assert digest(OpenAIChat(), {}) != before


def test_deep_bodies_have_keys() -> None:
    nested = decode(b'{"a":' * 150 + b"1" + b"}" * 150)
    assert digest(OpenAIChat(), {"x": nested}) != digest(OpenAIChat(), {"x": nested["a"]})


@pytest.mark.parametrize(
    ("row", "ignored"),
    [
        ("chat completions, completions", openai_chat.IGNORED),
        ("responses", openai_responses.IGNORED),
        ("embeddings", openai_embeddings.IGNORED),
        ("Anthropic messages", anthropic_messages.IGNORED),
    ],
)
def test_the_docs_name_every_member_that_never_counts(row: str, ignored: frozenset[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "keys.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith((f"| {row} |", "| all |"))]
    named = {name.removesuffix("*") for line in lines for name in re.findall(r"`([^`]+)`", line)}
    left_out = {name for name in ignored if name not in named and not name.startswith("prompt_cache_")}
    assert (len(lines), left_out) == (2, set())
