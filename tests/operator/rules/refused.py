"""Manifests that break a rule or the schema, each with what is wrong."""

from tests.operator.rules.manifests import (
    ANTHROPIC,
    BEDROCK,
    BUILDER,
    ECHO,
    FRONT,
    GEMINI,
    KEYS,
    LOGIN,
    MISTRAL,
    OPENAI,
    PEM,
    QDRANT,
    S3_STORE,
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

REFUSED = {
    f"{one['name']} elsewhere at its host": manifest(upstreams=[one | {"baseURL": f"{one['baseURL']}/elsewhere"}])
    for one in SHAPED
    if one["name"] != "azure"
} | {
    "an Azure endpoint with its paths": manifest(
        upstreams=[SHAPED[-1] | {"baseURL": "https://name.openai.azure.com/openai/v1/"}]
    ),
    "OpenAI without its version": manifest(upstreams=[OPENAI | {"baseURL": "https://api.openai.com/"}]),
    "an upstream that has no time": manifest(upstreams=[OPENAI | {"timeout": "0s"}]),
    "a canary without steps": manifest(rollout={"strategy": "Canary"}),
    "a canary of no step": canary(),
    "a canary of eleven steps": canary(*range(1, 12)),
    "a step of nothing": canary(0, 5),
    "a step of everything": canary(5, 100),
    "steps that fall": canary(1, 2, 25, 5),
    "two steps alike": canary(5, 5),
    "a pause that is an object": manifest(
        rollout={"strategy": "Canary", "canary": {"steps": [{"percent": 5, "pause": {}}]}}
    ),
    "steps without a canary": canary(5, strategy="Immediate"),
    "an analysis without a canary": manifest(rollout={"analysis": {}}),
    "a deadline without a canary": manifest(rollout={"progressDeadline": "1h"}),
    "a deadline of no time": canary(5, progressDeadline="0m"),
    "a warming with nothing": manifest(rollout={"warm": {}}),
    "a warming in no time": manifest(rollout={"warm": {"topRequests": 5, "timeout": "0s"}}),
    "a warming with more than is kept": manifest(rollout={"warm": {"topRequests": 201}}),
    "a warming with what nobody keeps": manifest(cache={"hot": {"requests": 0}}, rollout={"warm": {"topRequests": 1}}),
    "a warming without a credential": manifest(
        upstreams=[OPENAI | {"credential": {"passthrough": True}}], rollout={"warm": {"topRequests": 5}}
    ),
    "a latency that must be better": canary(5, analysis={"maxLatencyRatio": "0.9"}),
    "a latency that is a number": canary(5, analysis={"maxLatencyRatio": 2}),
    "an error rate without its sign": canary(5, analysis={"maxErrorRate": "5"}),
    "a judgement of nothing": canary(5, analysis={"minRequests": 0}),
    "no version retained": manifest(rollout={"retain": {"versions": 0}}),
    "hooks from nowhere": manifest(hooks={}),
    "hooks without time": manifest(hooks={"configMapRef": {"name": "h"}, "deadline": "0ms"}),
    "hooks with all the time": manifest(hooks={"configMapRef": {"name": "h"}, "deadline": "6s"}),
    "no upstream": manifest(upstreams=[]),
    "a jitter in no unit": manifest(cache={"ttlJitter": "10"}),
    "the question ignored": manifest(cache={"key": {"ignore": ["seed", "messages"]}}),
    "a builder without a function": manifest(cache={"key": {"builder": "module"}}),
    "a header without its isolation": manifest(tenancy={"header": {"secretRef": {"name": "f", "key": "s"}}}),
    "a tenant in a header of the cache's own": manifest(
        tenancy={"isolation": "Header", "header": {"secretRef": FRONT, "name": "X-LLMCache-Version"}}
    ),
    "a proof in a header of the cache's own": manifest(
        tenancy={"isolation": "Header", "header": {"secretRef": FRONT, "proof": "x-llmcache-ADMIN"}}
    ),
    "isolation by a header that is not named": manifest(tenancy={"isolation": "Header"}),
    "keys where all share": manifest(tenancy={"isolation": "Shared", "keys": KEYS}),
    "keys beside passthrough": manifest(
        upstreams=[OPENAI | {"credential": {"passthrough": True}}], tenancy={"keys": KEYS}
    ),
    "a policy for everything": manifest(policies=[{"name": "p", "match": {}, "cache": {"ttl": "5m"}}]),
    "a policy that changes nothing": manifest(policies=[{"name": "p", "match": {"models": ["x"]}}]),
    "two policies of one name": manifest(
        policies=[{"name": "p", "match": {"models": [model]}, "cache": {"ttl": "5m"}} for model in "ab"]
    ),
    "two upstreams of one name": manifest(upstreams=[ECHO, ECHO]),
    "hints always, but nowhere": hints(mode="always"),
    "hints without quotes around off": hints(mode=False),
    "a model that takes cached contents where none are made": hints(
        capabilities=[{"models": ["x"], "hints": ["cachedContent"]}]
    ),
    "a price of cached contents where none are made": hints(
        capabilities=[{"models": ["x"], "prices": {"read": "0.1", "storage": "1"}}]
    ),
    "cached contents of nobody's": hints(cachedContents={}),
    "cached contents while hints are off": contents({"mode": "off"}),
    "cached contents while all hints are off": contents(
        {"mode": "off", "experiment": {"percent": 20, "alternative": {"ttl": "1h"}}}
    ),
    "cached contents after one request": contents(after=1),
    "cached contents for a moment": contents(ttl="30s"),
    "cached contents for days": contents(ttl="2d"),
    "cached contents that are never idle": contents(idle="1d"),
    "cached contents for no time": contents(ttl="soon"),
    "no cached contents at all": contents(limit=0),
    "hints that nobody knows": hints(capabilities=[{"models": ["x"], "hints": ["cached"]}]),
    "a row about models that says nothing": hints(capabilities=[{"models": ["x"]}]),
    "a row about a provider that is not there": hints(
        capabilities=[{"providers": ["openai", "mistral"], "models": ["x"], "hints": []}]
    ),
    "a price at a provider that is not there": manifest(
        upstreams=[OPENAI], prices=[{"providers": ["openai", "groq"], "models": ["x"], "input": "1"}]
    ),
    "a price without an amount": manifest(upstreams=[OPENAI], prices=[{"models": ["x"], "input": "free"}]),
    "a price that is none": hints(capabilities=[{"models": ["x"], "prices": {"read": "cheap"}}]),
    "a point at no certain message": hints(points=[{"location": "message"}]),
    "a point at the tools of a role": hints(points=[{"location": "tools", "role": "user"}]),
    "five points": hints(points=[{"location": "system"}] * 5),
    "an experiment that changes nothing": hints(experiment={"percent": 20, "alternative": {}}),
    "an experiment of a thing with itself": hints(experiment={"percent": 20, "alternative": {"mode": "onRepeat"}}),
    "an experiment nowhere": hints(experiment={"percent": 20, "alternative": {"mode": "always"}}),
    "an experiment with all": hints(experiment={"percent": 100, "alternative": {"ttl": "1h"}}),
    "a policy's hints that change nothing": hints_of_a_policy(of_all={}),
    "a policy's hints without a mode": hints_of_a_policy(ttl="1h"),
    "a policy's hints while they are off": hints_of_a_policy(of_all={"mode": "off"}, ttl="1h"),
    "a policy's hints always, but nowhere": hints_of_a_policy(of_all={}, mode="always"),
    "a policy's hints at none of the places": hints_of_a_policy(
        of_all={"mode": "always", "points": [{"location": "system"}]}, points=[]
    ),
    "a similarity above one": semantic(threshold=1.1),
    "a similarity as text": semantic(threshold="0.9"),
    "no wrong hit at all": semantic(maxFalseHitRate="0%"),
    "fewer wrong hits than samples can show": semantic(maxFalseHitRate="0.04%"),
    "hardly a wrong hit": semantic(maxFalseHitRate="00.0499%"),
    "meaning where nothing is stored": manifest(semantic={"enabled": True}, cache={"mode": "Disabled"}),
    "meaning for a policy where nothing is stored": semantic_of_a_policy({"enabled": True}, cache={"mode": "Disabled"}),
    "meaning for a policy that stores nothing": meaning({"cache": {"mode": "Disabled"}}),
    "meaning of vectors": meaning({"match": {"dialects": ["openai-embeddings", "openai-completions"]}}),
    "a sample for nothing": semantic(sample="5%"),
    "a sample of nothing": semantic(maxFalseHitRate="1%", sample="0%"),
    "one neighbour only": semantic(candidates=1),
    "a semantic cache without time": semantic(deadline="0s"),
    "a semantic cache with all the time": semantic(deadline="6s"),
    "vectors of two makers": semantic(embedding={"upstream": "openai", "local": {}}),
    "a model that nobody is asked for": semantic(embedding={"model": "text-embedding-3-small"}),
    "vectors of an upstream that is not there": semantic(embedding={"upstream": "other"}),
    "vectors of an upstream that makes none": manifest(semantic={"enabled": True, "embedding": {"upstream": "echo"}}),
    "vectors of a provider without": manifest(
        upstreams=[OPENAI | {"provider": "deepseek", "baseURL": "https://api.deepseek.com"}],
        semantic={"enabled": True, "embedding": {"upstream": "openai", "model": "m"}},
    ),
    "vectors of a model that is not named": manifest(
        upstreams=[MISTRAL], semantic={"enabled": True, "embedding": {"upstream": "mistral"}}
    ),
    "vectors of an upstream without a credential of its own": manifest(
        upstreams=[OPENAI | {"credential": {"passthrough": True}}],
        semantic={"enabled": True, "embedding": {"upstream": "openai"}},
    ),
    "a judge without a verifier": semantic(verifier="none", judge={}),
    "a judge without a model": semantic(judge={"upstream": "openai"}),
    "a judge without an upstream": semantic(judge={"model": "gpt-4o-mini"}),
    "a judge at an upstream that is not there": semantic(judge={"upstream": "other", "model": "gpt-4o-mini"}),
    "a judge at an upstream that knows no OpenAI": manifest(semantic={"judge": {"upstream": "echo", "model": "m"}}),
    "a judge with each client's credential": manifest(
        upstreams=[OPENAI | {"credential": {"passthrough": True}}],
        semantic={"judge": {"upstream": "openai", "model": "gpt-4o-mini"}},
    ),
    "tokens of a judge who takes none": semantic(judge={"tokensPerDay": 1000}),
    "a judge of what is served anyway": semantic(judge={"leastScore": 0.51}),
    "a judge without time": semantic(judge={"deadline": "0s"}),
    "a judge with all the time": semantic(judge={"deadline": "121s"}),
    "a judge who never judges": semantic(judge={"callsPerMinute": 0}),
    "an index in a place nobody has": semantic(index={"type": "tape"}),
    "vectors in S3": manifest(cache={"store": S3_STORE}, s3={"bucket": "my-llmcache"}, semantic={"enabled": True}),
    "a tenant with more vectors than all": semantic(index={"entries": 5, "entriesPerTenant": 6}),
    "an index in no Redis": semantic(index={"type": "redisSearch"}),
    "a Qdrant without an address": semantic(index={"type": "qdrant"}),
    "an address of no Qdrant": semantic(index={"url": QDRANT["url"]}),
    "an address of Qdrant that is none of HTTP": semantic(index=QDRANT | {"url": "qdrant:6333"}),
    "an address of Qdrant with a password": semantic(index=QDRANT | {"url": "https://a:b@qdrant.example"}),
    "a collection of no Qdrant": semantic(index={"collection": "x"}),
    "a key of no Qdrant": semantic(index={"credential": {"secretRef": {"name": "qdrant", "key": "api-key"}}}),
    "a collection with a path": semantic(index=QDRANT | {"collection": "a/b"}),
    "an authority of a Qdrant without TLS": semantic(index=QDRANT | {"url": "http://qdrant:6333", "ca": PEM}),
    "an index in a cluster": manifest(
        cache={"store": {"type": "tiered"}},
        redis={"external": {"cluster": {"hosts": ["x:1"]}}},
        semantic={"enabled": True, "index": {"type": "redisSearch"}},
    ),
    "vectors in S3 for a policy": manifest(
        cache={"store": S3_STORE},
        s3={"bucket": "my-llmcache"},
        policies=[{"name": "p", "match": {"models": ["x"]}, "semantic": {"enabled": True}}],
    ),
    "meaning beside a key of one's own": manifest(semantic={"enabled": True}, cache={"key": BUILDER}),
    "meaning for a policy beside the keys of all": semantic_of_a_policy({"enabled": True}, cache={"key": BUILDER}),
    "meaning for a policy with keys of its own": semantic_of_a_policy(
        {"enabled": True}, parts={"cache": {"key": BUILDER}}
    ),
    "more of a meaning for a policy with keys of its own": meaning({"cache": {"key": BUILDER}}),
    "a threshold of nothing": manifest(semantic={"threshold": 0.9}),
    "a deadline of nothing": manifest(semantic={"deadline": "1s"}),
    "an index of nothing": manifest(semantic={"index": {"entriesPerTenant": 5}}),
    "an embedding of nothing": manifest(semantic={"embedding": {"local": {}}}),
    "an admission to nothing": manifest(semantic={"admit": ["tools"]}),
    "settings of nothing beside a policy without it": semantic_of_a_policy(
        {"enabled": False}, of_all={"verifier": "none"}
    ),
    "a policy's threshold of nothing": semantic_of_a_policy({"threshold": 0.9}),
    "a provider without an address": manifest(upstreams=[{"name": "openai", "provider": "openai"}]),
    "an unknown provider": manifest(upstreams=[{"name": "x", "provider": "nobody"}]),
    "an address with a query": manifest(upstreams=[OPENAI | {"baseURL": "https://x/?a=1"}]),
    "an Anthropic endpoint with /v1": manifest(upstreams=[ANTHROPIC | {"baseURL": "https://api.anthropic.com/v1/"}]),
    "a Gemini endpoint with /v1beta": manifest(upstreams=[GEMINI | {"baseURL": "https://x.example/v1beta"}]),
    "a Vertex endpoint with /v1": manifest(
        upstreams=[GEMINI | {"provider": "vertex", "baseURL": "https://x.example/v1//"}]
    ),
    "bedrock without a region": manifest(
        upstreams=[BEDROCK | {"baseURL": "https://proxy.example/bedrock-runtime.x.y"}]
    ),
    "a region of nobody's": manifest(upstreams=[GEMINI | {"region": "eu-central-1"}]),
    "a region where nothing is signed": manifest(
        upstreams=[BEDROCK | {"region": "eu-central-1", "credential": {"passthrough": True}}]
    ),
    "an echo with an address": manifest(upstreams=[ECHO | {"baseURL": "https://x"}]),
    "an echo with a credential": manifest(upstreams=[ECHO | {"credential": {"env": "X"}}]),
    "translation for a provider that needs none": manifest(upstreams=[OPENAI | {"translation": {}}]),
    "echo settings for another provider": manifest(upstreams=[OPENAI | {"echo": {}}]),
    "an empty credential": credential(),
    "two credentials": credential(env="A", passthrough=True),
    "a key of Google's and what the pod is": of_google(
        googleServiceAccount={"file": "/run/key.json"}, googleWorkloadIdentity=True
    ),
    "a key of Google's from nowhere": of_google(googleServiceAccount={}),
    "a key of Google's from two places": of_google(
        googleServiceAccount={"file": "/k", "secretRef": {"name": "vertex", "key": "k.json"}}
    ),
    "what the pod is to Google, told to another": credential(googleWorkloadIdentity=True),
    "passthrough switched off": credential(passthrough=False),
    "an upper-case upstream": manifest(upstreams=[ECHO | {"name": "Echo"}]),
    "a version with a colon": manifest(prefix={"version": "a:b"}),
    "a version that is missing": manifest(prefix={}),
    "a ttl of zero": manifest(cache={"ttl": "0s"}),
    "a ttl of zero in two units": manifest(cache={"ttl": "0h0m"}),
    "a ttl in words": manifest(cache={"ttl": "one hour"}),
    "a ttl without unit": manifest(cache={"ttl": "60"}),
    "store type s3 without a bucket": manifest(cache={"store": S3_STORE}),
    "a bucket that is not used": manifest(s3={"bucket": "my-llmcache"}),
    "store type s3 with a Redis": manifest(
        cache={"store": S3_STORE}, s3={"bucket": "my-llmcache"}, redis={"managed": {}}
    ),
    "store type s3 with l1": manifest(cache={"store": S3_STORE | {"l1": {}}}, s3={"bucket": "my-llmcache"}),
    "S3 in the time of a Redis": manifest(cache={"store": {"type": "s3"}}, s3={"bucket": "my-llmcache"}),
    "S3 behind the memory in 99 ms": manifest(
        cache={"store": {"type": "tiered", "l2": {"type": "s3"}, "timeout": "99ms"}}, s3={"bucket": "my-llmcache"}
    ),
    "S3 and Redis behind the memory": manifest(
        cache={"store": {"type": "tiered", "timeout": "1s"}}, redis={"managed": {}}, s3={"bucket": "my-llmcache"}
    ),
    "a bucket with an upper-case name": bucket(bucket="My-LLMCache"),
    "a bucket with a path in its address": bucket(endpoint="https://x/bucket"),
    "a bucket with a password in its address": bucket(endpoint="https://a:b@x"),
    "a bucket with a prefix that ends with a slash": bucket(prefix="llmcache/"),
    "a bucket with a prefix that climbs": bucket(prefix="a/../b"),
    "a bucket with authorities for Amazon's server": bucket(ca={"file": "/ca.pem"}),
    "a bucket with authorities for a server without TLS": bucket(ca={"file": "/ca.pem"}, endpoint="http://x"),
    "a bucket with half a credential": bucket(credential={"accessKeyId": {"name": "s3", "key": "id"}}),
    "a store type nobody has": manifest(cache={"store": {"type": "tape"}}),
    "store type disk with l1": manifest(cache={"store": {"type": "disk", "l1": {}}}),
    "store type disk with a Redis": manifest(cache={"store": {"type": "disk"}}, redis={"managed": {}}),
    "tiered over disk with a Redis": manifest(
        cache={"store": {"type": "tiered", "l2": {"type": "disk"}}}, redis={"managed": {}}
    ),
    "bounds of a disk that is not used": manifest(cache={"store": {"type": "memory", "disk": {}}}),
    "compression of what is in memory": manifest(cache={"store": {"compressAbove": "4Ki"}}),
    "bounds of a pace that is not recorded": manifest(cache={"replay": {"maxPause": "1s"}}),
    "a pace without time": manifest(cache={"replay": {"pace": "Recorded", "maxTotal": "0s"}}),
    "tiered without a Redis": manifest(cache={"store": {"type": "tiered"}}),
    "memory with a Redis": manifest(redis={"managed": {}}),
    "store type redis with l1": manifest(cache={"store": {"type": "redis", "l1": {}}}, redis={"managed": {}}),
    "a store that is waited for without end": manifest(cache={"store": {"timeout": "60s"}}),
    "a store that is not waited for": manifest(cache={"store": {"timeout": "0ms"}}),
    "store type memory with l2": manifest(cache={"store": {"type": "memory", "l2": {}}}),
    "a Redis that is neither": tiered(),
    "a Redis that is both": tiered(managed={}, external={"url": "redis://x:6379"}),
    "a password in the Redis address": tiered(external={"url": "redis://u:p@x:6379"}),
    "an external Redis that is nowhere": tiered(external={"credential": LOGIN}),
    "an external Redis in two places": tiered(external={"url": "redis://x:6379", "cluster": {"hosts": ["x:1"]}}),
    "a Sentinel without a port": tiered(external={"sentinel": {"master": "m", "hosts": ["sentinel-0"]}}),
    "Sentinels without a master": tiered(external={"sentinel": {"hosts": ["sentinel-0:26379"]}}),
    "a cluster without nodes": tiered(external={"cluster": {"hosts": []}}),
    "a cluster's node as a URL": tiered(external={"cluster": {"hosts": ["redis://x:6379"]}}),
    "TLS settings for a plain address": tiered(external={"url": "redis://x:6379", "tls": {}}),
    "an authority that nothing is checked by": tiered(
        external={"url": "rediss://x:6379", "tls": {"verify": False, "ca": PEM}}
    ),
    "a server's name that nothing is checked by": tiered(
        external={"url": "rediss://x:6379", "tls": {"verify": False, "serverName": "x"}}
    ),
    "an authority from nowhere": tiered(external={"url": "rediss://x:6379", "tls": {"ca": {}}}),
    "a client's certificate without its key": tiered(
        external={"url": "rediss://x:6379", "tls": {"clientCertificate": {"certificate": PEM}}}
    ),
    "a volume that is smaller than memory": tiered(managed={"memory": "2Gi", "persistence": {"size": "2047Mi"}}),
    "a volume in thousands": tiered(managed={"persistence": {"size": "5G"}}),
    "a volume of no size": tiered(managed={"persistence": {}}),
    "a way to keep entries that is none": tiered(managed={"persistence": {"size": "5Gi", "mode": "rdb"}}),
    "a module without its path": tiered(managed={"modules": ["redisearch.so"]}),
    "a module with arguments": tiered(managed={"modules": ["/a.so TIMEOUT 5"]}),
    "Redis memory in bytes": tiered(managed={"memory": "1000000"}),
    "Redis memory in thousands": tiered(managed={"memory": "512M"}),
    "Redis memory with a leading zero": tiered(managed={"memory": "0512Mi"}),
    "Redis memory of zero": tiered(managed={"memory": "0Mi"}),
    "half a Gi of Redis memory": tiered(managed={"memory": "0.5Gi"}),
    "no request bytes": manifest(limits={"requestBytes": "0"}),
    "no entry bytes": manifest(limits={"entryBytes": "0Mi"}),
    "fewer than no replicas": manifest(gateway={"replicas": -1}),
    "a most that is fewer than the fewest": gateway(replicas=4, autoscaling={"max": 3}),
    "autoscaling without a most": gateway(autoscaling={}),
    "an external autoscaler with a most": gateway(autoscaling={"external": True, "max": 4}),
    "an external autoscaler with a target": gateway(autoscaling={"external": True, "targetCPU": 80}),
    "an external autoscaler with metrics": gateway(autoscaling={"external": True, "metrics": [{"type": "Pods"}]}),
    "autoscaling by CPU that is not requested": gateway(resources={}, autoscaling={"max": 8}),
    "a CPU target beside metrics without a request": gateway(
        resources={}, autoscaling={"max": 8, "targetCPU": 60, "metrics": [{"type": "Pods"}]}
    ),
    "an empty budget": gateway(disruptionBudget={}),
    "a budget of both kinds": gateway(disruptionBudget={"minAvailable": "1", "maxUnavailable": "1"}),
    "a budget in words": gateway(disruptionBudget={"minAvailable": "half"}),
    "a budget of more than all": gateway(disruptionBudget={"minAvailable": "101%"}),
    "no time to drain": gateway(drain="0s"),
    "two hours to drain": gateway(drain="2h"),
    "a day to drain": gateway(drain="1d"),
    "no clients": clients(),
    "a client that is nobody": clients({}),
    "a client that is an address and a pod": clients({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}),
    "a client with a misspelt field": clients({"podSelektor": {}}),
    "an address that is no range": clients({"ipBlock": {"cidr": "10.0.0.1"}}),
    "In without values": clients({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
    "Exists with values": clients(
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}
    ),
    "a label's value with a space": clients({"podSelector": {"matchLabels": {"a": "b c"}}}),
    "source ranges without a load balancer": gateway(service={"loadBalancerSourceRanges": ["10.0.0.0/8"]}),
    "an exposure to nothing": gateway(expose={}),
    "an Ingress without a host": gateway(expose={"ingress": {}}),
    "a host in capitals": gateway(expose={"ingress": {"host": "LLM.example.com"}}),
    "an HTTPRoute of no Gateway": gateway(expose={"httpRoute": {"parentRefs": []}}),
    "a label that the operator has": gateway(
        podTemplate={"metadata": {"labels": {"app.kubernetes.io/instance": "other"}}}
    ),
    "monitoring labels for nothing": manifest(monitoring={"labels": {"release": "prometheus"}}),
    "monitoring labels that the operator has": manifest(
        monitoring={"alerts": True, "labels": {"app.kubernetes.io/name": "other"}}
    ),
    "replicas in words": manifest(gateway={"replicas": "two"}),
    "a quantity that is none": manifest(gateway={"resources": {"limits": {"memory": "lots"}}}),
    "a name that begins with a digit": manifest("1cache"),
    "a name with a dot": manifest("a.b"),
    "a name of forty-seven characters": manifest("a" * 47),
}
