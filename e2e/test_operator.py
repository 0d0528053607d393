"""The operator against a real API server, with the rights that docs/operator.md lists and no others.

The operator is a process beside the cluster here; as a pod from the chart it is in test_quickstart.py.
"""

import copy
import json
import re
import time
from typing import Any

import pytest

from e2e.operators import Kubectl, Operator, eventually, manifest
from e2e.test_surface import NOWHERE
from llmcache_operator.crd import definition
from llmcache_operator.observed import Pod, read_pods
from tests.operator.rules import accepted as of_rules
from tests.operator.rules import refused as against_rules
from tests.operator.test_rules import nodes

pytestmark = pytest.mark.timeout(300)  # a Redis that crashed is started again after half a minute, or a whole one

OPENAI = {"name": "openai", "provider": "openai", "baseURL": "https://api.openai.com/v1"}


def _with_redis(name: str) -> dict[str, Any]:
    return manifest(name, cache={"store": {"type": "tiered"}}, redis={"managed": {"memory": "64Mi"}})


def _noted(kubectl: Kubectl, name: str) -> list[str]:
    """Reasons of the Events about an LLMCache."""
    about = [event for event in kubectl.list("events") if event["involvedObject"]["kind"] == "LLMCache"]
    return [event["reason"] for event in about if event["involvedObject"]["name"] == name]


REFUSED = {
    "an unknown provider": (
        manifest("x", upstreams=[{"name": "x", "provider": "nobody"}]),
        'Unsupported value: "nobody": supported values: "openai", ',
    ),
    "no address": (
        manifest("x", upstreams=[{"name": "x", "provider": "openai"}]),
        "spec.upstreams[0].baseURL: Invalid value: baseURL is required for this provider",
    ),
    "two credentials": (
        manifest("x", upstreams=[OPENAI | {"credential": {"env": "A", "passthrough": True}}]),
        "set exactly one of secretRef, env, file, googleServiceAccount, googleWorkloadIdentity: true or "
        "passthrough: true",
    ),
    "a duration in words": (
        manifest("x", cache={"ttl": "an hour"}),
        "spec.cache.ttl: Invalid value: expected a duration, such as 60s, 1h30m, 7d",
    ),
    "no time at all": (
        manifest("x", cache={"ttl": "0s"}),
        "spec.cache.ttl: Invalid value: ttl must be longer than zero; to cache nothing set mode: Disabled",
    ),
    "a store without its Redis": (
        manifest("x", cache={"store": {"type": "tiered"}}),
        "spec.redis: Invalid value: this store type needs a Redis: set spec.redis, such as redis: {managed: {}}",
    ),
    "a Redis that nothing uses": (
        manifest("x", redis={"managed": {}}),
        "remove spec.redis, or set cache.store: {type: tiered}",
    ),
    "a Redis that is neither": (
        manifest("x", cache={"store": {"type": "redis"}}, redis={}),
        "spec.redis: Invalid value: set exactly one of managed or external",
    ),
    "memory in bytes": (
        manifest("x", cache={"store": {"type": "redis"}}, redis={"managed": {"memory": "1000"}}),
        "memory must be a whole number of Mi, Gi or Ti, such as 256Mi",
    ),
    "steps that fall": (
        manifest("x", rollout={"strategy": "Canary", "canary": {"steps": [{"percent": 25}, {"percent": 5}]}}),
        "spec.rollout.canary.steps: Invalid value: the percents of steps must rise, such as 5, 25, 50",
    ),
    "a canary without steps": (
        manifest("x", rollout={"strategy": "Canary"}),
        "strategy Canary needs steps: set canary: {steps: [{percent: 5, pause: 5m}]}",
    ),
    "a pause that is no time": (
        manifest("x", rollout={"strategy": "Canary", "canary": {"steps": [{"percent": 5, "pause": "long"}]}}),
        "expected a duration (without pause, the step waits until a person promotes), such as 5m, 1h",
    ),
    "an analysis that nothing asks for": (
        manifest("x", rollout={"analysis": {"minRequests": 5}}),
        "analysis has no effect with strategy Immediate: remove it, or set strategy: Canary",
    ),
    "a misspelt field": (manifest("x", upstrems=[]), 'unknown field "spec.upstrems"'),
    "no prefix version": (manifest("x", prefix={}), "spec.prefix.version: Required value"),
    "a name that is too long": (manifest("x" * 47), "the name may have 46 characters at most"),
    "a name that begins with a digit": (manifest("1x"), "the name must begin with a letter"),
}


