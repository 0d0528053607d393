"""What a prompt costs by what its provider had of it and kept of it: in tokens of uncached input."""

from typing import Final

from llmcache_gateway.hints.capabilities import Prices
from llmcache_gateway.usage import Usage

SHORT: Final = ("5m", "30m")
LONG: Final = ("1h", "12h")
"""The times for which providers keep a prefix: no model has two of one row."""


def equivalents(usage: Usage, prices: Prices) -> float:
    """Return how many tokens of uncached input would cost as much as an input did.

    Less than its tokens where the provider's cache paid, more where it only cost.
    """
    short = usage.written - usage.written_long
    written = short * _price(prices, SHORT) + usage.written_long * _price(prices, LONG)
    return usage.uncached + usage.cached * prices.read + written


def _price(prices: Prices, times: tuple[str, ...]) -> float:
    return next((prices.write[ttl] for ttl in times if ttl in prices.write), 1.0)
