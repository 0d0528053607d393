"""What a provider takes as a hint: the shipped table, and a manifest's rows before it."""

import pytest
import yaml

from llmcache_gateway.config import ConfigError, load_config
from llmcache_gateway.hints.capabilities import Capabilities, Capability, Prices, read_table, shipped_rows
from tests.gateway.conftest import manifest


@pytest.fixture(scope="module")
def shipped() -> Capabilities:
    return Capabilities(shipped_rows())


@pytest.mark.parametrize(
    ("provider", "model", "hints", "minimum"),
    [
        ("anthropic", "claude-opus-5-5", ["cache_control"], 512),
        ("anthropic", "claude-sonnet-4-5-20250929", ["cache_control"], 1024),
        ("anthropic", "claude-opus-4-5-20251101", ["cache_control"], 4096),
        ("anthropic", "claude-opus-4-7", ["cache_control"], 2048),
        ("bedrock", "us.anthropic.claude-opus-4-7-v1:0", ["cache_control", "cachePoint"], 4096),
        ("bedrock", "amazon.nova-pro-v1:0", ["cachePoint"], 1024),
        ("vertex", "claude-haiku-4-5@20251001", ["cache_control"], 4096),
        ("openrouter", "anthropic/claude-sonnet-5.5", ["cache_control"], 512),
        ("openrouter", "openai/gpt-6.1-sol", ["prompt_cache_breakpoint"], 1024),
        ("openai", "gpt-5.6-sol", ["prompt_cache_breakpoint"], 1024),
        ("openai", "gpt-6.1-codex", ["prompt_cache_key"], 1024),
        ("openai", "gpt-5-2025-08-07", ["prompt_cache_key"], 1024),
        ("openai", "gpt-4o-mini", ["prompt_cache_key"], 1024),
        ("azure", "gpt-6.1-sol", ["prompt_cache_key"], 1024),
        ("mistral", "mistral-large-latest", ["prompt_cache_key"], 0),
        ("xai", "grok-4.1", ["x-grok-conv-id", "prompt_cache_key"], 0),
        ("fireworks", "accounts/fireworks/models/kimi-k2", ["prompt_cache_key"], 0),
        ("gemini", "gemini-2.5-flash", ["cachedContent"], 2048),
        ("vertex", "gemini-4-argon", ["cachedContent"], 6144),
        ("gemini", "gemini-2.0-flash", [], 0),
        ("deepseek", "deepseek-v4-pro", [], 0),
        ("groq", "openai/gpt-oss-120b", [], 1024),
    ],
)
def test_the_table_says_how_each_model_is_told_and_what_it_keeps(
    shipped: Capabilities, provider: str, model: str, hints: list[str], minimum: int
) -> None:
    capability = shipped.of(provider, model)
    assert (list(capability.hints), capability.minimum_tokens) == (hints, minimum)


@pytest.mark.parametrize(
    ("provider", "model", "read", "write"),
    [
        ("anthropic", "claude-opus-5", 0.1, {"5m": 1.25, "1h": 2.0}),
        ("anthropic", "claude-sonnet-5-5", 0.05, {"5m": 1.25, "1h": 2.0}),
        ("bedrock", "anthropic.claude-fable-5-1-v1:0", 0.025, {"5m": 1.25, "1h": 2.0}),
        ("openai", "gpt-5.6", 0.1, {"30m": 1.25}),
        ("openai", "gpt-6.1-terra", 0.05, {"30m": 1.25}),
        ("azure", "gpt-5.5", 0.1, {}),
        ("openai", "o3", 0.25, {}),
        ("openai", "gpt-4o", 0.5, {}),
        ("deepseek", "deepseek-v4-flash", 0.02, {}),
    ],
)
def test_the_table_says_what_cached_input_costs(
    shipped: Capabilities, provider: str, model: str, read: float, write: dict[str, float]
) -> None:
    assert shipped.of(provider, model).prices == Prices(read, write)


