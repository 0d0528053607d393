"""The whole life of a prefix version under live traffic: warmed, in steps, promoted, gone back to, aborted, purged.

The operator is a pod from the chart with the chart's rights; two gateways share a managed Redis; the traffic is that of
the official SDK; the provider is an LLMCache of its own that answers with the question, or is taken away.
"""

import json
import re
import time
from collections.abc import Iterator

import pytest

from e2e.bot import ROLLOUT, Bot, bring_provider_back, requests, start_provider, take_provider_away
from e2e.operators import eventually
from e2e.stage import Stage
from e2e.target import Target

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def bot(cluster: Target) -> Iterator[Bot]:
    """An LLMCache at its first version, with every question answered once."""
    with Stage.set(cluster, "llmcache-rollout") as stage:
        start_provider(stage)
        stage.kubectl("create", "configmap", "faq", f"--from-literal=requests.jsonl={requests()}")
        made = Bot(stage)
        made.apply("v1")
        made.wait_serving("v1")
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
        seen = bot.watch(lambda status: status["prefix"]["active"] == "v1")
        time.sleep(1)
    assert not {"Warming", "Canary", "Paused"} & {status["rollout"]["phase"] for status in seen}
    assert (traffic.wrong, traffic.errors) == ([], [])
    assert ("v1", "MISS") not in traffic.answers


def test_a_version_whose_misses_fail_is_aborted_and_the_old_one_goes_on_serving(bot: Bot) -> None:
    take_provider_away(bot.stage)
    with bot.traffic() as traffic:
        bot.apply("v3", warm={"requestsFrom": ROLLOUT["warm"]["requestsFrom"], "timeout": "5s"})
        seen = bot.watch(lambda status: status["rollout"]["phase"] == "Aborted", 180)
        # Its entries are removed only once no gateway runs it.
        bot.watch(lambda status: not status["prefix"].get("purging"))
        traffic.forget()
        time.sleep(2)
        after = list(traffic.errors)
    assert seen[-1]["prefix"]["active"] == "v1"
    assert "misses failed, at most 5% may" in seen[-1]["rollout"]["message"]
    assert bot.condition("Stalled") == ("True", "RolloutAborted")
    assert bot.condition("Ready")[0] == "True"
    assert bot.condition("Promoted") == ("False", "MissesFail")
    assert (traffic.wrong, after) == ([], [])
    assert {"WarmingFailed", "RolloutAborted"} <= set(bot.events())
    assert not [key for key in bot.entries() if key.split(":")[1] == "v3"]


def test_an_abort_is_over_once_git_says_the_old_version_again(bot: Bot) -> None:
    bot.apply("v1")
    bot.watch(lambda status: status["rollout"]["phase"] == "Retaining")
    assert bot.condition("Stalled") == ("", "")
    bring_provider_back(bot.stage)


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


def test_a_warming_that_nobody_wants_any_more_ends_with_its_job(bot: Bot) -> None:
    bot.stage.kubectl("create", "configmap", "long", f"--from-literal=requests.jsonl={requests(1000)}")
    long = {"configMapRef": {"name": "long", "key": "requests.jsonl"}}
    slowly = {"requestsFrom": long, "maxRequestsPerSecond": 1, "timeout": "30m"}

    def warming() -> dict[str, str]:
        """The versions that are being warmed, each with the phase of its pod."""
        pods = json.loads(bot.stage.kubectl("get", "pods", "-l", "app.kubernetes.io/component=warm", "-o", "json"))
        jobs = json.loads(bot.stage.kubectl("get", "jobs", "-o", "json"))["items"]
        version = {one["metadata"]["name"]: one["metadata"]["annotations"]["llmcache.dev/version"] for one in jobs}
        phase = {one["metadata"]["labels"]["job-name"]: one["status"]["phase"] for one in pods["items"]}
        return {version.get(job, job): phase[job] for job in phase if phase[job] not in ("Succeeded", "Failed")}

    bot.apply("v5", warm=slowly)
    eventually(lambda: warming() == {"v5": "Running"}, 120)
    bot.apply("v6", warm=slowly)
    eventually(lambda: warming() == {"v6": "Running"}, 120)
    bot.stage.kubectl("annotate", "--overwrite", "llmcache", "bot", "llmcache.dev/rollout=abort@v6")
    bot.watch(lambda status: status["rollout"]["phase"] == "Aborted" and not status["prefix"].get("purging"))
    assert bot.condition("Stalled") == ("True", "RolloutAborted")
    eventually(lambda: warming() == {}, 120)
    assert {"RolloutSuperseded", "RolloutAborted"} <= set(bot.events())
    assert {key.split(":")[1] for key in bot.entries()} == {"v4"}