@pytest.mark.parametrize(("refused", "message"), [pytest.param(*case, id=i) for i, case in REFUSED.items()])
def test_a_bad_manifest_is_refused_with_what_to_write_instead(
    refused: dict[str, Any], message: str, admin: Kubectl
) -> None:
    done = admin.run("create", "--dry-run=server", "-f", "-", stdin=refused)
    assert done.returncode != 0
    # The value is shown before the message, in one of several ways from version to version.
    said = re.sub(r"Invalid value: (\"(\\.|[^\"\\])*\"|\{.*?\}|[0-9]+|null): ", "Invalid value: ", done.stderr)
    assert message in said


def test_the_api_server_refuses_what_the_rules_refuse_with_the_same_messages(admin: Kubectl) -> None:
    tables = (against_rules.REFUSED, of_rules.ACCEPTED)
    refused, accepted = (copy.deepcopy(list(table.values())) for table in tables)
    for one in (*refused, *accepted):
        one["metadata"]["namespace"] = admin.namespace
    words = ("create", "--dry-run=server", "-f", "-")

    done = admin.run(*words, stdin=accepted)
    assert done.stderr == ""

    done = admin.run(*words, stdin=refused)
    assert done.stdout == ""
    schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    told = {rule["message"] for _, node in nodes(schema) for rule in node.get("x-kubernetes-validations", ())}
    # Those of single texts have a table of their own.
    rules = sorted(message for message in told if not message.startswith("expected "))
    assert [message for message in rules if message not in done.stderr] == []


def test_nobody_has_looked_at_a_new_resource_and_its_status_says_so(admin: Kubectl) -> None:
    admin.apply(manifest("unseen"))
    resource = admin.get("llmcache", "unseen")
    assert resource is not None
    assert resource["status"] == {"observedGeneration": -1}
    cache = resource["spec"]["cache"]
    assert (cache["mode"], cache["ttl"], cache["store"]) == ("Enabled", "1h", {"type": "memory", "timeout": "50ms"})
    admin("delete", "llmc", "unseen")


CHILDREN = [
    "deployment/all", "service/all", "poddisruptionbudget/all", "configmap/all-gateway", "secret/all-gateway",
    "statefulset/all-redis", "service/all-redis", "networkpolicy/all-redis", "configmap/all-redis", "secret/all-redis",
]  # fmt: skip


@pytest.fixture(scope="module")
def complete(admin: Kubectl, operator: Operator) -> Kubectl:
    """An LLMCache with everything, settled."""
    admin.apply(_with_redis("all"))
    admin.reaches("all", "Ready", ("True", "ScaledToZero"))
    return admin


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_appears_owned_by_its_resource(child: str, complete: Kubectl) -> None:
    owner, found = complete.get("llmcache", "all"), complete.get(*child.split("/"))
    assert owner is not None
    assert found is not None
    (reference,) = found["metadata"]["ownerReferences"]
    assert reference["uid"] == owner["metadata"]["uid"]
    assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "llmcache-operator"


def test_kubectl_get_shows_the_state(complete: Kubectl) -> None:
    header, row = complete("get", "llmc", "all").splitlines()
    assert header.split() == ["NAME", "READY", "ACTIVE", "TARGET", "CANARY", "REPLICAS", "HITS", "SAVED", "AGE"]
    assert row.split()[:5] == ["all", "True", "v1", "v1", "0"]
    assert f"http://all.{complete.namespace}.svc:4000" in complete("get", "llmcache", "all", "-o", "wide")


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_that_is_deleted_comes_back(child: str, complete: Kubectl) -> None:
    before = complete.get(*child.split("/"))
    assert before is not None
    complete("delete", child, "--wait=false")

    def back() -> bool:
        after = complete.get(*child.split("/"))
        return after is not None and after["metadata"]["uid"] != before["metadata"]["uid"]

    eventually(back)


