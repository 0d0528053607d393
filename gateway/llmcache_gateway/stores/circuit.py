"""A store's circuit for one kind of call: its breaker, and what the log says of it."""

import logging
import time
from typing import Literal

from llmcache_gateway.metrics import Metrics
from llmcache_gateway.stores.breaker import Breaker, State

log = logging.getLogger(__name__)

Op = Literal["get", "put", "lease", "embed", "search"]


class Circuit:
    """Says whether a store is asked for `op`, from how the last such calls ended."""

    def __init__(self, store: str, op: Op, metrics: Metrics) -> None:
        self._store = store
        self._op = op
        self._metrics = metrics
        self._breaker = Breaker()

    @property
    def state(self) -> State:
        return self._breaker.state

    @property
    def closed(self) -> bool:
        return self._breaker.closed

    @property
    def failing(self) -> bool:
        """Whether the last call failed."""
        return self._breaker.failures > 0

    def wants_probe(self) -> bool:
        """Say whether this caller is to try the store, for all others."""
        return self._breaker.wants_probe(time.monotonic())

    def worked(self) -> None:
        """Note a call that did what it should."""
        if self._breaker.succeeded():
            log.info("store %s works again (%s): circuit closed", self._store, self._op)

    def failed(self, error: Exception) -> None:
        """Note, and count, a call that failed."""
        self.count()
        if self._breaker.failed(time.monotonic()):
            # Once, not per request: a store that is away for an hour must not fill the log.
            reason = str(error) or "no answer in time"
            log.warning("store %s failed (%s): %s; circuit open, going on without it", self._store, self._op, reason)

    def partly_failed(self) -> None:
        """Note, and count, a call whose part of the store is away: no reason to do without the others."""
        self.count()
        self.given_up()

    def count(self) -> None:
        """Count a failed call that says nothing of whether to go on asking."""
        self._metrics.store_errors.labels(self._store, self._op).inc()

    def given_up(self) -> None:
        """Note a call that was cancelled: it says nothing of the store, but a probe has to be made again."""
        if not self._breaker.closed:
            self._breaker.failed(time.monotonic())
