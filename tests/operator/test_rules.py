"""CEL and Python judge the same manifests the same way: what kubectl apply takes, a gateway takes, and the reverse."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import cel
import jsonschema
import pytest

from llmcache_gateway.config import LLMCache, problems
from llmcache_operator.crd import definition

SCHEMA: dict[str, Any] = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
ECHO = {"name": "echo", "provider": "echo"}
OPENAI = {"name": "openai", "provider": "openai", "baseURL": "https://api.openai.com/v1"}
BEDROCK = {"name": "bedrock", "provider": "bedrock", "baseURL": "https://bedrock-runtime.eu-central-1.amazonaws.com"}
GEMINI = {"name": "gemini", "provider": "gemini", "baseURL": "https://generativelanguage.googleapis.com"}
ANTHROPIC = {"name": "anthropic", "provider": "anthropic", "baseURL": "https://api.anthropic.com"}
MISTRAL = {"name": "mistral", "provider": "mistral", "baseURL": "https://api.mistral.ai/v1"}
POLICY_WITH_HINTS = {"name": "p", "match": {"models": ["gemini-*"]}, "hints": {"mode": "onRepeat"}}
SHAPED = [
    {"name": name, "provider": name, "baseURL": base_url}
    for name, base_url in (
        ("deepseek", "https://api.deepseek.com"),
        ("openrouter", "https://openrouter.ai/api/v1"),
        ("mistral", "https://api.mistral.ai/v1/"),
        ("xai", "https://api.x.ai/v1"),
        ("groq", "https://api.groq.com/openai/v1"),
        ("fireworks", "https://api.fireworks.ai/inference/v1"),
        ("azure", "https://name.openai.azure.com"),
    )
]


def _manifest(name: str = "demo", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "llmcache.dev/v1alpha1",
        "kind": "LLMCache",
        "metadata": {"name": name, "namespace": "ai"},
        "spec": {"upstreams": [ECHO], "prefix": {"version": "v1"}} | spec,
    }


def _credential(**credential: Any) -> dict[str, Any]:
    return _manifest(upstreams=[OPENAI | {"credential": credential}])


def _of_google(**credential: Any) -> dict[str, Any]:
    vertex = {"name": "vertex", "provider": "vertex", "baseURL": "https://aiplatform.googleapis.com"}
    return _manifest(upstreams=[vertex | {"credential": credential}])


def _tiered(**redis: Any) -> dict[str, Any]:
    return _manifest(cache={"store": {"type": "tiered"}}, redis=redis)


def _canary(*percents: int, **rollout: Any) -> dict[str, Any]:
    steps = [{"percent": percent, "pause": "5m"} for percent in percents]
    return _manifest(rollout={"strategy": "Canary", "canary": {"steps": steps}} | rollout)


FAQ = {"configMapRef": {"name": "faq", "key": "requests.jsonl"}}
LOGIN = {"secretRef": {"name": "redis", "key": "password"}}
SENTINEL = {"master": "mymaster", "hosts": ["sentinel-0:26379"]}
PEM = {"secretRef": {"name": "redis", "key": "ca.crt"}}


def _gateway(**gateway: Any) -> dict[str, Any]:
    return _manifest(gateway=gateway)


def _clients(*clients: dict[str, Any]) -> dict[str, Any]:
    return _gateway(networkPolicy={"clients": list(clients)})


FRONT = {"name": "front", "key": "secret"}
KEYS = {"secretRef": {"name": "keys", "key": "keys.yaml"}}

S3_STORE = {"type": "s3", "timeout": "500ms"}
EVERYTHING_OF_S3 = {
    "bucket": "my.llmcache",
    "region": "eu-central-1",
    "endpoint": "https://minio.example:9000",
    "ca": {"secretRef": {"name": "s3", "key": "ca.crt"}},
    "pathStyle": False,
    "prefix": "team-a/cache_1",
    "credential": {
        "accessKeyId": {"name": "s3", "key": "access-key-id"},
        "secretAccessKey": {"name": "s3", "key": "secret-access-key"},
    },
}

QDRANT = {"type": "qdrant", "url": "https://qdrant.example:6333"}
BUILDER = {"builder": "my_keys:build_key"}


def _semantic(**semantic: Any) -> dict[str, Any]:
    return _manifest(upstreams=[OPENAI], semantic={"enabled": True} | semantic)


def _semantic_of_a_policy(
    own: dict[str, Any], *, of_all: dict[str, Any] | None = None, key: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    policy = {"name": "p", "match": {"models": ["x"]}, "semantic": own} | ({"cache": {"key": key}} if key else {})
    return _manifest(policies=[policy], semantic=of_all or {}, **more)


def _hints(**hints: Any) -> dict[str, Any]:
    return _manifest(upstreams=[OPENAI], hints=hints)


def _contents(hints: dict[str, Any] | None = None, **contents: Any) -> dict[str, Any]:
    return _manifest(upstreams=[ECHO, GEMINI], hints={"cachedContents": contents, **(hints or {})})


def _hints_of_a_policy(*, of_all: dict[str, Any] | None = None, **hints: Any) -> dict[str, Any]:
    policy = {"name": "p", "match": {"models": ["x"]}, "hints": hints}
    spec: dict[str, Any] = {} if of_all is None else {"hints": of_all}
    return _manifest(policies=[policy], **spec)


def _bucket(**more: Any) -> dict[str, Any]:
    return _manifest(cache={"store": S3_STORE}, s3={"bucket": "my-llmcache"} | more)


ACCEPTED = {
    "the smallest manifest": _manifest(),
    "a provider with an address": _manifest(upstreams=[OPENAI]),
    "a credential from a Secret": _credential(secretRef={"name": "openai", "key": "api-key"}),
    "a credential from the environment": _credential(env="OPENAI_API_KEY"),
    "a credential from a file": _credential(file="/run/key"),
    "the client's own credential": _credential(passthrough=True),
    "a service account of Google's": _of_google(
        googleServiceAccount={"secretRef": {"name": "vertex", "key": "k.json"}}
    ),
    "a service account of Google's in a file": _of_google(googleServiceAccount={"file": "/run/key.json"}),
    "what the pod is to Google": _of_google(googleWorkloadIdentity=True),
    "an echo with a delay": _manifest(upstreams=[ECHO | {"echo": {"delay": "300ms"}}]),
    "two upstreams": _manifest(upstreams=[ECHO, OPENAI]),
    "an Anthropic endpoint": _manifest(upstreams=[ANTHROPIC]),
    "all that speak OpenAI's API": _manifest(upstreams=SHAPED),
    "such a provider behind a proxy": _manifest(upstreams=[SHAPED[0] | {"baseURL": "http://proxy.example/v1"}]),
    "a Gemini endpoint": _manifest(upstreams=[GEMINI]),
    "a Vertex endpoint below a path": _manifest(
        upstreams=[GEMINI | {"provider": "vertex", "baseURL": "https://x/v1/y"}]
    ),
    "bedrock, in the region of its address": _manifest(upstreams=[BEDROCK]),
    "bedrock behind another address": _manifest(
        upstreams=[BEDROCK | {"baseURL": "https://proxy.example", "region": "us-gov-west-1"}]
    ),
    "bedrock with an API key": _manifest(
        upstreams=[BEDROCK | {"baseURL": "https://proxy.example", "credential": {"env": "AWS_BEARER_TOKEN_BEDROCK"}}]
    ),
    "an Anthropic endpoint below a path": _manifest(upstreams=[ANTHROPIC | {"baseURL": "https://x/v1beta/anthropic/"}]),
    "a managed Redis with all defaults": _tiered(managed={}),
    "a Redis that keeps its entries": _tiered(managed={"memory": "512Mi", "persistence": {"size": "1Gi"}}),
    "a volume of just what memory holds": _tiered(managed={"memory": "1Gi", "persistence": {"size": "1024Mi"}}),
    "a Redis with everything": _tiered(
        managed={
            "memory": "1Ti",
            "image": "registry.example/redis:8.2",
            "modules": ["/usr/local/lib/redis/modules/redisearch.so"],
            "persistence": {"size": "2048Gi", "storageClass": "fast", "mode": "Snapshots"},
        }
    ),
    "a managed Redis of a size": _tiered(managed={"memory": "512Mi", "maxmemoryPolicy": "allkeys-lfu"}),
    "an external Redis": _tiered(external={"url": "rediss://redis.example:6379/1"}),
    "Sentinels": _tiered(external={"sentinel": SENTINEL | {"database": 3, "credential": LOGIN}, "credential": LOGIN}),
    "a cluster": _tiered(external={"cluster": {"hosts": ["redis-0.redis:6379", "10.0.0.1:6379", "[::1]:6379"]}}),
    "TLS with all defaults": _tiered(external={"cluster": {"hosts": ["x:1"]}, "tls": {}}),
    "TLS with everything": _tiered(
        external={
            "url": "rediss://x:6379",
            "tls": {
                "ca": PEM,
                "clientCertificate": {"certificate": PEM, "key": {"file": "/run/key.pem"}},
                "serverName": "redis.example",
            },
        }
    ),
    "TLS that verifies nothing": _tiered(external={"sentinel": SENTINEL, "tls": {"verify": False}}),
    "store type redis": _manifest(cache={"store": {"type": "redis"}}, redis={"managed": {}}),
    "bounds of the memory store": _manifest(cache={"store": {"type": "memory", "l1": {"entries": 5}}}),
    "a disk store": _manifest(cache={"store": {"type": "disk", "disk": {"bytes": "2Gi"}}}),
    "a disk behind the memory": _manifest(
        cache={"store": {"type": "tiered", "l1": {}, "l2": {"type": "disk"}, "disk": {}}}
    ),
    "a tiered store written out": _manifest(
        cache={"store": {"type": "tiered", "l1": {"bytes": "1Gi"}, "l2": {"type": "redis"}}}, redis={"managed": {}}
    ),
    "store type s3": _bucket(),
    "an S3 store written out": _manifest(cache={"store": S3_STORE | {"timeout": "100ms"}}, s3=EVERYTHING_OF_S3),
    "S3 behind the memory": _manifest(
        cache={"store": {"type": "tiered", "l1": {}, "l2": {"type": "s3"}, "timeout": "1s"}}, s3={"bucket": "abc"}
    ),
    "a store that is waited for longer": _manifest(cache={"store": {"timeout": "2s"}}),
    "a ttl in two units": _manifest(cache={"ttl": "0h30m"}),
    "a ttl of half a second": _manifest(cache={"ttl": "0.5s"}),
    "no caching": _manifest(cache={"mode": "Disabled"}),
    "every setting of freshness": _manifest(
        cache={
            "mode": "OptIn",
            "ttlJitter": "10%",
            "staleWhileRevalidate": "5m",
            "staleIfError": "1d",
            "admit": ["audio"],
        }
    ),
    "keys evened out": _manifest(cache={"key": {"ignore": ["seed"], "normalize": ["case"], "builder": "a.b:c"}}),
    "a policy": _manifest(
        policies=[
            {
                "name": "p",
                "match": {"models": ["x-*"], "headers": [{"name": "X-A", "value": "*"}]},
                "cache": {"ttl": "5m", "storeAlso": ["truncated"]},
                "tenancy": {"isolation": "Shared"},
            }
        ]
    ),
    "questions that mean the same": _manifest(semantic={"enabled": True}),
    "every setting of the semantic cache": _semantic(
        mode="shadow",
        threshold=1,
        embedding={"upstream": "openai", "model": "text-embedding-3-large", "dimensions": 256},
        index={"type": "inProcess", "entries": 5, "entriesPerTenant": 5},
        deadline="1s",
        candidates=2,
        guards=False,
        verifier="large",
        admit=["tools", "time-sensitive", "other-scripts"],
        maxFalseHitRate="1%",
        sample="0.5%",
        judge={
            "upstream": "openai",
            "model": "gpt-4o-mini",
            "leastScore": 0.2,
            "deadline": "30s",
            "callsPerMinute": 5,
            "callsPerDay": 100,
            "tokensPerDay": 50000,
        },
    ),
    "a judge of answers": _semantic(judge={}),
    "vectors of Mistral": _manifest(
        upstreams=[MISTRAL], semantic={"enabled": True, "embedding": {"upstream": "mistral", "model": "mistral-embed"}}
    ),
    "vectors of a model in a folder": _semantic(embedding={"local": {"path": "/models/minilm"}}),
    "vectors in a Redis beside entries in S3": _manifest(
        cache={"store": S3_STORE},
        s3={"bucket": "my-llmcache"},
        redis={"managed": {}},
        semantic={"enabled": True, "index": {"type": "redisSearch"}},
    ),
    "vectors in a Redis of their own": _manifest(
        semantic={"enabled": True, "index": {"type": "redisSearch"}}, redis={"managed": {}}
    ),
    "vectors in a Qdrant": _semantic(index=QDRANT),
    "vectors in a Qdrant with everything": _semantic(
        index=QDRANT
        | {
            "collection": "team-a.llmcache_1",
            "credential": {"secretRef": {"name": "qdrant", "key": "api-key"}},
            "ca": PEM,
            "entries": 5,
            "entriesPerTenant": 5,
        }
    ),
    "vectors in a Qdrant beside entries in S3": _manifest(
        cache={"store": S3_STORE}, s3={"bucket": "my-llmcache"}, semantic={"enabled": True, "index": QDRANT}
    ),
    "a semantic cache that is switched off": _semantic(enabled=False, threshold=0.92, embedding={"upstream": "openai"}),
    "a policy of a semantic cache that is switched off": _semantic_of_a_policy(
        {"threshold": 0.97}, of_all={"enabled": False}
    ),
    "a policy of the semantic cache alone": _semantic_of_a_policy({"enabled": True, "threshold": 0.97}),
    "settings of a semantic cache that a policy has on": _semantic_of_a_policy(
        {"enabled": True}, of_all={"candidates": 8, "index": {"entriesPerTenant": 5}}
    ),
    "meaning for a policy whose keys are the usual ones": _semantic_of_a_policy(
        {"enabled": True}, key={"ignore": ["user"]}, cache={"key": BUILDER}
    ),
    "no meaning for a policy with keys of its own": _semantic_of_a_policy(
        {"enabled": False}, of_all={"enabled": True}, key=BUILDER
    ),
    "hints by what was seen": _hints(),
    "hints that are switched off": _hints(mode="off", points=[{"location": "system"}]),
    "every setting of hints": _hints(
        mode="always",
        points=[
            {"location": "tools"},
            {"location": "message", "role": "user", "index": -1},
            {"location": "message", "index": 0},
        ],
        ttl="1h",
        capabilities=[
            {
                "providers": ["openai"],
                "models": ["our-*"],
                "family": "gpt-5.6",
                "hints": ["prompt_cache_breakpoint"],
                "minimumTokens": 2048,
                "markers": 2,
                "textsOnly": True,
                "ttls": ["30m", "12h"],
                "prices": {"read": "0.1", "write": {"30m": "1.25", "12h": "2"}},
            }
        ],
    ),
    "cached contents": _contents(),
    "every setting of cached contents": _contents(after=2, ttl="1h30m", idle="60s", limit=1),
    "cached contents of Vertex AI": _manifest(
        upstreams=[GEMINI | {"provider": "vertex"}],
        hints={
            "cachedContents": {},
            "capabilities": [
                {"models": ["x"], "hints": ["cachedContent"], "prices": {"read": "0.1", "storage": "3.6"}}
            ],
        },
    ),
    "cached contents for an experiment": _contents(
        {"mode": "off", "experiment": {"percent": 20, "alternative": {"mode": "onRepeat"}}}
    ),
    "cached contents for a policy": _contents({"mode": "off"})
    | {"spec": _contents({"mode": "off"})["spec"] | {"policies": [POLICY_WITH_HINTS]}},
    "prices of one's own": _manifest(
        upstreams=[OPENAI], prices=[{"providers": ["openai"], "models": ["x-*"], "input": "2.50", "output": "10"}]
    ),
    "an experiment with hints": _hints(experiment={"percent": 20, "alternative": {"ttl": "1h"}}),
    "an experiment with hints where there are none": _hints(
        mode="off", experiment={"percent": 20, "alternative": {"mode": "onRepeat"}}
    ),
    "an experiment at places of its own": _hints(
        experiment={"percent": 20, "alternative": {"mode": "always", "points": [{"location": "system"}]}}
    ),
    "a policy's hints alone": _hints_of_a_policy(mode="always", points=[{"location": "system"}]),
    "a policy's hints at the places of all": _hints_of_a_policy(
        of_all={"mode": "off", "points": [{"location": "system"}]}, mode="always"
    ),
    "a policy's time for hints": _hints_of_a_policy(of_all={}, ttl="1h"),
    "a policy without hints": _hints_of_a_policy(of_all={}, mode="off"),
    "tenants by header": _manifest(tenancy={"isolation": "Header", "header": {"secretRef": FRONT}}),
    "tenants by key": _manifest(tenancy={"keys": KEYS}),
    "hooks": _manifest(hooks={"configMapRef": {"name": "my-hooks"}}),
    "hooks with a deadline": _manifest(hooks={"configMapRef": {"name": "my-hooks"}, "deadline": "0.2s"}),
    "a canary of one step": _canary(5),
    "a canary of ten steps": _canary(*range(1, 11)),
    "a step that waits for a person": _manifest(
        rollout={"strategy": "Canary", "canary": {"steps": [{"percent": 50}]}, "waitForPromotion": False}
    ),
    "every setting of a rollout": _canary(
        5,
        25,
        warm={"topRequests": 200, "requestsFrom": FAQ, "maxRequestsPerSecond": 5, "timeout": "5m"},
        analysis={"maxErrorRate": "0.5%", "maxLatencyRatio": "2.0", "minRequests": 50},
        retain={"versions": 1, "duration": "0s"},
        progressDeadline="30m",
    ),
    "warmed and then taken over at once": _manifest(rollout={"warm": {"requestsFrom": FAQ}}),
    "an autoscaler": _gateway(autoscaling={"max": 8}),
    "an autoscaler of no gateways": _gateway(replicas=0, autoscaling={"max": 8}),
    "an autoscaler by a metric of one's own": _gateway(
        resources={}, autoscaling={"max": 8, "metrics": [{"type": "Pods"}], "behavior": {"scaleDown": {}}}
    ),
    "an autoscaler by CPU and another metric": _gateway(
        autoscaling={"max": 8, "targetCPU": 60, "metrics": [{"type": "Pods"}]}
    ),
    "an external autoscaler": _gateway(resources={}, autoscaling={"external": True}),
    "a budget by number": _gateway(disruptionBudget={"minAvailable": "1"}),
    "a budget by share": _gateway(disruptionBudget={"maxUnavailable": "25%"}),
    "a longer drain": _gateway(drain="10m"),
    "clients by every means": _clients(
        {"podSelector": {}},
        {"namespaceSelector": {"matchLabels": {"team": "search"}}},
        {"podSelector": {"matchExpressions": [{"key": "example.com/app", "operator": "In", "values": ["a"]}]}},
        {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
    ),
    "a load balancer": _gateway(
        service={
            "type": "LoadBalancer",
            "annotations": {"example.com/internal": "true"},
            "loadBalancerClass": "example.com/inner",
            "loadBalancerSourceRanges": ["10.0.0.0/8"],
        }
    ),
    "an Ingress": _gateway(expose={"ingress": {"host": "llm.example.com", "tlsSecret": "cert", "className": "nginx"}}),
    "an HTTPRoute": _gateway(expose={"httpRoute": {"parentRefs": [{"name": "web", "namespace": "infra"}]}}),
    "labels of pods": _gateway(podTemplate={"metadata": {"labels": {"team": "search"}, "annotations": {"a/b": "c"}}}),
    "a pod's spec": _gateway(podTemplate={"spec": {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "gpu"}]}}),
    "a field of a pod's spec that goes": _gateway(podTemplate={"spec": {"topologySpreadConstraints": None}}),
    "monitoring": _manifest(
        monitoring={"serviceMonitor": True, "alerts": True, "dashboards": True, "labels": {"release": "prometheus"}}
    ),
    "resources emptied": _manifest(gateway={"resources": {}}),
    "a name of forty-six characters": _manifest("a" * 46),
}

REFUSED = {
    f"{one['name']} elsewhere at its host": _manifest(upstreams=[one | {"baseURL": f"{one['baseURL']}/elsewhere"}])
    for one in SHAPED
    if one["name"] != "azure"
} | {
    "an Azure endpoint with its paths": _manifest(
        upstreams=[SHAPED[-1] | {"baseURL": "https://name.openai.azure.com/openai/v1/"}]
    ),
    "OpenAI without its version": _manifest(upstreams=[OPENAI | {"baseURL": "https://api.openai.com/"}]),
    "an upstream that has no time": _manifest(upstreams=[OPENAI | {"timeout": "0s"}]),
    "a canary without steps": _manifest(rollout={"strategy": "Canary"}),
    "a canary of no step": _canary(),
    "a canary of eleven steps": _canary(*range(1, 12)),
    "a step of nothing": _canary(0, 5),
    "a step of everything": _canary(5, 100),
    "steps that fall": _canary(1, 2, 25, 5),
    "two steps alike": _canary(5, 5),
    "a pause that is an object": _manifest(
        rollout={"strategy": "Canary", "canary": {"steps": [{"percent": 5, "pause": {}}]}}
    ),
    "steps without a canary": _canary(5, strategy="Immediate"),
    "an analysis without a canary": _manifest(rollout={"analysis": {}}),
    "a deadline without a canary": _manifest(rollout={"progressDeadline": "1h"}),
    "a deadline of no time": _canary(5, progressDeadline="0m"),
    "a warming with nothing": _manifest(rollout={"warm": {}}),
    "a warming in no time": _manifest(rollout={"warm": {"topRequests": 5, "timeout": "0s"}}),
    "a warming with more than is kept": _manifest(rollout={"warm": {"topRequests": 201}}),
    "a warming with what nobody keeps": _manifest(cache={"hot": {"requests": 0}}, rollout={"warm": {"topRequests": 1}}),
    "a warming without a credential": _manifest(
        upstreams=[OPENAI | {"credential": {"passthrough": True}}], rollout={"warm": {"topRequests": 5}}
    ),
    "a latency that must be better": _canary(5, analysis={"maxLatencyRatio": "0.9"}),
    "a latency that is a number": _canary(5, analysis={"maxLatencyRatio": 2}),
    "an error rate without its sign": _canary(5, analysis={"maxErrorRate": "5"}),
    "a judgement of nothing": _canary(5, analysis={"minRequests": 0}),
    "no version retained": _manifest(rollout={"retain": {"versions": 0}}),
    "hooks from nowhere": _manifest(hooks={}),
    "hooks without time": _manifest(hooks={"configMapRef": {"name": "h"}, "deadline": "0ms"}),
    "hooks with all the time": _manifest(hooks={"configMapRef": {"name": "h"}, "deadline": "6s"}),
    "no upstream": _manifest(upstreams=[]),
    "a jitter in no unit": _manifest(cache={"ttlJitter": "10"}),
    "the question ignored": _manifest(cache={"key": {"ignore": ["seed", "messages"]}}),
    "a builder without a function": _manifest(cache={"key": {"builder": "module"}}),
    "a header without its isolation": _manifest(tenancy={"header": {"secretRef": {"name": "f", "key": "s"}}}),
    "a tenant in a header of the cache's own": _manifest(
        tenancy={"isolation": "Header", "header": {"secretRef": FRONT, "name": "X-LLMCache-Version"}}
    ),
    "a proof in a header of the cache's own": _manifest(
        tenancy={"isolation": "Header", "header": {"secretRef": FRONT, "proof": "x-llmcache-ADMIN"}}
    ),
    "isolation by a header that is not named": _manifest(tenancy={"isolation": "Header"}),
    "keys where all share": _manifest(tenancy={"isolation": "Shared", "keys": KEYS}),
    "keys beside passthrough": _manifest(
        upstreams=[OPENAI | {"credential": {"passthrough": True}}], tenancy={"keys": KEYS}
    ),
    "a policy for everything": _manifest(policies=[{"name": "p", "match": {}, "cache": {"ttl": "5m"}}]),
    "a policy that changes nothing": _manifest(policies=[{"name": "p", "match": {"models": ["x"]}}]),
    "two policies of one name": _manifest(
        policies=[{"name": "p", "match": {"models": [model]}, "cache": {"ttl": "5m"}} for model in "ab"]
    ),
    "two upstreams of one name": _manifest(upstreams=[ECHO, ECHO]),
    "hints always, but nowhere": _hints(mode="always"),
    "hints without quotes around off": _hints(mode=False),
    "a model that takes cached contents where none are made": _hints(
        capabilities=[{"models": ["x"], "hints": ["cachedContent"]}]
    ),
    "a price of cached contents where none are made": _hints(
        capabilities=[{"models": ["x"], "prices": {"read": "0.1", "storage": "1"}}]
    ),
    "cached contents of nobody's": _hints(cachedContents={}),
    "cached contents while hints are off": _contents({"mode": "off"}),
    "cached contents while all hints are off": _contents(
        {"mode": "off", "experiment": {"percent": 20, "alternative": {"ttl": "1h"}}}
    ),
    "cached contents after one request": _contents(after=1),
    "cached contents for a moment": _contents(ttl="30s"),
    "cached contents for days": _contents(ttl="2d"),
    "cached contents that are never idle": _contents(idle="1d"),
    "cached contents for no time": _contents(ttl="soon"),
    "no cached contents at all": _contents(limit=0),
    "hints that nobody knows": _hints(capabilities=[{"models": ["x"], "hints": ["cached"]}]),
    "a row about models that says nothing": _hints(capabilities=[{"models": ["x"]}]),
    "a row about a provider that is not there": _hints(
        capabilities=[{"providers": ["openai", "mistral"], "models": ["x"], "hints": []}]
    ),
    "a price at a provider that is not there": _manifest(
        upstreams=[OPENAI], prices=[{"providers": ["openai", "groq"], "models": ["x"], "input": "1"}]
    ),
    "a price without an amount": _manifest(upstreams=[OPENAI], prices=[{"models": ["x"], "input": "free"}]),
    "a price that is none": _hints(capabilities=[{"models": ["x"], "prices": {"read": "cheap"}}]),
    "a point at no certain message": _hints(points=[{"location": "message"}]),
    "a point at the tools of a role": _hints(points=[{"location": "tools", "role": "user"}]),
    "five points": _hints(points=[{"location": "system"}] * 5),
    "an experiment that changes nothing": _hints(experiment={"percent": 20, "alternative": {}}),
    "an experiment of a thing with itself": _hints(experiment={"percent": 20, "alternative": {"mode": "onRepeat"}}),
    "an experiment nowhere": _hints(experiment={"percent": 20, "alternative": {"mode": "always"}}),
    "an experiment with all": _hints(experiment={"percent": 100, "alternative": {"ttl": "1h"}}),
    "a policy's hints that change nothing": _hints_of_a_policy(of_all={}),
    "a policy's hints without a mode": _hints_of_a_policy(ttl="1h"),
    "a policy's hints while they are off": _hints_of_a_policy(of_all={"mode": "off"}, ttl="1h"),
    "a policy's hints always, but nowhere": _hints_of_a_policy(of_all={}, mode="always"),
    "a policy's hints at none of the places": _hints_of_a_policy(
        of_all={"mode": "always", "points": [{"location": "system"}]}, points=[]
    ),
    "a similarity above one": _semantic(threshold=1.1),
    "a similarity as text": _semantic(threshold="0.9"),
    "no wrong hit at all": _semantic(maxFalseHitRate="0%"),
    "a sample for nothing": _semantic(sample="5%"),
    "a sample of nothing": _semantic(maxFalseHitRate="1%", sample="0%"),
    "one neighbour only": _semantic(candidates=1),
    "a semantic cache without time": _semantic(deadline="0s"),
    "a semantic cache with all the time": _semantic(deadline="6s"),
    "vectors of two makers": _semantic(embedding={"upstream": "openai", "local": {}}),
    "a model that nobody is asked for": _semantic(embedding={"model": "text-embedding-3-small"}),
    "vectors of an upstream that is not there": _semantic(embedding={"upstream": "other"}),
    "vectors of an upstream that makes none": _manifest(semantic={"enabled": True, "embedding": {"upstream": "echo"}}),
    "vectors of a provider without": _manifest(
        upstreams=[OPENAI | {"provider": "deepseek", "baseURL": "https://api.deepseek.com"}],
        semantic={"enabled": True, "embedding": {"upstream": "openai", "model": "m"}},
    ),
    "vectors of a model that is not named": _manifest(
        upstreams=[MISTRAL], semantic={"enabled": True, "embedding": {"upstream": "mistral"}}
    ),
    "vectors of an upstream without a credential of its own": _manifest(
        upstreams=[OPENAI | {"credential": {"passthrough": True}}],
        semantic={"enabled": True, "embedding": {"upstream": "openai"}},
    ),
    "a judge without a verifier": _semantic(verifier="none", judge={}),
    "a judge without a model": _semantic(judge={"upstream": "openai"}),
    "a judge without an upstream": _semantic(judge={"model": "gpt-4o-mini"}),
    "a judge at an upstream that is not there": _semantic(judge={"upstream": "other", "model": "gpt-4o-mini"}),
    "a judge at an upstream that knows no OpenAI": _manifest(semantic={"judge": {"upstream": "echo", "model": "m"}}),
    "a judge with each client's credential": _manifest(
        upstreams=[OPENAI | {"credential": {"passthrough": True}}],
        semantic={"judge": {"upstream": "openai", "model": "gpt-4o-mini"}},
    ),
    "tokens of a judge who takes none": _semantic(judge={"tokensPerDay": 1000}),
    "a judge without time": _semantic(judge={"deadline": "0s"}),
    "a judge with all the time": _semantic(judge={"deadline": "121s"}),
    "a judge who never judges": _semantic(judge={"callsPerMinute": 0}),
    "an index in a place nobody has": _semantic(index={"type": "tape"}),
    "vectors in S3": _manifest(cache={"store": S3_STORE}, s3={"bucket": "my-llmcache"}, semantic={"enabled": True}),
    "a tenant with more vectors than all": _semantic(index={"entries": 5, "entriesPerTenant": 6}),
    "an index in no Redis": _semantic(index={"type": "redisSearch"}),
    "a Qdrant without an address": _semantic(index={"type": "qdrant"}),
    "an address of no Qdrant": _semantic(index={"url": QDRANT["url"]}),
    "an address of Qdrant that is none of HTTP": _semantic(index=QDRANT | {"url": "qdrant:6333"}),
    "an address of Qdrant with a password": _semantic(index=QDRANT | {"url": "https://a:b@qdrant.example"}),
    "a collection of no Qdrant": _semantic(index={"collection": "x"}),
    "a key of no Qdrant": _semantic(index={"credential": {"secretRef": {"name": "qdrant", "key": "api-key"}}}),
    "a collection with a path": _semantic(index=QDRANT | {"collection": "a/b"}),
    "an authority of a Qdrant without TLS": _semantic(index=QDRANT | {"url": "http://qdrant:6333", "ca": PEM}),
    "an index in a cluster": _manifest(
        cache={"store": {"type": "tiered"}},
        redis={"external": {"cluster": {"hosts": ["x:1"]}}},
        semantic={"enabled": True, "index": {"type": "redisSearch"}},
    ),
    "vectors in S3 for a policy": _manifest(
        cache={"store": S3_STORE},
        s3={"bucket": "my-llmcache"},
        policies=[{"name": "p", "match": {"models": ["x"]}, "semantic": {"enabled": True}}],
    ),
    "meaning beside a key of one's own": _manifest(semantic={"enabled": True}, cache={"key": BUILDER}),
    "meaning for a policy beside the keys of all": _semantic_of_a_policy({"enabled": True}, cache={"key": BUILDER}),
    "meaning for a policy with keys of its own": _semantic_of_a_policy({"enabled": True}, key=BUILDER),
    "more of a meaning for a policy with keys of its own": _semantic_of_a_policy(
        {"threshold": 0.9}, of_all={"enabled": True}, key=BUILDER
    ),
    "a threshold of nothing": _manifest(semantic={"threshold": 0.9}),
    "a deadline of nothing": _manifest(semantic={"deadline": "1s"}),
    "an index of nothing": _manifest(semantic={"index": {"entriesPerTenant": 5}}),
    "an embedding of nothing": _manifest(semantic={"embedding": {"local": {}}}),
    "an admission to nothing": _manifest(semantic={"admit": ["tools"]}),
    "settings of nothing beside a policy without it": _semantic_of_a_policy(
        {"enabled": False}, of_all={"verifier": "none"}
    ),
    "a policy's threshold of nothing": _semantic_of_a_policy({"threshold": 0.9}),
    "a provider without an address": _manifest(upstreams=[{"name": "openai", "provider": "openai"}]),
    "an unknown provider": _manifest(upstreams=[{"name": "x", "provider": "nobody"}]),
    "an address with a query": _manifest(upstreams=[OPENAI | {"baseURL": "https://x/?a=1"}]),
    "an Anthropic endpoint with /v1": _manifest(upstreams=[ANTHROPIC | {"baseURL": "https://api.anthropic.com/v1/"}]),
    "a Gemini endpoint with /v1beta": _manifest(upstreams=[GEMINI | {"baseURL": "https://x.example/v1beta"}]),
    "a Vertex endpoint with /v1": _manifest(
        upstreams=[GEMINI | {"provider": "vertex", "baseURL": "https://x.example/v1//"}]
    ),
    "bedrock without a region": _manifest(
        upstreams=[BEDROCK | {"baseURL": "https://proxy.example/bedrock-runtime.x.y"}]
    ),
    "a region of nobody's": _manifest(upstreams=[GEMINI | {"region": "eu-central-1"}]),
    "a region where nothing is signed": _manifest(
        upstreams=[BEDROCK | {"region": "eu-central-1", "credential": {"passthrough": True}}]
    ),
    "an echo with an address": _manifest(upstreams=[ECHO | {"baseURL": "https://x"}]),
    "an echo with a credential": _manifest(upstreams=[ECHO | {"credential": {"env": "X"}}]),
    "translation for a provider that needs none": _manifest(upstreams=[OPENAI | {"translation": {}}]),
    "echo settings for another provider": _manifest(upstreams=[OPENAI | {"echo": {}}]),
    "an empty credential": _credential(),
    "two credentials": _credential(env="A", passthrough=True),
    "a key of Google's and what the pod is": _of_google(
        googleServiceAccount={"file": "/run/key.json"}, googleWorkloadIdentity=True
    ),
    "a key of Google's from nowhere": _of_google(googleServiceAccount={}),
    "a key of Google's from two places": _of_google(
        googleServiceAccount={"file": "/k", "secretRef": {"name": "vertex", "key": "k.json"}}
    ),
    "what the pod is to Google, told to another": _credential(googleWorkloadIdentity=True),
    "passthrough switched off": _credential(passthrough=False),
    "an upper-case upstream": _manifest(upstreams=[ECHO | {"name": "Echo"}]),
    "a version with a colon": _manifest(prefix={"version": "a:b"}),
    "a version that is missing": _manifest(prefix={}),
    "a ttl of zero": _manifest(cache={"ttl": "0s"}),
    "a ttl of zero in two units": _manifest(cache={"ttl": "0h0m"}),
    "a ttl in words": _manifest(cache={"ttl": "one hour"}),
    "a ttl without unit": _manifest(cache={"ttl": "60"}),
    "store type s3 without a bucket": _manifest(cache={"store": S3_STORE}),
    "a bucket that is not used": _manifest(s3={"bucket": "my-llmcache"}),
    "store type s3 with a Redis": _manifest(
        cache={"store": S3_STORE}, s3={"bucket": "my-llmcache"}, redis={"managed": {}}
    ),
    "store type s3 with l1": _manifest(cache={"store": S3_STORE | {"l1": {}}}, s3={"bucket": "my-llmcache"}),
    "S3 in the time of a Redis": _manifest(cache={"store": {"type": "s3"}}, s3={"bucket": "my-llmcache"}),
    "S3 behind the memory in 99 ms": _manifest(
        cache={"store": {"type": "tiered", "l2": {"type": "s3"}, "timeout": "99ms"}}, s3={"bucket": "my-llmcache"}
    ),
    "S3 and Redis behind the memory": _manifest(
        cache={"store": {"type": "tiered", "timeout": "1s"}}, redis={"managed": {}}, s3={"bucket": "my-llmcache"}
    ),
    "a bucket with an upper-case name": _bucket(bucket="My-LLMCache"),
    "a bucket with a path in its address": _bucket(endpoint="https://x/bucket"),
    "a bucket with a password in its address": _bucket(endpoint="https://a:b@x"),
    "a bucket with a prefix that ends with a slash": _bucket(prefix="llmcache/"),
    "a bucket with a prefix that climbs": _bucket(prefix="a/../b"),
    "a bucket with authorities for Amazon's server": _bucket(ca={"file": "/ca.pem"}),
    "a bucket with authorities for a server without TLS": _bucket(ca={"file": "/ca.pem"}, endpoint="http://x"),
    "a bucket with half a credential": _bucket(credential={"accessKeyId": {"name": "s3", "key": "id"}}),
    "a store type nobody has": _manifest(cache={"store": {"type": "tape"}}),
    "store type disk with l1": _manifest(cache={"store": {"type": "disk", "l1": {}}}),
    "store type disk with a Redis": _manifest(cache={"store": {"type": "disk"}}, redis={"managed": {}}),
    "tiered over disk with a Redis": _manifest(
        cache={"store": {"type": "tiered", "l2": {"type": "disk"}}}, redis={"managed": {}}
    ),
    "bounds of a disk that is not used": _manifest(cache={"store": {"type": "memory", "disk": {}}}),
    "compression of what is in memory": _manifest(cache={"store": {"compressAbove": "4Ki"}}),
    "bounds of a pace that is not recorded": _manifest(cache={"replay": {"maxPause": "1s"}}),
    "a pace without time": _manifest(cache={"replay": {"pace": "Recorded", "maxTotal": "0s"}}),
    "tiered without a Redis": _manifest(cache={"store": {"type": "tiered"}}),
    "memory with a Redis": _manifest(redis={"managed": {}}),
    "store type redis with l1": _manifest(cache={"store": {"type": "redis", "l1": {}}}, redis={"managed": {}}),
    "a store that is waited for without end": _manifest(cache={"store": {"timeout": "60s"}}),
    "a store that is not waited for": _manifest(cache={"store": {"timeout": "0ms"}}),
    "store type memory with l2": _manifest(cache={"store": {"type": "memory", "l2": {}}}),
    "a Redis that is neither": _tiered(),
    "a Redis that is both": _tiered(managed={}, external={"url": "redis://x:6379"}),
    "a password in the Redis address": _tiered(external={"url": "redis://u:p@x:6379"}),
    "an external Redis that is nowhere": _tiered(external={"credential": LOGIN}),
    "an external Redis in two places": _tiered(external={"url": "redis://x:6379", "cluster": {"hosts": ["x:1"]}}),
    "a Sentinel without a port": _tiered(external={"sentinel": {"master": "m", "hosts": ["sentinel-0"]}}),
    "Sentinels without a master": _tiered(external={"sentinel": {"hosts": ["sentinel-0:26379"]}}),
    "a cluster without nodes": _tiered(external={"cluster": {"hosts": []}}),
    "a cluster's node as a URL": _tiered(external={"cluster": {"hosts": ["redis://x:6379"]}}),
    "TLS settings for a plain address": _tiered(external={"url": "redis://x:6379", "tls": {}}),
    "an authority that nothing is checked by": _tiered(
        external={"url": "rediss://x:6379", "tls": {"verify": False, "ca": PEM}}
    ),
    "a server's name that nothing is checked by": _tiered(
        external={"url": "rediss://x:6379", "tls": {"verify": False, "serverName": "x"}}
    ),
    "an authority from nowhere": _tiered(external={"url": "rediss://x:6379", "tls": {"ca": {}}}),
    "a client's certificate without its key": _tiered(
        external={"url": "rediss://x:6379", "tls": {"clientCertificate": {"certificate": PEM}}}
    ),
    "a volume that is smaller than memory": _tiered(managed={"memory": "2Gi", "persistence": {"size": "2047Mi"}}),
    "a volume in thousands": _tiered(managed={"persistence": {"size": "5G"}}),
    "a volume of no size": _tiered(managed={"persistence": {}}),
    "a way to keep entries that is none": _tiered(managed={"persistence": {"size": "5Gi", "mode": "rdb"}}),
    "a module without its path": _tiered(managed={"modules": ["redisearch.so"]}),
    "a module with arguments": _tiered(managed={"modules": ["/a.so TIMEOUT 5"]}),
    "Redis memory in bytes": _tiered(managed={"memory": "1000000"}),
    "Redis memory in thousands": _tiered(managed={"memory": "512M"}),
    "Redis memory with a leading zero": _tiered(managed={"memory": "0512Mi"}),
    "Redis memory of zero": _tiered(managed={"memory": "0Mi"}),
    "half a Gi of Redis memory": _tiered(managed={"memory": "0.5Gi"}),
    "no request bytes": _manifest(limits={"requestBytes": "0"}),
    "no entry bytes": _manifest(limits={"entryBytes": "0Mi"}),
    "fewer than no replicas": _manifest(gateway={"replicas": -1}),
    "a most that is fewer than the fewest": _gateway(replicas=4, autoscaling={"max": 3}),
    "autoscaling without a most": _gateway(autoscaling={}),
    "an external autoscaler with a most": _gateway(autoscaling={"external": True, "max": 4}),
    "an external autoscaler with a target": _gateway(autoscaling={"external": True, "targetCPU": 80}),
    "an external autoscaler with metrics": _gateway(autoscaling={"external": True, "metrics": [{"type": "Pods"}]}),
    "autoscaling by CPU that is not requested": _gateway(resources={}, autoscaling={"max": 8}),
    "a CPU target beside metrics without a request": _gateway(
        resources={}, autoscaling={"max": 8, "targetCPU": 60, "metrics": [{"type": "Pods"}]}
    ),
    "an empty budget": _gateway(disruptionBudget={}),
    "a budget of both kinds": _gateway(disruptionBudget={"minAvailable": "1", "maxUnavailable": "1"}),
    "a budget in words": _gateway(disruptionBudget={"minAvailable": "half"}),
    "a budget of more than all": _gateway(disruptionBudget={"minAvailable": "101%"}),
    "no time to drain": _gateway(drain="0s"),
    "two hours to drain": _gateway(drain="2h"),
    "a day to drain": _gateway(drain="1d"),
    "no clients": _clients(),
    "a client that is nobody": _clients({}),
    "a client that is an address and a pod": _clients({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}),
    "a client with a misspelt field": _clients({"podSelektor": {}}),
    "an address that is no range": _clients({"ipBlock": {"cidr": "10.0.0.1"}}),
    "In without values": _clients({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
    "Exists with values": _clients(
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}
    ),
    "a label's value with a space": _clients({"podSelector": {"matchLabels": {"a": "b c"}}}),
    "source ranges without a load balancer": _gateway(service={"loadBalancerSourceRanges": ["10.0.0.0/8"]}),
    "an exposure to nothing": _gateway(expose={}),
    "an Ingress without a host": _gateway(expose={"ingress": {}}),
    "a host in capitals": _gateway(expose={"ingress": {"host": "LLM.example.com"}}),
    "an HTTPRoute of no Gateway": _gateway(expose={"httpRoute": {"parentRefs": []}}),
    "a label that the operator has": _gateway(
        podTemplate={"metadata": {"labels": {"app.kubernetes.io/instance": "other"}}}
    ),
    "monitoring labels for nothing": _manifest(monitoring={"labels": {"release": "prometheus"}}),
    "monitoring labels that the operator has": _manifest(
        monitoring={"alerts": True, "labels": {"app.kubernetes.io/name": "other"}}
    ),
    "replicas in words": _manifest(gateway={"replicas": "two"}),
    "a quantity that is none": _manifest(gateway={"resources": {"limits": {"memory": "lots"}}}),
    "a name that begins with a digit": _manifest("1cache"),
    "a name with a dot": _manifest("a.b"),
    "a name of forty-seven characters": _manifest("a" * 47),
}


@pytest.mark.parametrize("manifest", [pytest.param(m, id=i) for i, m in ACCEPTED.items()])
def test_both_accept(manifest: dict[str, Any]) -> None:
    assert list(problems(manifest, LLMCache)) == []
    assert list(_api_server(manifest)) == []


@pytest.mark.parametrize("manifest", [pytest.param(m, id=i) for i, m in REFUSED.items()])
def test_both_refuse(manifest: dict[str, Any]) -> None:
    assert list(problems(manifest, LLMCache))
    assert list(_api_server(manifest))


@pytest.mark.parametrize("manifest", [pytest.param(m, id=i) for i, m in REFUSED.items()])
def test_a_rule_that_python_breaks_is_broken_in_cel_with_the_same_message(manifest: dict[str, Any]) -> None:
    rules = {rule["message"] for _, node in nodes(SCHEMA) for rule in node.get("x-kubernetes-validations", ())}
    broken = {problem.message for problem in problems(manifest, LLMCache)} & rules
    assert broken <= {message for _, message in _api_server(manifest)}


def test_every_rule_is_broken_by_some_manifest() -> None:
    # A duplicate upstream is caught before CEL, by the list's type, but by the same rule in a gateway.
    met = {message for manifest in REFUSED.values() for _, message in _broken_rules(SCHEMA, _defaulted(manifest))}
    told = {rule["message"] for _, node in nodes(SCHEMA) for rule in node.get("x-kubernetes-validations", ())}
    of_scalars = {message for message in told if message.startswith("expected ")}
    assert told - of_scalars <= met


def _defaulted(manifest: dict[str, Any]) -> dict[str, Any]:
    filled = copy.deepcopy(manifest)
    _fill(SCHEMA, filled)
    return filled


def _api_server(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Do what an API server does with a new object: fill in defaults, check the schema, then the rules."""
    filled = _defaulted(manifest)
    for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(filled):
        yield error.json_path, error.message
    yield from _broken_rules(SCHEMA, filled)


