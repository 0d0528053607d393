"""Both programs as the first process of a container, where a signal without a handler does nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = {
    "gateway": ("llmcache-gateway", "check", "--config"),
    "operator": ("llmcache-operator", "render", "-f"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="needs a PID namespace, which only Linux has")
@pytest.mark.parametrize("program", COMMANDS)
def test_sigterm_ends_a_program_that_has_not_begun_to_serve(program: str, tmp_path: Path) -> None:
    # A pod that was deleted while it started stayed for all of its grace period, and got ready in that time.
    name, *arguments = COMMANDS[program]
    file = tmp_path / "unwritten.yaml"
    os.mkfifo(file)
    alone = ["unshare", "--pid", "--fork", "--kill-child", *(["--map-root-user"] if os.geteuid() else [])]
    command = [*alone, f"{sys.prefix}/bin/{name}", *arguments, str(file)]
    with subprocess.Popen(command) as process, file.open("w"):  # opened once the program reads
        (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
