"""Programs of Go that the tests need: `python -m tests.programs` builds them once per machine, in three minutes."""

import sys
from pathlib import Path

from e2e.cluster.binaries import Program
from e2e.cluster.layout import ClusterError
from e2e.cluster.tools import Tool
from tests.tools import missing

MODULES = Path(__file__).parent
KSTATUS = Tool("kstatus", Program("kstatus", "."), MODULES)
S3_SERVER = Tool("the S3 server", Program("s3server", "github.com/versity/versitygw/cmd/versitygw"), MODULES)


def built(tool: Tool) -> str:
    """Return the path of a program; the test is skipped, or fails on CI, when it is not built."""
    if not tool.is_built:
        missing(f"{tool.title} is not built: run {Path(sys.executable).name} -m tests.programs")
    return str(tool.path)


if __name__ == "__main__":
    try:
        for tool in (KSTATUS, S3_SERVER):
            tool.ensure()
    except ClusterError as error:
        sys.exit(f"tests.programs: {error}")
