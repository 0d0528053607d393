"""Policies: settings of their own for some requests."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, field

from llmcache_gateway.config.cache import Admit, CacheMode, Coalesce, KeySettings, Replay, Sampling, StoreAlso
from llmcache_gateway.config.hints import HintsOverride
from llmcache_gateway.config.model import Model, described
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import Duration, Name, Percent
from llmcache_gateway.config.semantic import Semantic, SemanticOverride
from llmcache_gateway.config.tenancy import HEADER_NAME

DialectName = Literal[
    "openai-chat",
    "openai-completions",
    "openai-embeddings",
    "openai-responses",
    "anthropic-messages",
    "gemini-generate",
    "vertex-generate",
    "gemini-embeddings",
    "vertex-embeddings",
    "bedrock-converse",
    "bedrock-invoke",
]


class CacheOverride(Model, frozen=True, kw_only=True):
    """What a policy changes of `spec.cache`. What it does not name stays."""

    mode: Annotated[CacheMode | None, described("As in spec.cache.")] = None
    ttl: Annotated[Duration | None, described("As in spec.cache.")] = None
    ttl_jitter: Annotated[Percent | None, described("As in spec.cache.")] = None
    stale_while_revalidate: Annotated[Duration | None, described("As in spec.cache.")] = None
    stale_if_error: Annotated[Duration | None, described("As in spec.cache.")] = None
    sampling: Annotated[Sampling | None, described("As in spec.cache.")] = None
    store_also: Annotated[Annotated[list[StoreAlso], Meta(max_length=4)] | None, described("As in spec.cache.")] = None
    admit: Annotated[Annotated[list[Admit], Meta(max_length=8)] | None, described("As in spec.cache.")] = None
    record_abandoned: Annotated[bool | None, described("As in spec.cache.")] = None
    coalesce: Annotated[Coalesce | None, described("As in spec.cache.")] = None
    replay: Annotated[Replay | None, described("As in spec.cache; all of it, not member by member.")] = None
    key: Annotated[KeySettings | None, described("As in spec.cache; all of it, not member by member.")] = None


class TenancyOverride(Model, frozen=True, kw_only=True):
    """What a policy changes of `spec.tenancy`."""

    isolation: Annotated[
        Literal["Credential", "Shared"],
        described("`Shared`: all clients share the entries of this policy's requests. `Credential`: they don't."),
    ]


class HeaderMatch(Model, frozen=True, kw_only=True):
    """A request header and what its value must look like."""

    name: Annotated[Annotated[str, HEADER_NAME], described("Name of the header, in any case.")]
    value: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256)], described("Pattern of its value; `*` stands for anything.")
    ]


class Match(Model, frozen=True, kw_only=True):
    """Which requests a policy is for: those that match every condition that is set."""

    RULES = (
        Rule(
            cel="size(self.dialects) + size(self.models) + size(self.tenants) + size(self.headers) > 0",
            holds=lambda m: bool(m.dialects or m.models or m.tenants or m.headers),
            message="set at least one of dialects, models, tenants or headers; what holds for all goes to spec.cache",
        ),
    )

    dialects: Annotated[list[DialectName], described("Names of dialects.", max_length=16)] = field(default_factory=list)
    models: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=128)]],
        described("Patterns of model names; `*` stands for anything.", max_length=32),
    ] = field(default_factory=list)
    tenants: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=128)]],
        described("Patterns of tenants' names, as they stand in the key.", max_length=32),
    ] = field(default_factory=list)
    headers: Annotated[
        list[HeaderMatch], described("Request headers and their values. Clients choose their headers.", max_length=8)
    ] = field(default_factory=list)


class Policy(Model, frozen=True, kw_only=True):
    """Settings of their own for some requests."""

    RULES = (
        Rule(
            cel="has(self.cache) || has(self.tenancy) || has(self.semantic) || has(self.hints)",
            holds=lambda p: any(part is not None for part in (p.cache, p.tenancy, p.semantic, p.hints)),
            message="a policy that changes nothing has no effect: set cache, semantic, hints or tenancy",
        ),
    )

    name: Annotated[Name, described("Name of the policy, unique in the manifest; shown in logs and metrics.")]
    match: Annotated[Match, described("Which requests it is for.")]
    cache: Annotated[CacheOverride | None, described("What it changes of spec.cache.")] = None
    semantic: Annotated[SemanticOverride | None, described("What it changes of spec.semantic.")] = None
    hints: Annotated[HintsOverride | None, described("What it changes of spec.hints.")] = None
    tenancy: Annotated[TenancyOverride | None, described("What it changes of spec.tenancy.")] = None


def semantic_on(semantic: Semantic, policies: Sequence[Policy]) -> bool:
    """Return whether some requests may be answered with what was asked in other words."""
    return bool(semantic.enabled) or any(one.semantic is not None and one.semantic.enabled for one in policies)
