"""What the gateway adds to a request that goes upstream: the same calls, direct and through it, in turns.

nginx in the gateway's place shows what a hop by itself costs here, and a bare proxy what it costs with the gateway's
own server and client: at this rate every process sleeps between two requests, and to wake it takes longer than what
it does.
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
"""Requests a second, in equal parts direct and through each of the others."""


class Added(NamedTuple):
    """Milliseconds by which answers came later than the direct ones, and processor time of each in microseconds."""

    median: float
    p99: float
    cpu: float


async def added_to_a_miss(folder: Path, seconds: int) -> dict[str, Added]:
    """Measure over a constant rate of requests, no two alike; return what each way adds, by its name."""
    with ExitStack() as stack:
        provider = stack.enter_context(bare_aiohttp())
        upstream = f"{{name: provider, provider: openai, baseURL: {provider.url}/v1}}"
        ways = {
            "nginx proxy_cache miss": stack.enter_context(nginx(folder, origin=provider)),
            "bare aiohttp proxy": stack.enter_context(bare_aiohttp(provider)),
            "LLMCache miss": stack.enter_context(gateway(folder, upstream)),
        }
        async with aiohttp.ClientSession() as session:
            await _measure(session, (provider, *ways.values()), 1)  # connections and code are warm after this
            before = [server.cpu_seconds() for server in ways.values()]
            direct, *through = await _measure(session, (provider, *ways.values()), seconds)
            cpu = [server.cpu_seconds() - was for server, was in zip(ways.values(), before, strict=True)]
    return {name: _added(direct, times, spent) for name, times, spent in zip(ways, through, cpu, strict=True)}


def _added(direct: list[float], through: list[float], cpu: float) -> Added:
    at_99 = [found[len(found) * 99 // 100] for found in (direct, through)]
    return Added(
        (statistics.median(through) - statistics.median(direct)) * 1000,
        (at_99[1] - at_99[0]) * 1000,
        cpu / len(through) * 1e6,
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
        seconds = time.perf_counter() - started
        response.raise_for_status()
        if server.admin is not None and "; stored;" not in response.headers["Cache-Status"]:
            raise RuntimeError(f"no miss that was stored: {response.headers['Cache-Status']}")
    return seconds
