"""What is cached, how its key is made, for how long, and where it is kept."""

from typing import Annotated, Literal

from msgspec import Meta, field

from llmcache_gateway.config.model import Model, described
from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import Bytes, Duration, Percent, seconds

CacheMode = Literal["Enabled", "OptIn", "Disabled"]
Sampling = Literal["Cache", "Bypass"]
Coalesce = Literal["Enabled", "Disabled"]
StoreAlso = Literal["truncated", "filtered", "refused"]
Admit = Literal["stateful", "hosted-tools", "remote-content", "audio"]

ESSENTIAL_MEMBERS = (
    "model", "messages", "input", "prompt", "system", "instructions", "tools", "contents", "systemInstruction",
    "system_instruction",
)  # fmt: skip
"""Members of a request that no setting takes out of the key: without them every question has one answer."""
"""Members of a request that no setting takes out of the key: without them every question has one answer."""


class MemoryStore(Model, frozen=True, kw_only=True):
    """Bounds of the memory store. When it is full, entries asked for once leave before those asked for again."""

    entries: Annotated[int, described("Most entries kept.", ge=1, le=100_000_000)] = 10_000
    bytes: Annotated[Bytes, described("Most bytes kept, keys and values together.")] = "256Mi"


class DiskStore(Model, frozen=True, kw_only=True):
    """Bounds of the disk store; the least recently used entry leaves first."""

    bytes: Annotated[Bytes, described("Most bytes of its file.")] = "1Gi"


class SharedStore(Model, frozen=True, kw_only=True):
    """The store behind the memory store."""

    type: Annotated[
        Literal["redis", "s3", "disk"],
        described(
            "`redis`: the Redis of `spec.redis`, `s3`: the bucket of `spec.s3`, both shared by all replicas; `disk`: "
            "each replica's own file."
        ),
    ] = "redis"


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
            cel="self.type != 'disk' || !has(self.l1)",
            holds=lambda s: s.type != "disk" or s.l1 is None,
            message="store type disk keeps nothing in memory: remove l1, or set type: tiered and l2: {type: disk}",
            field="l1",
        ),
        Rule(
            cel="self.type != 's3' || !has(self.l1)",
            holds=lambda s: s.type != "s3" or s.l1 is None,
            message="store type s3 keeps nothing in memory: remove l1, or set type: tiered and l2: {type: s3}",
            field="l1",
        ),
        Rule(
            cel="self.type == 'tiered' || !has(self.l2)",
            holds=lambda s: s.type == "tiered" or s.l2 is None,
            message="l2 belongs to store type tiered: remove it, or set type: tiered",
            field="l2",
        ),
        Rule(
            cel="!has(self.disk) || self.type == 'disk' || (has(self.l2) && self.l2.type == 'disk')",
            holds=lambda s: s.disk is None or s.uses_disk,
            message="disk belongs to store type disk, or to l2: {type: disk}: remove it, or set one of them",
            field="disk",
        ),
        Rule(
            cel="!has(self.compressAbove) || self.type != 'memory'",
            holds=lambda s: s.compress_above is None or s.type != "memory",
            message="store type memory compresses nothing: remove compressAbove, or set another type",
            field="compressAbove",
        ),
        Rule(
            cel="!(self.type == 's3' || (has(self.l2) && self.l2.type == 's3')) || "
            "self.timeout.matches('^([1-9][0-9]{2,3}ms|[0-9]+s)$')",
            holds=lambda s: not s.uses_s3 or seconds(s.timeout) >= 0.1,
            message="S3 takes longer than other stores: set timeout to 100ms or more, such as 500ms",
            field="timeout",
        ),
    )

    type: Annotated[
        Literal["memory", "disk", "redis", "s3", "tiered"],
        described(
            "`memory`: each replica for itself; `disk`: so, too, in a file that outlives a restart; `redis` and `s3`: "
            "shared; `tiered`: memory (L1) in front of L2."
        ),
    ] = "memory"
    l1: Annotated[MemoryStore | None, described("Bounds of the memory store.")] = None
    l2: Annotated[SharedStore | None, described("The store behind L1; Redis when left out.")] = None
    disk: Annotated[DiskStore | None, described("Bounds of the disk store.")] = None
    timeout: Annotated[
        str,
        Meta(
            title="a time from 1ms to 10s",
            description="Longest that a lookup may hold a request up; after it the provider is asked. From 1ms to 10s.",
            pattern=r"^([1-9][0-9]{0,3}ms|([1-9]|10)s)$",
            max_length=8,
            examples=["50ms", "1s"],
        ),
    ] = "50ms"
    compress_above: Annotated[
        Annotated[
            str,
            Meta(
                title="a quantity of bytes, or Off",
                pattern=r"^(Off|[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?)$",
                max_length=32,
                examples=["4Ki", "Off"],
            ),
        ]
        | None,
        described("Entries larger than that are compressed (zstd) on disk, in Redis and in S3; 4Ki when left out."),
    ] = None

    @property
    def keeper(self) -> Literal["memory", "disk", "redis", "s3"]:
        """The type of the store that keeps all entries: of a tiered one, L2's."""
        return (self.l2 or SharedStore()).type if self.type == "tiered" else self.type

    @property
    def uses_disk(self) -> bool:
        """Say whether entries are kept on disk."""
        return self.keeper == "disk"

    @property
    def shared(self) -> bool:
        """Say whether all replicas have the same entries."""
        return self.keeper in ("redis", "s3")

    @property
    def uses_redis(self) -> bool:
        """Say whether entries are kept in Redis."""
        return self.keeper == "redis"

    @property
    def uses_s3(self) -> bool:
        """Say whether entries are kept in S3."""
        return self.keeper == "s3"


