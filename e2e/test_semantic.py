"""What the operator tells of the semantic cache, with real gateways that have wrong hits."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e.stage import Stage
from e2e.target import Target

pytestmark = pytest.mark.timeout(600)

QUESTIONS = (
    "How do I reset my password?", "Which mountains are high?", "Who wrote this novel?", "What is a good soup?",
    "How do birds fly?", "When do trains leave?", "Why is the sea salty?", "How is glass made?",
)  # fmt: skip

LOOSE: dict[str, Any] = {
    "enabled": True, "deadline": "5s", "threshold": 0, "verifier": "none", "guards": False,
    "maxFalseHitRate": "50%", "sample": "100%",
}  # fmt: skip
"""Serves what is hardly alike, so that the first sample is wrong already."""


@pytest.fixture(scope="module")
def stage(cluster: Target) -> Iterator[Stage]:
    with Stage.set(cluster, "llmcache-semantic") as found:
        yield found


def apply(stage: Stage, **changes: Any) -> None:
    echo = {"name": "echo", "provider": "echo"}
    stage.apply("loose", echo, gateway={"replicas": 1}, semantic=LOOSE | changes)


def condition(stage: Stage) -> dict[str, Any] | None:
    status = json.loads(stage.kubectl("get", "llmcache", "loose", "-o", "json"))["status"]
    return next((one for one in status["conditions"] if one["type"] == "SemanticExactOnly"), None)


def events(stage: Stage) -> list[tuple[str, str]]:
    found = json.loads(stage.kubectl("get", "events.v1.events.k8s.io", "-o", "json"))["items"]
    return [(one["type"], one["reason"]) for one in found if one["reason"].startswith("Semantic")]


def until(stage: Stage, holds: Callable[[], bool]) -> None:
    """Wait, and have the operator look meanwhile: what somebody notes on the resource makes it look at once."""
    deadline, looks = time.monotonic() + 240, 0
    while not holds():
        assert time.monotonic() < deadline, stage.seen("loose")
        looks += 1
        stage.kubectl("annotate", "--overwrite", "llmcache", "loose", f"example.com/look={time.time():.0f}-{looks}")
        time.sleep(2)


def test_a_policy_whose_hits_were_wrong_says_so_until_something_else_decides(stage: Stage) -> None:
    apply(stage)
    stage.wait_ready("loose")
    assert condition(stage) is None
    with stage.clients("loose") as (client, _):
        for question in QUESTIONS:
            messages: Any = [{"role": "user", "content": question}]
            answer = client.chat.completions.with_raw_response.create(model="m", messages=messages)
            if answer.headers["X-LLMCache"] == "HIT":
                break
            time.sleep(0.5)  # it is taken in behind the client's back
    until(stage, lambda: condition(stage) is not None)

    found = condition(stage)
    assert found is not None
    assert (found["status"], found["reason"]) == ("True", "FalseHits")
    assert found["message"].endswith("policy: default")
    until(stage, lambda: ("Warning", "SemanticExactOnly") in events(stage))

    apply(stage, guards=True)
    until(stage, lambda: condition(stage) is None)
    until(stage, lambda: ("Normal", "SemanticRecovered") in events(stage))
    assert sorted(events(stage)) == [("Normal", "SemanticRecovered"), ("Warning", "SemanticExactOnly")]
