"""What a provider takes as a hint for one of its models: the table beside this module, and a manifest's rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any, Final

import msgspec

from llmcache_gateway import tables
from llmcache_gateway.config import Model, described
from llmcache_gateway.config.hints import CAPABILITY_FIELDS, CapabilityRow
from llmcache_gateway.config.hints import Prices as PricesConfig
from llmcache_gateway.tables import matches, plain

FILE: Final = "capabilities.yaml"

MAX_KNOWN: Final = 500
"""Most models whose capability is remembered: clients choose their names."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What cached input costs, in multiples of an uncached input token of the same model."""

    read: float
    write: Mapping[str, float]
    """By TTL; one that is not there costs 1."""

    storage: float = 0.0
    """What a token costs that is kept for an hour, where that is paid for."""


@dataclass(frozen=True, slots=True)
class Capability:
    """What one model takes at one provider. Without `hints` it gets none; `prices` are None where nobody knows."""

    hints: tuple[str, ...] = ()
    minimum_tokens: int = 0
    markers: int = 0
    texts_only: bool = False
    """Whether marks may stand behind texts only."""

    ttls: tuple[str, ...] = ()
    """For how long a prefix can be kept; the first where nothing is said."""

    prices: Prices | None = None


class _Table(Model, frozen=True, kw_only=True):
    rows: Annotated[list[CapabilityRow], described("The rows, in order.")]


class Capabilities:
    """The rows in force: those of a manifest, then those of the table."""

    def __init__(self, rows: Sequence[CapabilityRow]) -> None:
        self._rows = tuple(rows)
        self._known: dict[tuple[str, str], Capability] = {}

    def of(self, provider: str, model: str) -> Capability:
        """Return what a model takes at a kind of provider: each field from the first row that matches and sets it."""
        known = self._known.get((provider, model))
        if known is None:
            known = _capability(self._said(provider, model))
            if len(self._known) < MAX_KNOWN:
                self._known[provider, model] = known
        return known

    def _said(self, provider: str, model: str) -> dict[str, Any]:
        said: dict[str, Any] = {}
        name = plain(model)
        for row in self._rows:
            if matches(row, provider, name):
                if row.family is not None and "family" not in said:
                    name = plain(row.family)
                said = {
                    field: value for field in CAPABILITY_FIELDS if (value := getattr(row, field)) is not None
                } | said
        return said


def read_table(text: str) -> list[CapabilityRow]:
    """Return the rows of a table in YAML; ConfigError with every problem found."""
    return tables.read_table(text, FILE, _Table).rows


def shipped_rows() -> list[CapabilityRow]:
    """Return the rows of the table that comes with the gateway."""
    return read_table(resources.files("llmcache_gateway.hints").joinpath(FILE).read_text(encoding="utf-8"))


def _capability(said: Mapping[str, Any]) -> Capability:
    prices: PricesConfig | None = said.get("prices")
    return Capability(
        hints=tuple(said.get("hints", ())),
        minimum_tokens=said.get("minimum_tokens", 0),
        markers=said.get("markers", 0),
        texts_only=said.get("texts_only", False),
        ttls=tuple(said.get("ttls", ())),
        prices=None if prices is None else _prices(prices),
    )


def _prices(prices: PricesConfig) -> Prices:
    written = msgspec.to_builtins(prices.write)
    by_ttl = {ttl: float(price) for ttl, price in written.items() if price is not None}
    return Prices(float(prices.read), by_ttl, float(prices.storage or 0))
