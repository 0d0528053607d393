"""The command line: `llmcache-gateway serve` and `llmcache-gateway check`."""

import argparse
import asyncio
import os
import secrets
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from llmcache_gateway import __version__
from llmcache_gateway.config import load_config, seconds
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.logs import set_up_logging

BAD_CONFIG = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; exits 0 when all went well, 2 on a bad configuration or command line."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "check":
            _check(options.config)
        else:
            _serve(options)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        sys.exit(BAD_CONFIG)
    except OSError as error:  # a port that is in use, above all
        print(f"llmcache-gateway: {error}", file=sys.stderr)
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llmcache-gateway", description="A caching gateway for LLM traffic.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)

    check = commands.add_parser("check", help="report every error of a configuration file")
    check.add_argument("--config", type=Path, required=True, help="an LLMCache manifest or a GatewayConfig")

    serve = commands.add_parser("serve", help="run the gateway")
    serve.add_argument("--config", type=Path, required=True, help="an LLMCache manifest or a GatewayConfig")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    serve.add_argument("--port", type=int, default=4000, help="public port (default %(default)s)")
    serve.add_argument("--admin-port", type=int, default=4001, help="admin port (default %(default)s)")
    serve.add_argument("--secrets", type=Path, help="folder with Secrets as files NAME/KEY")
    serve.add_argument("--data", type=Path, help="folder of the disk store")
    serve.add_argument("--redis-url", help="Redis in place of redis.managed (or LLMCACHE_REDIS_URL)")
    serve.add_argument("--admin-token-file", type=Path, help="file with the admin token (or LLMCACHE_ADMIN_TOKEN)")
    serve.add_argument(
        "--tenant-key-file", type=Path, help="file with the key of tenant names (or LLMCACHE_TENANT_KEY)"
    )
    serve.add_argument("--drain", type=_duration, default=30.0, help="time for requests in flight at the end (30s)")
    serve.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser


def _check(file: Path) -> None:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file}: can't be read: {error}"]) from None
    config = load_config(text)
    print(f"{file}: {config.kind} {config.metadata.namespace}/{config.metadata.name} is in order")


def _serve(options: argparse.Namespace) -> None:
    # Imported here so that `check` starts without the server's libraries.
    from llmcache_gateway.app import Options, serve

    set_up_logging(options.log_level)
    token = _secret(options.admin_token_file, "LLMCACHE_ADMIN_TOKEN")
    if token is None:
        token = secrets.token_urlsafe(24)
        print(f"admin token (random, for this run only): {token}", flush=True)
    # A random key is enough for a memory store; with a shared store, entries are then lost to the next run.
    tenant_key = _secret(options.tenant_key_file, "LLMCACHE_TENANT_KEY") or secrets.token_urlsafe(32)
    _run(
        lambda: serve(
            Options(
                config=options.config,
                secrets=options.secrets,
                data=options.data,
                redis_url=options.redis_url or os.environ.get("LLMCACHE_REDIS_URL"),
                host=options.host,
                port=options.port,
                admin_port=options.admin_port,
                admin_token=token,
                tenant_key=tenant_key.encode(),
                drain_seconds=options.drain,
                environment=os.environ,
            )
        )
    )


def _run(program: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(program())
    else:
        uvloop.run(program())


def _secret(file: Path | None, variable: str) -> str | None:
    if file is None:
        return os.environ.get(variable) or None
    try:
        value = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file}: can't be read: {error}"]) from None
    if not value:
        raise ConfigError([f"{file}: is empty"])
    return value


def _duration(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    main()
