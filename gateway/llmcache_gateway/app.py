"""What the gateway program is made of."""

import asyncio
import logging
import random
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from llmcache_gateway import gauges
from llmcache_gateway.about import About
from llmcache_gateway.admin import admin_app
from llmcache_gateway.admin_cache import CacheRoutes
from llmcache_gateway.admin_explain import ExplainRoute
from llmcache_gateway.budgets import Budgets
from llmcache_gateway.compat import LiteLLMNames
from llmcache_gateway.config import ExternalRedis
from llmcache_gateway.express import Lane, LaneServer
from llmcache_gateway.false_hits import FalseHits
from llmcache_gateway.forward import Forwarder
from llmcache_gateway.hints.capabilities import shipped_rows
from llmcache_gateway.hit_heads import HitHeads
from llmcache_gateway.hook_runner import HookLoader
from llmcache_gateway.invalidate import Invalidator
from llmcache_gateway.judging import Judging
from llmcache_gateway.labelling import Labelling
from llmcache_gateway.meter import Meter
from llmcache_gateway.metrics import Metrics
from llmcache_gateway.prices import shipped_prices
from llmcache_gateway.refresh import Refresher
from llmcache_gateway.reload import ConfigFile, Reloader, not_in_force
from llmcache_gateway.runtime import Resources, provision
from llmcache_gateway.server import Handler
from llmcache_gateway.shadowing import Shadowing
from llmcache_gateway.stats import Stats
from llmcache_gateway.upstreams.minted import Minted

log = logging.getLogger(__name__)

WARM_SECONDS: Final = 3.0
"""Longest that a gateway waits for its store before it says that it is ready."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. Files are read again when they change; the rest holds for the process."""

    config: Path
    secrets: Path | None
    redis_url: str | None
    host: str
    port: int
    admin_port: int
    admin_token: str | None
    """None: a random one, which is printed."""

    tenant_key: bytes
    drain_seconds: float
    environment: Mapping[str, str]
    hooks: Path | None = None
    """Folder with hooks, for a configuration that has spec.hooks."""

    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""

    data: Path | None = None
    """Folder of the disk store."""


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that serves. Ports are those it got, where 0 was asked for."""

    port: int
    admin_port: int
    reloader: Reloader


async def serve(options: Options) -> None:
    """Run the gateway until SIGTERM or SIGINT; ConfigError when it can't begin."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(options, stop):
        await stop.wait()
        log.info("stopping: requests in flight have %g s", options.drain_seconds)


