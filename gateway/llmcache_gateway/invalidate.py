"""Invalidation: what is selected, the marks that put it into force at once, and the work that reclaims its room."""

import asyncio
import logging
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmcache_gateway.background import Background
from llmcache_gateway.entry import Entry
from llmcache_gateway.errors import RequestError, StoreError
from llmcache_gateway.freshness import TAG
from llmcache_gateway.marks import ALL, scopes
from llmcache_gateway.runtime import Runtime

log = logging.getLogger(__name__)

KEY: Final = re.compile(r"[^:\s]+:[^:\s]+:[^:\s]+:[0-9a-f]{64}")
"""What an entry's key looks like. Whatever else a cache keeps beside its entries is none."""

MAX_NAMES: Final = 1000
"""Most keys or tags of one invalidation."""

MAX_JOBS: Final = 100
"""Most invalidations whose progress is remembered."""

READ_TOGETHER: Final = 50
"""Entries that are read at once: few beside what requests read."""

MARK_SECONDS: Final = 5.0
"""Longest that a mark may take to be written."""

SELECTORS: Final = ("keys", "request", "tags", "model", "tenant", "version", "all")


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be invalidated: scopes, and the keys where they are known and need not be looked for."""

    scopes: tuple[str, ...]
    keys: tuple[str, ...] | None = None

    def holds(self, key: str, entry: Entry) -> bool:
        """Say whether an entry is selected."""
        return ALL in self.scopes or any(scope in self.scopes for scope in scopes(key, entry))


def of_keys(keys: list[str]) -> Selection:
    """Return the selection of some keys."""
    return Selection(tuple(f"key:{key}" for key in keys), tuple(keys))


def read_selection(wanted: Any, keys: Sequence[str] = ()) -> tuple[Selection, bool]:
    """Return what a body selects, and whether it is a dry run; RequestError(400) for one that can't be carried out.

    `keys` are those of the request in it, if there is one.
    """
    if not isinstance(wanted, dict):
        raise _bad("body", 'send an object, such as {"tags": ["faq"]}')
    for name in wanted:
        if name not in (*SELECTORS, "dryRun"):
            raise _bad(str(name)[:50], f"unknown; known are {', '.join(SELECTORS)} and dryRun")
    dry_run = wanted.get("dryRun", False)
    if not isinstance(dry_run, bool):
        raise _bad("dryRun", "it must be true or false")
    given = [name for name in SELECTORS if name in wanted]
    if len(given) != 1:
        named = " and ".join(given) or "none"
        raise _bad("body", f"send exactly one of {', '.join(SELECTORS)}, not {named}")
    name = given[0]
    return _selection(name, wanted[name], keys), dry_run


def _selection(name: str, value: Any, keys: Sequence[str]) -> Selection:
    if name == "all":
        if value is not True:
            raise _bad("all", "it must be true")
        return Selection((ALL,))
    if name == "keys":
        return of_keys(_names("keys", value, KEY, "a key as X-LLMCache-Key shows it"))
    if name == "tags":
        return Selection(tuple(f"tag:{tag}" for tag in _names("tags", value, TAG, "a tag")))
    if name == "request":
        if not isinstance(value, dict):
            raise _bad("request", 'it must be an object, such as {"path": "/v1/chat/completions", "body": {…}}')
        return of_keys(list(keys))
    if not isinstance(value, str) or not value or (name != "model" and ":" in value):
        raise _bad(name, f"it must be the name of a {name}")
    return Selection((f"{name}:{value}",))


def _names(param: str, value: Any, pattern: "re.Pattern[str]", what: str) -> list[str]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_NAMES:
        raise _bad(param, f"it must be a list of 1 to {MAX_NAMES}")
    for at, name in enumerate(value):
        if not isinstance(name, str) or not pattern.fullmatch(name):
            raise _bad(f"{param}[{at}]", f"{str(name)[:50]!r} is not {what}")
    return list(dict.fromkeys(value))


@dataclass(slots=True)
class Job:
    """One invalidation and how far its room is reclaimed. The marks are in force before it begins."""

    id: str
    epoch: int
    scopes: tuple[str, ...]
    state: str = "running"
    scanned: int = 0
    matched: int = 0
    deleted: int = 0
    error: str | None = None


class Invalidator:
    """Carries invalidations out: marks first, then room is reclaimed in bounded batches, one job at a time."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._background = Background()
        self._turn = asyncio.Lock()

    async def begin(self, runtime: Runtime, selection: Selection, wait_seconds: float) -> Job:
        """Invalidate, and return the job, finished if that takes no longer than `wait_seconds`.

        StoreError when the marks can't be kept: then nothing is invalidated.
        """
        try:
            async with asyncio.timeout(MARK_SECONDS):
                epoch = await runtime.store.invalidate(selection.scopes)
        except TimeoutError:
            raise StoreError(f"no answer within {MARK_SECONDS:g} s") from None
        job = Job(uuid.uuid4().hex[:12], epoch, selection.scopes)
        log.info("invalidated", extra={"fields": {"scopes": list(selection.scopes)[:20], "job": job.id}})
        self._jobs[job.id] = job
        for old in [one for one in self._jobs.values() if one.state != "running"][: len(self._jobs) - MAX_JOBS]:
            del self._jobs[old.id]
        task = self._background.begin(self._reclaim(runtime, selection, job))
        await asyncio.wait({task}, timeout=wait_seconds)
        return job

    def job(self, name: str) -> Job | None:
        """Return an invalidation of this gateway; None when it knows of none by this name."""
        return self._jobs.get(name)

    async def count(self, runtime: Runtime, selection: Selection) -> int:
        """Return how many entries that may still be served are selected; nothing is changed."""
        matched = 0
        async for key, entry in _entries(runtime, selection):
            matched += selection.holds(key, entry) and runtime.store.admits(key, entry)
        return matched

    async def close(self) -> None:
        """Stop reclaiming: the marks hold, and what is left ends at its time."""
        await self._background.close()

    async def _reclaim(self, runtime: Runtime, selection: Selection, job: Job) -> None:
        runtime.enter()  # its store must not be closed under the job
        try:
            async with self._turn:
                async for key, entry in _entries(runtime, selection):
                    job.scanned += 1
                    if not selection.holds(key, entry) or entry.epoch >= job.epoch:
                        continue
                    job.matched += 1
                    # An entry put in between goes too: a miss more, never an old answer.
                    job.deleted += await runtime.store.delete(key)
                    if runtime.semantic is not None:
                        await runtime.semantic.forget([key])
            job.state = "done"
        except Exception as error:
            job.state, job.error = "failed", str(error) or type(error).__name__
            log.warning("invalidated, but its room is not reclaimed: %s", job.error)
        finally:
            runtime.leave()


