"""Connections to the node of a cluster that has a shard, which is asked for each time that one connects."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from typing_extensions import override

from ingest.contracts.placement.cluster import (
    QUESTIONS,
    Node,
    SlotTable,
    is_misrouted,
    slot_table,
)
from ingest.contracts.placement.streams_url import node_of, url_at

_ANSWER_SECONDS: Final = 0.5
#: Connections that are made at once ask once.
_FRESH_SECONDS: Final = 0.2


class Cluster:
    """Which node has which shard, as the nodes say."""

    def __init__(
        self, urls: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`urls` of some nodes; they tell of the others."""
        self._url = urls[0]
        self._seeds = [node_of(url) for url in urls]
        self._known: Sequence[Node] = self._seeds
        self._clock = clock
        self._asking = asyncio.Lock()
        self._table: SlotTable | None = None
        self._asked_at = float("-inf")

    async def node_of(self, shard: int) -> Node:
        """Who has a shard. Raises redis-py's ConnectionError if nobody knows or has it."""
        async with self._asking:
            if self._clock() - self._asked_at > _FRESH_SECONDS:
                self._table = await self._ask()
                self._asked_at = self._clock()
            table = self._table
        if table is None:
            raise RedisConnectionError("no node of the cluster answers")
        if (node := table.node_of(shard)) is None:
            raise RedisConnectionError(f"no node of the cluster has shard {shard}")
        return node

    async def _ask(self) -> SlotTable | None:
        nodes = list(dict.fromkeys([*self._known, *self._seeds]))
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._said_by(node)) for node in nodes]
        found = [table for task in asked if (table := task.result())]
        if not found:
            return None
        best = max(found, key=lambda table: (table.is_ok, table.epoch))
        self._known = best.nodes
        return best

    async def _said_by(self, node: Node) -> SlotTable | None:
        redis = Redis.from_url(
            url_at(self._url, node),
            socket_timeout=_ANSWER_SECONDS,
            socket_connect_timeout=_ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        with suppress(RedisError, OSError, ValueError):
            async with redis, redis.pipeline(transaction=False) as pipe:
                for question in QUESTIONS:
                    pipe.execute_command(*question)
                return slot_table(await pipe.execute(raise_on_error=False), node)
        return None


class ShardNode(NamedTuple):
    """The node of a cluster that has a shard."""

    cluster: Cluster
    shard: int


class NodeConnection(AbstractConnection):
    """Connects to the node that has a shard now."""

    def __init__(self, *, node: ShardNode, **settings: Any) -> None:
        super().__init__(**settings)
        self._node = node
        #: Whether this node has the shard no more.
        self.is_misled = False

    @override
    async def _connect(self) -> None:
        self.is_misled = False
        self.host, self.port = await self._node.cluster.node_of(self._node.shard)
        await super()._connect()  # type: ignore[no-untyped-call, safe-super]

    @override
    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except ResponseError as error:
            self.is_misled |= is_misrouted(error)
            raise


class NodePool(BlockingConnectionPool):
    """Closes connections to a node that has the shard no more."""

    @override
    async def release(self, connection: AbstractConnection) -> None:
        if isinstance(connection, NodeConnection) and connection.is_misled:
            await connection.disconnect(nowait=True)
        await super().release(connection)