@asynccontextmanager
async def running(options: Options, stopping: asyncio.Event) -> AsyncIterator[Running]:
    """Serve for the length of the block, then drain; ConfigError when it can't begin.

    `/readyz` says so while the store is not yet connected, and while `stopping` is set.
    """
    admin_token = options.admin_token or secrets.token_urlsafe(24)
    metrics = Metrics(_registry())
    redis = ExternalRedis(url=options.redis_url) if options.redis_url else None
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=30)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        stats = Stats(secrets.token_hex(8), options.clock())
        metrics.hit_ratio.set_function(lambda: stats.all.hit_ratio or 0.0)
        meter = Meter(metrics, stats, options.clock)
        resources = Resources(
            session=session,
            metrics=metrics,
            tenant_key=options.tenant_key,
            secrets_folder=options.secrets,
            environment=options.environment,
            clock=options.clock,
            data_folder=options.data,
            hook_loader=HookLoader(metrics),
            hooks_folder=options.hooks,
            minted=Minted(options.clock),
            capabilities=shipped_rows(),
            prices=shipped_prices(),
            charge=meter.paid,
        )
        reloader = Reloader(
            read=ConfigFile(options.config, redis).read,
            provision=lambda config, previous: provision(config, resources, previous),
            metrics=metrics,
        )
        metrics.registry.register(
            LiteLLMNames(
                lambda: reloader.current.config.spec.metrics_compat == "litellm",
                lambda: stats.all,
                metrics.lookup_seconds,
            )
        )
        judging = Judging(metrics, options.clock)
        budgets = Budgets(metrics, options.clock)
        gauges.watch(metrics, lambda: reloader.current, budgets)
        compared, sampled = Labelling(metrics, budgets), Labelling(metrics, budgets)
        shadowing = Shadowing(compared, options.clock, random.random)
        forwarder = Forwarder(metrics, meter, options.clock, judging, shadowing)
        refresher = Refresher(forwarder, metrics)
        false_hits = FalseHits(forwarder, sampled, random.random)
        handler = Handler(
            lambda: reloader.current,
            forwarder,
            refresher,
            metrics,
            stats,
            meter,
            admin_token,
            options.clock,
            hurry=stopping,
            false_hits=false_hits,
        )
        lane = Lane(handler, HitHeads(handler, options.clock), lambda: reloader.current, metrics)

        invalidator = Invalidator()
        about = About(handler)
        explain = ExplainRoute(lambda: reloader.current, about, handler)
        cache = CacheRoutes(lambda: reloader.current, invalidator, about.keys_of)

        # Connecting to the store takes longer than a lookup may: done before, not by the first requests.
        warming = asyncio.create_task(_warm(reloader))

        def unready() -> str | None:
            return "stopping" if stopping.is_set() else None if warming.done() else "connecting to the store"

        public = web.ServerRunner(
            # Cancelled when its client hangs up: a call that nobody waits for any more ends at once, even a silent one.
            LaneServer(lane, access_log=None, auto_decompress=False, handler_cancellation=True),
            # aiohttp waits that long for the requests in flight, and then as long again before it cancels them.
            shutdown_timeout=options.drain_seconds / 2,
        )
        admin = web.AppRunner(
            admin_app(
                reloader=reloader,
                metrics=metrics,
                stats=stats,
                meter=meter,
                budgets=budgets,
                token=admin_token,
                unready=unready,
                routes=[*cache.routes(), *explain.routes()],
            ),
            access_log=None,
        )
        try:
            if admin_token != options.admin_token:
                print(f"admin token (random, for this run only): {admin_token}", flush=True)
            port = await _listen(public, options.host, options.port, "gateway")
            admin_port = await _listen(admin, options.host, options.admin_port, "admin")
            parts = not_in_force(options.config)
            if options.hooks is not None and reloader.current.hooks is None:
                print("not in force without spec.hooks: --hooks", flush=True)
            if parts:
                print(f"not in force without an operator: {', '.join(parts)}", flush=True)
            watcher = asyncio.create_task(reloader.watch())
            following = asyncio.create_task(budgets.follow(lambda: reloader.current))
            try:
                yield Running(port, admin_port, reloader)
            finally:
                await _end(watcher, following)
        finally:
            await _end(warming)  # it would connect to a store that is closed, where a port could not be had
            # The public port first: the admin port answers /readyz with 503 while requests in flight finish.
            await public.cleanup()
            await forwarder.close()
            await refresher.close()
            await sampled.close()
            await compared.close()
            await judging.close()
            await invalidator.close()
            await reloader.close()
            await admin.cleanup()


async def _warm(reloader: Reloader) -> None:
    """Wait for the store, but not for long, and say so: the gateway serves without it too."""
    if reloader.current.semantic is not None:
        reloader.current.semantic.begin()
    reason = None
    try:
        async with asyncio.timeout(WARM_SECONDS):
            while (reason := await reloader.current.store.ping()) is not None:  # noqa: ASYNC110 (only asking tells)
                await asyncio.sleep(0.1)
    except TimeoutError:
        name = reloader.current.store.name
        log.warning("store %s can't be used yet (%s); requests go upstream until it can", name, reason or "no answer")


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _listen(runner: web.BaseRunner, host: str, port: int, name: str) -> int:
    """Start to listen, say so in one line, and return the port."""
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    address, port = runner.addresses[0][:2]
    print(f"{name} listens on http://{address}:{port}", flush=True)
    return port


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
