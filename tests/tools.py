"""Programs that tests need beside Python: a missing one skips a test, and fails it on CI."""

import os
import shutil
from typing import NoReturn

import pytest


def require_tool(name: str) -> str:
    """Return the path of a program; without it the test is skipped with the reason, or fails on CI."""
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed: run scripts/system-packages")
    return path


def missing(reason: str) -> NoReturn:
    """End the test because something is missing: a skip for a person, a failure on CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
