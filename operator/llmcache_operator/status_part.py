"""The base of the status types, and the scalars that they share."""

from typing import Annotated

from msgspec import Meta, Struct


class StatusPart(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The base of the status types. Unknown fields are dropped: an older or newer operator may have left them."""


Text = Annotated[str, Meta(max_length=1024)]
Version = Annotated[str, Meta(max_length=63)]
