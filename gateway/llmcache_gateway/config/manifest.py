"""The LLMCache resource: every type of its `spec`.

The descriptions are the CRD's and the reference page's text. What is accepted here is in force: a field
enters this file together with the code that obeys it.
"""

import re
from typing import Annotated, Any, ClassVar, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import (
    Bytes,
    Duration,
    Name,
    PrefixPart,
    Quantity,
    SecretKey,
    SecretName,
    seconds,
)

GROUP = "llmcache.dev"
VERSION = "v1alpha1"
API_VERSION: Final = "llmcache.dev/v1alpha1"


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The base of every configuration type: frozen, strict, camelCase on the wire."""

    RULES: ClassVar[tuple[Rule, ...]] = ()


def described(text: str, **constraints: Any) -> Meta:
    """Return a field's description and bounds, as they stand in CRD and reference page."""
    return Meta(description=text, **constraints)


class SecretRef(Model, frozen=True, kw_only=True):
    """One value of a Secret in the LLMCache's own namespace."""

    name: Annotated[SecretName, described("Name of the Secret.")]
    key: Annotated[SecretKey, described("Key inside the Secret.")]


class Credential(Model, frozen=True, kw_only=True):
    """Where the upstream's API key comes from: exactly one of the four."""

    RULES = (
        Rule(
            cel="[has(self.secretRef), has(self.env), has(self.file), self.passthrough].exists_one(c, c)",
            holds=lambda c: sum((c.secret_ref is not None, c.env is not None, c.file is not None, c.passthrough)) == 1,
            message="set exactly one of secretRef, env, file or passthrough: true",
        ),
    )

    secret_ref: Annotated[
        SecretRef | None,
        described("A key of a Secret. Standalone it is read from the folder given by --secrets."),
    ] = None
    env: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)] | None,
        described("An environment variable of the gateway process. For a gateway outside Kubernetes."),
    ] = None
    file: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1024)] | None,
        described("A file that holds the key and nothing else. For a gateway outside Kubernetes."),
    ] = None
    passthrough: Annotated[
        bool,
        described("Send the client's own credential on. The gateway then holds no key of its own."),
    ] = False


class Echo(Model, frozen=True, kw_only=True):
    """How the built-in echo upstream behaves."""

    delay: Annotated[Duration, described("Time before the first byte of an answer.")] = "0s"
    chunk_delay: Annotated[Duration, described("Time between two chunks of a streamed answer.")] = "0s"


class Upstream(Model, frozen=True, kw_only=True):
    """One provider endpoint."""

    RULES = (
        Rule(
            cel="self.provider == 'echo' || has(self.baseURL)",
            holds=lambda u: u.provider == "echo" or u.base_url is not None,
            message="baseURL is required for this provider, such as https://api.openai.com/v1",
            field="baseURL",
        ),
        Rule(
            cel="self.provider != 'anthropic' || !has(self.baseURL) || !self.baseURL.matches('/v1/*$')",
            holds=lambda u: u.provider != "anthropic" or re.search(r"/v1/*\Z", u.base_url or "") is None,
            message="Anthropic's own paths begin with /v1: remove it, such as https://api.anthropic.com",
            field="baseURL",
        ),
        Rule(
            cel="self.provider != 'echo' || !(has(self.baseURL) || has(self.credential))",
            holds=lambda u: u.provider != "echo" or (u.base_url is None and u.credential is None),
            message="the echo provider is built in: remove baseURL and credential",
        ),
        Rule(
            cel="self.provider == 'echo' || !has(self.echo)",
            holds=lambda u: u.provider == "echo" or u.echo is None,
            message="echo settings have an effect with provider: echo only: remove them",
            field="echo",
        ),
    )

    name: Annotated[Name, described("Name of the upstream, unique in the manifest; part of every key.")]
    provider: Annotated[
        Literal["openai", "anthropic", "echo"],
        described(
            "Which wire API the endpoint speaks: `openai` for OpenAI and everything shaped like it, `anthropic` for "
            "Anthropic's messages, `echo` for the built-in stand-in that answers with the question."
        ),
    ]
    base_url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s?#]+$", max_length=1024, examples=["https://api.openai.com/v1"])]
        | None,
        described(
            "Address of the endpoint, ending where the provider's SDK ends its own: with /v1 for OpenAI, without it "
            "for Anthropic (https://api.anthropic.com)."
        ),
    ] = field(default=None, name="baseURL")
    models: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=128)]],
        described(
            "Patterns of the model names it serves (`*` stands for anything). The first upstream that matches "
            "gets the request.",
            min_length=1,
            max_length=64,
        ),
    ] = field(default_factory=lambda: ["*"])
    credential: Annotated[
        Credential | None,
        described("The API key sent upstream. Without it requests go out with no credential."),
    ] = None
    timeout: Annotated[
        Duration,
        described("Longest silence of the upstream: to connect, to begin an answer, between two chunks of it."),
    ] = "60s"
    echo: Annotated[Echo | None, described("Settings of provider echo.")] = None


