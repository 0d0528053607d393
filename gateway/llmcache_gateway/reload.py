"""Configuration reload without a restart: parse, provision, swap, drain."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from llmcache_gateway.background import Background
from llmcache_gateway.config import (
    ExternalRedis,
    GatewayConfig,
    Problem,
    gateway_config,
    load_config,
    parts_for_the_operator,
)
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.runtime import Runtime

log = logging.getLogger(__name__)

REST: Final = 20
"""What is refused is tried again after so many times as long as it took: while models load, say, requests wait."""

POLL_SECONDS: Final = 1.0
"""How often the files are read. A mounted ConfigMap changes by a swapped link, which file events miss."""


class ConfigFile:
    """The file of a configuration. It is parsed when its text has changed, and only then: requests wait meanwhile.

    `redis` stands in for a manifest's `redis.managed`, which only an operator can carry out.
    """

    def __init__(self, file: Path, redis: ExternalRedis | None) -> None:
        self._file = file
        self._redis = redis
        self._text: str | None = None
        self._result: GatewayConfig | ConfigError | None = None

    def read(self) -> GatewayConfig:
        """Return the gateway configuration, the same object while the text is; ConfigError with every problem."""
        try:
            text = self._file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError([Problem(str(self._file), f"can't be read: {reason}")]) from None
        if text != self._text or self._result is None:
            try:
                self._result = _parsed(text, self._redis)
            except ConfigError as error:
                self._result = error
            self._text = text
        if isinstance(self._result, ConfigError):
            raise self._result.with_traceback(None)
        return self._result


def _parsed(text: str, redis: ExternalRedis | None) -> GatewayConfig:
    config = load_config(text)
    if isinstance(config, GatewayConfig):
        return config
    wanted = config.spec.redis
    if wanted is not None and wanted.managed is not None and redis is None:
        message = "only an operator can run this Redis: give --redis-url, or set redis.external"
        raise ConfigError([Problem("spec.redis.managed", message)])
    return gateway_config(config, redis)


def not_in_force(file: Path) -> list[str]:
    """Return the parts of a manifest that a gateway by itself does not carry out."""
    config = load_config(file.read_text(encoding="utf-8"))
    return [] if isinstance(config, GatewayConfig) else parts_for_the_operator(config)


class Reloader:
    """Holds the configuration in force and replaces it when its files change.

    `read` parses the file, `provision` makes a runtime of it (given the one in force); both raise ConfigError,
    upon which the old configuration stays in force and `error` says why. `clock` returns seconds that don't go back.
    """

    def __init__(
        self,
        *,
        read: Callable[[], GatewayConfig],
        provision: Callable[[GatewayConfig, Runtime | None], Runtime],
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._refused: GatewayConfig | None = None
        self._again_at = 0.0
        self._read = read
        self._provision = provision
        self._metrics = metrics
        self._draining = Background()
        self.error: str | None = None
        self.current = provision(read(), None)

    def check(self) -> bool:
        """Look at the files once; say whether another configuration is now in force."""
        config, began = None, self._clock()
        try:
            config = self._read()
            # Provisioning connects nothing, so that a changed Secret can be noticed by simply doing it.
            fresh = self._provision(config, self.current)
        except ConfigError as error:
            now = self._clock()
            self._refused, self._again_at = config, now + REST * (now - began)
            if str(error) != self.error:
                self.error = str(error)
                self._metrics.config_reloads.labels("refused").inc()
                for problem in error.problems:
                    log.error("the new configuration is refused, the old one stays in force: %s", problem)
            return False
        self._refused = None
        if self.error is not None:
            log.info("the configuration's files are in order again")
            self.error = None
        old = self.current
        if fresh.config == old.config and fresh.credentials == old.credentials and fresh.hooks is old.hooks:
            return False
        self.current = fresh
        self._metrics.config_reloads.labels("applied").inc()
        log.info("configuration %s is in force: prefix %s", fresh.revision, fresh.prefix)
        self._draining.begin(self._retire(old, fresh))
        return True

    async def watch(self) -> None:
        """Look at the files again and again, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if not self._rests():
                    self.check()
            except Exception as error:
                # Whatever a file makes fail: the next one must still be seen.
                self.error = f"{type(error).__name__}: {error}"
                log.exception("the new configuration can't be used, the old one stays in force")

    async def close(self) -> None:
        """Wait for old configurations to drain, and let go of the one in force."""
        await self._draining.drained()
        await _let_go(self.current, None)

    def _rests(self) -> bool:
        """Say whether the file is as it was when it was refused, and it took too long to be tried again already."""
        if self._refused is None or self._clock() >= self._again_at:
            return False
        try:
            return self._read() is self._refused
        except ConfigError:
            return False

    async def _retire(self, old: Runtime, fresh: Runtime) -> None:
        await old.drained()
        await _let_go(old, fresh)


class _Part(Protocol):
    async def close(self) -> None: ...


def _parts(runtime: Runtime) -> list[_Part]:
    """Return what a configuration holds open, what uses the store before the store."""
    parts = (runtime.semantic, runtime.contents, runtime.store, runtime.hooks)
    return [part for part in parts if part is not None]


async def _let_go(old: Runtime, kept: Runtime | None) -> None:
    """Close what a configuration held, but for what the one that is `kept` goes on with.

    Whatever one part has against it (a Redis that hangs, and so never says that an encrypted connection is over), the
    others are closed too.
    """
    going_on = _parts(kept) if kept is not None else []
    for part in _parts(old):
        if any(part is other for other in going_on):
            continue
        try:
            await part.close()
        except Exception as error:
            log.warning("what a configuration held can't be closed in order (%s): %s", type(part).__name__, error)
