"""The Redis of a cache: run by the operator, or by somebody else."""

import re
from typing import Annotated, Literal

from msgspec import Meta

from llmcache_gateway.config.model import Model, SecretRef, described
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import Bytes


class ManagedRedis(Model, frozen=True, kw_only=True):
    """A Redis that the operator runs for this LLMCache."""

    RULES = (
        Rule(
            cel="self.memory.matches('^[1-9][0-9]*(Mi|Gi|Ti)$')",
            holds=lambda r: re.fullmatch(r"[1-9][0-9]*(Mi|Gi|Ti)", r.memory) is not None,
            message="memory must be a whole number of Mi, Gi or Ti, such as 256Mi",
            field="memory",
        ),
    )

    memory: Annotated[
        Bytes,
        described("Redis' maxmemory. The pod's memory limit is half as much again, for its overhead."),
    ] = "256Mi"
    maxmemory_policy: Annotated[
        Literal["allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-lfu", "volatile-ttl", "noeviction"],
        described("What Redis drops when its memory is full."),
    ] = "allkeys-lru"
    image: Annotated[
        Annotated[str, Meta(min_length=1, max_length=512)] | None,
        described("Image of Redis or Valkey, at least version 6.2. Without it, the operator's default."),
    ] = None


class RedisLogin(Model, frozen=True, kw_only=True):
    """The user and password of an external Redis."""

    secret_ref: Annotated[SecretRef, described("Where the password is.")]
    username: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None,
        described("ACL user; Redis' `default` when left out."),
    ] = None


class ExternalRedis(Model, frozen=True, kw_only=True):
    """A Redis that somebody else runs."""

    url: Annotated[
        str,
        Meta(
            description="Address as redis://HOST:PORT/DATABASE, or rediss:// for TLS; the password goes to credential.",
            pattern=r"^rediss?://[^\s@/]+(/[0-9]+)?$",
            max_length=512,
            examples=["redis://redis.example.svc:6379/0"],
        ),
    ]
    credential: Annotated[RedisLogin | None, described("User and password.")] = None


class Redis(Model, frozen=True, kw_only=True):
    """The Redis that the store uses: exactly one of the two."""

    RULES = (
        Rule(
            cel="has(self.managed) != has(self.external)",
            holds=lambda r: (r.managed is None) != (r.external is None),
            message="set exactly one of managed or external",
        ),
    )

    managed: Annotated[ManagedRedis | None, described("Let the operator run one. `{}` takes all defaults.")] = None
    external: Annotated[ExternalRedis | None, described("Use one that is there.")] = None
