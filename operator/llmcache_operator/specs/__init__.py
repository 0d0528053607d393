"""Pure functions that build the objects of an LLMCache. Nothing in here reads or writes anything."""

from llmcache_operator.specs.children import children, former_children, gateway_configuration, managed_redis
from llmcache_operator.specs.identity import COMPONENT_GATEWAY, FIELD_MANAGER, Identity, Images, Object
from llmcache_operator.specs.secrets import Generated, generated, referenced_secrets

__all__ = [
    "COMPONENT_GATEWAY",
    "FIELD_MANAGER",
    "Generated",
    "Identity",
    "Images",
    "Object",
    "children",
    "former_children",
    "gateway_configuration",
    "generated",
    "managed_redis",
    "referenced_secrets",
]
