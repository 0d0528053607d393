"""Configuration types and how they are read. The one package that the operator imports of the gateway."""

from llmcache_gateway.config.cache import Cache, DiskStore, KeySettings, MemoryStore, Replay, Store
from llmcache_gateway.config.deployment import DEFAULT_TARGET_CPU, Autoscaling, Gateway, PodTemplate, Resources
from llmcache_gateway.config.expose import GatewayService, HTTPRoute, Ingress
from llmcache_gateway.config.gateway import (
    ActivePrefix,
    GatewayConfig,
    NextPrefix,
    gateway_config,
    parts_for_the_operator,
)
from llmcache_gateway.config.hints import CachedContents, CapabilityRow, HintExperiment, HintPoint, Hints, HintsOverride
from llmcache_gateway.config.hooks import Hooks
from llmcache_gateway.config.load import load_config, load_yaml, parse
from llmcache_gateway.config.manifest import LLMCache, LLMCacheSpec
from llmcache_gateway.config.model import API_VERSION, GROUP, VERSION, Model, SecretFile, SecretRef, described
from llmcache_gateway.config.monitoring import Monitoring
from llmcache_gateway.config.network import NetworkPolicy, Peer
from llmcache_gateway.config.policy import CacheOverride, Match, Policy
from llmcache_gateway.config.prices import PriceRow
from llmcache_gateway.config.redis import (
    PEM,
    ExternalRedis,
    ManagedRedis,
    Persistence,
    Redis,
    RedisCluster,
    RedisLogin,
    RedisSentinel,
    RedisTLS,
)
from llmcache_gateway.config.rollout import PROGRESS_DEADLINE, Analysis, Canary, CanaryStep, Retain, Rollout, Warm
from llmcache_gateway.config.s3 import S3, S3Login
from llmcache_gateway.config.scalars import byte_count, seconds, share
from llmcache_gateway.config.semantic import (
    DEFAULT_MODEL,
    JUDGES,
    MAKERS,
    Embedding,
    Judge,
    LocalEmbedding,
    Semantic,
    SemanticOverride,
    VectorIndex,
)
from llmcache_gateway.config.tenancy import GatewayKeys, Tenancy, TenantHeader
from llmcache_gateway.config.upstream import Credential, Echo, Translation, Upstream
from llmcache_gateway.config.validate import Problem, problems, unwrap
from llmcache_gateway.errors import ConfigError

__all__ = [
    "API_VERSION",
    "DEFAULT_MODEL",
    "DEFAULT_TARGET_CPU",
    "GROUP",
    "JUDGES",
    "MAKERS",
    "PEM",
    "PROGRESS_DEADLINE",
    "S3",
    "VERSION",
    "ActivePrefix",
    "Analysis",
    "Autoscaling",
    "Cache",
    "CacheOverride",
    "CachedContents",
    "Canary",
    "CanaryStep",
    "CapabilityRow",
    "ConfigError",
    "Credential",
    "DiskStore",
    "Echo",
    "Embedding",
    "ExternalRedis",
    "Gateway",
    "GatewayConfig",
    "GatewayKeys",
    "GatewayService",
    "HTTPRoute",
    "HintExperiment",
    "HintPoint",
    "Hints",
    "HintsOverride",
    "Hooks",
    "Ingress",
    "Judge",
    "KeySettings",
    "LLMCache",
    "LLMCacheSpec",
    "LocalEmbedding",
    "ManagedRedis",
    "Match",
    "MemoryStore",
    "Model",
    "Monitoring",
    "NetworkPolicy",
    "NextPrefix",
    "Peer",
    "Persistence",
    "PodTemplate",
    "Policy",
    "PriceRow",
    "Problem",
    "Redis",
    "RedisCluster",
    "RedisLogin",
    "RedisSentinel",
    "RedisTLS",
    "Replay",
    "Resources",
    "Retain",
    "Rollout",
    "S3Login",
    "SecretFile",
    "SecretRef",
    "Semantic",
    "SemanticOverride",
    "Store",
    "Tenancy",
    "TenantHeader",
    "Translation",
    "Upstream",
    "VectorIndex",
    "Warm",
    "byte_count",
    "described",
    "gateway_config",
    "load_config",
    "load_yaml",
    "parse",
    "parts_for_the_operator",
    "problems",
    "seconds",
    "share",
    "unwrap",
]
