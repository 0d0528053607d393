"""Configuration types and how they are read. The one package that the operator imports of the gateway."""

from llmcache_gateway.config.gateway import GatewayConfig, gateway_config, parts_for_the_operator
from llmcache_gateway.config.load import load_config, load_yaml, parse
from llmcache_gateway.config.manifest import API_VERSION, GROUP, VERSION, LLMCache, LLMCacheSpec, Model
from llmcache_gateway.config.scalars import byte_count, seconds
from llmcache_gateway.config.validate import Problem, problems

__all__ = [
    "API_VERSION",
    "GROUP",
    "VERSION",
    "GatewayConfig",
    "LLMCache",
    "LLMCacheSpec",
    "Model",
    "Problem",
    "byte_count",
    "gateway_config",
    "load_config",
    "load_yaml",
    "parse",
    "parts_for_the_operator",
    "problems",
    "seconds",
]
