"""The command line: `llmcache-operator run | render | crd`."""

import argparse
import sys
from collections.abc import Sequence

from llmcache_operator.crd import definition_yaml


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name, and exit with its code."""
    arguments = _parser().parse_args(argv)
    sys.exit(arguments.command(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llmcache-operator", description="Manages caches for LLM traffic.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    crd = commands.add_parser("crd", help="print the CustomResourceDefinition")
    crd.set_defaults(command=_crd)
    return parser


def _crd(_: argparse.Namespace) -> int:
    sys.stdout.write(definition_yaml())
    return 0
