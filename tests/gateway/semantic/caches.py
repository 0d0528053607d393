"""A semantic cache by itself."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from llmcache_gateway.metrics import Metrics
from llmcache_gateway.semantic.cache import SemanticCache
from llmcache_gateway.semantic.embedders import load_local
from llmcache_gateway.semantic.indexes.in_process import InProcessIndex
from llmcache_gateway.stores import Store
from llmcache_gateway.stores.guarded import GuardedStore
from llmcache_gateway.stores.vectors import LocalVectors


def over(store: Store, clock: Callable[[], float]) -> tuple[SemanticCache, GuardedStore, CollectorRegistry]:
    """Return one of the built-in model over a store, to be closed in this order, and where it counts."""
    metrics, embedder = Metrics(CollectorRegistry()), load_local(None)
    index = InProcessIndex(LocalVectors(), model=embedder.identity, max_points=10, max_of_tenant=10, clock=clock)
    guarded = GuardedStore(store, timeout_seconds=3600.0, metrics=metrics, clock=clock)
    return SemanticCache(embedder, index, guarded, metrics, clock), guarded, metrics.registry
