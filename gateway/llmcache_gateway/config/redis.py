"""The Redis of a cache: run by the operator, or by somebody else."""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from llmcache_gateway.config.model import Model, SecretFile, SecretRef, described
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import Bytes, SecretName, byte_count

_WHOLE = r"[1-9][0-9]{0,5}(Mi|Gi|Ti)"


def _mebibytes(path: str) -> str:
    """Return CEL for the number of mebibytes of a whole quantity."""
    number = f"int({path}.replace('Mi', '').replace('Gi', '').replace('Ti', ''))"
    return f"{number} * ({path}.endsWith('Mi') ? 1 : {path}.endsWith('Gi') ? 1024 : 1048576)"


def _whole(quantity: str) -> bool:
    return re.fullmatch(_WHOLE, quantity) is not None


class Persistence(Model, frozen=True, kw_only=True):
    """A volume that keeps what is in Redis through restarts of its pod."""

    RULES = (
        Rule(
            cel=f"self.size.matches('^{_WHOLE}$')",
            holds=lambda p: _whole(p.size),
            message="size must be a whole number of Mi, Gi or Ti, such as 5Gi",
            field="size",
        ),
    )

    size: Annotated[
        Bytes,
        described(
            "Size of the volume. AppendOnly writes its log anew beside the old one: twice `memory` is on the safe "
            "side. It can grow where the storage class allows it, and never shrink."
        ),
    ]
    storage_class: Annotated[
        SecretName | None,
        described("Storage class of the volume; the cluster's default when left out. It can't be changed."),
    ] = None
    mode: Annotated[
        Literal["AppendOnly", "Snapshots"],
        described(
            "AppendOnly logs each write and loses a second of them at most. Snapshots writes everything from time to "
            "time, at the latest after an hour, and loses what came since."
        ),
    ] = "AppendOnly"


class ManagedRedis(Model, frozen=True, kw_only=True):
    """A Redis that the operator runs for this LLMCache."""

    RULES = (
        Rule(
            cel=f"self.memory.matches('^{_WHOLE}$')",
            holds=lambda r: _whole(r.memory),
            message="memory must be a whole number of Mi, Gi or Ti, such as 256Mi",
            field="memory",
        ),
        Rule(
            cel=f"!has(self.persistence) || !self.memory.matches('^{_WHOLE}$') "
            f"|| !self.persistence.size.matches('^{_WHOLE}$') "
            f"|| {_mebibytes('self.persistence.size')} >= {_mebibytes('self.memory')}",
            holds=lambda r: (
                r.persistence is None
                or not _whole(r.memory)
                or not _whole(r.persistence.size)
                or byte_count(r.persistence.size) >= byte_count(r.memory)
            ),
            message="the volume must hold at least what memory does: enlarge persistence.size, or lower memory",
            field="persistence",
        ),
    )

    memory: Annotated[
        Bytes,
        described(
            "Redis' maxmemory. The pod's memory limit is at least half as much again, in steps of a third or a half: a "
            "change within a step needs no restart."
        ),
    ] = "256Mi"
    maxmemory_policy: Annotated[
        Literal["allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-lfu", "volatile-ttl", "noeviction"],
        described("What Redis drops when its memory is full. A change needs no restart."),
    ] = "allkeys-lru"
    persistence: Annotated[
        Persistence | None,
        described("Keep entries on a volume. Without it, a restart of Redis empties the cache."),
    ] = None
    image: Annotated[
        Annotated[str, Meta(min_length=1, max_length=512)] | None,
        described("Image of Redis or Valkey, at least version 6.2. Without it, the operator's default."),
    ] = None
    modules: Annotated[
        list[Annotated[str, Meta(title="the path of a module", pattern=r"^/[A-Za-z0-9._/-]+$", max_length=256)]],
        described(
            "Modules of the image that Redis loads, such as /usr/local/lib/redis/modules/redisearch.so.", max_length=16
        ),
    ] = msgspec.field(default_factory=list)


class RedisLogin(Model, frozen=True, kw_only=True):
    """The user and password of an external Redis."""

    secret_ref: Annotated[SecretRef, described("Where the password is.")]
    username: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None,
        described("ACL user; Redis' `default` when left out."),
    ] = None


HostPort = Annotated[
    str,
    Meta(
        title="a host and its port",
        pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?):[1-9][0-9]{0,4}$",
        max_length=320,
        examples=["redis-0.redis:6379"],
    ),
]
"""A host name or address, and a port; an IPv6 address stands in brackets."""


