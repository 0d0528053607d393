"""Stores: where entries are kept. One port (base), one module a store."""

from llmcache_gateway.stores.base import Found, Store
from llmcache_gateway.stores.disk import DiskStore
from llmcache_gateway.stores.memory import MemoryStore
from llmcache_gateway.stores.redis import RedisStore, labels_in
from llmcache_gateway.stores.redis_access import RedisAccess, read_access
from llmcache_gateway.stores.redis_link import RedisLink, connect
from llmcache_gateway.stores.s3_access import S3Access, open_s3, read_s3_access
from llmcache_gateway.stores.tiered import TieredStore

__all__ = [
    "DiskStore",
    "Found",
    "MemoryStore",
    "RedisAccess",
    "RedisLink",
    "RedisStore",
    "S3Access",
    "Store",
    "TieredStore",
    "connect",
    "labels_in",
    "open_s3",
    "read_access",
    "read_s3_access",
]
