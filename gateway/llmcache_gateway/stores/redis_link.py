"""How a Redis is reached: one server, the primary that Sentinels name, or the nodes of a cluster."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol, cast

from redis.asyncio import Connection, Redis, Sentinel
from redis.asyncio import RedisCluster as ClusterClient
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError

from llmcache_gateway.config import RedisCluster, RedisLogin, RedisSentinel
from llmcache_gateway.stores.redis_access import RedisAccess
from llmcache_gateway.stores.redis_cluster import ClusterLink
from llmcache_gateway.stores.redis_replicas import WAIT, note_unconfirmed
from llmcache_gateway.stores.redis_tls import TLS, SentinelTLSConnection, TLSConnection, client_tls
from llmcache_gateway.stores.together import Read, Together

log = logging.getLogger(__name__)

CONFIRM_SECONDS: Final = 0.3
"""How long what the Sentinels said of the primary is taken for true when the invalidations are read."""


class RedisLink(Protocol):
    """A connection to Redis. Every method may raise what redis-py does."""

    async def get(self, name: str, read: Read) -> Any:
        """Return what `read` makes of a value, by a round trip that it shares with others that wait."""

    def ask(self, name: str, read: Read) -> asyncio.Future[Any] | None:
        """Begin to do so, for a caller without a task; None where it takes more than the round trip."""

    async def call(self, name: str, *command: Any) -> Any:
        """Run a command on the server that has a name, and return its result."""

    async def evaluate(self, script: str, keys: int, *arguments: Any, lasting: bool = False) -> Any:
        """Run a script over keys of one slot, and return its result.

        With `lasting`, what it has written is on a replica too when this returns, where replicas take over from their
        primary; where none confirms that in time, the log says so.
        """

    def scan(self, pattern: str, count: int) -> AsyncIterator[bytes]:
        """Yield the names on all primaries that match, asking for about `count` at a time."""

    async def ping(self) -> None:
        """Return when every primary answers."""

    async def close(self) -> None: ...


def connect(access: RedisAccess, *, timeout_seconds: float) -> RedisLink:
    """Return the link to a Redis; nothing is connected yet. ConfigError when its certificates can't be used."""
    config = access.config
    options = _login(config.credential, access.password) | {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "client_name": "llmcache-gateway",
        # Once more at once, on a new connection: the server may have closed the one at hand long ago. What does not
        # help then is left to the circuit breaker.
        "retry": Retry(NoBackoff(), 1),
    }
    tls = client_tls(access)
    if config.sentinel is not None:
        return _to_sentinels(config.sentinel, access.sentinel_password, options, tls)
    if config.cluster is not None:
        return _to_cluster(config.cluster, options, tls)
    return DirectLink(_client(config.url or "", options, tls))


def _login(login: RedisLogin | None, password: str | None) -> dict[str, Any]:
    return {"username": login.username if login is not None else None, "password": password}


def _client(url: str, options: dict[str, Any], tls: TLS | None) -> Redis:
    # The scheme rediss would bring redis-py's own class of connection.
    address = url.replace("rediss://", "redis://", 1)
    return Redis.from_url(address, **options, **_encrypted(TLSConnection, tls))


def _encrypted(connection_class: type[Connection], tls: TLS | None) -> dict[str, Any]:
    return {"connection_class": connection_class, "tls": tls} if tls is not None else {}


def _to_sentinels(
    wanted: RedisSentinel, password: str | None, options: dict[str, Any], tls: TLS | None
) -> "SentinelLink":
    sentinel: Any = Sentinels([])  # type: ignore[no-untyped-call]
    own = options | _login(wanted.credential, password)
    sentinel.sentinels = [_client(f"redis://{host}", own, tls) for host in wanted.hosts]
    encrypted = _encrypted(SentinelTLSConnection, tls)
    return SentinelLink(sentinel, sentinel.master_for(wanted.master, db=wanted.database, **options, **encrypted))


