"""What the gateway adds to a request that goes upstream: the same calls, direct and through it, in turns.

nginx in the gateway's place shows what a hop by itself costs here: at this rate every process sleeps between two
requests, and to wake it takes longer than what it does.
"""

import asyncio
import json
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import aiohttp

from bench.servers import Server, bare_aiohttp, gateway, nginx

RATE = 200
"""Requests a second, in equal parts direct, through nginx and through the gateway."""


class Added(NamedTuple):
    """Milliseconds by which answers came later than the direct ones."""

    median: float
    p99: float


async def added_to_a_miss(folder: Path, seconds: int) -> dict[str, Added]:
    """Measure over a constant rate of requests, no two alike; return what each way adds, by its name."""
    with ExitStack() as stack:
        provider = stack.enter_context(bare_aiohttp(folder))
        upstream = f"{{name: provider, provider: openai, baseURL: {provider.url}/v1}}"
        ways = {
            "nginx proxy_cache miss": stack.enter_context(nginx(folder, origin=provider)),
            "LLMCache miss": stack.enter_context(gateway(folder, upstream)),
        }
        async with aiohttp.ClientSession() as session:
            await _measure(session, (provider, *ways.values()), 1)  # connections and code are warm after this
            direct, *through = await _measure(session, (provider, *ways.values()), seconds)
    return {name: _added(direct, times) for name, times in zip(ways, through, strict=True)}


def _added(direct: list[float], through: list[float]) -> Added:
    at_99 = [found[len(found) * 99 // 100] for found in (direct, through)]
    return Added(
        (statistics.median(through) - statistics.median(direct)) * 1000,
        (at_99[1] - at_99[0]) * 1000,
    )


async def _measure(session: aiohttp.ClientSession, servers: tuple[Server, ...], seconds: int) -> list[list[float]]:
    """Ask the servers in turns; return each one's times in seconds, sorted."""
    started = time.perf_counter()
    tasks = []
    for number in range(RATE * seconds):
        tasks.append(asyncio.create_task(_ask(session, servers[number % len(servers)], f"{started} {number}")))
        await asyncio.sleep(max(0.0, started + number / RATE - time.perf_counter()))
    times = await asyncio.gather(*tasks)
    return [sorted(times[at :: len(servers)]) for at in range(len(servers))]


async def _ask(session: aiohttp.ClientSession, server: Server, question: str) -> float:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": question}]})
    started = time.perf_counter()
    async with session.post(f"{server.url}/v1/chat/completions", data=body) as response:
        await response.read()
        response.raise_for_status()
    return time.perf_counter() - started
