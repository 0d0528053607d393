"""The operator's own metrics."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Counters of one operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter(
            "llmcache_operator_reconciles", "Reconciliations, by how they ended.", ["result"], registry=self.registry
        )
        self.seconds = Histogram(
            "llmcache_operator_reconcile_seconds", "Time of one reconciliation.", registry=self.registry
        )
        self.applies = Counter(
            "llmcache_operator_applies",
            "Writes to the API server, by the kind of object and how they ended.",
            ["kind", "result"],
            registry=self.registry,
        )
        self.rollouts = Counter(
            "llmcache_operator_rollouts",
            "What happened to prefix versions: promoted, superseded, aborted, purged.",
            ["result"],
            registry=self.registry,
        )
        self._leading = Gauge(
            "llmcache_operator_leading", "1 while this operator works, 0 while it stands by.", registry=self.registry
        )
        self._depth = Gauge("llmcache_operator_queue_depth", "LLMCaches that wait for a turn.", registry=self.registry)

    def watch_leading(self, leading: Callable[[], bool]) -> None:
        """Ask at each scrape whether this operator works."""
        self._leading.set_function(leading)

    def watch_depth(self, depth: Callable[[], int]) -> None:
        """Read the depth of the queue at each scrape."""
        self._depth.set_function(depth)
