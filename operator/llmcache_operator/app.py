"""What `llmcache-operator run` is made of."""

import asyncio
import logging
import os
import random
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from llmcache_operator import handlers, health, logs, redis_admin
from llmcache_operator.election import Election
from llmcache_operator.errors import ApiError, OperatorError
from llmcache_operator.gateways import Gateways, http_client
from llmcache_operator.kube import Kube, connect
from llmcache_operator.metrics import Metrics
from llmcache_operator.news import Name, News
from llmcache_operator.reconcile import Reconciler
from llmcache_operator.resync import Resync
from llmcache_operator.settings import Settings
from llmcache_operator.work import Outcome, WorkQueue

log = logging.getLogger(__name__)

_CRD_SECONDS = 2.0


async def serve(settings: Settings, log_level: str) -> None:
    """Look after LLMCaches until SIGTERM or SIGINT."""
    logs.configure(log_level)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)  # until kopf takes them over

    async with await connect() as api, http_client() as http:
        kube, metrics, watching = Kube(api), Metrics(), asyncio.Event()
        news = News(lambda name: queue.add(name), loop.call_later)
        reconciler = Reconciler(
            kube=kube,
            gateways=Gateways(http),
            configure_redis=redis_admin.configure,
            images=settings.images,
            metrics=metrics,
            news=news,
            clock=lambda: datetime.now(UTC),
            random=lambda: secrets.token_urlsafe(32),
            instance=os.environ.get("HOSTNAME") or socket.gethostname(),
        )
        election = _election(kube, settings, reconciler.instance)
        metrics.watch_leading(lambda: election is None or election.leading)
        queue = WorkQueue(_while_leading(election, reconciler), workers=settings.workers, random=random.random)
        metrics.watch_depth(lambda: queue.depth)
        resync = Resync(
            kube,
            settings.namespaces,
            queue.add,
            interval=settings.resync,
            clock=time.monotonic,
            random=random.random,
        )
        app = health.application(
            _alive(queue, resync, settings), _ready(watching, resync, election), registry=metrics.registry
        )
        runner = await health.start(app, settings.health_port)
        try:
            while await _crd_is_there(kube, stopped) and (election is None or await election.won(stopped)):
                log.info("looking after LLMCaches in %s", ", ".join(settings.namespaces) or "all namespaces")
                try:
                    await _until_one_ends(
                        queue.run(),
                        resync.run(),
                        handlers.watch(settings.namespaces, news, watching),
                        *([election.hold()] if election is not None else []),
                    )
                    break
                except OperatorError:
                    raise
                except Exception:
                    # What kopf raises when the kind that it watches is gone is its own affair. Ours is whether it is.
                    if await _is_served(kube):
                        raise
                watching.clear()
        finally:
            if election is not None:
                await election.release()
            await runner.cleanup()
    log.info("stopped")


def _while_leading(
    election: Election | None, work: Callable[[Name], Awaitable[Outcome]]
) -> Callable[[Name], Awaitable[Outcome]]:
    """Return work that waits while this operator does not lead: one that was stopped and goes on has yet to notice."""

    async def handle(name: Name) -> Outcome:
        if election is not None and not election.leading:
            return Outcome(backoff=True)
        return await work(name)

    return handle


def _election(kube: Kube, settings: Settings, instance: str) -> Election | None:
    if settings.lease is None:
        return None
    # Unlike the host's name, this is another one after a restart: what the process before has begun must be over.
    me = f"{instance}_{secrets.token_hex(4)}"
    return Election(kube, settings.lease, me, clock=time.monotonic, wall=lambda: datetime.now(UTC))


async def _until_one_ends(*parts: Coroutine[Any, Any, None]) -> None:
    """Run parts that all are to run for ever: when one ends, the others do, and its error is raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _is_served(kube: Kube) -> bool:
    """Return whether the CustomResourceDefinition is there; as long as nobody can say, it is."""
    try:
        return await kube.served("LLMCache")
    except ApiError:
        return True


async def _crd_is_there(kube: Kube, stopped: asyncio.Event) -> bool:
    """Wait for the CustomResourceDefinition; False when the process is to stop before it comes."""
    told = False
    while not stopped.is_set():
        try:
            if await kube.served("LLMCache"):
                return True
            if not told:
                log.warning("the CustomResourceDefinition of LLMCache is not installed: waiting for it")
                told = True
        except ApiError as error:
            log.warning("%s", error)
        try:
            await asyncio.wait_for(stopped.wait(), _CRD_SECONDS)
        except TimeoutError:
            continue
    return False


def _alive(queue: WorkQueue[Any], resync: Resync, settings: Settings) -> Callable[[], str]:
    def check() -> str:
        silence = resync.silence
        if silence is None:
            # Nothing may have begun: the CustomResourceDefinition is waited for, which a restart does not bring.
            return ""
        if not queue.alive:
            return "the work queue has died"
        if silence > 3 * settings.resync:
            return f"the resync loop has been silent for {silence:.0f} s"
        return ""

    return check


def _ready(watching: asyncio.Event, resync: Resync, election: Election | None) -> Callable[[], str]:
    def check() -> str:
        if election is not None and not election.leading:
            # One that stands by is as it should be: a rollout of the operator waits for nothing more.
            return election.trouble
        if not watching.is_set() or resync.silence is None:
            return "not watching yet"
        return ""

    return check