def test_the_table_says_what_a_cached_content_costs_by_the_hour(shipped: Capabilities) -> None:
    assert shipped.of("vertex", "gemini-4-argon").prices == Prices(0.05, {}, storage=3.6)
    assert shipped.of("gemini", "gemini-2.5-pro").prices == Prices(0.1, {}, storage=3.6)


@pytest.mark.parametrize("provider", ["anthropic", "openai", "azure", "bedrock", "vertex", "gemini", "xai", "new"])
def test_a_model_that_nobody_knows_gets_no_hint(shipped: Capabilities, provider: str) -> None:
    assert shipped.of(provider, "llama-7") == Capability()


def test_nova_takes_marks_behind_texts_only_and_claude_behind_tools_too(shipped: Capabilities) -> None:
    assert shipped.of("bedrock", "us.amazon.nova-pro-v1:0").texts_only
    assert not shipped.of("bedrock", "us.anthropic.claude-opus-5-v1:0").texts_only


def test_whoever_takes_marks_says_how_many_and_for_how_long() -> None:
    for row in shipped_rows():
        if {"cache_control", "cachePoint", "prompt_cache_breakpoint"} & set(row.hints or ()):
            assert row.markers, row.models
            assert row.ttls, row.models


def test_a_manifests_row_changes_what_it_says_and_leaves_the_rest_to_the_table(shipped: Capabilities) -> None:
    own = read_table("rows: [{providers: [azure], models: ['gpt-6*'], hints: [prompt_cache_breakpoint], markers: 4}]")
    changed = Capabilities([*own, *shipped_rows()])
    assert changed.of("azure", "gpt-6.1-sol").hints == ("prompt_cache_breakpoint",)
    assert changed.of("azure", "gpt-6.1-sol").prices == shipped.of("openai", "gpt-6.1-sol").prices
    assert changed.of("azure", "gpt-5.5") == shipped.of("azure", "gpt-5.5")
    assert changed.of("openai", "gpt-6.1-sol") == shipped.of("openai", "gpt-6.1-sol")


def test_a_deployment_whose_name_hides_its_model_is_read_as_that_model(shipped: Capabilities) -> None:
    own = read_table("rows: [{providers: [azure], models: [gpt-4o-team-a], family: gpt-5.5, minimumTokens: 2048}]")
    changed = Capabilities([*own, *shipped_rows()]).of("azure", "gpt-4o-team-a")
    assert changed.prices == shipped.of("azure", "gpt-5.5").prices
    assert changed.minimum_tokens == 2048


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: [{models: [x], hint: []}]", "unknown field; did you mean 'hints'?"),
        ("rows: [{models: [x], hints: [cached]}]", "'cached'"),
        ("rows: [{models: [x]}]", "a row that says nothing has no effect"),
        ("rows: [{models: [x], prices: {read: cheap}}]", "a multiple of the price of an input token"),
        ("rows: [{models: [x], prices: {read: '0.1', write: {2h: '1'}}}]", "unknown field"),
        ("rows: [{models: [x], ttls: [2h]}]", "'2h'"),
        ("", "expected one document"),
    ],
)
def test_a_row_that_cant_be_meant_is_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match="capabilities") as refused:
        read_table(text)
    assert message in str(refused.value)


def test_no_client_makes_the_table_remember_without_end() -> None:
    capabilities = Capabilities(shipped_rows())
    for number in range(2000):
        capabilities.of("openai", f"gpt-5.6-{number}")
    assert len(capabilities._known) <= 500


def test_a_mode_without_its_quotes_is_refused_with_what_is_wrong() -> None:
    text = f"{yaml.safe_dump(manifest(None))}  hints:\n    mode: off\n"
    with pytest.raises(ConfigError) as refused:
        load_config(text)
    (problem,) = refused.value.problems
    assert str(problem) == (
        "spec.hints.mode: expected one of always, onRepeat, off, not false; "
        "YAML reads a bare off as false: put it in quotes"
    )