EDITS = {
    "deployment/all": {"spec": {"replicas": 3}},
    "service/all": {"spec": {"selector": {"app.kubernetes.io/instance": "somebody"}}},
    "configmap/all-gateway": {"data": {"gateway.yaml": "nonsense"}},
    "statefulset/all-redis": {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}},
    "poddisruptionbudget/all": {"spec": {"maxUnavailable": 2}},
    "networkpolicy/all-redis": {"spec": {"ingress": [{}]}},
    "service/all-redis": {"spec": {"selector": {"app.kubernetes.io/instance": "somebody"}}},
    "configmap/all-redis": {"data": {"redis.conf": "maxmemory 1"}},
    "secret/all-redis": {"data": {"users.acl": "bm9uc2Vuc2U="}},
    "secret/all-gateway": {"metadata": {"labels": {"app.kubernetes.io/part-of": "other"}}},
}


@pytest.mark.parametrize("child", EDITS)
def test_an_edit_by_hand_is_put_back(child: str, complete: Kubectl) -> None:
    before = complete.get(*child.split("/"))
    assert before is not None
    complete("patch", child, "--type=merge", "-p", json.dumps(EDITS[child]))

    def restored() -> bool:
        after = complete.get(*child.split("/"))
        assert after is not None
        same = [after.get(part) == before.get(part) for part in ("spec", "data")]
        return all(same) and after["metadata"]["labels"] == before["metadata"]["labels"]

    eventually(restored)


def test_what_others_add_stays(complete: Kubectl) -> None:
    complete("annotate", "deployment/all", "team=search")
    time.sleep(3)
    deployment = complete.get("deployment", "all")
    assert deployment is not None
    assert deployment["metadata"]["annotations"]["team"] == "search"


def test_nothing_is_written_while_nothing_changes(complete: Kubectl, operator: Operator) -> None:
    def versions() -> dict[str, str]:
        every = [complete.get(*child.split("/")) or {} for child in [*CHILDREN, "llmcache/all"]]
        return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in every}

    def is_done(pod: Pod) -> bool:
        # What crashed while another had its port is started again, ten seconds later.
        return pod.ready or (pod.trouble is not None and pod.trouble.reason != "RedisCrashLooping")

    def are_done(pods: list[dict[str, Any]]) -> bool:
        staying = read_pods(pods, "redis")
        return len(staying) == len(pods) and all(map(is_done, staying))

    def at_rest() -> bool:
        # Kubernetes' own controllers write statuses too, and have to be done with what came before: so has the
        # kubelet with Redis, which an edit by hand has restarted, and which gets ready, or fails to, without a sign.
        earlier = versions()
        time.sleep(2)
        return versions() == earlier and are_done(complete.list("pods", "app.kubernetes.io/instance=all"))

    eventually(at_rest, 200)
    before, writes = versions(), operator.total("llmcache_operator_applies_total")
    turns = operator.total("llmcache_operator_reconciles_total")
    eventually(lambda: operator.total("llmcache_operator_reconciles_total") >= turns + 6)
    assert operator.total("llmcache_operator_applies_total") == writes
    assert versions() == before


def test_a_new_version_changes_the_configuration_and_no_pod(complete: Kubectl) -> None:
    def generation() -> Any:
        return (complete.get("deployment", "all") or {})["metadata"]["generation"]

    before = generation()
    complete("patch", "llmc", "all", "--type=merge", "-p", '{"spec": {"prefix": {"version": "v2"}}}')

    def in_use() -> tuple[str, str]:
        prefix = (complete.get("llmcache", "all") or {})["status"]["prefix"]
        return prefix["active"], prefix["target"]

    eventually(lambda: in_use() == ("v2", "v2"))
    assert "version: v2" in (complete.get("configmap", "all-gateway") or {})["data"]["gateway.yaml"]
    assert generation() == before


