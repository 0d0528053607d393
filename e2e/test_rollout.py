"""The whole life of a prefix version under live traffic: warmed, in steps, promoted, gone back to, aborted, purged.

The operator is a pod from the chart with the chart's rights; two gateways share a managed Redis; the traffic is that of
the official SDK; the provider is an LLMCache of its own that answers with the question, or is taken away.
"""

import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest

from e2e.stage import Stage
from e2e.target import Target

pytestmark = pytest.mark.timeout(600)

QUESTIONS = [f"question {number}" for number in range(40)]
ROLLOUT: dict[str, Any] = {
    "strategy": "Canary",
    "warm": {
        "topRequests": 5,
        "requestsFrom": {"configMapRef": {"name": "faq", "key": "requests.jsonl"}},
        "maxRequestsPerSecond": 20,
        "timeout": "60s",
    },
    "canary": {"steps": [{"percent": 30, "pause": "3s"}, {"percent": 60, "pause": "3s"}]},
    "analysis": {"minRequests": 30, "maxLatencyRatio": "100"},
    "retain": {"versions": 2, "duration": "24h"},
}


@dataclass
class Traffic:
    """What clients met: by the version that answered, and how."""

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def of(self, version: str) -> int:
        return sum(count for (answered, _), count in self.answers.items() if answered == version)


def talk(client: openai.OpenAI, seed: int, traffic: Traffic, ended: threading.Event) -> None:
    dice = random.Random(seed)
    while not ended.is_set():
        question, streamed = dice.choice(QUESTIONS), dice.random() < 0.3
        try:
            said, headers = ask(client, question, streamed)
        except openai.APIError as error:
            traffic.errors.append(str(error))
            continue
        if said != f"echo: {question}":
            traffic.wrong.append(f"{question}: {said}")
        traffic.answers[headers["X-LLMCache-Prefix"].split(":")[-1], headers["X-LLMCache"]] += 1


def ask(client: openai.OpenAI, question: str, streamed: bool = False) -> tuple[str, Mapping[str, str]]:
    asked: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": question}], "stream": streamed}
    response = client.chat.completions.with_raw_response.create(**asked)
    if streamed:
        chunks: Any = response.parse()
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks), response.headers
    return response.parse().choices[0].message.content or "", response.headers