async def _entries(runtime: Runtime, selection: Selection) -> AsyncIterator[tuple[str, Entry]]:
    """Yield the stored entries among which the selected ones are, each once."""
    seen: set[bytes] = set()
    async for batch in _batches(runtime, selection):
        keys = []
        for key in batch:
            # Scans may give a key twice. Its version and its digest's first half tell it from all others, in less room.
            short = bytes.fromhex(key[-64:-32]) + key.split(":")[1].encode() if KEY.fullmatch(key) else b""
            if short and short not in seen and _may_hold(selection, key):
                seen.add(short)
                keys.append(key)
        for at in range(0, len(keys), READ_TOGETHER):
            some = keys[at : at + READ_TOGETHER]
            for key, entry in zip(some, await asyncio.gather(*map(runtime.store.peek, some)), strict=True):
                if entry is not None:
                    yield key, entry


async def _batches(runtime: Runtime, selection: Selection) -> AsyncIterator[list[str]]:
    if selection.keys is not None:
        yield list(selection.keys)
        return
    async for batch in runtime.store.scan():
        yield batch


def _may_hold(selection: Selection, key: str) -> bool:
    """Say whether an entry of this key may be selected, as far as the key tells."""
    _, version, tenant, _ = key.split(":")
    scope = selection.scopes[0]
    kind = scope.partition(":")[0]
    return kind not in ("version", "tenant") or scope in (f"version:{version}", f"tenant:{tenant}")


def _bad(param: str, message: str) -> RequestError:
    return RequestError(400, f"{param}: {message}", code="bad_selection", param=param)
