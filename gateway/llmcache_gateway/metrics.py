"""The gateway's Prometheus metrics."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from llmcache_gateway.readings import Reading
from llmcache_gateway.tallies import Balance, Tally, TimeTally

_LOOKUP_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_SIMILARITY_BUCKETS = (0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99, 1.0)
_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


MAX_MODELS: Final = 200
"""Most models counted under their own names: clients choose them, and every name is a series."""


class Metrics:
    """Every metric, made once per process and passed in where it is counted.

    Label values are bounded: dialects, outcomes, reasons and tiers are fixed words, policies and versions come from
    the configuration, and of models only the first MAX_MODELS are counted under their names.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._requests = Tally(
            "llmcache_requests",
            "Requests by what the cache did.",
            ["dialect", "model", "policy", "version", "outcome"],
            registry,
        )
        self.hits = Tally("llmcache_hits", "Answers from the cache, by the tier that had them.", ["tier"], registry)
        self.express = Tally("llmcache_express", "Answers from the cache that took the express lane.", (), registry)
        self.misses = Tally("llmcache_misses", "Requests that went upstream, by reason.", ["reason"], registry)
        self.coalesced = Tally(
            "llmcache_coalesced",
            "Requests that were given the answer to an equal one under way, by where that call was made.",
            ["where"],
            registry,
        )
        self.stale = Counter("llmcache_stale", "Answers served stale, by why.", ["why"], registry=registry)
        self.refreshes = Counter(
            "llmcache_refreshes", "Stale entries refreshed in the background, by result.", ["result"], registry=registry
        )
        self.lookup_seconds = TimeTally(
            "llmcache_lookup_seconds",
            "Time to look into a store that has to be waited for.",
            (),
            _LOOKUP_BUCKETS,
            registry,
        )
        self._request_seconds = TimeTally(
            "llmcache_request_seconds",
            "Time from a request's beginning to its answer's end.",
            ["outcome"],
            _REQUEST_BUCKETS,
            registry,
        )
        self.upstream_seconds = TimeTally(
            "llmcache_upstream_seconds", "Time until an upstream's answer began.", (), _REQUEST_BUCKETS, registry
        )
        self.stored = Tally("llmcache_stored", "Answers stored.", (), registry)
        self.provider_tokens = Tally(
            "llmcache_provider_tokens",
            "Tokens of providers' answers as they report them: of the input read from their prompt cache, written into "
            "it, neither; of the output.",
            ["provider", "kind"],
            registry,
        )
        self.saved_tokens = Tally(
            "llmcache_saved_tokens", "Tokens of answers that no provider was asked for again.", ["kind"], registry
        )
        self.saved_usd = Tally(
            "llmcache_saved_usd",
            "USD that those tokens would have cost at list prices, as far as the models' prices are known.",
            (),
            registry,
        )
        self.hit_ratio = Gauge(
            "llmcache_hit_ratio",
            "Share of the answers from the cache in all requests that it was asked for, since the start.",
            registry=registry,
        )
        self.store_skipped = Counter(
            "llmcache_store_skipped", "Answers not stored, by reason.", ["reason"], registry=registry
        )
        self.store_errors = Counter(
            "llmcache_store_errors", "Store calls that failed or timed out.", ["store", "op"], registry=registry
        )
        self.store_circuit_open = Reading(
            "llmcache_store_circuit_open",
            "1 while a store is not asked because it failed, by what it is not asked for.",
            ["store", "op"],
            registry,
        )
        self.hook_errors = Counter(
            "llmcache_hook_errors",
            "Calls of hooks that were passed over, by reason.",
            ["hook", "reason"],
            registry=registry,
        )
        self.hints = Counter(
            "llmcache_hints", "Calls upstream that were given a hint.", ["upstream", "hint"], registry=registry
        )
        self.hint_net_tokens = Balance(
            "llmcache_hint_net_savings_tokens",
            "What hints brought in tokens of uncached input, less what providers ask for keeping; since the start.",
            ["policy", "side"],
            registry,
        )
        self.hint_net_usd = Balance(
            "llmcache_hint_net_savings_usd",
            "The same in USD, as far as the models' prices are known.",
            ["policy", "side"],
            registry,
        )
        self.hint_stand_downs = Counter(
            "llmcache_hint_stand_downs",
            "Hints that an upstream refused, after which a model gets none for a while.",
            ["upstream", "hint"],
            registry=registry,
        )
        self.cached_content_events = Counter(
            "llmcache_cached_content_events",
            "What became of cached contents at the provider: made, renewed, deleted, refused, failed.",
            ["upstream", "event"],
            registry=registry,
        )
        self.cached_contents = Gauge(
            "llmcache_cached_contents", "Cached contents that this gateway uses.", registry=registry
        )
        self.cached_content_tokens = Gauge(
            "llmcache_cached_content_tokens", "Tokens of those cached contents.", registry=registry
        )
        self.semantic_lookups = Counter(
            "llmcache_semantic_lookups",
            "Questions that the semantic cache was asked for, by mode and outcome.",
            ["mode", "outcome"],
            registry=registry,
        )
        self.semantic_rejected = Counter(
            "llmcache_semantic_rejected",
            "Questions whose nearest neighbour was not served, by what held the two apart.",
            ["guard"],
            registry=registry,
        )
        self.semantic_similarity = Histogram(
            "llmcache_semantic_similarity",
            "Similarity of questions and their nearest neighbours.",
            buckets=_SIMILARITY_BUCKETS,
            registry=registry,
        )
        self.false_hits_sampled = Counter(
            "llmcache_false_hits_sampled",
            "Hits by meaning, served or withheld, that were compared with a fresh answer, by what that showed.",
            ["policy", "verdict"],
            registry=registry,
        )
        self.false_hits_skipped = Counter(
            "llmcache_false_hits_skipped",
            "Hits by meaning that were to be compared with a fresh answer and were not, by reason.",
            ["policy", "reason"],
            registry=registry,
        )
        self.false_hit_rate = Reading(
            "llmcache_false_hit_rate",
            "Share of those hits that were wrong, with its 95 % confidence interval (low, high).",
            ["policy", "bound"],
            registry,
        )
        self.semantic_threshold = Reading(
            "llmcache_semantic_threshold",
            "Least similarity that the error budget allows; 0: any, 2: none.",
            ["policy"],
            registry,
        )
        self.semantic_drifts = Counter(
            "llmcache_semantic_drifts",
            "Times that hits were found to be wrong more often than they had been, upon which old samples are let go.",
            ["policy"],
            registry=registry,
        )
        self.semantic_judged = Counter(
            "llmcache_semantic_judged",
            "Questions that were judged after they were answered, by whom (model, answers) and what was found.",
            ["policy", "by", "verdict"],
            registry=registry,
        )
        self.semantic_judge_skipped = Counter(
            "llmcache_semantic_judge_skipped",
            "Questions left unjudged, by why: a bound of the configuration, too many at once, or known as different.",
            ["reason"],
            registry=registry,
        )
        self.semantic_judge_tokens = Counter(
            "llmcache_semantic_judge_tokens",
            "Tokens that judging took, as its upstream says; estimated where it does not.",
            ["kind"],
            registry=registry,
        )
        self.semantic_skipped = Counter(
            "llmcache_semantic_skipped",
            "Requests and answers that are none for the semantic cache, by reason.",
            ["reason"],
            registry=registry,
        )
        self.entries = Reading("llmcache_entries", "Entries held, by tier.", ["tier"], registry)
        self.bytes = Reading("llmcache_bytes", "Bytes held, as counted against the bound, by tier.", ["tier"], registry)
        self.evictions = Counter(
            "llmcache_evictions", "Entries that left for want of room, by tier.", ["tier"], registry=registry
        )
        self.config_reloads = Counter(
            "llmcache_config_reloads", "Configuration changes seen, by result.", ["result"], registry=registry
        )
        self._models: set[str] = set()

    def count_request(
        self, *, dialect: str, model: str, policy: str, version: str, outcome: str, seconds: float
    ) -> None:
        """Count one request that is over, and how long it took."""
        if model not in self._models:
            if len(self._models) >= MAX_MODELS:
                model = "other"
            else:
                self._models.add(model)
        self._requests.add(dialect, model, policy, version, outcome)
        self._request_seconds.add(seconds, outcome)
