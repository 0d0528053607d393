"""Programs that tests need beside Python: a missing one skips a test, and fails it on CI."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def require_tool(name: str, without: Path | None = None) -> str:
    """Return the path of a program, not looking into one folder; the test is skipped, or fails on CI, without it."""
    folders = [folder for folder in os.get_exec_path() if Path(folder) != without]
    path = shutil.which(name, path=os.pathsep.join(folders))
    if path is None:
        missing(f"{name} is not installed: run scripts/system-packages")
    return path


def missing(reason: str) -> NoReturn:
    """End the test because something is missing: a skip for a person, a failure on CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
