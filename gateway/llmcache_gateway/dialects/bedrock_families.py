"""Which model's own format a body has that Bedrock passes on, and when a whole answer of some of them is complete.

Formats: AWS's descriptions of the models' bodies. What can't be told for certain is of no family, and passes by.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final


class Family(Enum):
    """A format of bodies."""

    CLAUDE = "claude"
    NOVA = "nova"
    TITAN = "titan"
    LLAMA = "llama"
    COHERE_EMBED = "cohere-embed"


_ENDS: Final = {
    "FINISH": None,
    "STOP_CRITERIA_MET": None,
    "LENGTH": "truncated",
    "CONTENT_FILTERED": "filtered",
    "stop": None,
    "length": "truncated",
}
"""Why Titan and Llama stopped, and what of that speaks against storing the answer."""


def family_of(members: Mapping[str, Any], model: str) -> Family | None:
    """Return the family of a request's body; None for one of none. An ARN may not tell the model: its body has to."""
    if isinstance(members.get("anthropic_version"), str):
        return Family.CLAUDE
    if isinstance(members.get("messages"), list):
        is_nova = "amazon.nova" in model or not {"schemaVersion", "inferenceConfig"}.isdisjoint(members)
        return Family.NOVA if is_nova else None
    if "inputText" in members or "inputImage" in members:
        return Family.TITAN
    if "input_type" in members and not {"texts", "images", "inputs"}.isdisjoint(members):
        return Family.COHERE_EMBED
    if isinstance(members.get("prompt"), str) and ("meta.llama" in model or "max_gen_len" in members):
        return Family.LLAMA
    return None


def flaw(answer: Mapping[str, Any]) -> str | None:
    """Return what speaks against storing a whole answer of Titan's, Llama's or an embedding; None when nothing does."""
    if answer.get("error") is not None:
        return "error"
    if "generation" in answer:
        return _flaw_of_text(answer["generation"], answer.get("stop_reason"))
    results = answer.get("results")
    if isinstance(results, list) and results and all(isinstance(one, dict) for one in results):
        flaws = (_flaw_of_text(one.get("outputText"), one.get("completionReason")) for one in results)
        return next((one for one in flaws if one is not None), None)
    embeddings = (answer.get("embedding"), answer.get("embeddings"), answer.get("embeddingsByType"))
    found = [one for one in embeddings if one is not None]
    if not found:
        return "unknown-shape"
    return None if all(map(_is_filled, found)) else "empty"


def _flaw_of_text(text: Any, reason: Any) -> str | None:
    if not isinstance(text, str) or not isinstance(reason, str) or reason not in _ENDS:
        return "incomplete"
    return _ENDS[reason] or (None if text else "empty")


def _is_filled(embeddings: Any) -> bool:
    """Say whether embeddings, in lists or by the type of their numbers, are all there."""
    values = list(embeddings.values()) if isinstance(embeddings, dict) else embeddings
    if not isinstance(values, list) or not values:
        return False
    return all(not isinstance(one, dict | list) or _is_filled(one) for one in values)