class PEM(SecretFile, frozen=True, kw_only=True):
    """A certificate or key as PEM text: from exactly one of the two."""


class ClientCertificate(Model, frozen=True, kw_only=True):
    """What the gateway shows a Redis that asks its clients for a certificate."""

    certificate: Annotated[PEM, described("The certificate, and those between it and its authority.")]
    key: Annotated[PEM, described("Its private key, without a passphrase.")]


class RedisTLS(Model, frozen=True, kw_only=True):
    """How a TLS connection is made. The server's certificate is verified unless that is turned off."""

    RULES = (
        Rule(
            cel="self.verify || !(has(self.ca) || has(self.serverName))",
            holds=lambda t: t.verify or (t.ca is None and t.server_name is None),
            message="verify: false takes any certificate: remove ca and serverName, or verify: false",
            field="verify",
        ),
    )

    ca: Annotated[
        PEM | None,
        described("The authorities that servers' certificates must come from. Without it, those of the system."),
    ] = None
    client_certificate: Annotated[
        ClientCertificate | None,
        described("The gateway's own certificate, for servers that ask for one."),
    ] = None
    server_name: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=253)] | None,
        described("The name that every server's certificate must carry, where it is not the host connected to."),
    ] = None
    verify: Annotated[
        bool,
        described("Verify servers' certificates. Without it, whoever is on the way can read and change every entry."),
    ] = True


class RedisSentinel(Model, frozen=True, kw_only=True):
    """Sentinels, which know which Redis is the primary now."""

    master: Annotated[
        str,
        Meta(
            description="Name under which the Sentinels know the primary.",
            pattern=r"^[A-Za-z0-9._-]+$",
            max_length=128,
            examples=["mymaster"],
        ),
    ]
    hosts: Annotated[
        list[HostPort], described("The Sentinels, asked in turn until one answers.", min_length=1, max_length=16)
    ]
    database: Annotated[int, described("Number of the database on the primary.", ge=0, le=1_000_000)] = 0
    credential: Annotated[
        RedisLogin | None, described("User and password of the Sentinels themselves, where they ask for them.")
    ] = None


class RedisCluster(Model, frozen=True, kw_only=True):
    """A Redis Cluster: its nodes tell each other's addresses, which the gateway must be able to reach."""

    hosts: Annotated[
        list[HostPort],
        described(
            "Nodes to learn the others from; two or three, so that one may be away.", min_length=1, max_length=16
        ),
    ]


class ExternalRedis(Model, frozen=True, kw_only=True):
    """A Redis that somebody else runs: exactly one of url, sentinel and cluster."""

    RULES = (
        Rule(
            cel="[has(self.url), has(self.sentinel), has(self.cluster)].exists_one(c, c)",
            holds=lambda r: sum(part is not None for part in (r.url, r.sentinel, r.cluster)) == 1,
            message="set exactly one of url, sentinel or cluster",
        ),
        Rule(
            cel="!(has(self.tls) && has(self.url)) || self.url.startsWith('rediss://')",
            holds=lambda r: r.tls is None or r.url is None or r.url.startswith("rediss://"),
            message="tls has an effect with a url that begins with rediss:// only: write that, or remove tls",
            field="tls",
        ),
    )

    url: Annotated[
        Annotated[
            str,
            Meta(
                title="an address without user and password",
                pattern=r"^rediss?://[^\s@/]+(/[0-9]+)?$",
                max_length=512,
                examples=["redis://redis.example.svc:6379/0"],
            ),
        ]
        | None,
        described(
            "Address of one Redis as redis://HOST:PORT/DATABASE, or rediss:// for TLS; the password goes to credential."
        ),
    ] = None
    sentinel: Annotated[RedisSentinel | None, described("A primary with replicas behind Sentinels.")] = None
    cluster: Annotated[RedisCluster | None, described("A Redis Cluster.")] = None
    tls: Annotated[
        RedisTLS | None,
        described(
            "How TLS connections are made. With sentinel or cluster, connections use TLS when it is set (`{}` for "
            "defaults), those to the Sentinels too."
        ),
    ] = None
    credential: Annotated[RedisLogin | None, described("User and password.")] = None

    @property
    def uses_tls(self) -> bool:
        """Say whether connections are encrypted."""
        return self.tls is not None or (self.url is not None and self.url.startswith("rediss://"))

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address that it names."""
        if self.url is not None:
            return (self.url,)
        listed = self.sentinel or self.cluster
        return tuple(listed.hosts) if listed is not None else ()


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
