"""What the manifests beside this are put together from."""

from typing import Any

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


def manifest(name: str = "demo", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "llmcache.dev/v1alpha1",
        "kind": "LLMCache",
        "metadata": {"name": name, "namespace": "ai"},
        "spec": {"upstreams": [ECHO], "prefix": {"version": "v1"}} | spec,
    }


def credential(**credential: Any) -> dict[str, Any]:
    return manifest(upstreams=[OPENAI | {"credential": credential}])


def of_google(**credential: Any) -> dict[str, Any]:
    vertex = {"name": "vertex", "provider": "vertex", "baseURL": "https://aiplatform.googleapis.com"}
    return manifest(upstreams=[vertex | {"credential": credential}])


def tiered(**redis: Any) -> dict[str, Any]:
    return manifest(cache={"store": {"type": "tiered"}}, redis=redis)


def canary(*percents: int, **rollout: Any) -> dict[str, Any]:
    steps = [{"percent": percent, "pause": "5m"} for percent in percents]
    return manifest(rollout={"strategy": "Canary", "canary": {"steps": steps}} | rollout)


FAQ = {"configMapRef": {"name": "faq", "key": "requests.jsonl"}}
LOGIN = {"secretRef": {"name": "redis", "key": "password"}}
SENTINEL = {"master": "mymaster", "hosts": ["sentinel-0:26379"]}
PEM = {"secretRef": {"name": "redis", "key": "ca.crt"}}


def gateway(**gateway: Any) -> dict[str, Any]:
    return manifest(gateway=gateway)


def clients(*clients: dict[str, Any]) -> dict[str, Any]:
    return gateway(networkPolicy={"clients": list(clients)})


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


def semantic(**semantic: Any) -> dict[str, Any]:
    return manifest(upstreams=[OPENAI], semantic={"enabled": True} | semantic)


def semantic_of_a_policy(
    own: dict[str, Any], *, of_all: dict[str, Any] | None = None, parts: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    policy = {"name": "p", "match": {"models": ["x"]}, "semantic": own} | (parts or {})
    return manifest(policies=[policy], semantic=of_all or {}, **more)


def meaning(parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a manifest with the semantic cache on, and a policy of these parts that makes it stricter."""
    return semantic_of_a_policy({"threshold": 0.9}, of_all={"enabled": True}, parts=parts, **more)


def hints(**hints: Any) -> dict[str, Any]:
    return manifest(upstreams=[OPENAI], hints=hints)


def contents(hints: dict[str, Any] | None = None, **contents: Any) -> dict[str, Any]:
    return manifest(upstreams=[ECHO, GEMINI], hints={"cachedContents": contents, **(hints or {})})


def hints_of_a_policy(*, of_all: dict[str, Any] | None = None, **hints: Any) -> dict[str, Any]:
    policy = {"name": "p", "match": {"models": ["x"]}, "hints": hints}
    spec: dict[str, Any] = {} if of_all is None else {"hints": of_all}
    return manifest(policies=[policy], **spec)


def bucket(**more: Any) -> dict[str, Any]:
    return manifest(cache={"store": S3_STORE}, s3={"bucket": "my-llmcache"} | more)
