"""From `kubectl apply` to a cached answer, with real parts at every step.

The operator runs as a pod from the chart, with the chart's rights in one namespace; the gateways run the image built
from their Dockerfile; Redis is a pod too. The provider is an LLMCache of its own that caches nothing and answers with
the question, so that its metrics count what reaches the provider.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from e2e.cluster.layout import REPOSITORY
from e2e.stage import Stage
from e2e.target import Target

pytestmark = pytest.mark.timeout(600)

NAMESPACE = "llmcache-path"
WRITTEN_SECONDS = 0.5
"""An answer is written to a shared store behind the client's back: another replica has it a moment later."""
STORES: dict[str, dict[str, Any]] = {
    "memory": {"cache": {"store": {"type": "memory"}}, "gateway": {"replicas": 1}},
    "redis": {"cache": {"store": {"type": "redis"}}, "redis": {"managed": {"memory": "64Mi"}}},
    "tiered": {"cache": {"store": {"type": "tiered"}}, "redis": {"managed": {"memory": "64Mi"}}},
}


class Path(Stage):
    """The namespace of these tests."""

    def status(self, name: str) -> dict[str, Any]:
        """What the operator says of an LLMCache."""
        status: dict[str, Any] = json.loads(self.kubectl("get", "llmcache", name, "-o", "json"))["status"]
        return status

    def provider_calls(self) -> int:
        """How many requests have reached the provider."""
        with self.reach(self.pods("provider")[0]["metadata"]["name"], 4001) as url:
            text = httpx.get(f"{url}/metrics", trust_env=False).text
        return sum(
            int(float(line.split()[-1])) for line in text.splitlines() if line.startswith("llmcache_requests_total")
        )


@pytest.fixture(scope="module")
def path(cluster: Target) -> Iterator[Path]:
    """The operator installed, the provider running."""
    with Path.set(cluster, NAMESPACE) as found:
        echo = {"name": "echo", "provider": "echo", "echo": {"chunkDelay": "5ms"}}
        found.apply("provider", echo, cache={"mode": "Disabled"}, gateway={"replicas": 1})
        found.wait_ready("provider")
        yield found


@pytest.fixture(scope="module", params=STORES)
def cached(request: pytest.FixtureRequest, path: Path) -> str:
    """An LLMCache of each store in front of the provider, ready."""
    name = f"path-{request.param}"
    address = f"http://provider.{NAMESPACE}.svc:4000/v1"
    path.apply(name, {"name": "provider", "provider": "openai", "baseURL": address}, **STORES[request.param])
    path.wait_ready(name)
    return name


def ask(client: openai.OpenAI, question: str) -> tuple[str, Any]:
    response = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=[{"role": "user", "content": question}]
    )
    return response.headers["X-LLMCache"], response.parse().model_dump()


def ask_streamed(client: openai.OpenAI, question: str) -> tuple[str, str]:
    response = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=[{"role": "user", "content": question}], stream=True
    )
    chunks = list(response.parse())
    return response.headers["X-LLMCache"], "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_the_quickstart_example_is_accepted_and_becomes_ready(path: Path) -> None:
    path.kubectl("apply", "-f", str(REPOSITORY / "examples" / "01-quickstart" / "llmcache.yaml"))
    path.wait_ready("quickstart")
    line = path.kubectl("get", "llmc", "quickstart").splitlines()[1].split()
    assert line[:5] == ["quickstart", "True", "v1", "v1", "1"]


def test_the_sdk_gets_a_miss_then_a_hit_with_the_same_content_and_the_provider_is_called_once(
    path: Path, cached: str
) -> None:
    before = path.provider_calls()
    with path.clients(cached) as (one, other):
        first = ask(one, f"unstreamed {cached}")
        time.sleep(WRITTEN_SECONDS)
        again = ask(other, f"unstreamed {cached}")
        assert (first[0], again) == ("MISS", ("HIT", first[1]))
        streamed = ask_streamed(one, f"streamed {cached}")
        assert streamed == ("MISS", f"echo: streamed {cached}")
        time.sleep(WRITTEN_SECONDS)
        replayed = ask_streamed(other, f"streamed {cached}")
        assert replayed == ("HIT", streamed[1])
        assert ask(other, f"streamed {cached}")[0] == "HIT"
        assert ask_streamed(other, f"unstreamed {cached}") == ("HIT", f"echo: unstreamed {cached}")
    assert path.provider_calls() - before == 2


def test_gateways_run_restricted_and_without_a_token(path: Path, cached: str) -> None:
    pod = path.pods(cached)[0]
    container = pod["spec"]["containers"][0]["securityContext"]
    assert container["readOnlyRootFilesystem"] is True
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_a_new_prefix_version_makes_the_next_request_a_miss_without_restarting_a_pod(path: Path, cached: str) -> None:
    def identities() -> list[tuple[str, int]]:
        return sorted(
            (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in path.pods(cached)
        )

    question = f"versions of {cached}"
    before = identities()
    with path.clients(cached) as (one, other):
        assert [ask(client, question)[0] for client in (one, other)] == ["MISS", "HIT"]
        patch = '{"spec": {"prefix": {"version": "v2"}}}'
        path.kubectl("patch", "llmcache", cached, "--type=merge", "-p", patch)
        path.kubectl("wait", f"llmcache/{cached}", "--for=jsonpath={.status.prefix.active}=v2", "--timeout=90s")
        assert [ask(client, question)[0] for client in (other, one)] == ["MISS", "HIT"]
        path.kubectl("patch", "llmcache", cached, "--type=merge", "-p", patch.replace("v2", "v1"))
        path.kubectl("wait", f"llmcache/{cached}", "--for=jsonpath={.status.prefix.active}=v1", "--timeout=90s")
        assert ask(one, question)[0] == "HIT"
    assert identities() == before


def test_deleting_the_resource_removes_all_of_it(path: Path, cached: str) -> None:
    kinds = "deployments,statefulsets,services,configmaps,secrets,poddisruptionbudgets,pods"
    mine = ("get", kinds, "-l", f"app.kubernetes.io/instance={cached}", "-o", "name")
    assert path.kubectl(*mine).split()
    path.kubectl("delete", "llmcache", cached, "--timeout=60s")
    deadline = time.monotonic() + 60
    while left := path.kubectl(*mine).split():
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.5)


def test_kubectl_get_shows_what_is_saved(path: Path) -> None:
    address = f"http://provider.{NAMESPACE}.svc:4000/v1"
    prices = [{"models": ["*"], "input": "100000", "output": "100000"}]
    path.apply(
        "worth", {"name": "provider", "provider": "openai", "baseURL": address}, gateway={"replicas": 1}, prices=prices
    )
    path.wait_ready("worth")
    assert "cache" not in path.status("worth")  # nothing was asked, so nothing is said
    with path.clients("worth") as (client, _):
        for _ in range(4):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "What is saved?"}])
    deadline, looks = time.monotonic() + 240, 0
    # A look between two of these requests would hold for two minutes. What somebody notes on the resource makes the
    # operator look at once, not at its next round.
    while path.status("worth").get("cache", {}).get("hitRatio") != "0.75":
        assert time.monotonic() < deadline, path.seen("worth")
        looks += 1
        path.kubectl("annotate", "--overwrite", "llmcache", "worth", f"example.com/look={looks}")
        time.sleep(3)
    saved = path.status("worth")["cache"]["savedUSD"]
    assert float(saved) > 0
    header, row = path.kubectl("get", "llmc", "worth").splitlines()
    assert header.split()[-3:] == ["HITS", "SAVED", "AGE"]
    assert row.split()[-3:-1] == ["0.75", saved]