class Prefix(Model, frozen=True, kw_only=True):
    """Which generation of entries is in use."""

    version: Annotated[
        PrefixPart,
        described("Generation of the entries. A new value starts an empty cache at once, without a restart."),
    ]
    name: Annotated[
        PrefixPart | None,
        described("First part of every stored key. Without it, the resource's own name."),
    ] = None


class MemoryStore(Model, frozen=True, kw_only=True):
    """Bounds of the memory store; the least recently used entry leaves first."""

    entries: Annotated[int, described("Most entries kept.", ge=1, le=100_000_000)] = 10_000
    bytes: Annotated[Bytes, described("Most bytes kept, keys and values together.")] = "256Mi"


class SharedStore(Model, frozen=True, kw_only=True):
    """The store behind the memory store, shared by all replicas."""

    type: Annotated[Literal["redis"], described("`redis`: the Redis of `spec.redis`.")] = "redis"


class Store(Model, frozen=True, kw_only=True):
    """Where entries are kept."""

    RULES = (
        Rule(
            cel="self.type != 'redis' || !has(self.l1)",
            holds=lambda s: s.type != "redis" or s.l1 is None,
            message="store type redis keeps nothing in memory: remove l1, or set type: tiered",
            field="l1",
        ),
        Rule(
            cel="self.type == 'tiered' || !has(self.l2)",
            holds=lambda s: s.type == "tiered" or s.l2 is None,
            message="l2 belongs to store type tiered: remove it, or set type: tiered",
            field="l2",
        ),
    )

    type: Annotated[
        Literal["memory", "redis", "tiered"],
        described("`memory`: each replica for itself; `redis`: shared; `tiered`: memory (L1) in front of L2."),
    ] = "memory"
    l1: Annotated[MemoryStore | None, described("Bounds of the memory store.")] = None
    l2: Annotated[SharedStore | None, described("The store behind L1; Redis when left out.")] = None


class Cache(Model, frozen=True, kw_only=True):
    """What is cached, and for how long."""

    RULES = (
        Rule(
            cel="self.ttl.matches('[1-9]')",
            holds=lambda c: seconds(c.ttl) > 0,
            message="ttl must be longer than zero; to cache nothing set mode: Disabled",
            field="ttl",
        ),
    )

    mode: Annotated[
        Literal["Enabled", "Disabled"],
        described("`Disabled` sends every request upstream and stores nothing."),
    ] = "Enabled"
    ttl: Annotated[Duration, described("Time for which an answer is served from the cache.")] = "1h"
    store: Annotated[Store, described("Where entries are kept.")] = field(default_factory=Store)


class Tenancy(Model, frozen=True, kw_only=True):
    """Who shares entries with whom."""

    isolation: Annotated[
        Literal["Credential", "Shared"],
        described(
            "`Credential`: clients share entries only when they send the same credential. `Shared`: all clients "
            "share all entries."
        ),
    ] = "Credential"


class Limits(Model, frozen=True, kw_only=True):
    """Bounds on single messages."""

    RULES = (
        Rule(
            cel="!self.requestBytes.matches('^0')",
            holds=lambda limits: not limits.request_bytes.startswith("0"),
            message="requestBytes must be at least one byte, written without a leading zero, such as 32Mi",
            field="requestBytes",
        ),
        Rule(
            cel="!self.entryBytes.matches('^0')",
            holds=lambda limits: not limits.entry_bytes.startswith("0"),
            message="entryBytes must be at least one byte, written without a leading zero, such as 8Mi",
            field="entryBytes",
        ),
    )

    request_bytes: Annotated[Bytes, described("Largest request body; a larger one is answered with 413.")] = "32Mi"
    entry_bytes: Annotated[Bytes, described("Largest answer that is stored; a larger one passes unstored.")] = "8Mi"


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
        described("Image of Redis or Valkey, at least version 6. Without it, the operator's default."),
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


