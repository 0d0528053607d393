"""The Job that warms: valid, restricted, bounded, and read for what it did."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml

from llmcache_gateway.config import Warm
from llmcache_operator import specs
from llmcache_operator.manifests import read
from llmcache_operator.rollout.turn import Warmed
from llmcache_operator.specs import warming

IMAGES = specs.Images("llmcache-gateway:test", "redis:test", "IfNotPresent")
VALUES = specs.Generated(admin_token="admin", tenant_key="tenant", redis_password="password", redis_admin_password="")
QUICKSTART = Path(__file__).parents[2] / "examples" / "01-quickstart" / "llmcache.yaml"
IDENTITY = specs.Identity("demo", "ai", "uid-1")
BOTH = {
    "topRequests": 20,
    "requestsFrom": {"configMapRef": {"name": "faq", "key": "requests.jsonl"}},
    "maxRequestsPerSecond": 4,
    "timeout": "90s",
}
ADDRESSES = ["10.0.0.1", "fd00::1"]


def _job(warm: dict[str, Any], shared: bool = True, isolation: str = "Credential") -> dict[str, Any]:
    document = yaml.safe_load(QUICKSTART.read_text())
    document["spec"]["tenancy"] = {"isolation": isolation}
    if shared:
        document["spec"] |= {"cache": {"store": {"type": "tiered"}}, "redis": {"managed": {}}}
    manifest = read(document)
    children = specs.children(manifest, IDENTITY, IMAGES, VALUES)
    (deployment,) = [child for child in children if child["kind"] == "Deployment"]
    asked = msgspec.convert(warm, Warm)
    config = specs.gateway_configuration(manifest, IDENTITY)
    return warming.job(IDENTITY, asked, "demo-warm-1", "v2", deployment, config, IMAGES, ADDRESSES)


def _arguments(job: dict[str, Any]) -> list[str]:
    return [" ".join(container["args"]) for container in job["spec"]["template"]["spec"]["containers"]]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_kubernetes_accepts_it_and_it_is_restricted(shared: bool, version: str) -> None:
    job = _job(BOTH, shared)
    kubernetes_validate.validate(job, version, strict=True)
    pod = job["spec"]["template"]["spec"]
    assert (pod["automountServiceAccountToken"], pod["securityContext"]["runAsNonRoot"]) == (False, True)
    assert all(one["securityContext"]["capabilities"] == {"drop": ["ALL"]} for one in pod["containers"])
    assert (job["spec"]["activeDeadlineSeconds"], job["spec"]["ttlSecondsAfterFinished"]) == (90, 3600)
    assert job["metadata"]["ownerReferences"][0]["uid"] == "uid-1"


def test_a_store_that_is_shared_is_warmed_through_the_service_at_the_rate_asked_for() -> None:
    top, listed = _arguments(_job(BOTH))
    assert "--url http://demo.ai.svc:4000 --from-hot http://10.0.0.1:4001 --from-hot http://[fd00::1]:4001" in top
    assert "--top 20 --as-tenant --rate 7200/h --version v2 --admin-token-file" in top
    assert "--requests /etc/llmcache/requests/requests.jsonl --as-tenant --rate 7200/h" in listed


def test_a_list_need_not_name_tenants_where_all_share() -> None:
    top, listed = _arguments(_job(BOTH, isolation="Shared"))
    assert ("--as-tenant" in top, "--as-tenant" in listed) == (True, False)


def test_stores_of_the_gateways_own_are_warmed_one_by_one_at_that_rate_together() -> None:
    arguments = _arguments(_job({"topRequests": 5, "maxRequestsPerSecond": 1}, shared=False))
    assert [words.split("--url ")[1].split()[0] for words in arguments] == [
        "http://10.0.0.1:4000",
        "http://[fd00::1]:4000",
    ]
    assert all("--rate 1800/h" in words for words in arguments)


def test_it_holds_the_admin_token_and_no_other_secret() -> None:
    volumes = _job(BOTH)["spec"]["template"]["spec"]["volumes"]
    (secret,) = [volume["secret"] for volume in volumes if "secret" in volume]
    assert secret == {"secretName": "demo-gateway", "items": [{"key": "admin-token", "path": "admin-token"}]}


def test_its_name_fits_and_is_that_of_one_warming() -> None:
    longest = specs.Identity("a" * 46, "ai")
    names = {warming.job_name(longest, key) for key in ("v2@12:00", "v2@12:01", "v3@12:01")}
    assert len(names) == 3
    assert all(len(name) <= 63 for name in names)


def _pod(*messages: str) -> dict[str, Any]:
    ended = [{"state": {"terminated": {"message": message}}} for message in messages]
    metadata = {"name": "p", "labels": {"job-name": "demo-warm-1"}, "creationTimestamp": "2026-11-26T12:00:00Z"}
    return {"metadata": metadata, "status": {"containerStatuses": ended}}


def _live(*conditions: str) -> dict[str, Any]:
    told = [{"type": kind, "status": "True", "message": "deadline exceeded"} for kind in conditions]
    return {"metadata": {"name": "demo-warm-1"}, "status": {"conditions": told}}


NUMBERS = json.dumps({"complete": True, "total": 5, "stored": 3, "alreadyThere": 2, "failed": 0, "notSent": 0})
FAILED = json.dumps({"complete": False, "stored": 1, "failed": 4, "failures": {"502": 4}})


@pytest.mark.parametrize(
    ("live", "pods", "expected"),
    [
        (None, [], Warmed("absent")),
        (_live(), [], Warmed("running")),
        (_live(), [_pod(NUMBERS, "")], Warmed("running", "3 stored, 2 already there")),
        (_live("Complete"), [_pod(NUMBERS, NUMBERS)], Warmed("done", "6 stored, 4 already there")),
        (_live("Failed"), [_pod(FAILED)], Warmed("failed", "1 stored, 4 failed; 502")),
        (_live("Failed"), [_pod('{"complete": false, "error": ["no file"]}')], Warmed("failed", "0 stored; no file")),
        (_live("Failed"), [], Warmed("failed", "deadline exceeded")),
        (_live("Failed"), [_pod("Traceback: something")], Warmed("failed", "deadline exceeded")),
        (_live("Complete"), [_pod("[]")], Warmed("done")),
    ],
)
def test_what_a_job_says_of_itself(live: dict[str, Any] | None, pods: list[dict[str, Any]], expected: Warmed) -> None:
    assert warming.read_job(live, pods) == expected