class Bot:
    """The LLMCache of these tests."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.spec: dict[str, Any] = {
            "prefix": {"version": "v1"},
            "cache": {"store": {"type": "tiered"}},
            "redis": {"managed": {"memory": "64Mi"}},
            "tenancy": {"isolation": "Shared"},
            "gateway": {"replicas": 2},
            "rollout": ROLLOUT,
        }

    def apply(self, version: str, **rollout: Any) -> None:
        self.spec["prefix"]["version"] = version
        address = f"http://provider.{self.stage.namespace}.svc:4000/v1"
        credential = {"secretRef": {"name": "provider", "key": "api-key"}}
        upstream = {"name": "provider", "provider": "openai", "baseURL": address, "credential": credential}
        self.stage.apply("bot", upstream, **self.spec | {"rollout": ROLLOUT | rollout})

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stage.kubectl("get", "llmcache", "bot", "-o", "json"))
        # What stands there is about an earlier generation until the operator has looked.
        return found["status"] if found["status"]["observedGeneration"] == found["metadata"]["generation"] else {}

    def condition(self, kind: str) -> tuple[str, str]:
        found = {one["type"]: one for one in self.status.get("conditions", ())}
        return (found[kind]["status"], found[kind]["reason"]) if kind in found else ("", "")

    def watch(self, done: Callable[[dict[str, Any]], Any], seconds: float = 120) -> list[dict[str, Any]]:
        """Return every status that was seen until one that satisfies."""
        seen: list[dict[str, Any]] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.status
            if status and (not seen or seen[-1] != status):
                seen.append(status)
            if status and done(status):
                return seen
            time.sleep(0.2)
        told = [json.dumps(status.get("rollout")) for status in seen[-5:]]
        raise AssertionError(f"not within {seconds} s; last seen:\n" + "\n".join(told) + self.stage.seen("bot"))

    def processes(self) -> list[tuple[str, int]]:
        return sorted(
            (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
            for pod in self.stage.pods("bot")
        )

    def events(self) -> list[str]:
        found = json.loads(self.stage.kubectl("get", "events", "-o", "json"))["items"]
        return [one["reason"] for one in found if one["involvedObject"]["name"] == "bot"]

    def entries(self) -> list[str]:
        """Keys of what is cached, as the admin port lists them."""
        secret = json.loads(self.stage.kubectl("get", "secret", "bot-gateway", "-o", "json"))["data"]["admin-token"]
        with self.stage.reach(self.stage.pods("bot")[0]["metadata"]["name"], 4001) as url:
            listed = httpx.get(
                f"{url}/admin/v1/entries?limit=1000",
                headers={"Authorization": f"Bearer {self.stage.decoded(secret)}"},
                trust_env=False,
            )
        return [entry["key"] for entry in listed.json()["entries"]]

    @contextmanager
    def traffic(self) -> Iterator[Traffic]:
        """Clients that never rest, on both gateways."""
        traffic, ended = Traffic(), threading.Event()
        with self.stage.clients("bot") as clients:
            threads = [
                threading.Thread(target=talk, args=(client, seed, traffic, ended))
                for seed, client in enumerate(clients * 2)
            ]
            for thread in threads:
                thread.start()
            try:
                yield traffic
            finally:
                ended.set()
                for thread in threads:
                    thread.join()


@pytest.fixture(scope="module")
def bot(cluster: Target) -> Iterator[Bot]:
    """An LLMCache at its first version, with every question answered once."""
    with Stage.set(cluster, "llmcache-rollout") as stage:
        echo = {"name": "echo", "provider": "echo", "echo": {"delay": "5ms"}}
        stage.apply("provider", echo, cache={"mode": "Disabled"}, gateway={"replicas": 1})
        lines = [
            json.dumps({"path": "/v1/chat/completions", "body": {"model": "gpt-4o", "messages": [message]}})
            for message in ({"role": "user", "content": question} for question in QUESTIONS[:10])
        ]
        stage.kubectl("create", "configmap", "faq", f"--from-literal=requests.jsonl={chr(10).join(lines)}")
        stage.kubectl("create", "secret", "generic", "provider", "--from-literal=api-key=sk-provider")
        stage.wait_ready("provider")
        made = Bot(stage)
        made.apply("v1")
        stage.wait_ready("bot")
        made.watch(lambda status: status["prefix"].get("active") == "v1")
        with stage.clients("bot") as (one, other):
            for question in QUESTIONS:
                assert ask(one, question)[0] == ask(other, question)[0] == f"echo: {question}"
        yield made


def test_a_version_is_warmed_takes_over_in_steps_and_is_promoted_under_live_traffic(bot: Bot) -> None:
    before = bot.processes()
    with bot.traffic() as traffic:
        bot.apply("v2")
        seen = bot.watch(lambda status: status["prefix"]["active"] == "v2")
        time.sleep(1)
    phases = list(dict.fromkeys(status["rollout"]["phase"] for status in seen))
    # Promoting and Paused may be shorter than a look takes.
    assert [phase for phase in phases if phase not in ("Paused", "Promoting")] == ["Warming", "Canary", "Retaining"]
    assert {0, 30, 60} <= {status["rollout"].get("percent", 0) for status in seen}
    warmed, *steps = seen[-1]["rollout"]["shown"]
    assert re.fullmatch(r"0%: \d+ stored(, \d+ already there)?", warmed)
    found = [re.fullmatch(r"(\d+)%: (\d+)/30 requests, 0 of \d+ misses failed", step) for step in steps]
    assert [match and match[1] for match in found] == ["30", "60"], steps
    assert all(match and int(match[2]) >= 30 for match in found), steps
    assert seen[-1]["prefix"]["retained"][0]["version"] == "v1"
    assert bot.condition("Promoted") == ("True", "Promoted")
    while_under_way = [status for status in seen if status["rollout"]["phase"] in ("Warming", "Canary")]
    assert all({"Ready", "Reconciling"} <= {c["type"] for c in one["conditions"]} for one in while_under_way)
    assert (traffic.wrong, traffic.errors) == ([], [])
    assert traffic.of("v1") > 0
    assert traffic.of("v2") > 0
    assert bot.processes() == before
    assert {"RolloutStarted", "WarmingFinished", "CanaryStep", "PrefixActivated"} <= set(bot.events())


def test_the_job_that_warmed_is_there_to_be_looked_at(bot: Bot) -> None:
    (job,) = json.loads(bot.stage.kubectl("get", "jobs", "-o", "json"))["items"]
    assert job["status"]["succeeded"] == 1
    assert job["metadata"]["annotations"]["llmcache.dev/version"] == "v2"
    assert job["metadata"]["ownerReferences"][0]["name"] == "bot"


def test_going_back_is_instant_and_finds_its_entries(bot: Bot) -> None:
    with bot.traffic() as traffic:
        bot.apply("v1")
        seen = bot.watch(lambda status: status["prefix"]["active"] == "v1", 30)
        time.sleep(1)
    assert not {"Warming", "Canary", "Paused"} & {status["rollout"]["phase"] for status in seen}
    assert (traffic.wrong, traffic.errors) == ([], [])
    assert ("v1", "MISS") not in traffic.answers


def test_a_version_whose_misses_fail_is_aborted_and_the_old_one_goes_on_serving(bot: Bot) -> None:
    stage = bot.stage
    stage.kubectl("patch", "llmcache", "provider", "--type=merge", "-p", '{"spec": {"gateway": {"replicas": 0}}}')
    stage.kubectl("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/instance=provider", "--timeout=90s")
    with bot.traffic() as traffic:
        bot.apply("v3", warm={"requestsFrom": ROLLOUT["warm"]["requestsFrom"], "timeout": "5s"})
        seen = bot.watch(lambda status: status["rollout"]["phase"] == "Aborted", 180)
        bot.watch(lambda status: status["gateways"]["onCurrentConfig"] == 2)
        traffic.errors.clear()
        time.sleep(2)
        after = list(traffic.errors)
    assert seen[-1]["prefix"]["active"] == "v1"
    assert "misses failed, at most 5% may" in seen[-1]["rollout"]["message"]
    assert bot.condition("Stalled") == ("True", "RolloutAborted")
    assert bot.condition("Ready")[0] == "True"
    assert bot.condition("Promoted") == ("False", "MissesFail")
    assert (traffic.wrong, after) == ([], [])
    assert {"WarmingFailed", "RolloutAborted"} <= set(bot.events())
    bot.watch(lambda status: not status["prefix"].get("purging"))
    assert not [key for key in bot.entries() if key.split(":")[1] == "v3"]


def test_an_abort_is_over_once_git_says_the_old_version_again(bot: Bot) -> None:
    bot.apply("v1")
    bot.watch(lambda status: status["rollout"]["phase"] == "Retaining", 30)
    assert bot.condition("Stalled") == ("", "")
    patch = '{"spec": {"gateway": {"replicas": 1}}}'
    bot.stage.kubectl("patch", "llmcache", "provider", "--type=merge", "-p", patch)
    bot.stage.kubectl("wait", "llmcache/provider", "--for=jsonpath={.status.readyReplicas}=1", "--timeout=60s")


def test_a_person_steers_by_the_annotation_and_an_old_one_does_not_count(bot: Bot) -> None:
    bot.stage.kubectl("annotate", "llmcache", "bot", "llmcache.dev/rollout=abort")
    by_hand = {"warm": None, "canary": {"steps": [{"percent": 50}]}}
    with bot.traffic():
        bot.apply("v4", **by_hand)
        bot.watch(lambda status: status["rollout"].get("reason") == "WaitingForPromotion")
    assert bot.condition("Progressing") == ("True", "PrefixPaused")
    # The operator that goes on from here is another one.
    bot.stage.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=operator")
    bot.stage.kubectl("annotate", "--overwrite", "llmcache", "bot", "llmcache.dev/rollout=promote@v4")
    bot.stage.kubectl("wait", "llmcache/bot", "--for=condition=Promoted", "--timeout=60s")
    assert bot.status["prefix"]["active"] == "v4"


def test_what_is_kept_no_longer_is_purged_and_nothing_else(bot: Bot) -> None:
    assert {key.split(":")[1] for key in bot.entries()} >= {"v1", "v4"}
    bot.apply("v4", retain={"duration": "0s"})
    bot.watch(lambda status: status["rollout"]["phase"] == "Stable")
    assert {key.split(":")[1] for key in bot.entries()} == {"v4"}
    assert [past["what"] for past in bot.status["prefix"]["history"]][:2] == ["Purged", "Purged"]
