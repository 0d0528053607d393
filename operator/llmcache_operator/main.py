"""The command line: `llmcache-operator run | render | crd | argocd`."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from llmcache_gateway.config import ConfigError
from llmcache_operator import argocd
from llmcache_operator.crd import definition_yaml
from llmcache_operator.errors import LeaseLost, UsageError
from llmcache_operator.render import render
from llmcache_operator.settings import GATEWAY_IMAGE, REDIS_IMAGE, Settings
from llmcache_operator.specs import Images

LOG_LEVELS = ("debug", "info", "warning", "error")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name, and exit with its code: 0, or 2 for input that can't be used."""
    # A container's first process has no default for it: it would miss the signal, start, and outlive its pod's grace.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    arguments = _parser().parse_args(argv)
    try:
        sys.exit(arguments.command(arguments))
    except UsageError as error:
        sys.stderr.write(f"llmcache-operator: {error}\n")
        sys.exit(2)
    except LeaseLost as error:
        # At once, and not by and by: whatever is still under way must not be done twice.
        sys.stderr.write(f"llmcache-operator: {error}\n")
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llmcache-operator", description="Manages caches for LLM traffic.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="look after the LLMCaches of a cluster")
    where = run.add_mutually_exclusive_group()
    where.add_argument("--namespace", action="append", metavar="NS", help="look after this namespace; may be repeated")
    where.add_argument("--all-namespaces", action="store_true", help="look after every namespace")
    _add_images(run)
    port = os.environ.get("LLMCACHE_HEALTH_PORT", "8081")
    run.add_argument("--health-port", type=int, default=port, help="port of /healthz, /readyz, /metrics")
    level = os.environ.get("LLMCACHE_LOG_LEVEL", "info")
    run.add_argument("--log-level", type=str.lower, choices=LOG_LEVELS, default=level)
    run.add_argument(
        "--lease",
        type=_lease,
        default=os.environ.get("LLMCACHE_LEASE") or None,
        metavar="NAMESPACE/NAME",
        help="work only while holding this Lease: of several operators one works, and the others stand by",
    )
    resync = os.environ.get("LLMCACHE_RESYNC", "300")
    run.add_argument("--resync", type=float, default=resync, metavar="SECONDS", help="look at everything this often")
    run.set_defaults(command=_run)

    shown = commands.add_parser("render", help="print every object that would be applied")
    shown.add_argument("-f", "--file", required=True, help="manifests to read; - for standard input")
    _add_images(shown)
    shown.set_defaults(command=_render)

    crd = commands.add_parser("crd", help="print the CustomResourceDefinition")
    crd.set_defaults(command=_crd)

    health = commands.add_parser("argocd", help="print what Argo CD is to know of LLMCaches, for its ConfigMap")
    health.set_defaults(command=_argocd)
    return parser


def _add_images(parser: argparse.ArgumentParser) -> None:
    environment = os.environ.get
    parser.add_argument("--gateway-image", default=environment("LLMCACHE_GATEWAY_IMAGE") or GATEWAY_IMAGE)
    parser.add_argument("--redis-image", default=environment("LLMCACHE_REDIS_IMAGE") or REDIS_IMAGE)
    policy = environment("LLMCACHE_IMAGE_PULL_POLICY") or None
    parser.add_argument("--image-pull-policy", choices=PULL_POLICIES, default=policy)


def _lease(text: str) -> tuple[str, str]:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise argparse.ArgumentTypeError(f"expected NAMESPACE/NAME, not {text!r}")
    return namespace, name


def _images(arguments: argparse.Namespace) -> Images:
    return Images(arguments.gateway_image, arguments.redis_image, arguments.image_pull_policy)


def _run(arguments: argparse.Namespace) -> int:
    namespaces = tuple(arguments.namespace or ())
    if not namespaces and not arguments.all_namespaces:
        raise UsageError("say where to look after LLMCaches: --namespace NS (may be repeated) or --all-namespaces")
    settings = Settings(
        namespaces=namespaces,
        images=_images(arguments),
        lease=arguments.lease,
        health_port=arguments.health_port,
        resync=arguments.resync,
    )
    # Imported here: the other commands need no Kubernetes client, which takes its time to load.
    from llmcache_operator.app import serve

    asyncio.run(serve(settings, arguments.log_level))
    return 0


def _render(arguments: argparse.Namespace) -> int:
    try:
        text = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text(encoding="utf-8")
        sys.stdout.write(render(text, _images(arguments)))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{arguments.file} can't be read: {reason}") from None
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{arguments.file}: {problem}\n")
        return 2
    return 0


def _crd(_: argparse.Namespace) -> int:
    sys.stdout.write(definition_yaml())
    return 0


def _argocd(_: argparse.Namespace) -> int:
    sys.stdout.write(argocd.config_map_yaml())
    return 0