def _to_cluster(wanted: RedisCluster, options: dict[str, Any], tls: TLS | None) -> ClusterLink:
    nodes = [
        ClusterNode(host.strip("[]"), int(port)) for host, _, port in (one.rpartition(":") for one in wanted.hosts)
    ]
    # The nodes found are not asked in place of those named: all may come back under other addresses.
    client = ClusterClient(startup_nodes=nodes, dynamic_startup_nodes=False, require_full_coverage=False, **options)
    if tls is not None:
        # The client's own parameters know neither a context nor a server's name.
        client.nodes_manager.connection_kwargs |= _encrypted(TLSConnection, tls)
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = TLSConnection
            node.connection_kwargs["tls"] = tls
    return ClusterLink(client)


class DirectLink:
    """One Redis."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client
        self._lookups = Together(self._fetch)
        self._may_get_many = True

    async def get(self, name: str, read: Read) -> Any:
        return await self._lookups.ask(name, read)

    def ask(self, name: str, read: Read) -> asyncio.Future[Any]:
        return self._lookups.ask(name, read)

    async def call(self, name: str, *command: Any) -> Any:
        return await self._client.execute_command(*command)

    async def evaluate(self, script: str, keys: int, *arguments: Any, lasting: bool = False) -> Any:
        return await self._client.execute_command("EVAL", script, keys, *arguments)

    def scan(self, pattern: str, count: int) -> AsyncIterator[bytes]:
        return cast(AsyncIterator[bytes], self._client.scan_iter(match=pattern, count=count))

    async def ping(self) -> None:
        await self._client.ping()

    async def close(self) -> None:
        await self._lookups.close()
        await self._client.aclose()

    async def _fetch(self, names: list[str]) -> list[Any]:
        if len(names) == 1:
            return [await self._client.get(names[0])]
        if self._may_get_many:
            try:
                # Half the work of as many GETs. What is no string it calls None: a miss, which the next entry replaces.
                return cast(list[Any], await self._client.execute_command("MGET", *names))
            except NoPermissionError as error:
                self._may_get_many = False
                log.warning("lookups take more work than they need to, one by one: give this user +mget (%s)", error)
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.get(name)
        return cast(list[Any], await pipeline.execute(raise_on_error=False))


class Sentinels(Sentinel):
    """redis-py's, which says of each Sentinel why it was of no help."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        why = []
        for sentinel in list(self.sentinels):
            # Last from now on, and first when it was of help: who runs out of time with one that is silent has the
            # next question begin with another.
            self.sentinels.remove(sentinel)
            self.sentinels.append(sentinel)
            try:
                known: Any = await sentinel.sentinel_masters()
            except (RedisError, OSError) as error:
                state, reason = None, str(error) or type(error).__name__
            else:
                state = known.get(service_name)
                reason = f"knows no {service_name}" if state is None else f"says that {service_name} is down"
            if state is not None and self.check_master_state(state, service_name):
                self.sentinels.remove(sentinel)
                self.sentinels.insert(0, sentinel)
                return state["ip"], state["port"]
            options = sentinel.connection_pool.connection_kwargs
            why.append(f"{options['host']}:{options['port']}: {reason}")
        raise MasterNotFoundError(f"no Sentinel names a primary: {'; '.join(why)}")


class SentinelLink(DirectLink):
    """The primary of a name that Sentinels know."""

    def __init__(self, sentinel: Sentinel, client: Redis) -> None:
        super().__init__(client)
        self._sentinel = sentinel
        self._primary: tuple[str, int] | None = None
        self._confirmed_at = float("-inf")

    async def evaluate(self, script: str, keys: int, *arguments: Any, lasting: bool = False) -> Any:
        # Scripts read the invalidations. A former primary that is cut off from its Sentinels, but not from us, would
        # answer without those that the new one has.
        now = time.monotonic()
        if now - self._confirmed_at >= CONFIRM_SECONDS:
            pool = self._client.connection_pool
            primary = await pool.get_master_address()
            if self._primary not in (None, primary):
                await pool.update_active_connections_for_reconnect()
                await pool.disconnect(inuse_connections=False)
            self._primary = primary
            self._confirmed_at = now
        if not lasting:
            return await super().evaluate(script, keys, *arguments)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.execute_command("EVAL", script, keys, *arguments)
        pipeline.execute_command(*WAIT)
        result, confirmed = await pipeline.execute()
        if not confirmed:
            note_unconfirmed()
        return result

    async def close(self) -> None:
        await super().close()
        await self._sentinel.aclose()
