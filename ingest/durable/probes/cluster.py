"""Which node of a cluster has which shard: asked once a second, and when a node says not to have it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from redis.asyncio import Redis

from ingest.contracts.placement.cluster import QUESTIONS, Node, SlotTable, slot_table
from ingest.contracts.placement.streams_url import node_of, url_at
from ingest.durable.servers import AppendServer, AppendServers
from ingest.redis_io.client import REDIS_ERRORS, connect

_EVERY_SECONDS: Final = 1.0
#: While a shard is away.
_SOON_SECONDS: Final = 0.2
#: Between two questions, however many events are sent back.
_LEAST_SECONDS: Final = 0.05


class SlotSource:
    """Asks the nodes that are known, all at once, and believes who knows most."""

    def __init__(self, urls: Sequence[str]) -> None:
        """`urls` of some nodes; they tell of the others."""
        self.url = urls[0]
        self._seeds = [node_of(url) for url in urls]
        self._clients: dict[Node, Redis] = {}
        self._known: Sequence[Node] = self._seeds

    async def ask(self) -> SlotTable | None:
        """None if no node answers."""
        nodes = list(dict.fromkeys([*self._known, *self._seeds]))
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._ask(node)) for node in nodes]
        found = [table for task in asked if (table := task.result())]
        if not found:
            return None
        best = max(found, key=lambda table: (table.is_ok, table.epoch))
        self._known = best.nodes
        for node in self._clients.keys() - {*self._known, *self._seeds}:
            await self._clients.pop(node).aclose()
        return best

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def _ask(self, node: Node) -> SlotTable | None:
        if node not in self._clients:
            self._clients[node] = connect(url_at(self.url, node), connections=1)
        with suppress(*REDIS_ERRORS, ValueError):
            async with self._clients[node].pipeline(transaction=False) as pipe:
                for question in QUESTIONS:
                    pipe.execute_command(*question)
                replies = await pipe.execute(raise_on_error=False)
            return slot_table(replies, node)
        return None


class ClusterWatch:
    """Keeps the servers of the streams what the nodes of a cluster are."""

    def __init__(
        self,
        source: SlotSource,
        servers: AppendServers,
        connected: Callable[[str, Sequence[int]], AppendServer],
    ) -> None:
        """`connected` gives the server of a URL, which has these shards."""
        self._source = source
        self._servers = servers
        self._connected = connected
        self._by_node: dict[Node, AppendServer] = {}
        self._is_sought = asyncio.Event()
        self._is_stopping = False
        servers.seek = self._is_sought.set

    async def run(self, leave: Callable[[AppendServer], Awaitable[None]]) -> None:
        """Follow the cluster until stopped; `leave` gets servers that have no shard any more."""
        while not self._is_stopping:
            for server in await self.look():
                await leave(server)
            self._is_sought.clear()
            await asyncio.sleep(_LEAST_SECONDS)
            seconds = _SOON_SECONDS if self._servers.misrouted else _EVERY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._is_sought.wait()
        await self._source.close()

    def stop(self) -> None:
        """Ask no more."""
        self._is_stopping = True
        self._is_sought.set()

    async def look(self) -> Sequence[AppendServer]:
        """Ask once; the servers that have no shard any more."""
        table = await self._source.ask()
        if table is None:
            return ()
        found = self._shards_by_node(table)
        before = {node: server.shards for node, server in self._by_node.items()}
        gone = [self._by_node.pop(node) for node in before.keys() - found.keys()]
        for node, shards in found.items():
            if node not in self._by_node:
                url = url_at(self._source.url, node)
                self._by_node[node] = self._connected(url, shards)
            self._by_node[node].shards = shards
        if found != before:
            moved = {
                shard
                for node, shards in found.items()
                for shard in shards
                if shard not in before.get(node, ())
            }
            for shard in moved:
                self._servers.misrouted.pop(shard, None)
            self._servers.assign([*self._by_node.values()])
        return gone

    def _shards_by_node(self, table: SlotTable) -> Mapping[Node, Sequence[int]]:
        found: dict[Node, list[int]] = {}
        for shard in self._servers.layout.numbers:
            if node := table.node_of(shard):
                found.setdefault(node, []).append(shard)
        return found
