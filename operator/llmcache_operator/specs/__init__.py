"""Pure functions that build the objects of an LLMCache. Nothing in here reads or writes anything."""

from llmcache_operator.specs.children import (
    OPTIONAL_KINDS,
    Key,
    active_prefix,
    children,
    former_children,
    gateway_configuration,
    initial,
    managed_redis,
)
from llmcache_operator.specs.identity import (
    COMPONENT_GATEWAY,
    COMPONENT_WARM,
    FIELD_MANAGER,
    HANDED_OVER,
    Identity,
    Images,
    Object,
)
from llmcache_operator.specs.overrides import refusals
from llmcache_operator.specs.secrets import Generated, generated, referred_to

__all__ = [
    "COMPONENT_GATEWAY",
    "COMPONENT_WARM",
    "FIELD_MANAGER",
    "HANDED_OVER",
    "OPTIONAL_KINDS",
    "Generated",
    "Identity",
    "Images",
    "Key",
    "Object",
    "active_prefix",
    "children",
    "former_children",
    "gateway_configuration",
    "generated",
    "initial",
    "managed_redis",
    "referred_to",
    "refusals",
]
