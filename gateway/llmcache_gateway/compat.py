"""What is counted, under the names that LiteLLM's users watch, beside the gateway's own names for it."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from llmcache_gateway.stats import Counts
from llmcache_gateway.tallies import TimeTally


class LiteLLMNames(Collector):
    """Shows `counts` and `lookups` anew while `wanted` says so.

    The names with `_metric` are those that LiteLLM's proxy exports, without its labels; the others are those that
    guides to it speak of.
    """

    def __init__(self, wanted: Callable[[], bool], counts: Callable[[], Counts], lookups: TimeTally) -> None:
        self._wanted = wanted
        self._counts = counts
        self._lookups = lookups

    def collect(self) -> Iterator[Metric]:
        if not self._wanted():
            return
        counts = self._counts()
        hits = counts.columns["hits"] + counts.columns["stale"]
        misses = counts.columns["misses"] + counts.columns["coalesced"]
        for name in ("litellm_cache_hits", "litellm_cache_hits_metric"):
            yield CounterMetricFamily(name, "Answers from the cache.", value=hits)
        for name in ("litellm_cache_misses", "litellm_cache_misses_metric"):
            yield CounterMetricFamily(name, "Requests that the cache could not answer.", value=misses)
        tokens = counts.saved_input + counts.saved_output
        yield CounterMetricFamily("litellm_cached_tokens_metric", "Tokens of answers from the cache.", value=tokens)
        yield GaugeMetricFamily("litellm_cache_hit_ratio", "Share of the hits.", value=counts.hit_ratio or 0.0)
        latency = HistogramMetricFamily(
            "litellm_cache_latency_seconds", "Time to look into a store that has to be waited for."
        )
        for family in self._lookups.collect():
            latency.samples = [
                sample._replace(name=sample.name.replace(family.name, latency.name)) for sample in family.samples
            ]
        yield latency
