"""What some of the Claude models take and others refuse. State of November 2026, from Anthropic's documentation."""

from fnmatch import fnmatchcase
from typing import Final

_NO_SAMPLING: Final = ("*opus-4-7*", "*opus-4-8*", "*opus-5*", "*sonnet-5*", "*haiku-5*", "*fable-*", "*mythos-*")
_ONE_SAMPLER: Final = ("*opus-4-[156]*", "*sonnet-4-[56]*", "*haiku-4-5*")
_SYSTEM_TURNS: Final = ("*opus-4-8*", "*opus-5*", "*fable-5-[1-9]*", "*mythos-5-[1-9]*")
_THINKING_BY_BUDGET: Final = (
    "*claude-3*", "*opus-4-[015]*", "*opus-4-2025*", "*sonnet-4-[05]*", "*sonnet-4-2025*", "*haiku-4-*",
)  # fmt: skip


def takes_sampling(model: str) -> bool:
    """Say whether a model takes `temperature`, `top_p` and `top_k`."""
    return not _is_one(model, _NO_SAMPLING)


def takes_one_sampler(model: str) -> bool:
    """Say whether a model takes `temperature` or `top_p`, but not both in one request."""
    return _is_one(model, _ONE_SAMPLER)


def takes_system_turns(model: str) -> bool:
    """Say whether a model takes a system message in the middle of a conversation."""
    return _is_one(model, _SYSTEM_TURNS)


def thinks_by_budget(model: str) -> bool:
    """Say whether a model is told how many tokens to think for, and not how hard."""
    return _is_one(model, _THINKING_BY_BUDGET)


def _is_one(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)
