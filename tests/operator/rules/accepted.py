"""Manifests that are in order, each with what is allowed by it."""

from tests.operator.rules.manifests import (
    ANTHROPIC,
    BEDROCK,
    BUILDER,
    ECHO,
    EVERYTHING_OF_S3,
    FAQ,
    FRONT,
    GEMINI,
    KEYS,
    LOGIN,
    MISTRAL,
    OPENAI,
    PEM,
    POLICY_WITH_HINTS,
    QDRANT,
    S3_STORE,
    SENTINEL,
    SHAPED,
    bucket,
    canary,
    clients,
    contents,
    credential,
    gateway,
    hints,
    hints_of_a_policy,
    manifest,
    meaning,
    of_google,
    semantic,
    semantic_of_a_policy,
    tiered,
)

ACCEPTED = {
    "the smallest manifest": manifest(),
    "a provider with an address": manifest(upstreams=[OPENAI]),
    "a credential from a Secret": credential(secretRef={"name": "openai", "key": "api-key"}),
    "a credential from the environment": credential(env="OPENAI_API_KEY"),
    "a credential from a file": credential(file="/run/key"),
    "the client's own credential": credential(passthrough=True),
    "a service account of Google's": of_google(googleServiceAccount={"secretRef": {"name": "vertex", "key": "k.json"}}),
    "a service account of Google's in a file": of_google(googleServiceAccount={"file": "/run/key.json"}),
    "what the pod is to Google": of_google(googleWorkloadIdentity=True),
    "an echo with a delay": manifest(upstreams=[ECHO | {"echo": {"delay": "300ms"}}]),
    "two upstreams": manifest(upstreams=[ECHO, OPENAI]),
    "an Anthropic endpoint": manifest(upstreams=[ANTHROPIC]),
    "all that speak OpenAI's API": manifest(upstreams=SHAPED),
    "such a provider behind a proxy": manifest(upstreams=[SHAPED[0] | {"baseURL": "http://proxy.example/v1"}]),
    "a Gemini endpoint": manifest(upstreams=[GEMINI]),
    "a Vertex endpoint below a path": manifest(
        upstreams=[GEMINI | {"provider": "vertex", "baseURL": "https://x/v1/y"}]
    ),
    "bedrock, in the region of its address": manifest(upstreams=[BEDROCK]),
    "bedrock behind another address": manifest(
        upstreams=[BEDROCK | {"baseURL": "https://proxy.example", "region": "us-gov-west-1"}]
    ),
    "bedrock with an API key": manifest(
        upstreams=[BEDROCK | {"baseURL": "https://proxy.example", "credential": {"env": "AWS_BEARER_TOKEN_BEDROCK"}}]
    ),
    "an Anthropic endpoint below a path": manifest(upstreams=[ANTHROPIC | {"baseURL": "https://x/v1beta/anthropic/"}]),
    "a managed Redis with all defaults": tiered(managed={}),
    "a Redis that keeps its entries": tiered(managed={"memory": "512Mi", "persistence": {"size": "1Gi"}}),
    "a volume of just what memory holds": tiered(managed={"memory": "1Gi", "persistence": {"size": "1024Mi"}}),
    "a Redis with everything": tiered(
        managed={
            "memory": "1Ti",
            "image": "registry.example/redis:8.2",
            "modules": ["/usr/local/lib/redis/modules/redisearch.so"],
            "persistence": {"size": "2048Gi", "storageClass": "fast", "mode": "Snapshots"},
        }
    ),
    "a managed Redis of a size": tiered(managed={"memory": "512Mi", "maxmemoryPolicy": "allkeys-lfu"}),
    "an external Redis": tiered(external={"url": "rediss://redis.example:6379/1"}),
    "Sentinels": tiered(external={"sentinel": SENTINEL | {"database": 3, "credential": LOGIN}, "credential": LOGIN}),
    "a cluster": tiered(external={"cluster": {"hosts": ["redis-0.redis:6379", "10.0.0.1:6379", "[::1]:6379"]}}),
    "TLS with all defaults": tiered(external={"cluster": {"hosts": ["x:1"]}, "tls": {}}),
    "TLS with everything": tiered(
        external={
            "url": "rediss://x:6379",
            "tls": {
                "ca": PEM,
                "clientCertificate": {"certificate": PEM, "key": {"file": "/run/key.pem"}},
                "serverName": "redis.example",
            },
        }
    ),
    "TLS that verifies nothing": tiered(external={"sentinel": SENTINEL, "tls": {"verify": False}}),
    "store type redis": manifest(cache={"store": {"type": "redis"}}, redis={"managed": {}}),
    "bounds of the memory store": manifest(cache={"store": {"type": "memory", "l1": {"entries": 5}}}),
    "a disk store": manifest(cache={"store": {"type": "disk", "disk": {"bytes": "2Gi"}}}),
    "a disk behind the memory": manifest(
        cache={"store": {"type": "tiered", "l1": {}, "l2": {"type": "disk"}, "disk": {}}}
    ),
    "a tiered store written out": manifest(
        cache={"store": {"type": "tiered", "l1": {"bytes": "1Gi"}, "l2": {"type": "redis"}}}, redis={"managed": {}}
    ),
    "store type s3": bucket(),
    "an S3 store written out": manifest(cache={"store": S3_STORE | {"timeout": "100ms"}}, s3=EVERYTHING_OF_S3),
    "S3 behind the memory": manifest(
        cache={"store": {"type": "tiered", "l1": {}, "l2": {"type": "s3"}, "timeout": "1s"}}, s3={"bucket": "abc"}
    ),
    "a store that is waited for longer": manifest(cache={"store": {"timeout": "2s"}}),
    "a ttl in two units": manifest(cache={"ttl": "0h30m"}),
    "a ttl of half a second": manifest(cache={"ttl": "0.5s"}),
    "no caching": manifest(cache={"mode": "Disabled"}),
    "every setting of freshness": manifest(
        cache={
            "mode": "OptIn",
            "ttlJitter": "10%",
            "staleWhileRevalidate": "5m",
            "staleIfError": "1d",
            "admit": ["audio"],
        }
    ),
    "keys evened out": manifest(cache={"key": {"ignore": ["seed"], "normalize": ["case"], "builder": "a.b:c"}}),
    "a policy": manifest(
        policies=[
            {
                "name": "p",
                "match": {"models": ["x-*"], "headers": [{"name": "X-A", "value": "*"}]},
                "cache": {"ttl": "5m", "storeAlso": ["truncated"]},
                "tenancy": {"isolation": "Shared"},
            }
        ]
    ),
    "questions that mean the same": manifest(semantic={"enabled": True}),
    "every setting of the semantic cache": semantic(
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
    "as few wrong hits as samples can show": semantic(maxFalseHitRate="0.05%"),
    "meaning for the one policy that stores": meaning({"cache": {"mode": "Enabled"}}, cache={"mode": "Disabled"}),
    "a policy without meaning that stores nothing": meaning(
        {"cache": {"mode": "Disabled"}, "semantic": {"enabled": False}}
    ),
    "meaning of chats and vectors": meaning({"match": {"dialects": ["openai-chat", "openai-embeddings"]}}),
    "a judge of answers": semantic(judge={}),
    "vectors of Mistral": manifest(
        upstreams=[MISTRAL], semantic={"enabled": True, "embedding": {"upstream": "mistral", "model": "mistral-embed"}}
    ),
    "vectors of a model in a folder": semantic(embedding={"local": {"path": "/models/minilm"}}),
    "vectors in a Redis beside entries in S3": manifest(
        cache={"store": S3_STORE},
        s3={"bucket": "my-llmcache"},
        redis={"managed": {}},
        semantic={"enabled": True, "index": {"type": "redisSearch"}},
    ),
    "vectors in a Redis of their own": manifest(
        semantic={"enabled": True, "index": {"type": "redisSearch"}}, redis={"managed": {}}
    ),
    "vectors in a Qdrant": semantic(index=QDRANT),
    "vectors in a Qdrant with everything": semantic(
        index=QDRANT
        | {
            "collection": "team-a.llmcache_1",
            "credential": {"secretRef": {"name": "qdrant", "key": "api-key"}},
            "ca": PEM,
            "entries": 5,
            "entriesPerTenant": 5,
        }
    ),
    "vectors in a Qdrant beside entries in S3": manifest(
        cache={"store": S3_STORE}, s3={"bucket": "my-llmcache"}, semantic={"enabled": True, "index": QDRANT}
    ),
    "a semantic cache that is switched off": semantic(enabled=False, threshold=0.92, embedding={"upstream": "openai"}),
    "a policy of a semantic cache that is switched off": semantic_of_a_policy(
        {"threshold": 0.97}, of_all={"enabled": False}
    ),
    "a policy of the semantic cache alone": semantic_of_a_policy({"enabled": True, "threshold": 0.97}),
    "settings of a semantic cache that a policy has on": semantic_of_a_policy(
        {"enabled": True}, of_all={"candidates": 8, "index": {"entriesPerTenant": 5}}
    ),
    "meaning for a policy whose keys are the usual ones": semantic_of_a_policy(
        {"enabled": True}, parts={"cache": {"key": {"ignore": ["user"]}}}, cache={"key": BUILDER}
    ),
    "no meaning for a policy with keys of its own": semantic_of_a_policy(
        {"enabled": False}, of_all={"enabled": True}, parts={"cache": {"key": BUILDER}}
    ),
    "hints by what was seen": hints(),
    "hints that are switched off": hints(mode="off", points=[{"location": "system"}]),
    "every setting of hints": hints(
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
    "cached contents": contents(),
    "every setting of cached contents": contents(after=2, ttl="1h30m", idle="60s", limit=1),
    "cached contents of Vertex AI": manifest(
        upstreams=[GEMINI | {"provider": "vertex"}],
        hints={
            "cachedContents": {},
            "capabilities": [
                {"models": ["x"], "hints": ["cachedContent"], "prices": {"read": "0.1", "storage": "3.6"}}
            ],
        },
    ),
    "cached contents for an experiment": contents(
        {"mode": "off", "experiment": {"percent": 20, "alternative": {"mode": "onRepeat"}}}
    ),
    "cached contents for a policy": contents({"mode": "off"})
    | {"spec": contents({"mode": "off"})["spec"] | {"policies": [POLICY_WITH_HINTS]}},
    "prices of one's own": manifest(
        upstreams=[OPENAI], prices=[{"providers": ["openai"], "models": ["x-*"], "input": "2.50", "output": "10"}]
    ),
    "an experiment with hints": hints(experiment={"percent": 20, "alternative": {"ttl": "1h"}}),
    "an experiment with hints where there are none": hints(
        mode="off", experiment={"percent": 20, "alternative": {"mode": "onRepeat"}}
    ),
    "an experiment at places of its own": hints(
        experiment={"percent": 20, "alternative": {"mode": "always", "points": [{"location": "system"}]}}
    ),
    "a policy's hints alone": hints_of_a_policy(mode="always", points=[{"location": "system"}]),
    "a policy's hints at the places of all": hints_of_a_policy(
        of_all={"mode": "off", "points": [{"location": "system"}]}, mode="always"
    ),
    "a policy's time for hints": hints_of_a_policy(of_all={}, ttl="1h"),
    "a policy without hints": hints_of_a_policy(of_all={}, mode="off"),
    "tenants by header": manifest(tenancy={"isolation": "Header", "header": {"secretRef": FRONT}}),
    "tenants by key": manifest(tenancy={"keys": KEYS}),
    "hooks": manifest(hooks={"configMapRef": {"name": "my-hooks"}}),
    "hooks with a deadline": manifest(hooks={"configMapRef": {"name": "my-hooks"}, "deadline": "0.2s"}),
    "a canary of one step": canary(5),
    "a canary of ten steps": canary(*range(1, 11)),
    "a step that waits for a person": manifest(
        rollout={"strategy": "Canary", "canary": {"steps": [{"percent": 50}]}, "waitForPromotion": False}
    ),
    "every setting of a rollout": canary(
        5,
        25,
        warm={"topRequests": 200, "requestsFrom": FAQ, "maxRequestsPerSecond": 5, "timeout": "5m"},
        analysis={"maxErrorRate": "0.5%", "maxLatencyRatio": "2.0", "minRequests": 50},
        retain={"versions": 1, "duration": "0s"},
        progressDeadline="30m",
    ),
    "warmed and then taken over at once": manifest(rollout={"warm": {"requestsFrom": FAQ}}),
    "an autoscaler": gateway(autoscaling={"max": 8}),
    "an autoscaler of no gateways": gateway(replicas=0, autoscaling={"max": 8}),
    "an autoscaler by a metric of one's own": gateway(
        resources={}, autoscaling={"max": 8, "metrics": [{"type": "Pods"}], "behavior": {"scaleDown": {}}}
    ),
    "an autoscaler by CPU and another metric": gateway(
        autoscaling={"max": 8, "targetCPU": 60, "metrics": [{"type": "Pods"}]}
    ),
    "an external autoscaler": gateway(resources={}, autoscaling={"external": True}),
    "a budget by number": gateway(disruptionBudget={"minAvailable": "1"}),
    "a budget by share": gateway(disruptionBudget={"maxUnavailable": "25%"}),
    "a longer drain": gateway(drain="10m"),
    "clients by every means": clients(
        {"podSelector": {}},
        {"namespaceSelector": {"matchLabels": {"team": "search"}}},
        {"podSelector": {"matchExpressions": [{"key": "example.com/app", "operator": "In", "values": ["a"]}]}},
        {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
    ),
    "a load balancer": gateway(
        service={
            "type": "LoadBalancer",
            "annotations": {"example.com/internal": "true"},
            "loadBalancerClass": "example.com/inner",
            "loadBalancerSourceRanges": ["10.0.0.0/8"],
        }
    ),
    "an Ingress": gateway(expose={"ingress": {"host": "llm.example.com", "tlsSecret": "cert", "className": "nginx"}}),
    "an HTTPRoute": gateway(expose={"httpRoute": {"parentRefs": [{"name": "web", "namespace": "infra"}]}}),
    "labels of pods": gateway(podTemplate={"metadata": {"labels": {"team": "search"}, "annotations": {"a/b": "c"}}}),
    "a pod's spec": gateway(podTemplate={"spec": {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "gpu"}]}}),
    "a field of a pod's spec that goes": gateway(podTemplate={"spec": {"topologySpreadConstraints": None}}),
    "monitoring": manifest(
        monitoring={"serviceMonitor": True, "alerts": True, "dashboards": True, "labels": {"release": "prometheus"}}
    ),
    "resources emptied": manifest(gateway={"resources": {}}),
    "a name of forty-six characters": manifest("a" * 46),
}