def test_kubectl_scale_works(complete: Kubectl) -> None:
    complete("scale", "llmc/all", "--replicas=1")
    eventually(lambda: (complete.get("deployment", "all") or {})["spec"]["replicas"] == 1)
    complete("scale", "llmc/all", "--replicas=0")
    complete.reaches("all", "Ready", ("True", "ScaledToZero"))


def test_a_missing_secret_is_told_once_and_recovery_needs_no_help(admin: Kubectl, operator: Operator) -> None:
    credential = {"secretRef": {"name": "late", "key": "api-key"}}
    admin.apply(manifest("late", upstreams=[OPENAI | {"credential": credential}]))
    admin.reaches("late", "Degraded", ("True", "SecretMissing"))
    assert admin.condition("late", "Ready") == ("False", "SecretMissing")
    assert admin.condition("late", "Reconciling") == ("True", "SecretMissing")
    assert admin.get("deployment", "late") is None

    admin("create", "secret", "generic", "late", "--from-literal=other=1")
    eventually(lambda: "no key api-key" in admin("get", "llmc", "late", "-o", "wide"))

    admin("patch", "secret", "late", "--type=merge", "-p", '{"stringData": {"api-key": "sk-hidden"}}')
    admin.reaches("late", "Degraded", ("False", "AsExpected"))
    admin.reaches("late", "Ready", ("True", "ScaledToZero"))
    assert admin.condition("late", "Reconciling") == ("", "")
    assert sorted(_noted(admin, "late")) == ["PrefixActivated", "Recovered", "SecretMissing"]
    assert "sk-hidden" not in admin("get", "llmc,cm,deploy,events", "-o", "yaml") + operator.log.read_text()


def test_a_spec_that_only_python_refuses_stalls_and_leaves_what_runs(admin: Kubectl, operator: Operator) -> None:
    admin.apply(manifest("odd"))
    admin.reaches("odd", "Ready", ("True", "ScaledToZero"))
    admin.apply(manifest("odd", upstreams=[OPENAI | {"credential": {"env": "OPENAI_API_KEY"}}]))
    admin.reaches("odd", "Stalled", ("True", "InvalidSpec"))
    assert "provider: echo" in (admin.get("configmap", "odd-gateway") or {})["data"]["gateway.yaml"]
    admin.apply(manifest("odd"))
    admin.reaches("odd", "Stalled", ("", ""))


def test_gateways_that_kubernetes_waits_for_no_longer_stall_the_resource(admin: Kubectl, operator: Operator) -> None:
    admin.apply(manifest("stuck", gateway={"replicas": 1, "podTemplate": NOWHERE}))
    eventually(lambda: admin.get("deployment", "stuck"))
    # Nobody's but ours here: ten minutes are long for a test.
    admin("patch", "deployment/stuck", "--type=merge", "-p", '{"spec": {"progressDeadlineSeconds": 2}}')
    admin.reaches("stuck", "Stalled", ("True", "GatewaysUnavailable"))
    assert admin.condition("stuck", "Degraded") == ("True", "GatewaysUnavailable")
    assert admin.condition("stuck", "Ready") == ("False", "GatewaysUnavailable")
    assert admin.condition("stuck", "Reconciling") == ("", "")
    eventually(lambda: "GatewaysUnavailable" in _noted(admin, "stuck"))
    admin.apply(manifest("stuck", gateway={"replicas": 1}))
    admin.reaches("stuck", "Ready", ("True", "Serving"), 120)
    admin.reaches("stuck", "Stalled", ("", ""))


