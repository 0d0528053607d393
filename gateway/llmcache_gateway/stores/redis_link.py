"""How a Redis is reached: one server, the primary that Sentinels name, or the nodes of a cluster."""

import asyncio
import time
from functools import partial
from typing import Any, Final, Protocol, cast

from redis.asyncio import Connection, Redis, Sentinel
from redis.asyncio import RedisCluster as ClusterClient
from redis.asyncio.cluster import ClusterNode, PipelineCommand
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ConnectionError, MovedError, TimeoutError, TryAgainError

from llmcache_gateway.config import RedisCluster, RedisLogin, RedisSentinel
from llmcache_gateway.stores.redis_access import RedisAccess
from llmcache_gateway.stores.redis_tls import TLS, SentinelTLSConnection, TLSConnection, client_tls
from llmcache_gateway.stores.together import Together

CONFIRM_SECONDS: Final = 0.3
"""How long what the Sentinels said of the primary is taken for true when the invalidations are read."""


class RedisLink(Protocol):
    """A connection to Redis. Every method may raise what redis-py does."""

    async def ready(self) -> Any:
        """Return redis-py's client, for commands with one key and for SCAN, which goes over all primaries."""

    async def get(self, name: str) -> Any:
        """Return a value, by a round trip that it shares with others that wait."""

    async def evaluate(self, script: str, keys: int, *arguments: Any) -> Any:
        """Run a script over keys of one slot, and return its result."""

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
    sentinel: Any = Sentinel([])  # type: ignore[no-untyped-call]
    own = options | _login(wanted.credential, password)
    sentinel.sentinels = [_client(f"redis://{host}", own, tls) for host in wanted.hosts]
    encrypted = _encrypted(SentinelTLSConnection, tls)
    return SentinelLink(sentinel, sentinel.master_for(wanted.master, db=wanted.database, **options, **encrypted))


def _to_cluster(wanted: RedisCluster, options: dict[str, Any], tls: TLS | None) -> "ClusterLink":
    nodes = [
        ClusterNode(host.strip("[]"), int(port)) for host, _, port in (one.rpartition(":") for one in wanted.hosts)
    ]
    # Without reinitialize_steps: MOVED tells all that is needed, and does not cut what is under way.
    client = ClusterClient(startup_nodes=nodes, reinitialize_steps=0, **options)
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

    async def ready(self) -> Any:
        return self._client

    async def get(self, name: str) -> Any:
        return await self._lookups.get(name)

    async def evaluate(self, script: str, keys: int, *arguments: Any) -> Any:
        return await self._client.eval(script, keys, *arguments)

    async def ping(self) -> None:
        await self._client.ping()

    async def close(self) -> None:
        await self._lookups.close()
        await self._client.aclose()

    async def _fetch(self, names: list[str]) -> list[Any]:
        if len(names) == 1:
            return [await self._client.get(names[0])]
        # Not MGET: this needs no right that a single lookup does not.
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.get(name)
        return cast(list[Any], await pipeline.execute(raise_on_error=False))


class SentinelLink(DirectLink):
    """The primary of a name that Sentinels know."""

    def __init__(self, sentinel: Sentinel, client: Redis) -> None:
        super().__init__(client)
        self._sentinel = sentinel
        self._confirmed_at = float("-inf")

    async def evaluate(self, script: str, keys: int, *arguments: Any) -> Any:
        # Scripts read the invalidations. A former primary that is cut off from its Sentinels, but not from us, would
        # answer without those that the new one has.
        now = time.monotonic()
        if now - self._confirmed_at >= CONFIRM_SECONDS:
            await self._client.connection_pool.get_master_address()
            self._confirmed_at = now
        return await super().evaluate(script, keys, *arguments)

    async def close(self) -> None:
        await super().close()
        await self._sentinel.aclose()


class ClusterLink:
    """The primaries of a cluster. Lookups share round trips node by node, so that a node that is away holds up only
    those for its own keys.
    """

    def __init__(self, client: ClusterClient) -> None:
        self._client: Any = client
        self._nodes: dict[str, Together] = {}
        self._learning: asyncio.Task[Any] | None = None

    async def ready(self) -> Any:
        if self._client.get_default_node() is None:
            # It does not know yet which node has which keys. A task of its own learns that: one who runs out of time
            # must not undo what the others wait for.
            if self._learning is None or self._learning.done():
                self._learning = asyncio.create_task(self._client.initialize())
            await asyncio.shield(self._learning)
        return self._client

    async def get(self, name: str) -> Any:
        node = (await self.ready()).get_node_from_key(name)
        lookups = self._nodes.get(node.name)
        if lookups is None:
            lookups = self._nodes[node.name] = Together(partial(self._fetch, node.name))
        return await lookups.get(name)

    async def evaluate(self, script: str, keys: int, *arguments: Any) -> Any:
        return await (await self.ready()).eval(script, keys, *arguments)

    async def ping(self) -> None:
        await (await self.ready()).ping(target_nodes=ClusterClient.PRIMARIES)

    async def close(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        for lookups in self._nodes.values():
            await lookups.close()
        await self._client.aclose()

    async def _fetch(self, node_name: str, names: list[str]) -> list[Any]:
        node: ClusterNode | None = self._client.get_node(node_name=node_name)
        if node is None:  # it left the cluster since
            return [await self._alone(name) for name in names]
        commands = [PipelineCommand(at, "GET", name) for at, name in enumerate(names)]
        try:
            await node.execute_pipeline(commands)
        except (ConnectionError, TimeoutError):
            # The client's own call learns the new layout, if there is one; the others go by it the next time.
            return [await self._client.get(names[0]), *(ConnectionError(f"{node_name} is away") for _ in names[1:])]
        return [
            await self._alone(name)
            if isinstance(command.result, (MovedError, AskError, TryAgainError))
            else command.result
            for name, command in zip(names, commands, strict=True)
        ]

    async def _alone(self, name: str) -> Any:
        """Return what the client's own call says, which follows keys that have moved; or its error."""
        try:
            return await self._client.get(name)
        except Exception as error:
            return error
