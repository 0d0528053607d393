"""The session's cluster: started once, taken down when pytest ends, however it ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import build_base_image, down, ensure_binaries, missing, up
from e2e.target import Target
from tests.tools import missing as none_to_be_had

CLUSTER_NAME = os.environ.get("E2E_CLUSTER", "llmcache-test")
"""Two runs at once on one machine need two names."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the cluster's programs before the first test: no test's timeout is meant for their fifteen minutes."""
    wanted = any("cluster" in getattr(item, "fixturenames", ()) for item in session.items)
    if not wanted or session.config.option.collectonly or os.environ.get("E2E_KUBECONFIG") or missing():
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        ensure_binaries()
        build_base_image()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Target]:
    """A real Kubernetes; skips where there can be none, and says what is missing. On CI that is a failure."""
    if kubeconfig := os.environ.get("E2E_KUBECONFIG"):
        yield Target(Path(kubeconfig).expanduser())
        return
    if lacking := missing():
        reason = "no cluster here, missing: " + "; ".join(lacking)
        none_to_be_had(reason)
    info = up(CLUSTER_NAME, owner_pid=os.getpid())
    yield Target(info.kubeconfig, info)
    down(CLUSTER_NAME)
