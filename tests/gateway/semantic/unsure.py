"""A question that the verifier is not sure of. Which one that is depends on how it was trained."""

from llmcache_gateway.semantic.guards import rejected_by
from llmcache_gateway.semantic.verifier import Verifier

STORED = "How do I change my password?"

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
