"""The base of every configuration type."""

from typing import Annotated, Any, ClassVar, Final

from msgspec import Meta, Struct

from llmcache_gateway.config.rules import Rule
from llmcache_gateway.config.scalars import SecretKey, SecretName

GROUP = "llmcache.dev"
VERSION = "v1alpha1"
API_VERSION: Final = "llmcache.dev/v1alpha1"


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The base of every configuration type: frozen, strict, camelCase on the wire."""

    RULES: ClassVar[tuple[Rule, ...]] = ()


def described(text: str, **constraints: Any) -> Meta:
    """Return a field's description and bounds, as they stand in CRD and reference page."""
    return Meta(description=text, **constraints)


class SecretRef(Model, frozen=True, kw_only=True):
    """One value of a Secret in the LLMCache's own namespace."""

    name: Annotated[SecretName, described("Name of the Secret.")]
    key: Annotated[SecretKey, described("Key inside the Secret.")]


class SecretFile(Model, frozen=True, kw_only=True):
    """A text of several lines, such as a key file: from exactly one of the two."""

    RULES = (
        Rule(
            cel="has(self.secretRef) != has(self.file)",
            holds=lambda f: (f.secret_ref is None) != (f.file is None),
            message="set exactly one of secretRef or file",
        ),
    )

    secret_ref: Annotated[
        SecretRef | None,
        described("A key of a Secret. Standalone it is read from the folder given by --secrets."),
    ] = None
    file: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1024)] | None,
        described("The file itself. For a gateway outside Kubernetes."),
    ] = None
