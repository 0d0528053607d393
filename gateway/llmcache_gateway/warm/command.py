"""The warm command: what it reads, how it runs, and how it ends."""

import asyncio
import hashlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import httpx

from llmcache_gateway.errors import ConfigError
from llmcache_gateway.warm.client import Proof, Sender
from llmcache_gateway.warm.hot import Hot, choose, fetch, merge
from llmcache_gateway.warm.journal import Journal
from llmcache_gateway.warm.lines import MAX_LINE_BYTES, Line, check_lines, read_lines
from llmcache_gateway.warm.outcome import Outcome, Tally
from llmcache_gateway.warm.pace import Pace
from llmcache_gateway.warm.progress import Progress
from llmcache_gateway.warm.summary import Summary

GRACE_SECONDS: Final = 20.0
"""How long requests in flight may take once the run is to stop: less than what a Job's pod is given."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. `requests` is a file, `-` for standard input, or names where `hot` asks."""

    url: str
    requests: str
    api_key: str | None
    rate: float | None
    concurrency: int
    timeout_seconds: float
    tenant: str | None
    resume: Path | None
    hot: Hot | None = None
    proof: Proof | None = None


async def warm(options: Options, summary: Summary) -> int:
    """Ask every request once; return 0 when all are in the cache, else 1. ConfigError for what can't be read."""
    with ExitStack() as stack:
        if options.hot is None:
            return await _run(options, summary, _open(options.requests, stack))
        file = stack.enter_context(tempfile.TemporaryFile())
        as_tenant = options.proof is not None and options.proof.as_tenant
        asked = merge(await fetch(options.hot))
        for line in choose(asked, options.hot, options.tenant, as_tenant=as_tenant):
            file.write(line + b"\n")
        return await _run(options, summary, file)


def _open(name: str, stack: ExitStack) -> IO[bytes]:
    """Return the requests as a file that can be read twice."""
    try:
        if name != "-":
            return stack.enter_context(Path(name).open("rb"))
        file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack is the context manager)
        while chunk := sys.stdin.buffer.read(1 << 16):
            file.write(chunk)
    except OSError as error:
        raise ConfigError([f"{name}: can't be read: {error.strerror}"]) from None
    return file


async def _run(options: Options, summary: Summary, file: IO[bytes]) -> int:
    digest = hashlib.sha256()
    proof, hot = options.proof, options.hot is not None
    _, problems = check_lines(_lines(file, digest), tenants=proof is not None and proof.as_tenant, empty=hot)
    if problems:
        raise ConfigError([f"{options.requests}: {problem}" for problem in problems])
    chosen = sum(1 for _ in _chosen(file, options.tenant))
    if not chosen and not hot:
        raise ConfigError([f"{options.requests}: no request of tenant {options.tenant!r}"])
    source = f"{digest.hexdigest()} {options.url} {options.tenant or '*'}"
    if proof is not None:
        source += f" {proof.version or '*'} {'as-tenant' if proof.as_tenant else 'as-client'}"
    journal = Journal(options.resume, source)
    tally = Tally(chosen, done_before=journal.count)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    progress = Progress(sys.stderr, tally, time.monotonic)
    limits = httpx.Limits(max_connections=options.concurrency)
    async with httpx.AsyncClient(timeout=options.timeout_seconds, limits=limits) as client:
        sender = Sender(client, options.url, options.api_key, Pace(options.rate), stop, time.monotonic, proof)
        left = (line for line in _chosen(file, options.tenant) if not journal.done(line.number))
        await _send_all(sender, left, journal, tally, progress, options.concurrency)
    progress.end()
    complete = tally.done == tally.total and not tally.failed
    journal.close(finished=complete)
    sys.stdout.write("\n".join(tally.summary()) + "\n")
    if not complete and options.resume is not None:
        sys.stdout.write(f"to go on with the rest, run it again with --resume {options.resume}\n")
    summary.ended(tally.numbers())
    sys.stdout.flush()
    return 0 if complete else 1


async def _send_all(
    sender: Sender, left: Iterator[Line], journal: Journal, tally: Tally, progress: Progress, concurrency: int
) -> None:
    """Send what is left with some workers; those in flight at a stop may finish."""

    async def work() -> None:
        while not sender.stop.is_set() and (line := next(left, None)) is not None:
            try:
                one = await sender.send(line)
            except httpx.HTTPError as error:  # while asking whether a stream was stored
                one = Outcome("failed", f"{type(error).__name__}: {error}")
            if one is None:
                return
            if one.kind != "failed":
                journal.add(line.number)
            tally.add(one)
            progress.show()

    async def tick() -> None:
        while True:
            progress.show()
            await asyncio.sleep(0.1)

    ticking = asyncio.create_task(tick())
    workers = asyncio.gather(*(work() for _ in range(concurrency)))
    stopping = asyncio.create_task(sender.stop.wait())
    try:
        waited: set[asyncio.Future[Any]] = {workers, stopping}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        with suppress(TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(workers, GRACE_SECONDS)
    finally:
        for task in (ticking, stopping):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _chosen(file: IO[bytes], tenant: str | None) -> Iterator[Line]:
    """Yield the requests from the file's beginning, or only those of one tenant."""
    return (line for line in read_lines(_lines(file)) if tenant is None or line.tenant == tenant)


def _lines(file: IO[bytes], digest: "hashlib._Hash | None" = None) -> Iterator[bytes]:
    """Yield the file's lines from its beginning, none held beyond the longest that is read."""
    file.seek(0)
    while text := file.readline(MAX_LINE_BYTES + 2):
        if digest is not None:
            digest.update(text)
        # The rest of a line that is too long is passed over.
        while not text.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
            if digest is not None:
                digest.update(rest)
            if rest.endswith(b"\n"):
                break
        yield text
