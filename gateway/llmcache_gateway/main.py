"""The command line: `llmcache-gateway serve`, `check`, `warm` and `evaluate`."""

import argparse
import asyncio
import errno
import gc
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmcache_gateway import __version__
from llmcache_gateway.config import GatewayConfig, LLMCache, load_config, seconds
from llmcache_gateway.errors import ConfigError
from llmcache_gateway.logs import set_up_logging

if TYPE_CHECKING:
    from llmcache_gateway.warm.command import Options as WarmOptions

BAD_CONFIG = 2

TOO_WRONG = 1
"""Exit status of an evaluation with more wrong answers than allowed."""

PIPE_BROKEN = 128 + 13
"""What a shell makes of a program that SIGPIPE ended."""

BESIDE = Path()
"""Said by --resume without a name: the state is kept beside the requests."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; exits 0 when all went well, 2 on a bad configuration or command line."""
    # A container's first process has no default for it: it would miss the signal, start, and outlive its pod's grace.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    options = _parser().parse_args(arguments)
    try:
        if options.command == "check":
            _check(options.config)
        elif options.command == "warm":
            sys.exit(_warm(options))
        elif options.command == "evaluate":
            sys.exit(_evaluate(options))
        else:
            _serve(options)
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        sys.exit(BAD_CONFIG)
    except BrokenPipeError:
        # Whoever read what is printed has seen enough. What is left must not be written at the end of the program.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(PIPE_BROKEN)
    except OSError as error:
        instead = "; end what listens there, or give another --port or --admin-port"
        print(f"llmcache-gateway: {error}{instead if error.errno == errno.EADDRINUSE else ''}", file=sys.stderr)
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
    serve.add_argument("--hooks", type=Path, help="folder with hooks, for a configuration with spec.hooks")
    serve.add_argument("--redis-url", help="Redis in place of redis.managed (or LLMCACHE_REDIS_URL)")
    serve.add_argument("--admin-token-file", type=Path, help="file with the admin token (or LLMCACHE_ADMIN_TOKEN)")
    serve.add_argument(
        "--tenant-key-file", type=Path, help="file with the key of tenant names (or LLMCACHE_TENANT_KEY)"
    )
    serve.add_argument("--drain", type=_duration, default=30.0, help="time for requests in flight at the end (30s)")
    serve.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])

    warm = commands.add_parser("warm", help="ask a gateway a list of requests, so that it has their answers")
    warm.add_argument("--url", required=True, type=_url, help="address of the gateway, such as http://127.0.0.1:4000")
    source = warm.add_mutually_exclusive_group(required=True)
    source.add_argument("--requests", metavar="FILE", help="requests as JSON lines; - reads stdin")
    source.add_argument(
        "--from-hot",
        type=_url,
        action="append",
        metavar="URL",
        help="admin address of a gateway, or of all that a name stands for: what they are asked most; repeatable",
    )
    warm.add_argument("--top", type=_top, help="with --from-hot: how many of them (default: all)")
    warm.add_argument(
        "--admin-token-file",
        type=Path,
        help="with --from-hot, --version, --as-tenant: the gateway's admin token (or LLMCACHE_ADMIN_TOKEN)",
    )
    warm.add_argument(
        "--version", dest="prefix_version", metavar="VERSION", help="fill this prefix version, the active or the next"
    )
    warm.add_argument("--as-tenant", action="store_true", help="fill the entries of each line's own tenant")
    warm.add_argument("--summary", choices=["text", "json"], default="text", help="json: end with a line of JSON")
    warm.add_argument("--summary-file", type=Path, help="write that JSON to a file, too")
    warm.add_argument("--rate", type=_rate, help="most requests, such as 5/s or 30/m (default: as fast as answered)")
    warm.add_argument("--concurrency", type=_count, default=4, help="most requests at a time (default %(default)s)")
    warm.add_argument("--timeout", type=_duration, default=120.0, help="longest silence of the gateway (120s)")
    warm.add_argument("--api-key-file", type=Path, help="file with the client's key (or LLMCACHE_API_KEY)")
    warm.add_argument("--tenant", help="only the requests of this tenant, for lists that name tenants")
    warm.add_argument(
        "--resume",
        type=Path,
        nargs="?",
        const=BESIDE,
        metavar="STATE",
        help="note what is done in a file, and go on from there (default: FILE.warm-state)",
    )
    evaluate = commands.add_parser(
        "evaluate", help="say what the semantic cache would make of labelled pairs of questions"
    )
    evaluate.add_argument("--config", type=Path, required=True, help="an LLMCache manifest or a GatewayConfig")
    evaluate.add_argument(
        "--pairs", type=Path, required=True, metavar="FILE", help='JSON lines {"a", "b", "same", "kind"?}'
    )
    evaluate.add_argument("--policy", metavar="NAME", help="evaluate what this policy's requests get")
    evaluate.add_argument("--secrets", type=Path, help="folder with Secrets as files NAME/KEY, for embedding.upstream")
    evaluate.add_argument("--json", action="store_true", help="print everything as one JSON object")
    evaluate.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curve over thresholds")
    evaluate.add_argument(
        "--max-wrong",
        type=_share,
        metavar="SHARE",
        help="exit 1 when more of the different pairs are answered: 0.04, 4%%",
    )
    return parser


def _config(file: Path) -> LLMCache | GatewayConfig:
    return load_config(_read(file))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError([f"{file}: can't be read: {reason}"]) from None