class KeySettings(Model, frozen=True, kw_only=True):
    """What is taken out of the key, or evened out before it. Each makes more requests equal: choose with care."""

    RULES = (
        Rule(
            cel=f"!self.ignore.exists(i, i in {list(ESSENTIAL_MEMBERS)})",
            holds=lambda k: not set(k.ignore) & set(ESSENTIAL_MEMBERS),
            message="ignore must not name what the answer is made from: " + ", ".join(ESSENTIAL_MEMBERS),
            field="ignore",
        ),
    )

    ignore: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=128)]],
        described(
            "Top-level members of the body that are no part of the key, beside the dialect's own.", max_length=32
        ),
    ] = field(default_factory=list)
    ignore_headers: Annotated[
        list[Annotated[str, Meta(pattern=r"^[A-Za-z0-9*-]+$", max_length=64, examples=["X-Trace", "x-team-*"])]],
        described(
            "Patterns of request headers that don't change the answer, beside those known not to.", max_length=32
        ),
    ] = field(default_factory=list)
    normalize: Annotated[
        list[Literal["whitespace", "case", "punctuation"]],
        described(
            "How texts are evened out for the key, and for the key only: `whitespace` makes runs of it one space and "
            "drops it at the ends, `case` folds case, `punctuation` drops it at the end.",
            max_length=3,
        ),
    ] = field(default_factory=list)
    builder: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=256, examples=["my_keys:build_key"])]
        | None,
        described(
            "A function, as `module:function`, that is given the request and the default key and returns the key to "
            "use. The module must be importable in the gateway. Its keys stay inside tenant and prefix."
        ),
    ] = None


class Replay(Model, frozen=True, kw_only=True):
    """How a stream is given from the cache."""

    RULES = (
        Rule(
            cel="self.pace == 'Recorded' || (!has(self.maxPause) && !has(self.maxTotal))",
            holds=lambda r: r.pace == "Recorded" or (r.max_pause is None and r.max_total is None),
            message="maxPause and maxTotal bound a recorded pace: remove them, or set pace: Recorded",
            field="maxPause",
        ),
        Rule(
            cel="(!has(self.maxPause) || self.maxPause.matches('[1-9]')) "
            "&& (!has(self.maxTotal) || self.maxTotal.matches('[1-9]'))",
            holds=lambda r: all(one is None or seconds(one) > 0 for one in (r.max_pause, r.max_total)),
            message="maxPause and maxTotal must be longer than zero; for no pauses set pace: Immediate",
            field="maxPause",
        ),
    )

    pace: Annotated[
        Literal["Immediate", "Recorded"],
        described(
            "`Immediate`: all events at once; `Recorded`: with the pauses between them that the provider made. The "
            "first event comes at once in both."
        ),
    ] = "Immediate"
    max_pause: Annotated[
        Duration | None, described("Longest pause; a longer one is cut to it. 1s when left out, 65s at most.")
    ] = None
    max_total: Annotated[
        Duration | None,
        described("Longest that all pauses take together, else each is shortened in proportion. 30s when left out."),
    ] = None


class HotSettings(Model, frozen=True, kw_only=True):
    """The requests asked most, kept in memory for warming."""

    requests: Annotated[
        int,
        described(
            "How many are kept, at most 16 MiB together, prompts included, for who has the admin token; 0 keeps none.",
            ge=0,
            le=10_000,
        ),
    ] = 200


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
        CacheMode,
        described(
            "`Disabled` sends every request upstream and stores nothing; `OptIn` does so unless the request's body "
            'says `"cache": {"use-cache": true}`.'
        ),
    ] = "Enabled"
    ttl: Annotated[
        Duration, described("Time for which an answer is fresh. A shorter one holds at once, also for what is stored.")
    ] = "1h"
    ttl_jitter: Annotated[
        Percent,
        described("By how much a lifetime is shortened at most, at random, so that entries don't end all at once."),
    ] = "0%"
    stale_while_revalidate: Annotated[
        Duration,
        described("For how long after that it is still served while one request in the background refreshes it."),
    ] = "0s"
    stale_if_error: Annotated[Duration, described("For how long after that it is served when the upstream fails.")] = (
        "0s"
    )
    sampling: Annotated[
        Sampling,
        described("`Bypass` keeps requests with temperature above 0 or n above 1 away from the cache."),
    ] = "Cache"
    store_also: Annotated[
        list[StoreAlso],
        described(
            "Answers that are stored although they are not whole: cut off by a limit, filtered, or refused.",
            max_length=4,
        ),
    ] = field(default_factory=list)
    admit: Annotated[
        list[Admit],
        described("Requests that meet the cache although an equal request may deserve another answer.", max_length=8),
    ] = field(default_factory=list)
    record_abandoned: Annotated[
        bool,
        described(
            "Read a streamed answer to its end and store it although its client has hung up. Otherwise the upstream is "
            "told to stop, and nothing is stored. An unstreamed answer is always read to its end."
        ),
    ] = False
    coalesce: Annotated[
        Coalesce,
        described(
            "`Enabled`: a request that is equal to one under way is given its answer, as it comes, instead of being "
            "sent upstream as well. `Disabled`: each goes upstream."
        ),
    ] = "Enabled"
    replay: Annotated[Replay, described("How a stream is given from the cache.")] = field(default_factory=Replay)
    key: Annotated[KeySettings, described("What is taken out of the key, or evened out before it.")] = field(
        default_factory=KeySettings
    )
    store: Annotated[Store, described("Where entries are kept.")] = field(default_factory=Store)
    hot: Annotated[HotSettings, described("The requests asked most, kept in memory for warming.")] = field(
        default_factory=HotSettings
    )
