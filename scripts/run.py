"""`make run`: a gateway on the quickstart manifest, and what to paste to see it cache."""

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
from pathlib import Path

from llmcache_gateway.app import Options, running
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.logs import set_up_logging

EXAMPLES = Path(__file__).parents[1] / "examples" / "01-quickstart"
MANIFESTS = {"echo": EXAMPLES / "llmcache.yaml", "openai": EXAMPLES / "openai.yaml"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", choices=MANIFESTS, default="echo")
    parser.add_argument("--port", type=int, default=4000, help="and the admin port beside it")
    arguments = parser.parse_args()
    if not 1 <= arguments.port <= 65534:
        sys.exit("PORT must be from 1 to 65534; the admin port is the one after it")
    if arguments.upstream == "openai" and not os.environ.get("OPENAI_API_KEY"):
        sys.exit("set OPENAI_API_KEY first: export OPENAI_API_KEY=sk-…")
    set_up_logging("info")
    try:
        asyncio.run(_run(MANIFESTS[arguments.upstream], arguments.port))
    except ConfigError as error:
        sys.exit("\n".join(str(problem) for problem in error.problems))
    except OSError as error:
        sys.exit(f"{error}\ntwo ports in a row are needed; use others: make run PORT=4710")


async def _run(manifest: Path, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    token = secrets.token_urlsafe(24)
    options = Options(
        config=manifest,
        secrets=None,
        redis_url=None,
        host="127.0.0.1",
        port=port,
        admin_port=port + 1,
        admin_token=token,
        tenant_key=secrets.token_bytes(32),
        drain_seconds=5.0,
        environment=os.environ,
    )
    async with running(options, stop) as gateway:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "What is a cache?"}]}
        curl = f"curl -si http://127.0.0.1:{gateway.port}/v1/chat/completions -d '{json.dumps(body)}'"
        admin = f"http://127.0.0.1:{gateway.admin_port}/admin/v1/status"
        print(f"\nPaste this in another terminal; it says X-LLMCache: MISS\n\n  {curl}\n")
        print(f"and once more; now it says X-LLMCache: HIT\n\n  {curl}\n")
        print(f"What the gateway runs:\n\n  curl -s {admin} -H 'Authorization: Bearer {token}'\n")
        print("Stop it with Ctrl-C.\n", flush=True)
        await stop.wait()


if __name__ == "__main__":
    main()
