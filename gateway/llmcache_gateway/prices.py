"""What tokens cost: the table beside this module, and a manifest's rows before it."""

from collections.abc import Sequence
from importlib import resources
from typing import Annotated, Final, NamedTuple

from llmcache_gateway.config import Model, PriceRow, described
from llmcache_gateway.hints.capabilities import MAX_KNOWN, Capabilities
from llmcache_gateway.tables import first_match, plain, read_table
from llmcache_gateway.usage import Usage

FILE: Final = "prices.yaml"


class Rate(NamedTuple):
    """What one token costs, in USD, and cached input in multiples of that; None where nobody knows."""

    input: float
    output: float
    read: float | None

    def again(self, usage: Usage) -> float:
        """Return the least that it costs to ask the same once more.

        What was written into the provider's cache would be read from it then. What is read at a price that nobody
        knows counts as nothing: no more is claimed than is known.
        """
        kept = usage.cached + usage.written
        return (usage.uncached + kept * (self.read or 0.0)) * self.input + usage.output * self.output


class _Table(Model, frozen=True, kw_only=True):
    rows: Annotated[list[PriceRow], described("The rows, in order.")]


class Prices:
    """The prices in force. `capabilities` know what cached input costs."""

    def __init__(self, rows: Sequence[PriceRow], capabilities: Capabilities) -> None:
        self._rows = tuple(rows)
        self._capabilities = capabilities
        self._known: dict[tuple[str, str], Rate | None] = {}

    def of(self, provider: str, model: str) -> Rate | None:
        """Return what a model's tokens cost at a kind of provider; None when no row says it."""
        name = (provider, model)
        if name in self._known:
            return self._known[name]
        rate = self._rate(provider, model)
        if len(self._known) < MAX_KNOWN:
            self._known[name] = rate
        return rate

    def _rate(self, provider: str, model: str) -> Rate | None:
        row = first_match(self._rows, provider, plain(model))
        if row is None:
            return None
        cached = self._capabilities.of(provider, model).prices
        return Rate(float(row.input) / 1e6, float(row.output) / 1e6, cached.read if cached is not None else None)


def shipped_prices() -> list[PriceRow]:
    """Return the rows of the table that comes with the gateway."""
    text = resources.files("llmcache_gateway").joinpath(FILE).read_text(encoding="utf-8")
    return read_table(text, FILE, _Table).rows
