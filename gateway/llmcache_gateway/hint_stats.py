"""What hints bring, by policy and, in an experiment, by its two sides."""

from dataclasses import dataclass
from typing import Any, Literal

from llmcache_gateway.usage import Usage

Side = Literal["main", "alternative"]
"""Which hints a request is given: those that are set, or those that an experiment tries."""


@dataclass(slots=True)
class SideCounts:
    """The answers of providers to requests that hints are for, whether they were given one or not."""

    calls: int = 0
    hinted: int = 0
    input: int = 0
    equivalents: float = 0.0
    net_tokens: float = 0.0
    net_usd: float = 0.0
    unpriced: int = 0
    """Calls whose model's prices for cached input are not known: in none of the three above."""

    def count(self, usage: Usage, *, hinted: bool, equivalents: float | None, usd_per_token: float | None) -> float:
        """Count one answer, and return what its hint brought, in tokens of uncached input; less than 0 where it cost.

        `equivalents` is what its input cost in such tokens, and `usd_per_token` what one of them costs; None where
        that is not known.
        """
        self.calls += 1
        self.hinted += hinted
        if equivalents is None:
            self.unpriced += 1
            return 0.0
        self.input += usage.input
        self.equivalents += equivalents
        if not hinted:
            return 0.0
        net = usage.input - equivalents
        self.net_tokens += net
        self.net_usd += net * (usd_per_token or 0.0)
        return net

    def pay(self, tokens: float, usd: float) -> None:
        """Count what was paid for beside the calls, in tokens of uncached input and in USD."""
        self.equivalents += tokens
        self.net_tokens -= tokens
        self.net_usd -= usd

    def shown(self) -> dict[str, Any]:
        """Return them as the admin port shows them. `costRatio` is what compares two sides: the smaller, the better."""
        return {
            "calls": self.calls,
            "hinted": self.hinted,
            "unpricedCalls": self.unpriced,
            "inputTokens": self.input,
            "inputEquivalents": round(self.equivalents, 3),
            "costRatio": round(self.equivalents / self.input, 4) if self.input else None,
            "netTokens": round(self.net_tokens, 3),
            "netUSD": self.net_usd,
        }
