"""The command line: python -m e2e.cluster COMMAND."""

import argparse
import os
import signal
import sys
from pathlib import Path

from . import preflight
from .binaries import ensure_binaries
from .cluster import ClusterInfo, down, status, up
from .images import build_base_image, build_image, build_redis_image, load_image
from .layout import DEFAULT_NAME, ClusterError
from .tools import ARGOCD


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 1 with the reason on stderr."""
    # SIGTERM ends `up` as Ctrl-C does, so that it takes down what it has begun.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except ClusterError as error:
        print(f"e2e.cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "check":
            lacking = preflight.missing()
            print("\n".join(lacking) or "nothing is missing")
            return 1 if lacking else 0
        case "packages":
            print("\n".join(preflight.PACKAGES))
        case "build":
            print(ensure_binaries(), ARGOCD.ensure(), sep="\n")
            if options.images:
                print(build_base_image(), build_redis_image(), sep="\n")
        case "up":
            _up(options)
        case "down":
            down(options.name, purge=options.purge)
        case "status":
            found = status(options.name)
            print(f"{options.name}: {found.phase}{f': {found.message}' if found.message else ''}")
            _describe(found.info)
            return 0 if found.info else 1
        case "build-image":
            build_image(options.file, options.tag, build_args=dict(options.build_arg))
            if options.name:
                load_image(options.name, options.tag)
        case "load-image":
            load_image(options.name, options.image)
    return 0


def _up(options: argparse.Namespace) -> None:
    if not options.ephemeral:
        _describe(up(options.name, owner_pid=options.owner))
        return
    _describe(up(options.name, owner_pid=os.getpid()))
    print("up until this command ends: Ctrl-C takes it down", flush=True)
    try:
        signal.pause()
    finally:
        down(options.name)


def _describe(info: ClusterInfo | None) -> None:
    if info is None:
        return
    print(f"export KUBECONFIG={info.kubeconfig}")
    print(f"# node {info.node_address}, pods {info.pod_cidr}, services {info.service_cidr}: routed from this machine")
    print(f"# this machine, from pods: {info.host_address} or host.llmcache.internal", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description="A real Kubernetes on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("check", help="say what this machine lacks, and how to get it")
    commands.add_parser("packages", help="list the Debian packages that it needs")
    build = commands.add_parser(
        "build", help="build every program, Argo CD too, into the cache: about 20 minutes, once"
    )
    build.add_argument("--images", action="store_true", help="the base image and the Redis image too")
    start = commands.add_parser("up", help="start the cluster, or find it running")
    start.add_argument("--ephemeral", action="store_true", help="stay, and take it down when this command ends")
    start.add_argument("--owner", type=int, metavar="PID", help="take it down when that process ends")
    stop = commands.add_parser("down", help="stop it, or clear what a killed one left")
    stop.add_argument("--purge", action="store_true", help="delete its logs and its loaded images too")
    state = commands.add_parser("status", help="say how it is; exit 1 unless it is ready")
    image = commands.add_parser("build-image", help="build a Dockerfile of this repository on the base image")
    image.add_argument("--file", type=Path, required=True, help="such as gateway/Dockerfile")
    image.add_argument("--tag", required=True, help="such as llmcache-gateway:dev")
    image.add_argument("--build-arg", type=_assignment, action="append", default=[], metavar="KEY=VALUE")
    image.add_argument("--name", help="load it into this cluster too")
    load = commands.add_parser("load-image", help="load a built image into the cluster")
    load.add_argument("image")
    for command in (start, stop, state, load):
        command.add_argument("--name", default=DEFAULT_NAME, help=f"the cluster; default {DEFAULT_NAME}")
    return parser


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
