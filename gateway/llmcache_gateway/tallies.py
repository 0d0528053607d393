"""Counting on the path of every request: metrics kept as plain numbers, and made Prometheus' when they are asked for.

prometheus-client's own counters take a lock for every number, several for one observation: longer than the lookup
that they count. All counting is done in one thread, so that none is needed.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Tally(Collector):
    """A counter with labels, or without any."""

    _family: type[CounterMetricFamily] | type[GaugeMetricFamily] = CounterMetricFamily

    def __init__(self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._counts: dict[tuple[str, ...], float] = {} if labels else {(): 0}
        registry.register(self)

    def add(self, *labels: str, by: float = 1) -> None:
        """Count one, or as many as it says."""
        self._counts[labels] = self._counts.get(labels, 0) + by

    def collect(self) -> Iterator[Metric]:
        family = self._family(self._name, self._documentation, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


class Balance(Tally):
    """A sum that may go down as well, and below zero: for Prometheus, a gauge."""

    _family = GaugeMetricFamily


@dataclass(slots=True)
class _Times:
    counts: list[int]
    """Observations by bucket, the last one without a bound."""

    total: float = 0.0


class TimeTally(Collector):
    """A histogram of seconds, with labels or without any. `buckets` are upper bounds, in order."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._buckets = buckets
        self._bounds = [*(str(float(bound)) for bound in buckets), "+Inf"]
        self._times: dict[tuple[str, ...], _Times] = {} if labels else {(): self._none()}
        registry.register(self)

    def add(self, seconds: float, *labels: str) -> None:
        """Count one observation."""
        times = self._times.get(labels)
        if times is None:
            times = self._times[labels] = self._none()
        times.counts[bisect_left(self._buckets, seconds)] += 1
        times.total += seconds

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, times in self._times.items():
            cumulated = list(zip(self._bounds, accumulate(times.counts), strict=True))
            family.add_metric(labels, cumulated, times.total)
        yield family

    def _none(self) -> _Times:
        return _Times([0] * len(self._bounds))
