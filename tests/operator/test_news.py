"""Which events of a watch make for a look, in virtual time."""

import asyncio
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from llmcache_operator.news import STATUS, News, gist
from tests.virtual_time import run_virtually

OF = ("ai", "demo")
DEPLOYMENT = ("Deployment", "demo")
LIVE: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "demo", "namespace": "ai", "uid": "uid-2", "resourceVersion": "7", "generation": 1,
        "labels": {"team": "search"}, "managedFields": [{"manager": "llmcache-operator"}],
    },
    "spec": {"replicas": 2},
    "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1},
}  # fmt: skip


def _changed(**parts: dict[str, Any]) -> dict[str, Any]:
    live = deepcopy(LIVE)
    for part, fields in parts.items():
        live[part] |= fields
    return live


def _turns(script: Callable[[News], None]) -> list[float]:
    """When the LLMCache got a turn."""
    turns: list[float] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        script(News(lambda _: turns.append(round(loop.time(), 1)), loop.call_later))
        await asyncio.sleep(10)

    run_virtually(run())
    return turns


NEWS = {
    "spec": _changed(spec={"replicas": 3}),
    "a label": _changed(metadata={"labels": {"team": "other"}}),
    "an annotation": _changed(metadata={"annotations": {"team": "search"}}),
    "its owner": _changed(metadata={"ownerReferences": [{"uid": "uid-1"}]}),
    "a pod that is ready": _changed(status={"readyReplicas": 2}),
    "pods that are refused": _changed(status={"conditions": [{"type": "ReplicaFailure", "message": "quota"}]}),
    "its deletion": _changed(metadata={"deletionTimestamp": "2026-11-26T12:00:00Z"}),
    "its absence": None,
}
ECHOES = {
    "the same": LIVE,
    "who wrote it, and when": _changed(metadata={"managedFields": [], "resourceVersion": "9", "generation": 4}),
    "what its controller notes": _changed(metadata={"annotations": {"deployment.kubernetes.io/revision": "1"}}),
    "a condition that no look reads": _changed(status={"conditions": [{"type": "Available", "status": "True"}]}),
}


@pytest.mark.parametrize("live", [pytest.param(live, id=name) for name, live in NEWS.items()])
def test_what_no_look_has_read_makes_for_one(live: dict[str, Any] | None) -> None:
    def script(news: News) -> None:
        news.read(OF, DEPLOYMENT, LIVE)
        news.heard(OF, DEPLOYMENT, live, 0.2)

    assert _turns(script) == [0.2]


@pytest.mark.parametrize("live", [pytest.param(live, id=name) for name, live in ECHOES.items()])
def test_what_a_look_has_read_makes_for_none(live: dict[str, Any]) -> None:
    def script(news: News) -> None:
        news.read(OF, DEPLOYMENT, LIVE)
        news.heard(OF, DEPLOYMENT, live, 0.2)

    assert _turns(script) == []


def test_an_event_that_is_faster_than_the_answer_to_our_write_is_none() -> None:
    def script(news: News) -> None:
        news.heard(OF, DEPLOYMENT, LIVE, 0.2)
        asyncio.get_running_loop().call_later(0.1, news.read, OF, DEPLOYMENT, LIVE)

    assert _turns(script) == []


def test_several_events_of_one_object_make_for_one_look_and_the_last_one_counts() -> None:
    def script(news: News) -> None:
        news.read(OF, DEPLOYMENT, LIVE)
        for ready in (0, 2, 1):
            news.heard(OF, DEPLOYMENT, _changed(status={"readyReplicas": ready}), 0.2)
        news.heard(OF, ("Deployment", "other"), LIVE, 0.2)

    assert _turns(script) == [0.2]


def test_what_nobody_has_looked_at_is_news_when_it_is_there_and_none_when_it_is_gone() -> None:
    def script(news: News) -> None:
        news.heard(OF, DEPLOYMENT, LIVE, 0.2)
        news.heard(OF, ("Service", "demo"), None, 0.2)
        news.read(OF, ("ConfigMap", "demo"), LIVE)
        news.forget(OF)
        news.heard(OF, ("ConfigMap", "demo"), None, 0.2)

    assert _turns(script) == [0.2]


def test_an_llmcache_and_its_status_are_told_apart() -> None:
    edited, told = _changed(spec={"replicas": 3}), _changed(status={"readyReplicas": 0})
    assert gist("LLMCache", LIVE) == gist("LLMCache", told) != gist("LLMCache", edited)
    assert gist(STATUS, LIVE) == gist(STATUS, edited) != gist(STATUS, told)


def test_the_status_of_a_kind_of_which_none_is_read_is_no_news() -> None:
    assert gist("PodDisruptionBudget", LIVE) == gist("PodDisruptionBudget", _changed(status={"readyReplicas": 0}))
