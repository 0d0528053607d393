"""Git, Argo CD itself, and a prefix version that takes over: what Argo CD shows of it, and who writes what.

The Git repository is that of examples/16-gitops, with an LLMCache whose rollout is short and whose provider can be
taken away. The operator is a pod from the chart with the chart's rights.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from e2e.argocd import EXAMPLE, ArgoCD, Repository, running_argocd, settings_command
from e2e.bot import ROLLOUT, Bot, bring_provider_back, requests, start_provider, take_provider_away
from e2e.operators import eventually
from e2e.stage import Stage
from e2e.target import Target
from tests.operator.situations import EXPECTED, SITUATIONS

pytestmark = pytest.mark.timeout(600)

NAME = "support-bot"
WATCHED = "llmcache,deployment,statefulset,service,configmap,secret,horizontalpodautoscaler,poddisruptionbudget"


class Shown(NamedTuple):
    """What Argo CD shows of the Application."""

    health: str
    sync: str
    revision: str


@dataclass
class Delivery:
    """A repository, Argo CD that follows it, and the LLMCache that comes of it."""

    repository: Repository
    argocd: ArgoCD
    bot: Bot

    def say(self, version: str) -> str:
        """Commit another prefix version, and return the commit."""
        file = self.repository.folder / "caches" / "production" / "version.yaml"
        patch = yaml.safe_load(file.read_text())
        patch["spec"]["prefix"]["version"] = version
        file.write_text(yaml.safe_dump(patch))
        return self.repository.commit(f"{NAME}: {version}")

    @property
    def application(self) -> dict[str, Any]:
        status: dict[str, Any] = self.argocd.application("caches").get("status", {})
        return status

    @property
    def shown(self) -> Shown:
        status = self.application
        sync = status.get("sync", {})
        return Shown(status.get("health", {}).get("status", ""), sync.get("status", ""), sync.get("revision", ""))

    def follow(self, commit: str, until: Callable[[Shown], bool], seconds: float = 180) -> list[Shown]:
        """Return what Argo CD shows of a commit, each once, from when it is synced until something is so."""
        self.argocd.refresh("caches")
        seen: list[Shown] = []

        def done() -> bool:
            shown = self.shown
            if (shown.revision == commit and shown.sync == "Synced" and not seen) or (seen and seen[-1] != shown):
                seen.append(shown)
            return bool(seen) and until(seen[-1])

        try:
            eventually(done, seconds)
        except AssertionError as error:
            told = json.dumps(self.application, indent=1)
            raise AssertionError(f"{seen}\n{told}\n{self.argocd.seen()}\n{self.bot.stage.seen(NAME)}") from error
        return seen


@pytest.fixture(scope="module")
def delivery(argocd_program: Path, cluster: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivery]:
    """The first version, delivered: Argo CD says Healthy."""
    folder = tmp_path_factory.mktemp("argocd")
    with Stage.set(cluster, "llmcache-gitops") as stage, running_argocd(argocd_program, cluster, folder) as argocd:
        start_provider(stage)
        warm = ROLLOUT["warm"] | {
            "requestsFrom": {"configMapRef": {"name": f"{NAME}-faq", "key": "requests.jsonl"}},
            "timeout": "20s",
        }
        scaled = {"replicas": 2, "autoscaling": {"max": 4}}
        bot = Bot(stage, NAME, gateway=scaled, rollout=ROLLOUT | {"warm": warm})
        repository = Repository(tmp_path_factory.mktemp("git") / "repository")
        shutil.copytree(EXAMPLE / "caches", repository.folder / "caches")
        base = repository.folder / "caches" / "base"
        manifest = yaml.safe_load((base / "llmcache.yaml").read_text())
        manifest["spec"] = {"upstreams": [bot.upstream], **bot.spec}
        (base / "llmcache.yaml").write_text(yaml.safe_dump(manifest))
        (base / "requests.jsonl").write_text(requests())

        made = Delivery(repository, argocd, bot)
        commit = made.say("v1")
        application = yaml.safe_load((EXAMPLE / "argocd" / "caches.yaml").read_text())
        application["spec"]["source"]["repoURL"] = repository.url
        application["spec"]["destination"]["namespace"] = stage.namespace
        argocd.follow(application)
        made.follow(commit, lambda shown: shown.health == "Healthy")
        bot.wait_serving("v1")
        yield made


def test_a_commit_of_another_version_is_progressing_until_it_is_promoted_under_live_traffic(
    delivery: Delivery,
) -> None:
    before = delivery.bot.processes()
    with delivery.bot.traffic() as traffic:
        commit = delivery.say("v2")
        seen = delivery.follow(commit, lambda shown: shown.health == "Healthy" and _active(delivery) == "v2")
    assert [shown.health for shown in seen if shown.health == "Progressing"], seen
    # Synced all the while: a status that changes is nothing that Git has another opinion of.
    assert {(shown.sync, shown.revision) for shown in seen} == {("Synced", commit)}
    assert {shown.health for shown in seen} <= {"Progressing", "Healthy"}
    # Once it has begun it is not taken for done before it is.
    begun = [shown.health for shown in seen].index("Progressing")
    assert [shown.health for shown in seen[begun:]] == ["Progressing", "Healthy"]
    assert (traffic.wrong, traffic.errors) == ([], [])
    assert traffic.of("v1") > 0
    assert traffic.of("v2") > 0
    assert delivery.bot.processes() == before
    assert delivery.bot.condition("Promoted") == ("True", "Promoted")


@pytest.mark.parametrize("file", ["caches.yaml", "operator.yaml"])
def test_argo_cd_knows_every_field_of_the_applications(file: str, delivery: Delivery) -> None:
    checked = ["--dry-run=server", "--server-side", "--force-conflicts", "--validate=strict"]
    delivery.argocd.kubectl("apply", *checked, "-f", str(EXAMPLE / "argocd" / file))


def test_nobody_writes_while_nothing_changes(delivery: Delivery) -> None:
    stage = delivery.bot.stage
    eventually(lambda: delivery.bot.condition("Reconciling") == ("", ""))

    def versions() -> dict[str, str]:
        found = json.loads(stage.kubectl("get", WATCHED, "-o", "json"))["items"]
        return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in found}

    before, synced = versions(), delivery.application["history"]
    for _ in range(4):
        delivery.argocd.refresh("caches")
        time.sleep(4)
    assert versions() == before
    assert delivery.application["history"] == synced
    assert delivery.shown[:2] == ("Healthy", "Synced")


def test_spec_is_argo_cds_and_status_is_the_operators(delivery: Delivery) -> None:
    found = json.loads(delivery.bot.stage.kubectl("get", "llmcache", NAME, "-o", "json", "--show-managed-fields"))
    fields = {one["manager"]: set(one["fieldsV1"]) for one in found["metadata"]["managedFields"]}
    assert fields == {"argocd-controller": {"f:metadata", "f:spec"}, "llmcache-operator": {"f:status"}}


def test_an_edit_by_hand_is_healed_and_an_autoscaler_is_left_alone(delivery: Delivery) -> None:
    stage = delivery.bot.stage
    stage.kubectl("scale", f"deployment/{NAME}", "--replicas=3")
    stage.kubectl("patch", "llmcache", NAME, "--type=merge", "-p", '{"spec": {"prefix": {"version": "by-hand"}}}')
    eventually(lambda: delivery.bot.status.get("prefix", {}).get("target") == "v2", 60)
    eventually(lambda: delivery.shown[:2] == ("Healthy", "Synced"), 90)
    assert _active(delivery) == "v2"
    assert json.loads(stage.kubectl("get", "deployment", NAME, "-o", "json"))["spec"]["replicas"] == 3


def test_a_bad_version_ends_degraded_with_the_old_one_serving_and_git_revert_heals_it(delivery: Delivery) -> None:
    bot, old = delivery.bot, _active(delivery)
    bot.wait_serving(old)
    take_provider_away(bot.stage)
    with bot.traffic() as traffic:
        commit = delivery.say("v3")
        seen = delivery.follow(commit, lambda shown: shown.health == "Degraded")
        # Its entries are removed only once no gateway runs it.
        bot.watch(lambda status: not status["prefix"].get("purging"))
        traffic.forget()
        synced, generation = delivery.application["history"], bot.status["observedGeneration"]
        for _ in range(3):
            delivery.argocd.refresh("caches")
            time.sleep(3)
        failed = list(traffic.errors)
    assert {shown.sync for shown in seen} == {"Synced"}
    assert delivery.shown == ("Degraded", "Synced", commit)
    # What is live is what Git says: there is nothing to heal, and so no loop.
    assert (delivery.application["history"], bot.status["observedGeneration"]) == (synced, generation)
    assert (_active(delivery), traffic.wrong, failed) == (old, [], [])
    assert bot.condition("Stalled") == ("True", "RolloutAborted")

    commit = delivery.repository.revert()
    assert delivery.follow(commit, lambda shown: shown.health == "Healthy")
    assert _active(delivery) == old
    assert bot.condition("Stalled") == ("", "")
    bring_provider_back(bot.stage)


@pytest.mark.parametrize("situation", EXPECTED)
def test_argo_cd_itself_judges_every_situation_as_the_fast_tests_do(
    situation: str, argocd_program: Path, tmp_path: Path
) -> None:
    file = tmp_path / "llmcache.yaml"
    file.write_text(json.dumps(SITUATIONS[situation]()))
    _, health, actions = EXPECTED[situation]
    told = settings_command(argocd_program, "health", file)
    shown = "Progressing" if situation == "it is being deleted" else health
    assert f"STATUS: {shown}\n" in told
    listed = [line.split() for line in settings_command(argocd_program, "list-actions", file).splitlines()[1:] if line]
    assert sorted(name for name, disabled in listed if disabled == "false") == sorted(actions)


@pytest.mark.parametrize("before", [{}, {"llmcache.dev/rollout": "promote@v2"}])
def test_argo_cd_itself_runs_an_action(before: dict[str, str], argocd_program: Path, tmp_path: Path) -> None:
    canary = SITUATIONS["a version is a canary"]()
    canary["metadata"]["annotations"] = before
    file = tmp_path / "llmcache.yaml"
    file.write_text(json.dumps(canary))
    told = settings_command(argocd_program, "run-action", file, "promote").splitlines()
    added = [line[1:].strip() for line in told if line.startswith(">")]
    assert added[-1:] == [f"llmcache.dev/rollout: {'promote' if before else 'promote@v2'}"]
    assert set(added[:-1]) <= {"annotations:"}


def _active(delivery: Delivery) -> str:
    active: str = delivery.bot.status.get("prefix", {}).get("active", "")
    return active
