"""Processes that take everything they began with them when they die."""

from collections.abc import Sequence


def apart(command: Sequence[str], *, network: bool = False) -> list[str]:
    """The command line that runs `command` with mounts and process ids of its own, and a network if asked.

    It is the first process of its namespace: when it ends, the kernel kills what it left running, and drops what it
    mounted. And it is killed when the thread that starts it ends, were it by a signal that nobody can catch.
    """
    kinds = ["--mount", "--pid", *(["--net"] if network else [])]
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", *kinds, "--fork", "--kill-child=KILL", "--mount-proc"),
        *("--", *command),
    ]
