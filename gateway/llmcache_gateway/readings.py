"""Gauges that are read when they are asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Reading(Collector):
    """A gauge with labels whose values are read anew at each scrape: none outlasts what it tells of.

    A gauge that is set shows what was true when it was set, until something sets or removes it again.
    """

    def __init__(self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._read: Callable[[], Mapping[tuple[str, ...], float]] = dict
        registry.register(self)

    def watch(self, read: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """Read from here on, values by their labels; before, there is none."""
        self._read = read

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in self._read().items():
            family.add_metric(labels, value)
        yield family
