"""Measures what providers were paid in tokens, and what the cache spared."""

from collections.abc import Mapping

from llmcache_gateway.exchange import Question
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.record import Recording
from llmcache_gateway.stats import Stats
from llmcache_gateway.usage import Usage


class Meter:
    """Counts tokens where they are spent and where they are spared."""

    def __init__(self, metrics: Metrics, stats: Stats) -> None:
        self._metrics = metrics
        self._stats = stats

    def answered(self, question: Question, recording: Recording, headers: Mapping[str, str]) -> None:
        """Count what an upstream's good answer, whole now, took; `headers` are the answer's."""
        usage = recording.usage(headers)
        if usage is None:
            return
        provider = question.upstream.provider
        for kind in ("cached", "written", "uncached", "output"):
            if count := getattr(usage, kind):
                self._metrics.provider_tokens.add(provider, kind, by=count)
        self._stats.count_provider(usage, policy=question.settings.policy)

    def spared(self, usage: Usage) -> None:
        """Count what a client was given without asking upstream for it."""
        self._metrics.saved_tokens.add("input", by=usage.input)
        self._metrics.saved_tokens.add("output", by=usage.output)
