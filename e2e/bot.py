"""An LLMCache whose prefix version moves under live traffic, and what its clients meet."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai

from e2e.stage import Stage

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
    since: float = 0.0

    def of(self, version: str) -> int:
        return sum(count for (answered, _), count in self.answers.items() if answered == version)

    def forget(self) -> None:
        """Have only errors count of requests that begin from here on: one that is under way may take half a minute."""
        self.since = time.monotonic()
        self.errors.clear()


def talk(client: openai.OpenAI, seed: int, traffic: Traffic, ended: threading.Event) -> None:
    dice = random.Random(seed)
    while not ended.is_set():
        question, streamed = dice.choice(QUESTIONS), dice.random() < 0.3
        began = time.monotonic()
        try:
            said, headers = ask(client, question, streamed)
        except openai.APIError as error:
            if began >= traffic.since:
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


def start_provider(stage: Stage) -> None:
    """Run the provider of these tests: an LLMCache of its own that answers with the question."""
    echo = {"name": "echo", "provider": "echo", "echo": {"delay": "5ms"}}
    stage.apply("provider", echo, cache={"mode": "Disabled"}, gateway={"replicas": 1})
    stage.kubectl("create", "secret", "generic", "provider", "--from-literal=api-key=sk-provider")
    stage.wait_ready("provider")


def take_provider_away(stage: Stage) -> None:
    """Have no provider, so that every miss fails."""
    stage.kubectl("patch", "llmcache", "provider", "--type=merge", "-p", '{"spec": {"gateway": {"replicas": 0}}}')
    stage.kubectl("wait", "--for=delete", "pod", "-l", "app.kubernetes.io/instance=provider", "--timeout=90s")


def bring_provider_back(stage: Stage) -> None:
    """Have the provider again."""
    stage.kubectl("patch", "llmcache", "provider", "--type=merge", "-p", '{"spec": {"gateway": {"replicas": 1}}}')
    stage.kubectl("wait", "llmcache/provider", "--for=jsonpath={.status.readyReplicas}=1", "--timeout=60s")


def requests(number: int = 10) -> str:
    """Return the lines of a list to warm from."""
    messages = ({"role": "user", "content": f"question {question}"} for question in range(number))
    bodies = ({"model": "gpt-4o", "messages": [message]} for message in messages)
    return "".join(json.dumps({"path": "/v1/chat/completions", "body": body}) + "\n" for body in bodies)


class Bot:
    """The LLMCache of these tests; `name` is what it is called."""

    def __init__(self, stage: Stage, name: str = "bot", **spec: Any) -> None:
        self.stage = stage
        self.name = name
        self.spec: dict[str, Any] = {
            "prefix": {"version": "v1"},
            # A machine that is busy with tests must not turn hits into misses.
            "cache": {"store": {"type": "tiered", "timeout": "2s"}},
            "redis": {"managed": {"memory": "64Mi"}},
            "tenancy": {"isolation": "Shared"},
            "gateway": {"replicas": 2},
            "rollout": ROLLOUT,
        } | spec

    @property
    def upstream(self) -> dict[str, Any]:
        address = f"http://provider.{self.stage.namespace}.svc:4000/v1"
        credential = {"secretRef": {"name": "provider", "key": "api-key"}}
        return {"name": "provider", "provider": "openai", "baseURL": address, "credential": credential}

    def apply(self, version: str, **rollout: Any) -> None:
        self.spec["prefix"]["version"] = version
        self.stage.apply(self.name, self.upstream, **self.spec | {"rollout": ROLLOUT | rollout})

    def wait_serving(self, version: str) -> None:
        """Wait until a version is active, and have every question answered once by each gateway."""
        self.stage.wait_ready(self.name)
        self.watch(lambda status: status["prefix"].get("active") == version)
        with self.stage.clients(self.name) as clients:
            for client in clients:
                assert [ask(client, question)[0] for question in QUESTIONS] == [f"echo: {text}" for text in QUESTIONS]

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stage.kubectl("get", "llmcache", self.name, "-o", "json"))
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
        raise AssertionError(f"not within {seconds} s; last seen:\n" + "\n".join(told) + self.stage.seen(self.name))

    def processes(self) -> list[tuple[str, int]]:
        return sorted(
            (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])
            for pod in self.stage.pods(self.name)
        )

    def events(self) -> list[str]:
        found = json.loads(self.stage.kubectl("get", "events", "-o", "json"))["items"]
        return [one["reason"] for one in found if one["involvedObject"]["name"] == self.name]

    def entries(self) -> list[str]:
        """Keys of what is cached, as the admin port lists them."""
        secret = json.loads(self.stage.kubectl("get", "secret", f"{self.name}-gateway", "-o", "json"))["data"][
            "admin-token"
        ]
        with self.stage.reach(self.stage.pods(self.name)[0]["metadata"]["name"], 4001) as url:
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
        with self.stage.clients(self.name) as clients:
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
