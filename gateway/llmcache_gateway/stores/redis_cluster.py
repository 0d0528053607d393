"""The nodes of a Redis Cluster.

redis-py knows the layout and the connections; the calls are sent from here, because its own make a node that is away
everybody's trouble: each failure has the whole layout learnt anew before the next call, in the time of who makes it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode, PipelineCommand
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    RedisClusterException,
    RedisError,
    SlotNotCoveredError,
    TimeoutError,
)

from llmcache_gateway.stores.breaker import Breaker
from llmcache_gateway.stores.redis_replicas import WAIT, note_unconfirmed
from llmcache_gateway.stores.together import Read, Together

MAX_REDIRECTIONS: Final = 3
"""How often a call follows a key from node to node."""

LEARN_SECONDS: Final = 0.3
"""How long after one learning of the layout the next may begin, while calls fail."""


class NodeAwayError(ConnectionError):
    """The node that has a key can't be reached; the others may well be."""


class ClusterLink:
    """The primaries of a cluster.

    Lookups share round trips node by node, so that a node that is away holds up only those for its own keys; after some
    failures it is asked once a second. After each the layout is learnt anew in the background, so that the next calls
    find the keys' new node.
    """

    def __init__(self, client: RedisCluster) -> None:
        self._client = client
        self._lookups: dict[str, Together] = {}
        self._breakers: dict[str, Breaker] = {}
        self._learning: asyncio.Task[None] | None = None
        self._learnt_at = float("-inf")

    async def get(self, name: str, read: Read) -> Any:
        node = await self._node(name)
        lookups = self._lookups.get(node.name)
        if lookups is None:
            lookups = self._lookups[node.name] = Together(partial(self._fetch, node.name))
        return await lookups.ask(name, read)

    def ask(self, name: str, read: Read) -> None:
        return None  # where it goes may have to be learnt first

    async def call(self, name: str, *command: Any) -> Any:
        (result,) = await self._calls(name, command)
        return result

    async def evaluate(self, script: str, keys: int, *arguments: Any, lasting: bool = False) -> Any:
        name, command = arguments[0], ("EVAL", script, keys, *arguments)
        if not lasting:
            return await self.call(name, *command)
        result, confirmed = await self._calls(name, command, WAIT)
        if not confirmed and await self._has_replica(name):
            note_unconfirmed()
        return result

    async def scan(self, pattern: str, count: int) -> AsyncIterator[bytes]:
        await self._layout()
        for node in self._client.get_primaries():
            cursor = 0
            while True:
                ((cursor, names),) = await self._on(node, ("SCAN", cursor, "MATCH", pattern, "COUNT", count))
                for name in names:
                    yield name
                if not cursor:
                    break

    async def ping(self) -> None:
        await self._layout()
        await asyncio.gather(*(self._on(node, ("PING",)) for node in self._client.get_primaries()))

    async def close(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        for lookups in self._lookups.values():
            await lookups.close()
        for nodes in ("nodes_cache", "startup_nodes"):
            await self._client.nodes_manager.aclose(nodes)

    async def _has_replica(self, name: str) -> bool:
        """Say whether a replica could take over from the node that has a name, as things are now."""
        with suppress(RedisError, RedisClusterException, OSError):
            await asyncio.shield(self._learn())
            return self._client.get_node_from_key(name, replica=True) is not None
        return True

    async def _calls(self, name: str, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands to the node that has a name, wherever it is now, and return their results."""
        for _ in range(MAX_REDIRECTIONS):
            node = await self._node(name)
            try:
                return await self._on(node, *commands)
            except MovedError as moved:
                await self._client.nodes_manager.move_slot(moved)
            except AskError as ask:
                there = self._client.get_node(host=ask.host, port=ask.port)
                if there is None:
                    raise
                return (await self._on(there, ("ASKING",), *commands))[1:]
        raise ConnectionError(f"the cluster does not agree on where {commands[0][0]} has to go")

    async def _node(self, name: str) -> ClusterNode:
        """Return the primary that has a name's slot, as far as is known."""
        await self._layout()
        try:
            node = self._client.get_node_from_key(name)
        except SlotNotCoveredError:
            node = None
        if node is None:
            self._learn()
            raise NodeAwayError("no node of the cluster has this key's slot")
        return node

    async def _layout(self) -> None:
        """Wait until the layout is known, if it is not yet."""
        if self._client.get_default_node() is None:
            # Shielded: one who runs out of time must not end what the others wait for.
            await asyncio.shield(self._learn())

    def _learn(self) -> "asyncio.Task[None]":
        """Begin to learn the layout anew, unless that is under way or was done just now."""
        if self._learning is None or (self._learning.done() and time.monotonic() - self._learnt_at >= LEARN_SECONDS):
            self._learning = asyncio.create_task(self._client.nodes_manager.initialize())
            self._learning.add_done_callback(self._learnt)
        return self._learning

    def _learnt(self, learning: "asyncio.Task[None]") -> None:
        self._learnt_at = time.monotonic()
        if not learning.cancelled():
            learning.exception()  # who waits is given it; who does not has an error of its own already

    async def _on(self, node: ClusterNode, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands to a node together, and return their results or raise the first error among them."""
        results = await self._send(node, commands)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return results

    async def _send(self, node: ClusterNode, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands to a node together, and return the result or error of each; NodeAwayError when it is away."""
        breaker = self._breakers.setdefault(node.name, Breaker())
        if not breaker.closed and not breaker.wants_probe(time.monotonic()):
            raise NodeAwayError(f"{node.name} is away")
        try:
            try:
                results = await _exchange(node, commands)
            except ConnectionError:
                # Once more, on a new connection: the node may have closed those at hand long ago.
                await node.disconnect_free_connections()
                results = await _exchange(node, commands)
        except (ConnectionError, TimeoutError) as error:
            breaker.failed(time.monotonic())
            self._learn()
            raise NodeAwayError(str(error)) from None
        except asyncio.CancelledError:
            if not breaker.closed:
                breaker.failed(time.monotonic())  # the probe has to be made again
            raise
        except ClusterDownError:
            self._learn()
            raise
        breaker.succeeded()
        return results

    async def _fetch(self, node_name: str, names: list[str]) -> list[Any]:
        node = self._client.get_node(node_name=node_name)
        if node is None:  # it has left
            return [await self._alone(name) for name in names]
        results = await self._send(node, [("GET", name) for name in names])
        return [
            await self._alone(name) if isinstance(result, AskError) else result
            for name, result in zip(names, results, strict=True)
        ]

    async def _alone(self, name: str) -> Any:
        """Look up a name that is not where it was; return the error if that fails."""
        try:
            return await self.call(name, "GET", name)
        except Exception as error:
            return error


async def _exchange(node: ClusterNode, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    sent = [PipelineCommand(at, *command) for at, command in enumerate(commands)]
    await node.execute_pipeline(sent)
    for command in sent:
        if isinstance(command.result, (ConnectionError, TimeoutError, ClusterDownError)):
            raise command.result
    return [command.result for command in sent]
