"""Which settings hold for a request: those of the first policy that matches, over those of the cache."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from llmcache_gateway.config import Cache, Hints, Match, Model, Replay, Semantic, seconds, share
from llmcache_gateway.dialects.base import Dialect, Request
from llmcache_gateway.dialects.gemini_generate import generation_config
from llmcache_gateway.freshness import Controls
from llmcache_gateway.headers import Headers

OFF: Final = Hints(mode="off")
"""What holds where nothing is said of hints."""

DEFAULT = "default"
"""The name of what holds where no policy matches."""

_Base = TypeVar("_Base", bound=Model)

KeyBuilder = Callable[[Request, str], str]
"""A custom key builder: given the request and the default key's digest, it returns the key to use."""


MAX_PAUSE_SECONDS = 1.0
"""Longest pause in a stream from the cache, where nothing else is set."""

MAX_TOTAL_SECONDS = 30.0
"""Longest that the pauses of a stream from the cache take together, where nothing else is set."""


@dataclass(frozen=True, slots=True)
class Pace:
    """With which pauses a stream is given from the cache: those recorded, within these bounds in seconds."""

    max_pause: float
    max_total: float


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for a request. Times are seconds, shares from 0 to 1."""

    policy: str
    mode: str
    ttl: float
    jitter: float
    stale_while_revalidate: float
    stale_if_error: float
    sampling: str
    store_also: frozenset[str]
    admit: frozenset[str]
    record_abandoned: bool
    coalesce: bool
    pace: Pace | None
    """None gives all events of a stream at once."""

    ignore: frozenset[str]
    ignore_headers: frozenset[str]
    """Patterns, in lower case, of headers that don't count: those configured, and those that go no further."""

    normalize: tuple[str, ...]
    builder: KeyBuilder | None
    isolation: str
    shares: list[Any]
    """What lets requests share an entry that others keep apart, or be answered with what others refuse. It is part
    of the key: no other policy, and no configuration without it, finds those entries."""

    semantic: Semantic | None = None
    """How questions that mean the same share an answer; None where they don't."""

    hints: Hints = OFF
    """What is added for the provider's own prompt cache."""

    @property
    def stale(self) -> float:
        """For how long an entry is kept after it was fresh."""
        return max(self.stale_while_revalidate, self.stale_if_error)

    def lifetime(self, controls_ttl: float, response_ttl: float, random: float) -> float:
        """Return a new entry's lifetime; `random` is from 0 to 1 and shortens it by the jitter."""
        return min(self.ttl * (1 - self.jitter * random), controls_ttl, response_ttl)

    def bypass(self, dialect: Dialect, request: Request, controls: Controls, headers: Headers) -> str | None:
        """Return why a request must not meet the cache, as a stable word; None when it may. `headers` are its own."""
        if self.mode == "Disabled":
            return "disabled"
        if self.mode == "OptIn" and not controls.use_cache:
            return "not-opted-in"
        if controls.no_store:
            return "no-store"
        reason = dialect.bypass(request, self.admit)
        if reason is not None:
            return reason
        reason = dialect.bypass_of(headers)
        if reason is not None and reason not in self.admit:
            return reason
        if self.sampling == "Bypass" and _samples(request.members):
            return "sampling"
        return None


class Policies:
    """The settings of a configuration, by request."""

    def __init__(self, default: Settings, policies: Sequence[tuple[Match, Settings]]) -> None:
        self._default = default
        self._policies = tuple(policies)

    @property
    def all(self) -> list[Settings]:
        """What holds for each policy, and where none matches."""
        return [*(settings for _, settings in self._policies), self._default]

    def settings(self, *, dialect: str, model: str, tenant: str, headers: Headers) -> Settings:
        """Return what holds for a request; `headers` are the client's."""
        for match, settings in self._policies:
            if _matches(match, dialect, model, tenant, headers):
                return settings
        return self._default


def default_settings(
    cache: Cache,
    isolation: str,
    builder: KeyBuilder | None,
    own_headers: Sequence[str] = (),
    semantic: Semantic | None = None,
) -> Settings:
    """Return the settings that hold where no policy matches; `own_headers` go no further than the gateway."""
    return Settings(
        policy=DEFAULT,
        mode=cache.mode,
        ttl=seconds(cache.ttl),
        jitter=share(cache.ttl_jitter),
        stale_while_revalidate=seconds(cache.stale_while_revalidate),
        stale_if_error=seconds(cache.stale_if_error),
        sampling=cache.sampling,
        store_also=frozenset(cache.store_also) | frozenset(cache.admit),  # what is let in is let through
        admit=frozenset(cache.admit),
        record_abandoned=cache.record_abandoned,
        coalesce=cache.coalesce == "Enabled",
        pace=_pace(cache.replay),
        ignore=frozenset(cache.key.ignore),
        ignore_headers=frozenset(pattern.lower() for pattern in (*cache.key.ignore_headers, *own_headers)),
        normalize=tuple(cache.key.normalize),
        builder=builder,
        isolation=isolation,
        shares=[
            sorted(cache.key.ignore),
            sorted(cache.key.ignore_headers),
            sorted(cache.key.normalize),
            cache.key.builder,
            sorted(cache.store_also),
            sorted(cache.admit),
        ],
        semantic=semantic if semantic is not None and semantic.enabled else None,
    )


def _pace(replay: Replay) -> Pace | None:
    if replay.pace == "Immediate":
        return None
    return Pace(
        max_pause=MAX_PAUSE_SECONDS if replay.max_pause is None else seconds(replay.max_pause),
        max_total=MAX_TOTAL_SECONDS if replay.max_total is None else seconds(replay.max_total),
    )


def overridden(base: _Base, changes: Model | None) -> _Base:
    """Return settings with those that a policy names in their place."""
    names = changes.__struct_fields__ if changes is not None else ()
    named = {name: value for name in names if (value := getattr(changes, name)) is not None}
    return replace(base, **named)


def _matches(match: Match, dialect: str, model: str, tenant: str, headers: Headers) -> bool:
    return (
        (not match.dialects or dialect in match.dialects)
        and (not match.models or any(fnmatchcase(model, pattern) for pattern in match.models))
        and (not match.tenants or any(fnmatchcase(tenant, pattern) for pattern in match.tenants))
        and all(
            any(fnmatchcase(value, wanted.value) for value in headers.getall(wanted.name, ()))
            for wanted in match.headers
        )
    )


def _samples(members: dict[str, Any]) -> bool:
    of_google, of_bedrock = generation_config(members), members.get("inferenceConfig")
    temperatures = [members.get("temperature"), of_google.get("temperature")]
    if isinstance(of_bedrock, dict):
        temperatures.append(of_bedrock.get("temperature"))
    choices = (members.get("n"), of_google.get("candidateCount"))
    return any(_above(one, 0) for one in temperatures) or any(_above(one, 1) for one in choices)


def _above(value: Any, bound: int) -> bool:
    return not isinstance(value, bool | str | list | dict) and value is not None and value > bound
