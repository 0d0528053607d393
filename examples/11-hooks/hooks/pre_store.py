"""Answers with "secret" in them are not stored; the others live for ten minutes at most, under a tag."""

from llmcache_gateway.hooks import Candidate, Decision


async def pre_store(candidate: Candidate) -> Decision | None:
    if "secret" in str(candidate.answer).lower():
        return Decision(veto=True)
    return Decision(ttl=600, tags=[f"model:{candidate.model}"])
