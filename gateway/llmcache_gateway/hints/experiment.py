"""Which side of an experiment a request is on: always the same for the same beginning of a prompt.

Requests that share a prefix must be on one side: the provider keeps it for both, so that each would be paid for by the
other.
"""

from llmcache_gateway.config import HintExperiment


def is_alternative(experiment: HintExperiment, prefix: bytes) -> bool:
    """Say whether a prompt that begins so is given the alternative's hints."""
    return int.from_bytes(prefix[:8], "big") % 100 < experiment.percent
