"""Running hooks so that none of them can hold the gateway up.

Each hook has a thread and an event loop of its own. One that waits too long is cancelled; one that blocks its thread
holds up only further calls of itself: after STALLS of them in a row it is passed over for OFF_SECONDS, then tried
again. So there are never more threads than hooks, nor more than MAX_PENDING calls of one.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from llmcache_gateway.background import Background
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.hook_files import Hook, digest_of, load, read_files
from llmcache_gateway.metrics import Metrics

log = logging.getLogger(__name__)

STALLS: Final = 3
OFF_SECONDS: Final = 10.0
MAX_PENDING: Final = 100
LOG_SECONDS: Final = 10.0


class HookFailed(Exception):
    """A hook gave nothing that can be used. It has been counted and logged."""


class Runner:
    """One hook, its thread, and what is known of how it fares. The thread starts with the first call."""

    def __init__(self, name: str, hook: Hook, deadline_seconds: float, metrics: Metrics) -> None:
        self._name = name
        self._hook = hook
        self._deadline = deadline_seconds
        self._metrics = metrics
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending = 0
        self._stalls = 0
        self._off_until = 0.0
        self._said: dict[str, float] = {}

    async def call(self, read: Callable[[Any], Any], *arguments: Any) -> Any:
        """Return what `read` makes of the hook's result; HookFailed when there is none in time, or `read` raises."""
        if time.monotonic() < self._off_until:
            raise self._failed("off", "it stalled again and again and is passed over for a while")
        if self._pending >= MAX_PENDING:
            raise self._failed("busy", f"{MAX_PENDING} calls of it are under way")
        self._pending += 1
        loop = self._started()  # before the time of the first call begins
        deadline = asyncio.timeout(self._deadline)
        try:
            async with deadline:
                running = asyncio.run_coroutine_threadsafe(self._run(*arguments), loop)
                result = await asyncio.wrap_future(running)
            self._stalls = 0
        except Exception as error:
            if deadline.expired():
                self._stalls += 1
                if self._stalls >= STALLS:
                    self._stalls, self._off_until = 0, time.monotonic() + OFF_SECONDS
                raise self._failed("stalled", f"it took longer than {self._deadline:g} s") from None
            raise self._failed("raised", f"{type(error).__name__}: {error}") from None
        finally:
            self._pending -= 1
        try:
            return read(result)
        except Exception as error:
            raise self._failed("unfit", f"what it returned can't be used: {error}") from None

    def close(self) -> None:
        """Let the thread end; one that is blocked ends with the program."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)

    async def _run(self, *arguments: Any) -> Any:
        try:
            return await self._hook(*arguments)
        except (KeyboardInterrupt, SystemExit) as error:
            raise RuntimeError(f"it raised {type(error).__name__}") from None  # else it ends the thread
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise RuntimeError("it raised CancelledError") from None  # else it looks as if the client had gone

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._serve, args=(self._loop,), name=f"hook-{self._name}", daemon=True).start()
        return self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        # A hook that catches its cancellation is not waited for.
        loop.run_until_complete(asyncio.wait(left, timeout=1.0) if left else asyncio.sleep(0))
        loop.close()

    def _failed(self, reason: str, message: str) -> HookFailed:
        self._metrics.hook_errors.labels(self._name, reason).inc()
        now = time.monotonic()
        if now >= self._said.get(reason, 0.0):
            self._said[reason] = now + LOG_SECONDS
            log.warning("the hook %s is passed over: %s", self._name, message)
        return HookFailed(self._name)


class Hooks:
    """The hooks of one version of the files. `names` are those that are defined."""

    def __init__(self, hooks: dict[str, Hook], deadline_seconds: float, metrics: Metrics) -> None:
        self.names = frozenset(hooks)
        self._runners = {name: Runner(name, hook, deadline_seconds, metrics) for name, hook in hooks.items()}
        self._unwatched = Background()

    async def call(self, name: str, read: Callable[[Any], Any], *arguments: Any) -> Any:
        """Call a hook that is defined; see Runner.call."""
        return await self._runners[name].call(read, *arguments)

    def call_soon(self, name: str, *arguments: Any) -> None:
        """Call a hook that is defined, without waiting for it."""
        self._unwatched.begin(self._passed_over(name, *arguments))

    async def _passed_over(self, name: str, *arguments: Any) -> None:
        with suppress(HookFailed):
            await self.call(name, lambda _: None, *arguments)

    async def close(self) -> None:
        """Let go of the threads."""
        for runner in self._runners.values():
            runner.close()


class HookLoader:
    """Loads hooks when their files have changed, and only then: loading runs them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: tuple[str, float] | None = None
        self._result: Hooks | ConfigError | None = None

    def hooks(self, folder: Path, deadline_seconds: float) -> Hooks:
        """Return the hooks of a folder, the same object while nothing has changed; ConfigError with every problem."""
        files = read_files(folder)
        known = (digest_of(files), deadline_seconds)
        if known != self._known:
            self._known = known
            try:
                self._result = Hooks(load(files), deadline_seconds, self._metrics)
            except ConfigError as error:
                self._result = error
        if isinstance(self._result, ConfigError):
            raise self._result.with_traceback(None)  # else it grows, and holds on to what each look at the files had
        assert self._result is not None
        return self._result
