"""How many tokens an answer took, by each provider's own arithmetic, in one form.

What providers call the same differs, and what they count into what: Anthropic's `input_tokens` and Converse's
`inputTokens` leave out what was read from or written into the provider's cache, OpenAI's and Gemini's counts hold both.
The form of the answer says whose arithmetic it is, so that what only looks like OpenAI's is read all the same.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

MAX_TOKENS: Final = 10**9
"""Most tokens that one answer can have taken; a number above is none."""

Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**62)]

_NONE: Final[Mapping[str, Any]] = {}

_BEDROCK: Final = "X-Amzn-Bedrock-{}-Token-Count"


class Usage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The tokens of one call: of its input, each in one of `cached`, `written` and `uncached`; and of its output."""

    cached: Tokens = 0
    """Read from the provider's prompt cache."""

    written: Tokens = 0
    """Written into it."""

    written_long: Tokens = 0
    """Of those written, the ones that are kept for the longer time, an hour or twelve, and cost more."""

    uncached: Tokens = 0
    output: Tokens = 0
    """What the model wrote, its reasoning included."""

    @property
    def input(self) -> int:
        """All tokens of the input."""
        return self.cached + self.written + self.uncached

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.cached + other.cached,
            self.written + other.written,
            self.written_long + other.written_long,
            self.uncached + other.uncached,
            self.output + other.output,
        )


def read_usage(answer: Any, headers: Mapping[str, str] = _NONE) -> Usage | None:
    """Return what a canonical answer says that it took, or else its headers; None when neither says anything.

    Never raises: a field that is missing, renamed or of another type counts as zero.
    """
    if isinstance(answer, dict):
        of_google = _object(answer, "usageMetadata")
        if of_google:
            return _some(_gemini(of_google))
        usage = _object(answer, "usage") or _object(_object(answer, "x_groq"), "usage")
        if "prompt_tokens" in usage:
            return _some(_openai(usage, "prompt", "completion"))
        if "inputTokens" in usage:
            return _some(_converse(usage))
        if answer.get("object") == "response" or "input_tokens_details" in usage:
            return _some(_openai(usage, "input", "output"))
        if "input_tokens" in usage or "output_tokens" in usage:
            return _some(_anthropic(usage))
    return _some(_in_headers(headers))


def _openai(usage: Mapping[str, Any], of_input: str, of_output: str) -> Usage:
    """Read chat completions' counts, which all who copy that API have, or those of responses."""
    total = _count(usage, f"{of_input}_tokens")
    details = _object(usage, f"{of_input}_tokens_details")
    # DeepSeek says the first; where it says the second too, it is the same number.
    cached = _count(usage, "prompt_cache_hit_tokens") or _count(details, "cached_tokens")
    written = _count(details, "cache_write_tokens")
    long = _count(_object(details, "cache_write_tokens_details"), "ttl_12h_tokens")
    long = long or _count(_object(usage, "cache_creation"), "ephemeral_1h_input_tokens")  # translated from Anthropic's
    output = _count(usage, f"{of_output}_tokens")
    reasoning = _count(_object(usage, f"{of_output}_tokens_details"), "reasoning_tokens")
    if reasoning and _count(usage, "total_tokens") == total + output + reasoning:
        output += reasoning  # xAI counts them beside the output
    return _parted(total, cached, written, long, output)


def _anthropic(usage: Mapping[str, Any]) -> Usage:
    found = _anthropic_counts(usage)
    iterations = usage.get("iterations")
    for one in iterations if isinstance(iterations, list) else ():
        if isinstance(one, dict) and one.get("type") == "compaction":  # paid for, and not in the totals
            found += _anthropic_counts(one)
    return found


def _anthropic_counts(usage: Mapping[str, Any]) -> Usage:
    by_ttl = _object(usage, "cache_creation")
    long = _count(by_ttl, "ephemeral_1h_input_tokens")
    written = _count(usage, "cache_creation_input_tokens") or long + _count(by_ttl, "ephemeral_5m_input_tokens")
    return Usage(
        cached=_count(usage, "cache_read_input_tokens"),
        written=written,
        written_long=min(long, written),
        uncached=_count(usage, "input_tokens"),
        output=_count(usage, "output_tokens"),
    )


def _converse(usage: Mapping[str, Any]) -> Usage:
    details = usage.get("cacheDetails")
    written = _count(usage, "cacheWriteInputTokens") or _count(usage, "cacheWriteInputTokenCount")
    long = sum(
        _count(one, "inputTokens")
        for one in (details if isinstance(details, list) else ())
        if isinstance(one, dict) and one.get("ttl") == "1h"
    )
    return Usage(
        cached=_count(usage, "cacheReadInputTokens") or _count(usage, "cacheReadInputTokenCount"),
        written=written,
        written_long=min(long, written),
        uncached=_count(usage, "inputTokens"),
        output=_count(usage, "outputTokens"),
    )


def _gemini(usage: Mapping[str, Any]) -> Usage:
    asked = _count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount")
    output = _count(usage, "candidatesTokenCount") + _count(usage, "thoughtsTokenCount")
    return _parted(asked, _count(usage, "cachedContentTokenCount"), 0, 0, output)


def _in_headers(headers: Mapping[str, str]) -> Usage:
    """Read Bedrock's counts, for models whose answers have none, or Fireworks'."""
    fireworks = _number(headers, "fireworks-prompt-tokens")
    if fireworks:
        return _parted(fireworks, _number(headers, "fireworks-cached-prompt-tokens"), 0, 0, 0)
    return Usage(
        cached=_number(headers, _BEDROCK.format("Cache-Read-Input")),
        written=_number(headers, _BEDROCK.format("Cache-Write-Input")),
        uncached=_number(headers, _BEDROCK.format("Input")),
        output=_number(headers, _BEDROCK.format("Output")),
    )


def _parted(total: int, cached: int, written: int, long: int, output: int) -> Usage:
    """Return the usage of a provider whose count of the input holds what was cached and written."""
    cached = min(cached, total)
    written = min(written, total - cached)
    return Usage(cached, written, min(long, written), total - cached - written, output)


def _some(usage: Usage) -> Usage | None:
    return usage if usage.input or usage.output else None


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = holder.get(name)
    return found if isinstance(found, dict) else _NONE


def _count(holder: Mapping[str, Any], name: str) -> int:
    found = holder.get(name)
    return found if type(found) is int and 0 <= found <= MAX_TOKENS else 0


def _number(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
