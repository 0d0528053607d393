"""What the command line of `run` says, as data."""

from dataclasses import dataclass

from llmcache_operator.specs import Images

GATEWAY_IMAGE = "llmcache-gateway:0.1.0"
REDIS_IMAGE = "docker.io/library/redis:8.2"


@dataclass(frozen=True, slots=True)
class Settings:
    """How one operator runs. Times are in seconds."""

    namespaces: tuple[str, ...]
    """The namespaces it looks after; none means all."""
    images: Images
    lease: tuple[str, str] | None = None
    """Namespace and name of the Lease that whoever works holds; without one, this operator works at once."""
    health_port: int = 8081
    workers: int = 16
    """LLMCaches that are reconciled at the same time."""
    resync: float = 300.0
    """Every LLMCache is looked at again at least this often, whatever events were missed."""