def test_a_purge_that_no_gateway_can_make_says_so_and_holds_up_that_version_only(
    admin: Kubectl, operator: Operator
) -> None:
    shared = manifest(
        "unpurged",
        cache={"store": {"type": "redis"}},
        redis={"external": {"url": "redis://nowhere.example.com:6379/0"}},
        rollout={"retain": {"duration": "0s"}},
    )

    def ask_for(version: str) -> None:
        admin.apply(shared | {"spec": shared["spec"] | {"prefix": {"version": version}}})

    def rollout() -> Any:
        return (admin.get("llmcache", "unpurged") or {})["status"]["rollout"]

    ask_for("v1")
    admin.reaches("unpurged", "Promoted", ("True", "Promoted"))
    ask_for("v2")
    eventually(lambda: rollout().get("reason") == "NoGateway")
    assert rollout()["message"] == "the entries of v1 are removed once a gateway runs"
    assert admin.condition("unpurged", "Ready") == ("True", "ScaledToZero")
    assert admin.condition("unpurged", "Promoted") == ("True", "Promoted")

    ask_for("v1")
    admin.reaches("unpurged", "Promoted", ("False", "NoGateway"))
    assert admin.condition("unpurged", "Reconciling") == ("True", "PrefixPurging")
    assert admin.condition("unpurged", "Ready") == ("True", "ScaledToZero")
    admin("annotate", "llmc", "unpurged", "llmcache.dev/rollout=promote@v1")
    eventually(lambda: "AnnotationIgnored" in _noted(admin, "unpurged"))
    ask_for("v3")
    admin.reaches("unpurged", "Promoted", ("True", "Promoted"))


def test_an_object_of_somebody_else_is_never_taken(admin: Kubectl, operator: Operator) -> None:
    admin("create", "service", "clusterip", "taken", "--tcp=80")
    admin.apply(manifest("taken"))
    admin.reaches("taken", "Stalled", ("True", "NameTaken"))
    assert (admin.get("service", "taken") or {})["spec"]["ports"][0]["port"] == 80
    admin("delete", "service", "taken")
    admin.reaches("taken", "Ready", ("True", "ScaledToZero"))


def test_a_redis_that_is_no_longer_asked_for_goes(admin: Kubectl, operator: Operator) -> None:
    admin.apply(_with_redis("less"))
    eventually(lambda: admin.get("statefulset", "less-redis"))
    bare = manifest("less")
    bare["spec"]["cache"] = {"store": {"type": "memory"}}
    admin.apply(bare)
    kinds = ("statefulset", "service", "configmap", "secret", "networkpolicy")
    eventually(lambda: not [kind for kind in kinds if admin.get(kind, "less-redis")])
    assert admin.get("deployment", "less")


def test_an_api_server_that_refuses_a_child_stalls_the_resource(admin: Kubectl, operator: Operator) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    admin.apply(quota | {"spec": {"hard": {"count/poddisruptionbudgets.policy": "0"}}})
    eventually(lambda: (admin.get("resourcequota", "none") or {}).get("status", {}).get("hard"))
    admin.apply(manifest("refused"))
    admin.reaches("refused", "Stalled", ("True", "ApplyFailed"))
    assert admin.get("deployment", "refused"), "one refusal must not hold up the rest"
    admin("delete", "resourcequota", "none")
    admin.reaches("refused", "Stalled", ("", ""))


def test_a_resource_made_anew_under_its_old_name_settles(admin: Kubectl, operator: Operator) -> None:
    admin.apply(manifest("again"))
    admin.reaches("again", "Ready", ("True", "ScaledToZero"))
    first = (admin.get("llmcache", "again") or {})["metadata"]["uid"]
    admin("delete", "llmc", "again", "--wait=true")
    admin.apply(manifest("again"))

    def ours() -> bool:
        deployment = admin.get("deployment", "again")
        return deployment is not None and deployment["metadata"]["ownerReferences"][0]["uid"] != first

    eventually(ours, 60)
    admin.reaches("again", "Ready", ("True", "ScaledToZero"))


def test_the_operator_writes_nothing_on_the_resource_but_its_status(complete: Kubectl) -> None:
    resource = complete.get("llmcache", "all")
    assert resource is not None
    assert "finalizers" not in resource["metadata"]
    shown = json.loads(complete("get", "llmc", "all", "-o", "json", "--show-managed-fields"))["metadata"]
    fields = [entry for entry in shown["managedFields"] if entry["manager"] == "llmcache-operator"]
    assert [(entry["subresource"], list(entry["fieldsV1"])) for entry in fields] == [("status", ["f:status"])]


def test_deleting_the_resource_deletes_everything(complete: Kubectl) -> None:
    complete("delete", "llmc", "all")
    eventually(lambda: not [child for child in CHILDREN if complete.get(*child.split("/"))], 60)
