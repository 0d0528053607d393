"""What goes wrong around the operator: it is told, the operator stays calm, and recovers by itself."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from e2e.api_proxy import ApiProxy, running_proxy
from e2e.cluster import build_image, build_redis_image
from e2e.operators import Kubectl, Operator, eventually, install_definition, manifest, running_operator
from e2e.target import Target

pytestmark = pytest.mark.timeout(300)

CALM = 150
"""Requests in ten seconds that an operator with resources in trouble may make: eleven watches are begun anew, later and
later. A loop without a pause makes thousands."""


@pytest.fixture(scope="module")
def proxy(restricted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProxy]:
    with running_proxy(restricted, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def images(cluster: Target) -> list[str]:
    tags = [build_image("gateway/Dockerfile", "localhost/llmcache/gateway:e2e"), build_redis_image()]
    for tag in tags:
        cluster.load(tag)
    return ["--gateway-image", tags[0], "--redis-image", tags[1], "--image-pull-policy", "IfNotPresent"]


@contextmanager
def _through(proxy: ApiProxy, admin: Kubectl, log: Path, *words: str) -> Iterator[Operator]:
    with running_operator(proxy.kubeconfig, log, "--namespace", admin.namespace, *words) as running:
        yield running


@pytest.fixture(scope="module")
def far(
    proxy: ApiProxy, admin: Kubectl, images: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """An operator that reaches the API server through the proxy only, and looks at everything each minute."""
    log = tmp_path_factory.mktemp("faults") / "log"
    with _through(proxy, admin, log, *images, "--resync", "60") as running:
        yield running
        assert running.process.poll() is None, log.read_text()
    admin("delete", "llmc", "--all")


@pytest.fixture
def sound(proxy: ApiProxy) -> Iterator[ApiProxy]:
    yield proxy
    proxy.fault = "none"


def _settled(kubectl: Kubectl, name: str) -> bool:
    return (
        kubectl.condition(name, "Ready") == ("True", "ScaledToZero")
        and kubectl.condition(name, "Degraded")[0] == "False"
    )


def _reasons(kubectl: Kubectl, name: str) -> list[str]:
    return [event["reason"] for event in kubectl.list("events") if event["involvedObject"]["name"] == name]


def _requests_in_ten_seconds(proxy: ApiProxy) -> int:
    before = proxy.total
    time.sleep(10)
    return proxy.total - before


FAULTS = ["slow", "throttles", "disconnects"]


@pytest.mark.parametrize("fault", FAULTS)
def test_an_api_server_in_trouble_is_left_alone_and_found_again(
    fault: str, sound: ApiProxy, admin: Kubectl, far: Operator
) -> None:
    name = f"in-{fault}"
    if fault == "disconnects":
        sound.break_off()
    else:
        sound.fault = fault  # type: ignore[assignment]
    admin.apply(manifest(name))
    assert _requests_in_ten_seconds(sound) <= CALM
    assert far.process.poll() is None
    sound.fault = "none"
    eventually(lambda: _settled(admin, name), 120)
    # And it hears of changes again, by its watches.
    admin("delete", "service", name)
    eventually(lambda: admin.get("service", name), 60)


def test_retry_after_is_heeded(sound: ApiProxy, admin: Kubectl, far: Operator) -> None:
    admin.apply(manifest("heeded"))
    eventually(lambda: _settled(admin, "heeded"), 60)
    sound.retry_after, sound.fault = 8, "throttles"
    admin("annotate", "llmc", "heeded", "look=again")
    asked = f"/apis/llmcache.dev/v1alpha1/namespaces/{admin.namespace}/llmcaches/heeded"
    # The watch that brings it is open, whatever is refused.
    at = eventually(lambda: sound.requests["GET", asked])
    time.sleep(6)
    assert sound.requests["GET", asked] <= at + 1


def test_an_api_server_that_fails_for_one_object_holds_up_no_other_and_is_told_of(
    sound: ApiProxy, admin: Kubectl, far: Operator
) -> None:
    # A cluster with no address left for a Service answered with 500: the LLMCache had no condition at all.
    sound.fails_for = "/services/"
    admin.apply(manifest("full"))
    admin.reaches("full", "Degraded", ("True", "ApplyFailed"))
    assert admin.condition("full", "Stalled") == ("", "")
    assert admin.get("deployment", "full")
    sound.fails_for = ""
    eventually(lambda: _settled(admin, "full"), 60)


TROUBLES: dict[str, tuple[dict[str, Any], str]] = {
    "an image that can't be pulled": (
        manifest("pull", gateway={"replicas": 1, "image": "registry.invalid/gateway:none"}), "ImagePullFailed"
    ),
    "a Secret that is missing": (
        manifest(
            "secret",
            upstreams=[
                {
                    "name": "openai",
                    "provider": "openai",
                    "baseURL": "https://api.openai.com/v1",
                    "credential": {"secretRef": {"name": "nowhere", "key": "key"}},
                }
            ],
        ),
        "SecretMissing",
    ),
    "hooks that can't be loaded": (
        manifest("hooks", gateway={"replicas": 1}, hooks={"configMapRef": {"name": "broken"}}),
        "GatewayCrashLooping",
    ),
    "hooks that are not there": (
        manifest("nohooks", gateway={"replicas": 1}, hooks={"configMapRef": {"name": "nowhere"}}), "ConfigMapMissing"
    ),
}  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES)
def test_bad_input_is_told_once_and_costs_little(trouble: str, sound: ApiProxy, admin: Kubectl, far: Operator) -> None:
    asked, reason = TROUBLES[trouble]
    name = asked["metadata"]["name"]
    admin.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "broken"}, "data": {"a.py": "import nowhere"}}
    )
    admin.apply(asked)
    admin.reaches(name, "Degraded", ("True", reason))
    time.sleep(5)
    writes = sound.writes
    assert _requests_in_ten_seconds(sound) <= CALM
    assert sound.writes == writes
    assert _reasons(admin, name).count(reason) == 1
    admin.apply(manifest(name))
    eventually(lambda: _settled(admin, name), 60)
    assert "Recovered" in _reasons(admin, name)
    admin("delete", "llmc", name)


def test_a_quota_that_forbids_a_pod_is_told_and_recovery_needs_no_help(admin: Kubectl, far: Operator) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-pods"},
        "spec": {"hard": {"pods": "0"}},
    }
    admin.apply(quota)
    eventually(lambda: (admin.get("resourcequota", "no-pods") or {}).get("status", {}).get("hard"))
    store = {"cache": {"store": {"type": "redis"}}, "redis": {"managed": {"memory": "64Mi"}}}
    admin.apply(manifest("quota", gateway={"replicas": 1}), manifest("quota-redis", **store))
    admin.reaches("quota", "Degraded", ("True", "PodsRefused"))
    admin.reaches("quota-redis", "Degraded", ("True", "PodsRefused"))
    assert "PodsRefused" in _reasons(admin, "quota")
    admin("delete", "resourcequota", "no-pods")
    # Kubernetes itself tries again later and later; a change makes it at once.
    for one in ("deployment/quota", "statefulset/quota-redis-redis"):
        admin("annotate", one, "look=again")
    admin.reaches("quota", "Degraded", ("False", "AsExpected"), 120)
    admin.reaches("quota-redis", "Degraded", ("False", "AsExpected"), 120)
    admin("delete", "llmc", "quota", "quota-redis")


def test_a_definition_that_is_deleted_and_comes_back_finds_the_operator_at_work(
    sound: ApiProxy, admin: Kubectl, far: Operator
) -> None:
    admin.apply(manifest("before"))
    eventually(lambda: _settled(admin, "before"), 60)
    admin("delete", "crd", "llmcaches.llmcache.dev")
    eventually(lambda: admin.get("deployment", "before") is None, 60)
    assert _requests_in_ten_seconds(sound) <= CALM
    assert far.process.poll() is None
    install_definition(admin)
    admin.apply(manifest("after"))
    eventually(lambda: _settled(admin, "after"), 60)
    admin("delete", "service", "after")
    eventually(lambda: admin.get("service", "after"), 60)
    assert far.answers("/healthz")
    admin("delete", "llmc", "after")


FULL = {
    "cache": {"store": {"type": "tiered"}},
    "redis": {"managed": {"memory": "64Mi", "persistence": {"size": "64Mi"}}},
}
CHILDREN = [
    "secret/{}-gateway", "configmap/{}-gateway", "secret/{}-redis", "configmap/{}-redis", "networkpolicy/{}-redis",
    "service/{}-redis", "persistentvolumeclaim/{}-redis", "statefulset/{}-redis", "service/{}",
    "poddisruptionbudget/{}", "deployment/{}",
]  # fmt: skip


KILLS = range(1, len(CHILDREN) + 3, 2)
"""At which write; the last ones are the status and an Event."""


@pytest.mark.timeout(600)
def test_an_operator_that_is_killed_at_any_write_converges_when_it_is_back(
    sound: ApiProxy, admin: Kubectl, images: list[str], far: Operator, tmp_path: Path
) -> None:
    far.process.send_signal(signal.SIGSTOP)  # its turn comes again
    try:
        for number in KILLS:
            name, passed = f"killed-{number}", iter(range(1, 1000))
            with ExitStack() as stack:
                one = stack.enter_context(_through(sound, admin, tmp_path / f"{name}.log", *images))

                def kill(one: Operator = one, passed: Iterator[int] = passed, number: int = number) -> None:
                    if next(passed) == number:
                        one.process.kill()

                sound.before_write = kill
                admin.apply(manifest(name, **FULL))
                one.process.wait(30)
                sound.before_write = lambda: None
        with _through(sound, admin, tmp_path / "last.log", *images):
            for number in KILLS:
                name = f"killed-{number}"
                eventually(partial(_settled, admin, name), 120)
                there = [child for child in CHILDREN if admin.get(*child.format(name).split("/"))]
                assert there == CHILDREN
            admin("delete", "llmc", "--all")
    finally:
        sound.before_write = lambda: None
        far.process.send_signal(signal.SIGCONT)
