"""Pools of connections to a primary, which sentinels name each time that one connects."""

from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Connection, SSLConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from typing_extensions import override

from ingest.contracts.redis_address import RedisAddress, redis_address
from workers.redis_io.cluster import NodeConnection, NodePool, ShardNode

#: Of the time that connecting may take, this part may go by for one sentinel that is away.
_PART: Final = 0.4


class _PrimaryPool(BlockingConnectionPool, SentinelConnectionPool):
    """Waits for a free connection, too."""

    @override
    async def get_master_address(self) -> tuple[str, int]:
        try:
            found: tuple[str, int] = await super().get_master_address()  # type: ignore[no-untyped-call]
        except MasterNotFoundError as error:
            # redis-py's words have all of its own objects in them.
            raise RedisConnectionError(
                f"no sentinel names a primary of {self.service_name!r}"
            ) from error
        return found

    @override
    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()


def pool_to(
    url: str,
    *,
    connection: type[Any],
    connect_within: float,
    node: ShardNode | None = None,
    **settings: Any,
) -> BlockingConnectionPool:
    """A pool of connections to the server of a URL, or to who is the primary by its sentinels.

    Or to the `node` that has a shard; then the URL has what all nodes share.
    `connection` is mixed into the class of connections. A connection to a primary that was
    demoted closes itself when it is told so; the next one asks sentinels again. Raises
    ValueError for what is no such URL.
    """
    address = redis_address(url)
    settings["socket_connect_timeout"] = connect_within
    given: dict[str, Any] = {**settings, **parse_url(address.url)}
    base = given.pop("connection_class", Connection)
    if address.sentinels:
        is_ssl = issubclass(base, SSLConnection)
        base = SentinelManagedSSLConnection if is_ssl else SentinelManagedConnection
        given["service_name"] = address.service
        given["sentinel_manager"] = _sentinels(address, connect_within, given)
    kind = _PrimaryPool if address.sentinels else BlockingConnectionPool
    base = type(base.__name__, (connection, base), {})
    if node is not None:
        kind, base = NodePool, type(base.__name__, (NodeConnection, base), {})
        given["node"] = node
    return kind(connection_class=base, **given)


def _sentinels(
    address: RedisAddress, seconds: float, of_servers: Mapping[str, Any]
) -> Sentinel:
    """Sentinels encrypt as servers do."""
    ssl = {name: each for name, each in of_servers.items() if name.startswith("ssl_")}
    return Sentinel(  # type: ignore[no-untyped-call]
        address.sentinels,
        sentinel_kwargs={
            **ssl,
            "ssl": address.url.startswith("rediss"),
            "username": address.username,
            "password": address.password,
            "socket_timeout": seconds * _PART,
            "socket_connect_timeout": seconds * _PART,
        },
    )