class Resources(Model, frozen=True, kw_only=True):
    """Requests and limits of a container, as in a pod."""

    requests: Annotated[
        dict[Literal["cpu", "memory"], Quantity], described("What the scheduler sets aside.", max_length=2)
    ] = field(default_factory=dict)
    limits: Annotated[
        dict[Literal["cpu", "memory"], Quantity], described("What the container may use at most.", max_length=2)
    ] = field(default_factory=dict)


class Gateway(Model, frozen=True, kw_only=True):
    """The gateway's Deployment. Carried out by the operator; standalone it is not in force."""

    replicas: Annotated[int, described("Number of gateway pods.", ge=0, le=1000)] = 2
    image: Annotated[
        Annotated[str, Meta(min_length=1, max_length=512)] | None,
        described("Image of the gateway. Without it, the operator's default."),
    ] = None
    resources: Annotated[Resources, described("Requests and limits of the gateway container.")] = field(
        default_factory=lambda: Resources(requests={"cpu": "250m", "memory": "256Mi"}, limits={"memory": "1Gi"})
    )


class LLMCacheSpec(Model, frozen=True, kw_only=True):
    """A cache in front of one or more LLM providers."""

    RULES = (
        Rule(
            cel="self.upstreams.all(u, self.upstreams.exists_one(v, v.name == u.name))",
            holds=lambda s: len({u.name for u in s.upstreams}) == len(s.upstreams),
            message="every upstream needs a name of its own",
            field="upstreams",
        ),
        Rule(
            cel="self.cache.store.type == 'memory' || has(self.redis)",
            holds=lambda s: s.cache.store.type == "memory" or s.redis is not None,
            message="this store type needs a Redis: set spec.redis, such as redis: {managed: {}}",
            field="redis",
        ),
        Rule(
            cel="self.cache.store.type != 'memory' || !has(self.redis)",
            holds=lambda s: s.cache.store.type != "memory" or s.redis is None,
            message="store type memory does not use Redis: remove spec.redis, or set cache.store.type: tiered",
            field="redis",
        ),
    )

    upstreams: Annotated[
        list[Upstream],
        described(
            "The provider endpoints, in order: the first that serves the model is used.", min_length=1, max_length=32
        ),
    ]
    prefix: Annotated[Prefix, described("Which generation of entries is in use.")]
    cache: Annotated[Cache, described("What is cached, and for how long.")] = field(default_factory=Cache)
    tenancy: Annotated[Tenancy, described("Who shares entries with whom.")] = field(default_factory=Tenancy)
    limits: Annotated[Limits, described("Bounds on single messages.")] = field(default_factory=Limits)
    redis: Annotated[Redis | None, described("The Redis of store types redis and tiered.")] = None
    gateway: Annotated[Gateway, described("The gateway's Deployment.")] = field(default_factory=Gateway)


class Metadata(Struct, frozen=True, kw_only=True):
    """The two fields of a resource's metadata that a gateway uses; the rest is Kubernetes' own."""

    name: Name
    namespace: Name = "default"


class LLMCache(Model, frozen=True, kw_only=True):
    """An LLMCache manifest, as it is applied to a cluster or given to a gateway."""

    RULES = (
        Rule(
            cel="self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')",
            holds=lambda m: re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", m.metadata.name) is not None,
            message=(
                "the name must begin with a letter and hold only lower-case letters, digits and '-': Services are "
                "named after it"
            ),
            field="metadata.name",
        ),
        Rule(
            # A StatefulSet writes NAME-redis-HASH into a label of its pods, which may have 63 characters.
            cel="self.metadata.name.size() <= 46",
            holds=lambda m: len(m.metadata.name) <= 46,
            message="the name may have 46 characters at most: the names of its parts are longer and have to fit",
            field="metadata.name",
        ),
    )

    api_version: Literal["llmcache.dev/v1alpha1"]
    kind: Literal["LLMCache"]
    metadata: Metadata
    spec: LLMCacheSpec
    status: Any | UnsetType = UNSET