def _check(file: Path) -> None:
    config = _config(file)
    print(f"{file}: {config.kind} {config.metadata.namespace}/{config.metadata.name} is in order")


def _serve(options: argparse.Namespace) -> None:
    # Imported here so that `check` starts without the server's libraries.
    from llmcache_gateway.app import Options, serve

    # What the libraries are made of stays: a full collection that looked at it again would hold all requests up for
    # tens of milliseconds.
    gc.collect()
    gc.freeze()
    set_up_logging(options.log_level)
    # A random key is enough for a memory store; with a shared store, entries are then lost to the next run.
    tenant_key = _secret(options.tenant_key_file, "LLMCACHE_TENANT_KEY") or secrets.token_urlsafe(32)
    _run(
        lambda: serve(
            Options(
                config=options.config,
                secrets=options.secrets,
                data=options.data,
                hooks=options.hooks,
                redis_url=_redis_url(options.redis_url),
                host=options.host,
                port=options.port,
                admin_port=options.admin_port,
                admin_token=_secret(options.admin_token_file, "LLMCACHE_ADMIN_TOKEN"),
                tenant_key=tenant_key.encode(),
                drain_seconds=options.drain,
                environment=os.environ,
            )
        )
    )


def _warm(options: argparse.Namespace) -> int:
    from llmcache_gateway.warm.command import warm
    from llmcache_gateway.warm.summary import Summary

    summary = Summary(options.summary == "json", options.summary_file)
    try:
        return asyncio.run(warm(_warm_options(options), summary))
    except ConfigError as error:
        summary.refused([str(problem) for problem in error.problems])
        raise


def _evaluate(options: argparse.Namespace) -> int:
    try:
        from llmcache_gateway.evaluate.command import Options, evaluate
    except ModuleNotFoundError as error:
        raise ConfigError([f"evaluate: needs {error.name}; install the extra `semantic`"]) from None
    asked = Options(
        pairs=options.pairs,
        as_json=options.json,
        plot=options.plot,
        most_wrong=options.max_wrong,
        policy=options.policy,
        secrets=options.secrets,
        environment=os.environ,
    )
    text, complaint = asyncio.run(evaluate(_config(options.config), asked))
    print(text, flush=True)
    if complaint is not None:
        print(complaint, file=sys.stderr)
    return 0 if complaint is None else TOO_WRONG


def _warm_options(options: argparse.Namespace) -> "WarmOptions":
    from llmcache_gateway.warm.client import Proof
    from llmcache_gateway.warm.command import Options
    from llmcache_gateway.warm.hot import Hot

    resume, hot, proof = options.resume, None, None
    token = _secret(options.admin_token_file, "LLMCACHE_ADMIN_TOKEN")
    if options.from_hot is not None:
        if resume is not None:
            raise ConfigError(["--resume: needs --requests; what is asked most changes from run to run"])
        hot = Hot(tuple(options.from_hot), token, options.top)
    elif options.top is not None:
        raise ConfigError(["--top: needs --from-hot"])
    if options.prefix_version is not None or options.as_tenant:
        if token is None:
            raise ConfigError(["--version, --as-tenant: need the gateway's admin token: give --admin-token-file FILE"])
        proof = Proof(token, options.prefix_version, options.as_tenant)
    if options.as_tenant and options.api_key_file is not None:
        raise ConfigError(["--api-key-file: the tenant of --as-tenant needs no key of its own: give one or the other"])
    if resume == BESIDE:
        if options.requests == "-":
            raise ConfigError(["--resume: say where to keep the state, as in --resume FILE, for requests from stdin"])
        resume = Path(f"{options.requests}.warm-state")
    return Options(
        url=options.url,
        requests=options.requests or ", ".join(options.from_hot),
        hot=hot,
        api_key=None if options.as_tenant else _secret(options.api_key_file, "LLMCACHE_API_KEY"),
        proof=proof,
        rate=options.rate,
        concurrency=options.concurrency,
        timeout_seconds=options.timeout,
        tenant=options.tenant,
        resume=resume,
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
    value = _read(file).strip()
    if not value:
        raise ConfigError([f"{file}: is empty"])
    return value


def _redis_url(given: str | None) -> str | None:
    """Return the address of --redis-url or LLMCACHE_REDIS_URL. It may hold a password, so no error repeats it."""
    source, url = ("--redis-url", given) if given else ("LLMCACHE_REDIS_URL", os.environ.get("LLMCACHE_REDIS_URL"))
    if url and not re.fullmatch(r"rediss?://([^\s/?#@]*@)?(\[[0-9A-Fa-f:.]+\]|[^\s/?#@:]+)(:[0-9]+)?(/[0-9]*)?", url):
        raise ConfigError([f"{source}: expected an address, such as redis://127.0.0.1:6379/0"])
    return url or None


def _share(text: str) -> float:
    number = text.removesuffix("%")
    try:
        share = float(number) / (100 if number != text else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; write 0.04 or 4%")
    return share


def _duration(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", text):
        raise argparse.ArgumentTypeError(f"expected an address, such as http://127.0.0.1:4000, not {text!r}")
    return text.rstrip("/").removesuffix("/v1")  # SDKs' base URLs end in it, the requests' paths begin with it


def _rate(text: str) -> float:
    from llmcache_gateway.warm.pace import rate

    try:
        return rate(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _top(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 10000, not {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 1000, not {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
