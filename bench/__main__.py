"""`make bench`: the hit of the gateway beside a bare aiohttp handler and nginx, in one run.

Everything runs with one worker on this machine, and one load generator (wrk) asks each in turn, in rounds, so
that what else the machine does falls on all. Only the ratios mean anything: the absolute figures are this
machine's, today's, and its neighbours'.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.load import Load, Measured, measure
from bench.memory import ENTRIES, resident_mib
from bench.miss import RATE, added_to_a_miss
from bench.servers import Server, bare_aiohttp, gateway, nginx
from llmcache_gateway.express import MAX_SEEN
from tests.redis_server import running_redis

BODY: dict[str, Any] = {
    "model": "gpt-4o",
    "temperature": 0.2,
    "messages": [
        {"role": "system", "content": "You are a helpful assistant of a support desk. " * 8},
        {"role": "user", "content": "How do I reset my password?"},
    ],
}

CHUNKS = 40


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmcache-bench-") as folder, ExitStack() as stack:
        loads = list(_loads(Path(folder), stack))
        found: dict[str, list[Measured]] = {load.name: [] for load in loads}
        for number in range(arguments.rounds):
            for load in loads:
                print(f"round {number + 1}/{arguments.rounds}: {load.name}", file=sys.stderr)
                found[load.name].append(measure(load, arguments.seconds))
    _print(found)
    with tempfile.TemporaryDirectory(prefix="llmcache-bench-") as folder:
        added = asyncio.run(added_to_a_miss(Path(folder), arguments.seconds * arguments.rounds))
    print(f"\nadded to the direct call at {RATE} requests/s (aim for a miss: median 0.5 ms, p99 3 ms)")
    for name, late in added.items():
        print(f"{name:38} median {late.median:+.2f} ms, p99 {late.p99:+.2f} ms, CPU {late.cpu:.0f} us")
    print(f"\nmemory with {ENTRIES} entries of 2 KB (aim: at most 450 MiB resident)")
    print(f"{resident_mib():.0f} MiB")


def _loads(folder: Path, stack: ExitStack) -> Iterator[Load]:
    """Start every server, warm it, and yield what is asked of it."""
    aiohttp = stack.enter_context(bare_aiohttp())
    cached = stack.enter_context(gateway(folder))
    proxy = stack.enter_context(nginx(folder, origin=aiohttp))
    unstreamed = [json.dumps(BODY)]
    yield _load("nginx proxy_cache keyed on the body", proxy, unstreamed, folder)
    yield _load("bare aiohttp handler", aiohttp, unstreamed, folder)
    yield _load("LLMCache hit", cached, unstreamed, folder)
    yield _load("LLMCache hit, no two bodies alike", cached, _shuffled(BODY), folder)
    logging = stack.enter_context(gateway(folder, log_level="info"))
    yield _load("LLMCache hit, each logged", logging, unstreamed, folder)
    streamed = json.dumps({**BODY, "messages": [{"role": "user", "content": "word " * CHUNKS}], "stream": True})
    yield _load(f"LLMCache hit, streamed, {CHUNKS} chunks", cached, [streamed], folder)
    redis = stack.enter_context(running_redis())
    for kind in ("redis", "tiered"):
        more = f'  redis: {{external: {{url: "{redis.url}"}}}}\n  cache: {{store: {{type: {kind}, timeout: 2s}}}}\n'
        yield _load(f"LLMCache {kind} hit", stack.enter_context(gateway(folder, more=more)), unstreamed, folder)


def _shuffled(body: dict[str, Any]) -> list[str]:
    """The same request again and again: its members in every order, and another `user`, which does not count.

    All have the same entry, no two are alike, and there are more than the gateway remembers whole: each has to be
    parsed, and its key computed.
    """
    orders = itertools.cycle(itertools.permutations([*body, "user"]))
    return [
        json.dumps({name: (body | {"user": f"u{number:05}"})[name] for name in next(orders)})
        for number in range(10 * MAX_SEEN)
    ]


def _load(name: str, server: Server, bodies: list[str], folder: Path) -> Load:
    load = Load(name, server, "/v1/chat/completions", bodies, folder)
    asyncio.run(load.warm())
    return load


def _print(found: dict[str, list[Measured]]) -> None:
    medians = {name: statistics.median(one.rate for one in measured) for name, measured in found.items()}
    reference = next(iter(medians))
    print(f"\n{'':38} {'requests/s':>10} {'lowest':>8} {'highest':>8} {'CPU us':>7}   ratio to {reference}")
    for name, measured in found.items():
        rates = [one.rate for one in measured]
        cpu = statistics.median(one.cpu for one in measured)
        ratio = medians[name] / medians[reference]
        print(f"{name:38} {medians[name]:10.0f} {min(rates):8.0f} {max(rates):8.0f} {cpu:7.1f}   {ratio:.3f}")


if __name__ == "__main__":
    main()
