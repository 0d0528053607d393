"""Talks to the managed Redis as the user that may change its settings, and nothing else."""

from collections.abc import Mapping

from redis.asyncio import Redis
from redis.exceptions import RedisError

from llmcache_operator.errors import RedisUnreachable
from llmcache_operator.specs.redis import PORT
from llmcache_operator.specs.secrets import REDIS_ADMIN

_SECONDS = 2.0


async def configure(address: str, password: str, wanted: Mapping[str, str], port: int = PORT) -> dict[str, str]:
    """Bring a running Redis to the wanted settings, and return what those were that it had otherwise.

    RedisUnreachable when it can't be asked, or refuses.
    """
    login = {"username": REDIS_ADMIN, "password": password}
    timing = {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS}
    client = Redis(host=address, port=port, protocol=2, **login, **timing)  # type: ignore[arg-type]
    before = {}
    try:
        async with client:
            for name, value in wanted.items():
                had = (await client.config_get(name)).get(name)
                if had != value:
                    await client.config_set(name, value)
                    before[name] = str(had)
    except (RedisError, OSError, TimeoutError) as error:
        raise RedisUnreachable(f"{address}: {error}") from error
    return before