def _fill(schema: dict[str, Any], value: Any) -> None:
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name not in value and "default" in child:
                value[name] = copy.deepcopy(child["default"])
            if name in value:
                _fill(child, value[name])
    elif isinstance(value, list):
        for item in value:
            _fill(schema.get("items", {}), item)


def _broken_rules(schema: dict[str, Any], value: Any, path: str = "self") -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        context = cel.Context({"self": value})
        # Of Kubernetes' own library of strings, which this evaluator lacks.
        context.add_function("replace", str.replace)
        try:
            if cel.evaluate(rule["rule"], context) is not True:
                yield path, rule["message"]
        except (KeyError, ValueError, TypeError, RuntimeError):
            # A rule that meets a value of another type than its schema says: the schema has refused it already.
            yield path, "not of the schema's type"
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name in value:
                yield from _broken_rules(child, value[name], f"{path}.{name}")
        for name, item in value.items() if "additionalProperties" in schema else ():
            yield from _broken_rules(schema["additionalProperties"], item, f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _broken_rules(schema.get("items", {}), item, f"{path}[{index}]")


def nodes(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "", schema
    inner = [schema[name] for name in ("items", "additionalProperties") if name in schema]
    for child in (*schema.get("properties", {}).values(), *inner):
        yield from nodes(child)


def test_no_rule_uses_what_the_api_server_lacks() -> None:
    for _, node in nodes(SCHEMA):
        for rule in node.get("x-kubernetes-validations", ()):
            assert not re.search(r"quantity\(|url\(|oldSelf", rule["rule"])
