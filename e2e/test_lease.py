"""Two operators and one Lease, on a real API server, with the rights that docs/operator.md lists."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
import yaml

from e2e.operators import Kubectl, Operator, eventually, manifest, running_operator

pytestmark = pytest.mark.timeout(240)

PAGE = Path(__file__).parents[1] / "docs" / "operator.md"
LEASE = "llmcache-operator"
IN_TIME = 90.0
"""A Lease of 15 s, a look every 2 s, and the time of a busy machine."""

Start = Callable[[], Operator]


@pytest.fixture(scope="module")
def entitled(admin: Kubectl, restricted: Path) -> Path:
    """A kubeconfig with what an operator may do, and what it may do with its Lease."""
    (block,) = re.findall(r"```yaml\n# In the Lease's namespace\n(rules:.*?)```", PAGE.read_text(), re.DOTALL)
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "lease"}}
    admin.apply(role | yaml.safe_load(block))
    admin("create", "rolebinding", "lease", "--role=lease", f"--serviceaccount={admin.namespace}:operator")
    return restricted


@pytest.fixture
def start(admin: Kubectl, entitled: Path, tmp_path: Path) -> Iterator[Start]:
    numbers = iter(range(9))
    with ExitStack() as stack:

        def run() -> Operator:
            words = ("--namespace", admin.namespace, "--lease", f"{admin.namespace}/{LEASE}")
            one: AbstractContextManager[Operator] = running_operator(
                entitled, tmp_path / f"{next(numbers)}.log", *words
            )
            return stack.enter_context(one)

        yield run
    admin("delete", "llmc", "--all")
    admin("delete", "lease", LEASE, "--ignore-not-found")


def _leads(operator: Operator) -> bool:
    return operator.total("llmcache_operator_leading") == 1


def _turns(operator: Operator) -> float:
    return operator.total("llmcache_operator_reconciles_total")


@pytest.fixture
def pair(start: Start, admin: Kubectl) -> tuple[Operator, Operator]:
    """One that leads and has worked, and one that stands by."""
    leader = start()
    eventually(lambda: _leads(leader))
    admin.apply(manifest("one"))
    admin.reaches("one", "Ready", ("True", "ScaledToZero"))
    return leader, start()


def test_one_works_and_the_other_stands_by_in_good_health(pair: tuple[Operator, Operator]) -> None:
    leader, other = pair
    before = _turns(leader)
    eventually(lambda: _turns(leader) >= before + 3)
    assert [_leads(leader), _leads(other)] == [True, False]
    assert _turns(other) == 0
    assert all(one.answers(path) for one in pair for path in ("/healthz", "/readyz"))


def test_one_that_is_stopped_lets_the_other_lead_at_once(pair: tuple[Operator, Operator], admin: Kubectl) -> None:
    leader, other = pair
    assert leader.stop(signal.SIGTERM) == 0
    began = time.monotonic()
    eventually(lambda: _leads(other), IN_TIME)
    assert time.monotonic() - began < 12, "the Lease ran out instead of being released"
    admin.apply(manifest("two"))
    admin.reaches("two", "Ready", ("True", "ScaledToZero"))
    assert (admin.get("lease", LEASE) or {})["spec"]["leaseTransitions"] == 1


def test_one_that_is_killed_is_replaced_when_its_lease_has_run_out(
    pair: tuple[Operator, Operator], admin: Kubectl
) -> None:
    leader, other = pair
    leader.stop(signal.SIGKILL)
    killed = time.monotonic()
    admin.apply(manifest("two"))
    while time.monotonic() < killed + 8:
        assert _turns(other) == 0, "it has not waited for the Lease to run out"
        time.sleep(0.5)
    eventually(lambda: _leads(other), IN_TIME)
    admin.reaches("two", "Ready", ("True", "ScaledToZero"))


def test_one_that_was_frozen_ends_when_it_finds_that_another_leads(
    pair: tuple[Operator, Operator], admin: Kubectl
) -> None:
    leader, other = pair
    leader.process.send_signal(signal.SIGSTOP)
    eventually(lambda: _leads(other), IN_TIME)
    # Work for both, had the first one not noticed.
    admin.apply(manifest("two"))
    admin.reaches("two", "Ready", ("True", "ScaledToZero"))
    admin("delete", "service", "two")
    applied = leader.log.read_text().count("applied")
    assert leader.stop(signal.SIGCONT) == 1
    assert leader.log.read_text().count("applied") == applied
    assert _leads(other)


def test_the_time_of_day_does_not_matter(pair: tuple[Operator, Operator], admin: Kubectl) -> None:
    leader, other = pair
    lease = admin.get("lease", LEASE)
    assert lease is not None
    leader.process.send_signal(signal.SIGSTOP)
    # As if the one that leads had a clock that is years ahead, or behind.
    for year in ("2099", "1999"):
        stamp = f"{year}-01-01T00:00:00.000000Z"
        admin("patch", "lease", LEASE, "--type=merge", "-p", f'{{"spec": {{"renewTime": "{stamp}"}}}}')
        time.sleep(3)
        assert not _leads(other)
    eventually(lambda: _leads(other), IN_TIME)
