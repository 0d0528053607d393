"""The session's cluster: started once, taken down when pytest ends, however it ends."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import down, missing, up
from e2e.target import Target

CLUSTER_NAME = "llmcache-test"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Target]:
    """A real Kubernetes; skips where there can be none, and says what is missing. On CI that is a failure."""
    if kubeconfig := os.environ.get("E2E_KUBECONFIG"):
        yield Target(Path(kubeconfig).expanduser())
        return
    if lacking := missing():
        reason = "no cluster here, missing: " + "; ".join(lacking)
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    info = up(CLUSTER_NAME, owner_pid=os.getpid())
    yield Target(info.kubeconfig, info)
    down(CLUSTER_NAME)
