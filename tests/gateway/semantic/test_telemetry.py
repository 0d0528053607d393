"""What runs the models tells nobody about it."""

import os
import subprocess
import sys
from pathlib import Path


def test_loading_a_model_leaves_nothing_that_is_to_be_sent_to_its_librarys_makers(tmp_path: Path) -> None:
    """It gathered what was loaded, in a database in the user's folder, and sent it from there."""
    load = "from llmcache_gateway.semantic.verifier import Verifier; Verifier.load().score('one', 'two')"
    # Of the environment nothing else: the library tells nothing by itself where it takes its machine for a CI's.
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", load], env=environment, check=True, timeout=120)
    assert list(tmp_path.rglob("*")) == []
