"""What tokens cost, where the shipped table does not know it or a contract says otherwise."""

from typing import Annotated

from msgspec import Meta, field

from llmcache_gateway.config.model import Model, described
from llmcache_gateway.config.scalars import Name

USD = Annotated[
    str,
    Meta(
        title="an amount of USD, as a text",
        pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$",
        max_length=16,
        examples=['"2.50"', '"0.075"'],
    ),
]
"""An amount of money; a text, so that what Git says stays what the API server holds."""


class PriceRow(Model, frozen=True, kw_only=True):
    """What a million tokens of some models cost at some providers."""

    providers: Annotated[
        list[Name],
        described("Kinds of provider, as `provider` of an upstream names them. Without any, all.", max_length=16),
    ] = field(default_factory=list)
    models: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=128)]],
        described(
            "Patterns of model names; `*` stands for anything, and a dot and a dash are the same.",
            min_length=1,
            max_length=64,
        ),
    ]
    input: Annotated[USD, described("USD of a million tokens of input that are not cached.")]
    output: Annotated[USD, described("USD of a million tokens of output. Models that only embed have none.")] = "0"
