"""A question that the verifier is not sure of, and who judges it. Which one that is depends on how it was trained."""

import re
from typing import Any

from llmcache_gateway.semantic.guards import rejected_by
from llmcache_gateway.semantic.verifier import Verifier
from tests.gateway.conftest import TestGateway, manifest
from tests.gateway.provider import Provider
from tests.gateway.semantic.questions import DEBUG, ONLY_CACHED, chat, until

STORED = "How do I change my password?"

ENVIRONMENT = {"JUDGE_KEY": "key-of-the-judge"}

LEAST = 0.02
"""A score from which on tests have questions judged."""

REWORDINGS = (
    "How do I pick a new password?",
    "How do I make up a new password?",
    "Is there a way to have another password?",
    "I want a different password",
    "What do I do to have another password?",
    "My password has to be another one, how?",
    "I forgot my password, what do I do?",
    "Where can I get a new password from?",
    "How do I get rid of my old password?",
    "How do I replace my password?",
    "What is the way to a new password?",
    "How would one go about a new password?",
    "Help me with a new password",
)


def unsure_of() -> str:
    """Return a rewording of STORED with a score between LEAST and what is served, far enough from both."""
    verifier = Verifier.load()
    scores = {text: verifier.score(text, STORED) for text in REWORDINGS if rejected_by(text, STORED) is None}
    return next(text for text, score in scores.items() if 2 * LEAST < score < verifier.threshold - 0.05)


def spaced(text: str) -> str:
    """Return the question as another request: it has no entry of its own, but is the very same question."""
    return text.replace(" ", "  ")


def judged(provider: Provider, judge: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    own = {"threshold": 0.1, "judge": {"leastScore": LEAST, "deadline": "60s"} | (judge or {})}
    spec = {"enabled": True, "deadline": "5s"} | own | more.pop("semantic", {})
    config = manifest(provider.base_url, semantic=spec, **more)
    config["spec"]["upstreams"][0]["models"] = ["gpt-*"]
    config["spec"]["upstreams"].append(
        {
            "name": "judge",
            "provider": "openai",
            "baseURL": provider.base_url,
            "models": ["judge-*"],
            "credential": {"env": "JUDGE_KEY"},
            "timeout": "30s",
        }
    )
    return config


async def verdicts(gateway: TestGateway, verdict: str, by: str = "model", policy: str = "default") -> float:
    labels = f'by="{by}",policy="{policy}",verdict="{verdict}"'
    return await gateway.metric(f"llmcache_semantic_judged_total{{{labels}}}")


async def until_near(gateway: TestGateway, text: str, headers: dict[str, str]) -> None:
    """Wait until the stored question has been taken in: then it is the verifier that holds the two apart."""
    name = 'llmcache_semantic_rejected_total{guard="verifier"}'
    before = await gateway.metric(name)

    async def is_near() -> bool:
        await gateway.post(chat(text), headers=headers | ONLY_CACHED)
        return await gateway.metric(name) > before

    await until(is_near)


async def ask_until_judged(
    gateway: TestGateway, text: str, verdict: str, by: str = "model", headers: dict[str, str] | None = None
) -> None:
    """Ask a question whose stored neighbour is near, and wait until the two have been judged."""
    own, before = headers or {}, await verdicts(gateway, verdict, by)
    await until_near(gateway, text, own)
    answer = await gateway.post(chat(text), headers=own | DEBUG)
    assert answer.headers["X-LLMCache"] == "MISS"
    assert re.fullmatch(r"verifier; similarity=0\.\d+; unsure", answer.headers["X-LLMCache-Semantic"])

    async def is_judged() -> bool:
        return await verdicts(gateway, verdict, by) == before + 1

    await until(is_judged)
