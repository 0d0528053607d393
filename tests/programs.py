"""What tests need of Go: `python -m tests.programs` builds and fetches it once per machine, in three minutes."""

import json
import shutil
import subprocess
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


def flux_definitions() -> list[Path]:
    """Return the files of Flux's CustomResourceDefinitions, out of its controllers' modules."""
    if shutil.which("go") is None:
        missing("no go on PATH to fetch Flux's CustomResourceDefinitions with: get it from https://go.dev/dl")
    modules = [f"github.com/fluxcd/{name}-controller" for name in ("helm", "kustomize", "source")]
    fetch = ["go", "mod", "download", "-json", *modules]
    fetched = subprocess.run(fetch, cwd=MODULES / "flux", capture_output=True, text=True, check=True).stdout
    folders, decoder = [], json.JSONDecoder()
    while fetched := fetched.lstrip():
        module, end = decoder.raw_decode(fetched)
        folders.append(Path(module["Dir"]))
        fetched = fetched[end:]
    return [file for folder in folders for file in sorted((folder / "config" / "crd" / "bases").glob("*.yaml"))]


if __name__ == "__main__":
    try:
        for tool in (KSTATUS, S3_SERVER):
            tool.ensure()
        flux_definitions()
    except ClusterError as error:
        sys.exit(f"tests.programs: {error}")
