"""What gauges show of the configuration in force: nothing of one that was replaced, or refused."""

from collections.abc import Callable

from llmcache_gateway.budgets import Budgets
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.runtime import Runtime


def watch(metrics: Metrics, current: Callable[[], Runtime], budgets: Budgets) -> None:
    """Have what `current` returns, and what is known of its policies' hits, be read at each scrape."""
    metrics.store_circuit_open.watch(lambda: _circuits(current()))
    metrics.entries.watch(lambda: {(tier,): count for tier, (count, _) in current().store.held.items()})
    metrics.bytes.watch(lambda: {(tier,): size for tier, (_, size) in current().store.held.items()})
    metrics.false_hit_rate.watch(lambda: budgets.rates(current()))
    metrics.semantic_threshold.watch(lambda: budgets.thresholds(current()))


def _circuits(runtime: Runtime) -> dict[tuple[str, ...], float]:
    """Return 1 for each circuit that is not closed, and 0 for the others, by store and operation."""
    states = {(runtime.store.name, op): state for op, state in runtime.store.circuits.items()}
    if runtime.semantic is not None:
        states |= runtime.semantic.circuits
    return {name: float(state != "closed") for name, state in states.items()}
