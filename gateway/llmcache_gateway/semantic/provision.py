"""Makes the semantic cache that a configuration asks for."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from llmcache_gateway.config import DEFAULT_MODEL, JUDGES, MAKERS, ConfigError, Embedding, Judge, Problem, VectorIndex
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.semantic.cache import SemanticCache
from llmcache_gateway.semantic.embedders import Embedder, ModelFilesError, load_local
from llmcache_gateway.semantic.indexes.base import Index
from llmcache_gateway.semantic.indexes.in_process import InProcessIndex
from llmcache_gateway.semantic.indexes.qdrant_access import QdrantAccess, open_qdrant
from llmcache_gateway.semantic.indexes.redis_search import RedisSearchIndex
from llmcache_gateway.semantic.upstream_embedder import UpstreamEmbedder
from llmcache_gateway.semantic.verifier import Size, Verifier
from llmcache_gateway.stores import RedisAccess, RedisLink, connect, labels_in
from llmcache_gateway.stores.guarded import GuardedStore
from llmcache_gateway.upstreams.base import Upstream

SIZES: Final[tuple[Size, ...]] = get_args(Size)

REDIS_TIMEOUT_SECONDS: Final = 1.0
"""Longest silence of Redis. What a request waits for ends sooner, by `semantic.deadline`."""


def open_semantic(
    embedding: Embedding,
    index: VectorIndex,
    *,
    upstreams: Sequence[Upstream],
    store: GuardedStore,
    redis: RedisAccess | None,
    qdrant: QdrantAccess | None,
    namespace: str,
    metrics: Metrics,
    clock: Callable[[], float],
) -> SemanticCache:
    """Return the semantic cache without verifiers; nothing is connected yet. ConfigError when its model is no model.

    `redis` is that of `spec.redis`, in which names begin with `namespace`; `qdrant` that of the index, if it has one.
    """
    embedder = open_embedder(embedding, upstreams)
    link = _link(index, redis)
    searched = _index(index, embedder, store, link, qdrant, namespace, clock)
    labels = store.labels()
    if labels is None and link is not None:
        labels = labels_in(link, namespace)
    return SemanticCache(embedder, searched, store, metrics, clock, labels)


def load_verifiers(cache: SemanticCache, sizes: Collection[str]) -> None:
    """Load those of the named sizes that a cache has not yet; ConfigError when one can't be loaded.

    They are added to the cache in use, which keeps its questions when a policy names another size.
    """
    try:
        for size in SIZES:
            if size in sizes and size not in cache.verifiers:
                cache.verifiers[size] = Verifier.load(size=size)
    except ModelFilesError as error:
        raise ConfigError([Problem("spec.semantic.verifier", str(error))]) from None


def check_judge(judge: Judge, upstreams: Sequence[Upstream]) -> None:
    """Raise ConfigError for a judge that can't be asked."""
    if judge.upstream is not None and not any(
        one.name == judge.upstream and one.provider in JUDGES for one in upstreams
    ):  # as below: the manifest's rules refuse this
        message = f"must name an upstream of provider {', '.join(JUDGES)}"
        raise ConfigError([Problem("spec.semantic.judge.upstream", message)])


def open_embedder(embedding: Embedding, upstreams: Sequence[Upstream]) -> Embedder:
    """Return what makes the vectors, by one of the upstreams or in the gateway; ConfigError when its model is none."""
    if embedding.upstream is not None:
        upstream = next((one for one in upstreams if one.name == embedding.upstream), None)
        if upstream is None or upstream.provider not in MAKERS:  # as below: the manifest's rules refuse this
            message = f"must name an upstream of provider {', '.join(MAKERS)}"
            raise ConfigError([Problem("spec.semantic.embedding.upstream", message)])
        return UpstreamEmbedder(upstream, model=embedding.model or DEFAULT_MODEL, dimensions=embedding.dimensions)
    path = embedding.local.path if embedding.local is not None else None
    try:
        return load_local(Path(path) if path is not None else None)
    except ModelFilesError as error:
        raise ConfigError([Problem("spec.semantic.embedding.local.path", str(error))]) from None


def _link(wanted: VectorIndex, redis: RedisAccess | None) -> RedisLink | None:
    """Return the connection of an index in Redis, which closes it; None for one elsewhere."""
    if wanted.type != "redisSearch":
        return None
    if redis is None:  # the manifest's rules refuse this; a hand-written GatewayConfig may still say so
        raise ConfigError([Problem("spec.semantic.index", "index type redisSearch needs spec.redis")])
    return connect(redis, timeout_seconds=REDIS_TIMEOUT_SECONDS)


def _index(
    wanted: VectorIndex,
    embedder: Embedder,
    store: GuardedStore,
    link: RedisLink | None,
    qdrant: QdrantAccess | None,
    namespace: str,
    clock: Callable[[], float],
) -> Index:
    bounds: dict[str, Any] = {
        "model": embedder.identity,
        "max_points": wanted.entries,
        "max_of_tenant": wanted.entries_per_tenant,
        "clock": clock,
    }
    if qdrant is not None:
        return open_qdrant(qdrant, namespace=namespace, **bounds)
    if link is not None:
        return RedisSearchIndex(link, namespace=namespace, **bounds)
    return InProcessIndex(store.vectors(), **bounds)
