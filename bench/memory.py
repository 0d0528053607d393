"""What a full memory store costs: resident memory at 100 000 entries of 2 KB, with the gateway's modules loaded."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ENTRIES: Final = 100_000
ANSWER_BYTES: Final = 2_000


def resident_mib() -> float:
    """Fill a store in a process of its own, twice over so that it evicts, too; return that process's memory."""
    done = subprocess.run([sys.executable, "-m", "bench.memory"], capture_output=True, text=True, check=True)
    return float(done.stdout)


async def _fill() -> None:
    import llmcache_gateway.app  # noqa: F401  (what a gateway has loaded anyway)
    from llmcache_gateway.entry import Entry
    from llmcache_gateway.stores import MemoryStore

    store = MemoryStore(max_entries=ENTRIES, max_bytes=2**40, clock=time.time)
    for number in range(2 * ENTRIES):
        now = time.time()
        key = f"support-bot:prompt-v1:{number:016x}:{number:064x}"
        blocks = [os.urandom(ANSWER_BYTES)]
        await store.put(key, Entry("json", "application/json", blocks, "gpt-4o", now, now + 3600, now + 7200))
    assert store.entries == ENTRIES


if __name__ == "__main__":
    asyncio.run(_fill())
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
