"""The CustomResourceDefinition, generated from the configuration types."""

from llmcache_operator.crd.definition import definition, definition_yaml

__all__ = ["definition", "definition_yaml"]
